"""``bench run``: real files in, tables and exit codes out."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from bench.runner.events import Silent
from bench.store import atomic

Write = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("no_plots")


def go(bench: object, path: Path, *more: object) -> object:
    return bench("run", path, "--results", path.parent / "results", "--device", "cpu", "--offline", *more)  # type: ignore[operator]


def test_all_done_is_0(bench: object, suite: Write) -> None:
    path = suite()
    ended = go(bench, path)
    assert ended.code == 0, ended.err  # type: ignore[attr-defined]
    directory = path.parent / "results" / "small" / "default"
    board = json.loads((directory / "leaderboard.json").read_text())
    row = board["tables"][0]["rows"][0]
    assert f"{100 * row['worst']['value']:.1f} (" in ended.out  # type: ignore[attr-defined]
    assert str(directory) in ended.out  # type: ignore[attr-defined]
    assert "1 cell, 0 done already; 8 sample evaluations ahead" in ended.err  # type: ignore[attr-defined]
    again = go(bench, path)
    assert again.code == 0  # type: ignore[attr-defined]
    assert again.out == ended.out  # type: ignore[attr-defined]
    assert "1 cell, 1 done already; 0 sample evaluations ahead" in again.err  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "line", "seen"),
    [
        ("samples: 8", 2, ["samples: eight", "dataset.samples", "'eight'", "whole number"]),
        ("attacks: [fgsm]", 5, ["attacks: [fgms]", "attacks.0", "'fgms'", "did you mean fgsm"]),
        ("eps: 0.2", 3, ["eps: 8", "threat_models.0.eps", "8", "8/255"]),
        ("models: [zoo", 4, ["models: [zo", "models.0", "'zo'", "zoo"]),
        ("defenses: [none]", 6, ["defences: [none]", "defences", "unknown key", "defenses"]),
    ],
)
def test_a_wrong_suite_is_2_with_file_line_and_key(
    bench: object, suite: Write, text: str, line: int, seen: list[str]
) -> None:
    path = suite()
    path.write_text(path.read_text().replace(text, seen[0]))
    ended = go(bench, path)
    assert ended.code == 2  # type: ignore[attr-defined]
    err = ended.err  # type: ignore[attr-defined]
    assert f"{path}:{line}: {seen[1]}" in err
    for word in seen[2:]:
        assert word in err
    assert "Traceback" not in err
    assert ended.out == ""  # type: ignore[attr-defined]
    assert not (path.parent / "results").exists()


@pytest.mark.parametrize(
    ("override", "seen"),
    [
        ("dataset.samples=5001", "5001"),
        ("dataset.path=/no/such/file.npz", "/no/such/file.npz"),
        ("attacks.pgd.steps=3", "attacks.pgd"),
        ("attacks", "attacks"),
    ],
)
def test_wrong_overrides_and_missing_images_are_2(bench: object, suite: Write, override: str, seen: str) -> None:
    ended = go(bench, suite(), "--set", override)
    assert ended.code == 2  # type: ignore[attr-defined]
    assert seen in ended.err  # type: ignore[attr-defined]
    assert "Traceback" not in ended.err  # type: ignore[attr-defined]


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cpu:3:4", ""])
def test_a_device_that_is_not_here_is_2(bench: object, suite: Write, device: str) -> None:
    path = suite()
    ended = bench("run", path, "--results", path.parent / "results", "--device", device)  # type: ignore[operator]
    assert ended.code == 2
    assert "--device" in ended.err
    assert "auto" in ended.err


@pytest.mark.parametrize("name", ["../other", "a/b", "", ".hidden", "x" * 101])
def test_a_run_is_one_directory(bench: object, suite: Write, name: str) -> None:
    """A name that leads elsewhere could overwrite the run of another suite."""
    ended = go(bench, suite(), "--run", name)
    assert ended.code == 2  # type: ignore[attr-defined]
    assert "--run" in ended.err  # type: ignore[attr-defined]


def test_no_such_suite_is_2(bench: object, tmp_path: Path) -> None:
    for path in (tmp_path / "gone.yaml", tmp_path):
        ended = bench("run", path)  # type: ignore[operator]
        assert ended.code == 2
        assert str(path) in ended.err


def test_plugins_ask_first(bench: object, suite: Write) -> None:
    path = suite(more="plugins: [mine.py]")
    mine = path.parent / "mine.py"
    mine.write_text(f"open({str(path.parent / 'ran')!r}, 'w')\nATTACKS = {{}}\n")
    ended = go(bench, path)
    assert ended.code == 2  # type: ignore[attr-defined]
    assert str(mine) in ended.err  # type: ignore[attr-defined]
    assert "--allow-plugins" in ended.err  # type: ignore[attr-defined]
    assert not (path.parent / "ran").exists()


def test_weights_that_would_run_code_are_never_run(bench: object, suite: Write, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    models = "zoo:mnist_standard, {id: evil, source: checkpoint, architecture: mnist_cnn, weights: evil.pt}"
    ended = go(bench, suite(models=models))
    assert ended.code == 3  # type: ignore[attr-defined]
    assert "--allow-pickle" in ended.out + ended.err  # type: ignore[attr-defined]
    assert not (tmp_path / "ran").exists()


def test_an_error_cell_is_3_and_an_unavailable_model_4(bench: object, suite: Write, tmp_path: Path) -> None:
    gone = "{id: gone, source: checkpoint, architecture: mnist_cnn, weights: gone.pt}"
    path = suite(models=f"zoo:mnist_standard, {gone}")
    ended = go(bench, path)
    assert ended.code == 4  # type: ignore[attr-defined]
    assert "unavailable: gone | fgsm | Linf 0.2: " in ended.out  # type: ignore[attr-defined]
    assert "gone.pt" in ended.out  # type: ignore[attr-defined]
    assert "n/a" in ended.out  # type: ignore[attr-defined]
    (tmp_path / "broken.pt").write_bytes(b"half a file")
    broken = "{id: broken, source: checkpoint, architecture: mnist_cnn, weights: broken.pt}"
    path = suite(models=f"zoo:mnist_standard, {gone}, {broken}")
    ended = go(bench, path)
    assert ended.code == 3  # type: ignore[attr-defined]
    assert "error: broken | fgsm | Linf 0.2: " in ended.out  # type: ignore[attr-defined]
    board = pd.read_csv(path.parent / "results" / "small" / "default" / "leaderboard.csv").set_index("model")
    assert board["rank_low"].notna().to_dict() == {"mnist_standard": True, "gone": False, "broken": False}
    assert pd.isna(board.loc["broken", "worst_case"])
    assert pd.isna(board.loc["gone", "worst_case"])


def test_results_that_cannot_be_written_are_5(
    bench: object, suite: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = suite()
    (tmp_path / "results").write_text("a file, not a directory")
    ended = go(bench, path)
    assert ended.code == 5  # type: ignore[attr-defined]
    assert str(tmp_path / "results") in ended.err  # type: ignore[attr-defined]
    (tmp_path / "results").unlink()

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "_fill", full)
    ended = go(bench, path)
    assert ended.code == 5  # type: ignore[attr-defined]
    assert "no space left on the device" in ended.err  # type: ignore[attr-defined]
    assert "Traceback" not in ended.err  # type: ignore[attr-defined]


def test_interrupted_is_130(bench: object, suite: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stops(Silent):
        def shard_done(self, samples: int, robust: int) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("bench.cli.progress.make_progress", lambda executor: Stops())
    path = suite()
    ended = go(bench, path)
    assert ended.code == 130  # type: ignore[attr-defined]
    assert "run the same command again to resume" in ended.err  # type: ignore[attr-defined]
    assert "4 of 8 samples" in ended.out  # type: ignore[attr-defined]


def test_interrupted_before_the_run_is_130(bench: object, suite: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.runner.run.preflight", stop)
    ended = go(bench, suite())
    assert ended.code == 130  # type: ignore[attr-defined]
    assert "run the same command again to resume" in ended.err  # type: ignore[attr-defined]
    assert "Traceback" not in ended.err  # type: ignore[attr-defined]


def test_overrides_and_names_of_runs(bench: object, suite: Write) -> None:
    path = suite(attacks="{name: pgd, steps: 2}")
    ended = go(bench, path, "--set", "attacks.pgd.steps=4", "--set", "dataset.samples=5", "--run", "more-steps")
    assert ended.code == 0  # type: ignore[attr-defined]
    assert "pgd-4" in ended.out  # type: ignore[attr-defined]
    assert "5 images" in ended.out  # type: ignore[attr-defined]
    record = json.loads((path.parent / "results" / "small" / "more-steps" / "run.json").read_text())
    assert record["suite"]["attacks"][0]["args"]["steps"] == 4
    assert "--set attacks.pgd.steps=4" in record["command"]


def test_a_finished_run_is_drawn_again_only_where_something_is_missing(bench: object, suite: Write) -> None:
    path = suite()
    first = go(bench, path, "--no-audit")
    directory = path.parent / "results" / "small" / "default"
    board, page = directory / "leaderboard.md", directory / "report.html"
    for damage in (lambda: page.unlink(), lambda: page.write_text("cut")):
        before = page.read_bytes()
        assert "nothing to do" in go(bench, path, "--no-audit").err  # type: ignore[attr-defined]
        damage()
        again = go(bench, path, "--no-audit")
        assert "nothing to do" not in again.err  # type: ignore[attr-defined]
        assert again.out == first.out  # type: ignore[attr-defined]
        assert page.read_bytes() == before
    assert "nothing to do" not in go(bench, path).err  # type: ignore[attr-defined]
    assert (directory / "audit.json").is_file()
    assert "not audited" not in board.read_text()
    assert "nothing to do" in go(bench, path).err  # type: ignore[attr-defined]
