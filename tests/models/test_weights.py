"""Files of weights of every kind, good and bad, and the state dicts in them."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from bench.errors import ModelError, ModelUnavailable, UnsafeWeights
from bench.models import state_dict, weights
from bench.suites.places import Places

PLACES = Places(download=False)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


STATE = network().state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Runs:
    """A pickle that makes a directory when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.model", "a.bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_new_and_old(tmp_path: Path, name: str, zipped: bool) -> None:
    torch.save(STATE, tmp_path / name, _use_new_zipfile_serialization=zipped)
    found = state_dict.find(weights.read(tmp_path / name, PLACES), None, tmp_path / name)
    assert same(found.state, STATE)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_safetensors_by_content(tmp_path: Path, name: str) -> None:
    safetensors.torch.save_file(STATE, tmp_path / name)
    assert same(weights.read(tmp_path / name, PLACES), STATE)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "pickle2"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    path, trap = tmp_path / "evil.pt", tmp_path / "ran"
    content = {"state_dict": STATE, "extra": Runs(trap)}
    if form.startswith("pickle"):
        path.write_bytes(pickle.dumps(Runs(trap), protocol=2 if form == "pickle2" else 4))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UnsafeWeights, match=r"it would call \w+\.mkdir, .*--allow-pickle .*evil\.pt"):
        weights.read(path, PLACES)
    assert not trap.exists()


def test_an_allowed_file_is_unpickled_and_no_other(tmp_path: Path) -> None:
    torch.save({"model": network(), "epoch": np.float64(3)}, tmp_path / "a.pt")
    torch.save({"model": network()}, tmp_path / "b.pt")
    (tmp_path / "link.pt").symlink_to(tmp_path / "a.pt")
    trusting = Places(allow_pickle=frozenset({(tmp_path / "a.pt").resolve()}))
    for name in ("a.pt", "link.pt"):
        found = state_dict.find(weights.read(tmp_path / name, trusting), None, tmp_path / name)
        assert same(found.state, STATE)
        assert found.key == "model"
    with pytest.raises(UnsafeWeights, match=r"torch\.nn\.modules"):
        weights.read(tmp_path / "b.pt", trusting)


def test_files_that_are_not_weights(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "whole.pt")
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(STATE, tmp_path / "whole.safetensors")
    cut = {name: (tmp_path / name).read_bytes()[:-80] for name in ("whole.pt", "old.pt", "whole.safetensors")}
    bad = {
        "empty.pt": (b"", "the file is empty"),
        "text.pt": (b"hello world", "not a file of weights"),
        "noise.pt": (bytes(range(1, 200)), "not a file of weights"),
        "page.pt": (b"\n<!DOCTYPE html><html></html>", "an HTML page"),
        "lfs.pt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n", "a Git LFS pointer"),
        "keras.h5": (b"\x89HDF\r\n\x1a\n123", "an HDF5 file"),
        "cut.pt": (cut["whole.pt"], "truncated or damaged"),
        "cutold.pt": (cut["old.pt"], "truncated or damaged"),
        "cut.safetensors": (cut["whole.safetensors"], "truncated or damaged safetensors"),
        "named.safetensors": (b"hello world", "whatever its name says"),
        "array.pt": (pickle.dumps([1, 2, 3]), "not a file of weights"),
    }
    for name, (content, reason) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=reason) as error:
            weights.read(tmp_path / name, PLACES)
        assert name in str(error.value)
        assert not isinstance(error.value, UnsafeWeights)


def test_a_pickle_named_safetensors_is_not_loaded(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pt")
    (tmp_path / "a.pt").rename(tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="whatever its name says"):
        weights.read(tmp_path / "a.safetensors", PLACES)


def test_torchscript_says_what_to_do(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "ts.pt"))  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match=r"a TorchScript archive; save its state_dict"):
        weights.read(tmp_path / "ts.pt", PLACES)


def test_missing_files_and_other_digests(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"absent\.pt: no such file"):
        weights.require(tmp_path / "absent.pt", None)
    (tmp_path / "a.pt").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert weights.require(tmp_path / "a.pt", digest.upper()) == digest
    with pytest.raises(ModelError, match=f"sha256 is {digest}, it must be {'0' * 64}"):
        weights.require(tmp_path / "a.pt", "0" * 64)
    with pytest.raises(ModelError, match="can't be read"):
        weights.require(tmp_path, None)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (STATE, ""),
        ({"state_dict": STATE, "epoch": 3}, "state_dict"),
        ({"model": STATE, "optimizer": {"lr": 0.1}}, "model"),
        ({"net": STATE}, "net"),
        ({"model_state_dict": STATE}, "model_state_dict"),
        ({"ema": {"state_dict": STATE}}, "ema.state_dict"),
        ({"state_dict": [STATE], "err": [0.1]}, "state_dict.0"),
        ([STATE], "0"),
    ],
)
def test_the_state_dict_is_found_at_the_usual_places(content: Any, key: str) -> None:
    found = state_dict.find(content, None, Path("a.pt"))
    assert found.key == key
    assert found.note == ""
    assert same(found.state, STATE)
    if key:
        assert same(state_dict.find(content, key, Path("a.pt")).state, STATE)


def test_the_first_of_several_in_a_list_is_noted() -> None:
    found = state_dict.find({"state_dict": [STATE, {"w": torch.ones(1)}]}, None, Path("a.pt"))
    assert same(found.state, STATE)
    assert found.note == "item 0 of 2 state dicts in a.pt"
    second = state_dict.find({"state_dict": [STATE, {"w": torch.ones(1)}]}, "state_dict.1", Path("a.pt"))
    assert list(second.state) == ["w"]


def test_several_candidates_must_be_told_apart() -> None:
    content = {"state_dict": STATE, "ema": STATE, "epoch": 1}
    with pytest.raises(ModelError, match=r"several state dicts; say which one with key \(accepted: state_dict, ema\)"):
        state_dict.find(content, None, Path("a.pt"))
    assert state_dict.find(content, "ema", Path("a.pt")).key == "ema"


@pytest.mark.parametrize(
    ("content", "key", "reason"),
    [
        ({"epoch": 1}, None, "no state dict .* found in a dict with epoch"),
        ({}, None, "found in an empty dict"),
        ([], None, "found in a list"),
        (torch.ones(3), None, "found in a Tensor"),
        ({"a": STATE}, "b", r"there is no 'b' \(accepted: a\)"),
        ({"a": [STATE]}, "a.1", r"there is no '1' under a \(accepted: 0 to 0\)"),
        ({"a": {"b": 3}}, "a.b", "leads to a int, not to a state dict"),
        ({"a": {"b": 3}}, "a.b.c", r"there is no 'c' under a.b \(accepted: nothing, a int ends here\)"),
    ],
)
def test_what_is_not_there_is_named(content: Any, key: str | None, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        state_dict.find(content, key, Path("a.pt"))


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.", "model.", "net."]
)
def test_prefixes_of_wrappers_are_taken_off(prefix: str) -> None:
    other = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    state_dict.load_strictly(other, {prefix + name: tensor for name, tensor in STATE.items()}, "a.pt into b")
    assert same(other.state_dict(), STATE)


def test_missing_batch_counts_do_not_matter() -> None:
    other = network()
    state = {name: tensor + 1 for name, tensor in STATE.items() if not name.endswith("num_batches_tracked")}
    state_dict.load_strictly(other, state, "a.pt into b")
    assert torch.equal(other.state_dict()["0.weight"], state["0.weight"])


def test_what_does_not_fit_is_named() -> None:
    state = {**STATE, "3.weight": torch.ones(1), "0.weight": torch.ones(3, 5)}
    del state["2.weight"]
    untouched = network()
    with pytest.raises(ModelError) as error:
        state_dict.load_strictly(untouched, state, "a.pt into b")
    assert str(error.value) == (
        "a.pt into b: the weights don't fit the architecture: missing: 2.weight; unexpected: 3.weight;"
        " of another shape: 0.weight (3, 5) instead of (3, 4)"
    )
    assert same(untouched.state_dict(), STATE)
    with pytest.raises(ModelError, match="and 4 more"):
        state_dict.load_strictly(network(), {}, "a.pt into b")


def test_half_precision_becomes_float32() -> None:
    other = network()
    state_dict.load_strictly(
        other, {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}, "a"
    )
    assert other.state_dict()["0.weight"].dtype == torch.float32


def test_tensors_digest_sees_names_types_shapes_and_values() -> None:
    x = torch.arange(6.0)
    seen = {
        weights.tensors_digest({"a": x}),
        weights.tensors_digest({"b": x}),
        weights.tensors_digest({"a": x.reshape(2, 3)}),
        weights.tensors_digest({"a": x.double()}),
        weights.tensors_digest({"a": x.bfloat16()}),
        weights.tensors_digest({"a": x + 1}),
        weights.tensors_digest({"a": torch.tensor(1.0), "e": torch.ones(0)}),
    }
    assert len(seen) == 7
    assert weights.tensors_digest({"a": x, "b": x}) == weights.tensors_digest({"b": x.clone(), "a": x})
