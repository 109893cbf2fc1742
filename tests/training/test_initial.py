"""Trainings that start from given weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from bench.digests import file_digest
from bench.errors import Interrupted, ModelError, ModelUnavailable, StoreError, SuiteError
from bench.models.zoo.cards import cards
from bench.training.load import load
from bench.training.train import TrainingResult, train

FROZEN = ["optimizer.lr=1.0e-9", "epochs=1", "weight_average=0", "name=tuned"]


@pytest.fixture
def first(mini: Path, tmp_path: Path) -> Path:
    """Weights of the small recipe's architecture."""
    result = train(mini, overrides=["epochs=1"], output=tmp_path / "first", device="cpu")
    assert isinstance(result, TrainingResult)
    return result.weights


def tuned(mini: Path, output: Path, *overrides: str) -> TrainingResult:
    result = train(mini, overrides=[*FROZEN, *overrides], output=output, device="cpu")
    assert isinstance(result, TrainingResult)
    return result


def test_it_starts_from_the_weights_and_says_so(mini: Path, first: Path, tmp_path: Path) -> None:
    result = tuned(mini, tmp_path, f"init={first}")
    before, after = (safetensors.torch.load_file(path) for path in (first, result.weights))
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)
    assert result.card.training.init_sha256 == file_digest(first)
    afresh = tuned(mini, tmp_path / "afresh")
    other = safetensors.torch.load_file(afresh.weights)
    assert not all(torch.allclose(before[name], other[name], atol=1e-2) for name in before)
    assert afresh.card.training.init_sha256 == ""
    assert afresh.card.recipe_sha256 != result.card.recipe_sha256


def test_it_starts_from_a_model_of_the_zoo(mini: Path, tmp_path: Path) -> None:
    card = cards()["mnist_standard"]
    same = [
        f"architecture={{name: {card.architecture}}}",
        *(f"architecture_args.{k}={v}" for k, v in card.architecture_args.items()),
    ]
    result = tuned(mini, tmp_path, "init=zoo:mnist_standard", *same)
    assert result.card.training.init_sha256 == card.weights_sha256
    assert (result.card.clean_accuracy.value or 0) > 0.9


def test_weights_of_another_shape_are_refused_before_the_training(mini: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"init: zoo:mnist_standard into mnist_cnn: the weights don't fit .* of another shape"
    ):
        tuned(mini, tmp_path, "init=zoo:mnist_standard")
    assert not list(tmp_path.glob("tuned*"))


def test_weights_that_are_not_there(mini: Path, tmp_path: Path, written: Callable[[str], Path]) -> None:
    with pytest.raises(ModelUnavailable, match=r"nowhere\.safetensors: no such file"):
        tuned(mini, tmp_path, "init=nowhere.safetensors")
    path = written(mini.read_text() + "init: zoo:mnist_standart\n")
    with pytest.raises(SuiteError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (len(path.read_text().splitlines()), "init")
    assert "did you mean mnist_standard?" in problem.message
    assert "mnist_pgd" in problem.accepted


def test_a_file_beside_the_recipe_is_found_and_its_folder_is_not_in_the_digest(mini: Path, first: Path) -> None:
    (mini.parent / "start.safetensors").write_bytes(first.read_bytes())
    here = load(mini, overrides=["init=start.safetensors"])
    assert here.init == str(mini.parent / "start.safetensors")
    elsewhere = here.model_copy(update={"init": "/elsewhere/start.safetensors"})
    assert elsewhere.digest() == here.digest() != load(mini).digest()
    assert load(mini, overrides=["init=other.safetensors"]).digest() != here.digest()


def test_a_checkpoint_of_a_training_from_other_weights_is_refused(mini: Path, first: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(mini, overrides=[f"init={first}"], output=tmp_path, device="cpu", time_budget=0.0)
    changed = safetensors.torch.load_file(first)
    safetensors.torch.save_file({name: tensor + 1 for name, tensor in changed.items()}, first)
    with pytest.raises(StoreError, match=r"belongs to another training \(other init\)"):
        train(mini, overrides=[f"init={first}"], output=tmp_path, device="cpu")
