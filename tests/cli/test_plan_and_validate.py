"""``bench plan`` and ``bench validate``: what would happen, and whether it can."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.models.zoo.cards import cards

Write = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("no_plots")


def cells(out: str) -> dict[str, tuple[str, int]]:
    """State and samples of each cell of a printed plan."""
    found = {}
    for line in out.splitlines():
        match = re.match(r"(\S.*?)  +(to do|to train|partly done|done|unavailable|error|damaged)  +(\d+)  ", line)
        if match:
            found[match[1]] = (match[2], int(match[3]))
    return found


def test_plan_before_within_and_after_a_run(bench: object, suite: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = suite(samples=8, attacks="fgsm, {name: pgd, steps: 3}")
    results = ("--results", path.parent / "results", "--device", "cpu")
    before = bench("plan", path, *results)  # type: ignore[operator]
    assert before.code == 0
    fgsm, pgd = "mnist_standard | Linf 0.2 | fgsm", "mnist_standard | Linf 0.2 | pgd-3"
    assert cells(before.out) == {fgsm: ("to do", 8), pgd: ("to do", 8)}
    assert "2 cells, 0 done" in before.out
    assert re.search(r"pgd-3 .*\b48 +24 ", before.out), "8 samples, 3 steps, a last look and two predictions"
    assert not (path.parent / "results").exists()
    bench("run", path, *results, "--set", "attacks=[fgsm]")  # type: ignore[operator]
    within = bench("plan", path, *results)  # type: ignore[operator]
    assert cells(within.out) == {fgsm: ("done", 0), pgd: ("to do", 8)}
    assert "2 cells, 1 done" in within.out
    more = bench("plan", path, *results, "--set", "dataset.samples=12")  # type: ignore[operator]
    assert cells(more.out) == {fgsm: ("partly done", 4), pgd: ("to do", 12)}
    bench("run", path, *results)  # type: ignore[operator]
    after = bench("plan", path, *results)  # type: ignore[operator]
    assert cells(after.out) == {fgsm: ("done", 0), pgd: ("done", 0)}
    assert "2 cells, 2 done; at most 0 s" in after.out


def test_plan_for_devices_and_what_the_run_took(bench: object, suite: Write, tmp_path: Path) -> None:
    path = suite(samples=8, attacks="{name: pgd, steps: 3}")
    words = (path, "--results", tmp_path / "results", "--device", "cpu")
    ended = bench("plan", *words, "--devices", "2xcpu", "--pilot", 4)  # type: ignore[operator]
    assert ended.code == 0
    assert re.search(r"Linf 0.2 \| pgd-3 +to do +8 .* s \(.* s – .* s\) +4 rows of a pilot", ended.out)
    assert re.search(r"2 x cpu: measured, here: .*cpu \(1 threads\)", ended.out)
    assert re.search(r"device time .* device-hours; wall time .*\ndevices work \d+ % of that time", ended.out)
    assert "estimated" not in ended.out
    bench("run", *words, "--no-audit")  # type: ignore[operator]
    for more in ((), ("--devices", "2xcpu")):
        after = bench("plan", *words, *more)  # type: ignore[operator]
        assert re.search(r"\ntogether .*\d+\.\d\d\n\nEstimated .* UTC for 2xcpu; taken on cpu", after.out)
    data = json.loads(bench("plan", *words, "--devices", "1xcpu", "--json", "-").out)  # type: ignore[operator]
    assert data["wall"] == {"low": 0.0, "middle": 0.0, "high": 0.0}


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (("--devices", "0xcpu"), "accepted: COUNTxNAME with a count of at least 1"),
        (("--devices", "2xcup"), "unknown device 'cup'; did you mean cpu?"),
        (("--devices", "2xT4"), "no speeds of T4 (accepted: a file of them with --calibration FILE"),
        (("--pilot", "8"), "--pilot says how --devices is estimated (accepted: with --devices"),
    ],
)
def test_plan_for_devices_that_make_no_sense(bench: object, suite: Write, words: tuple[str, ...], seen: str) -> None:
    ended = bench("plan", suite(), "--device", "cpu", *words)  # type: ignore[operator]
    assert (ended.code, ended.out) == (2, "")
    assert seen in ended.err


def test_plan_of_models_that_are_not_here_or_broken(bench: object, suite: Write, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"half a file")
    path = suite(
        models="zoo:mnist_standard, {id: gone, source: checkpoint, architecture: mnist_cnn, weights: gone.pt}, "
        "{id: broken, source: checkpoint, architecture: mnist_cnn, weights: broken.pt}"
    )
    ended = bench("plan", path, "--device", "cpu")  # type: ignore[operator]
    assert ended.code == 0
    states = {cell.split(" | ")[0]: state for cell, (state, _) in cells(ended.out).items()}
    assert states == {"mnist_standard": "to do", "gone": "unavailable", "broken": "error"}


def test_recipes_that_are_not_trained_yet(bench: object, suite: Write, tmp_path: Path) -> None:
    recipe, directory = Path(__file__).parents[2] / "recipes" / "mnist_pgd.yaml", tmp_path / "models"
    path = suite(models=f"{{id: mine, source: recipe, recipe: {recipe}}}, zoo:mnist_standard")
    ended = bench("plan", path, "--device", "cpu", "--model-dir", directory)  # type: ignore[operator]
    assert ended.code == 0
    assert {cell.split(" | ")[0]: state for cell, (state, _) in cells(ended.out).items()} == {
        "mine": "to train",
        "mnist_standard": "to do",
    }
    weights = rf"{directory}/trained/mnist_pgd-\w+/mnist_pgd.safetensors"
    said = rf"mine: {weights}: not trained yet: bench run trains the recipe {recipe}"
    assert re.search(said, ended.out)
    ended = bench("validate", path, "--model-dir", directory)  # type: ignore[operator]
    assert ended.code == 0
    assert re.search(f"^to train: {said}", ended.out, re.MULTILINE)
    assert not directory.exists()


def test_plan_of_a_wrong_suite(bench: object, suite: Write) -> None:
    path = suite(attacks="fgms")
    ended = bench("plan", path)  # type: ignore[operator]
    assert ended.code == 2
    assert f"{path}:5: attacks.0" in ended.err


def test_validate_a_good_suite(bench: object, suite: Write) -> None:
    path = suite(attacks="fgsm, autoattack", defenses="none, jpeg")
    ended = bench("validate", path)  # type: ignore[operator]
    assert ended == (0, f"{path}: fine: 9 cells on 8 images\n", "")
    ended = bench("validate", path, "--static")  # type: ignore[operator]
    assert ended.code == 0
    assert "9 cells" in ended.out
    assert not (path.parent / "results").exists()


def test_validate_names_every_problem(bench: object, suite: Write) -> None:
    path = suite(eps="8", attacks="fgms, {name: pgd, stepps: 3}", defenses="jpg")
    ended = bench("validate", path)  # type: ignore[operator]
    assert ended.code == 2
    for seen in ("8/255", "'fgms'", "'stepps'", "did you mean steps", "'jpg'", "did you mean jpeg"):
        assert seen in ended.err
    assert ended.err.count(str(path)) == 4
    assert ended.out == ""


def test_validate_a_checkpoint_with_a_missing_layer(bench: object, suite: Write, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(cards()["mnist_standard"].path)
    name = sorted(state)[-1]
    save_file({key: value for key, value in state.items() if key != name}, tmp_path / "short.safetensors")
    path = suite(models="{id: short, source: checkpoint, architecture: mnist_cnn, weights: short.safetensors}")
    ended = bench("validate", path)  # type: ignore[operator]
    assert ended.code == 2
    assert f"{path}:4: models.0: " in ended.err
    assert f"missing: {name}" in ended.err
    assert "Traceback" not in ended.err


def test_validate_weights_that_are_not_here(bench: object, suite: Write) -> None:
    """No fault of the suite: they may be there on another machine."""
    path = suite(models="zoo:mnist_standard, {id: gone, source: checkpoint, architecture: mnist_cnn, weights: gone.pt}")
    ended = bench("validate", path)  # type: ignore[operator]
    assert ended.code == 0
    assert "unavailable here: gone: " in ended.out
    assert "gone.pt" in ended.out


def test_validate_tries_every_model_on_images(bench: object, suite: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Nan(torch.nn.Module):\n"
        "    def forward(self, x): return torch.full((len(x), 10), float('nan'))\n"
        "class Wide(torch.nn.Module):\n"
        "    def forward(self, x): return torch.zeros(len(x), 7)\n"
        "MODELS = {'nan_model': Nan, 'wide_model': Wide}\n"
    )
    path = suite(models="{source: nan_model}, {source: wide_model}", more="plugins: [mine.py]")
    try:
        ended = bench("validate", path, "--allow-plugins")  # type: ignore[operator]
    finally:
        from bench.registry import ALL

        ALL["models"].remove(str(tmp_path / "mine.py"))
    assert ended.code == 2
    assert "models.0: " in ended.err
    assert "NaN" in ended.err
    assert "models.1: " in ended.err
    assert "7 logits" in ended.err


def test_validate_images_in_bytes_as_float(bench: object, suite: Write, tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "wrong.npz", x=np.full((4, 1, 28, 28), 255.0, np.float32), y=np.zeros(4, np.int64))
    ended = bench("validate", suite(samples=4), "--set", f"dataset.path={tmp_path / 'wrong.npz'}")  # type: ignore[operator]
    assert ended.code == 2
    assert "wrong.npz" in ended.err
    assert "divide by 255" in ended.err


def test_validate_leaves_no_model_behind(bench: object, suite: Write) -> None:
    threads = torch.get_num_threads()
    bench("validate", suite())  # type: ignore[operator]
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
