"""Whole runs under common corruptions: real digits, the zoo's real models, the library's corruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench import datasets, models
from bench.datasets.corruptions import open_corruptions
from bench.errors import DatasetError
from bench.models.base import Setting
from bench.runner import corrupted_shard
from bench.runner.executors import attempt
from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.store.corrupted import CorruptionStore
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory
from bench.suites.corruptions import CorruptionsSpec
from bench.suites.load import load_suite
from bench.suites.places import Places
from bench.suites.spec import ModelSpec

pytest.importorskip("imagecorruptions")
PLACES = Places(download=False)
ALONE = """
name: corrupted
dataset: {{name: mnist, samples: {samples}}}
models: [{models}]
defenses: [{defenses}]
corruptions: {corruptions}
run: {{shard_size: 8}}
"""


def suite(tmp_path: Path, more: str = "", **words: Any) -> Path:
    known = {"samples": 20, "models": "zoo:mnist_standard", "defenses": "none"}
    path = tmp_path / "suite.yaml"
    path.write_text(ALONE.format(**{**known, "corruptions": "[{name: contrast, severities: [2, 4]}]", **words}) + more)
    return path


def run(path: Path, *overrides: str) -> RunSummary:
    settings = RunSettings(results=path.parent / "results", device="cpu", places=PLACES)
    return run_suite(load_suite(path, overrides=overrides), settings)


def rows(summary: RunSummary) -> list[pd.DataFrame]:
    store = CorruptionStore(RunDirectory(summary.directory))
    return [store.read(result.cell).rows for result in summary.corrupted]


def test_the_records_are_the_models_own_answers_on_the_librarys_images(tmp_path: Path) -> None:
    summary = run(suite(tmp_path))
    assert [(one.corruption, one.severity, one.status) for one in summary.corrupted] == [
        ("contrast", 2, "done"),
        ("contrast", 4, "done"),
    ]
    data = datasets.load(summary.corrupted[0].dataset, PLACES)
    images = open_corruptions(CorruptionsSpec.model_validate("contrast"), data)
    spec = ModelSpec.model_validate("zoo:mnist_standard")
    model = models.load(spec, Setting("mnist", "linf", 10, (1, 28, 28)), PLACES, device=torch.device("cpu"))
    for result, frame in zip(summary.corrupted, rows(summary), strict=True):
        x = torch.from_numpy(images.images("contrast", result.severity, range(20))).float() / 255
        with torch.no_grad():
            wanted, clean = model(x).argmax(1).numpy(), model(data.batch(range(20)).x).argmax(1).numpy()
        assert frame["prediction"].tolist() == wanted.tolist()
        assert frame["clean_prediction"].tolist() == clean.tolist()
        assert frame["correct"].tolist() == (wanted == data.labels).tolist()
        assert frame["sample_id"].tolist() == list(data.sample_ids)
        assert frame["sample_digest"].tolist() == [data.sample_digest(index) for index in range(20)]
        assert result.accuracy is not None
        assert result.accuracy.value == (wanted == data.labels).mean()
    assert summary.corrupted[1].accuracy.value < summary.corrupted[0].accuracy.value  # type: ignore[union-attr,operator]


def test_corrupted_images_enter_no_robust_accuracy(tmp_path: Path) -> None:
    attacked = "threat_models: linf:0.1\nattacks: fgsm\n"
    beside = run(suite(tmp_path, attacked))
    without = run(suite(tmp_path, attacked, corruptions="null"))
    assert [one.cell for one in without.results] == [one.cell for one in beside.results]
    assert len(list((beside.directory / "samples").iterdir())) == 1
    outcome = read_outcomes(RunDirectory(beside.directory))
    assert [cell.attack for row in outcome.rows for cell in row.cells] == ["fgsm"]


def test_a_second_run_makes_no_image_and_more_samples_only_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = suite(tmp_path)
    first = run(path)
    asked: list[tuple[int, ...]] = []
    real = corrupted_shard.Kept.of
    monkeypatch.setattr(
        corrupted_shard.Kept, "of", lambda self, cell, members: asked.append(members) or real(self, cell, members)
    )
    second = run(path)
    assert asked == []
    assert [one.cell for one in second.corrupted] == [one.cell for one in first.corrupted]
    assert second.corrupted == first.corrupted
    more = run(path, "dataset.samples=26")
    assert sorted({member for members in asked for member in members}) == list(range(20, 26))
    assert [one.cell for one in more.corrupted] == [one.cell for one in first.corrupted]
    for before, after in zip(rows(first), rows(more), strict=True):
        assert len(after) == 26
        pd.testing.assert_frame_equal(before[:20], after[:20])


def test_models_share_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.datasets.corruptions.generated import Generated

    made: list[Any] = []
    real = Generated.images
    monkeypatch.setattr(Generated, "images", lambda self, *key: made.append(key) or real(self, *key))
    run(suite(tmp_path, models="zoo:mnist_standard, zoo:mnist_pgd"))
    assert len(made) == len(set(made)) == 6


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = suite(tmp_path)
    whole = run(suite(tmp_path), "name=whole")
    real, calls = attempt.evaluate_corrupted, []

    def stopping(worker: Any, images: Any, shard: Any, report: Any) -> Any:
        calls.append(shard.cell_id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(worker, images, shard, report)

    monkeypatch.setattr(attempt, "evaluate_corrupted", stopping)
    with pytest.raises(Exception, match="stopped"):
        run(path)
    monkeypatch.setattr(attempt, "evaluate_corrupted", real)
    resumed = run(path)
    assert [one.accuracy for one in resumed.corrupted] == [one.accuracy for one in whole.corrupted]


def test_a_failure_is_an_error_cell_and_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import leaderboard
    from bench.datasets.corruptions.generated import Generated

    real = Generated.images

    def failing(self: Generated, corruption: str, severity: int, members: Any) -> Any:
        if severity == 4:
            raise RuntimeError("no more draws")
        return real(self, corruption, severity, members)

    monkeypatch.setattr(Generated, "images", failing)
    path = suite(tmp_path)
    summary = run(path)
    assert [one.status for one in summary.corrupted] == ["done", "error"]
    assert summary.count("error") == 1
    assert summary.corrupted[1].accuracy is None
    text = leaderboard.text(RunDirectory(summary.directory))
    assert "mnist_standard: error: RuntimeError: no more draws" in text
    monkeypatch.setattr(Generated, "images", real)
    assert [one.status for one in run(path).corrupted] == ["done", "done"]


def test_a_model_that_cant_be_had_is_unavailable_in_every_cell(tmp_path: Path) -> None:
    gone = "{id: gone, source: checkpoint, weights: gone.safetensors, architecture: resnet18}"
    summary = run(suite(tmp_path, models=f"zoo:mnist_standard, {gone}"))
    assert [one.status for one in summary.corrupted] == ["done", "done", "unavailable", "unavailable"]


def test_a_damaged_part_is_an_error_and_mended(tmp_path: Path) -> None:
    path = suite(tmp_path)
    first = run(path)
    store = CorruptionStore(RunDirectory(first.directory))
    part = store.parts(first.corrupted[0].cell)[0]
    part.write_bytes(part.read_bytes()[:100])
    row = read_outcomes(RunDirectory(first.directory)).corrupted[0]
    assert [cell.status for cell in row.cells] == ["error", "done"]
    assert "damaged" in row.cells[0].reason
    assert [one.status for one in run(path).corrupted] == ["error", "done"]
    part.unlink()
    assert [one.accuracy for one in run(path).corrupted] == [one.accuracy for one in first.corrupted]


def test_a_defended_row_is_judged_on_the_real_defense(tmp_path: Path) -> None:
    plain = "[{name: impulse_noise, severities: [5]}]"
    summary = run(suite(tmp_path, samples=60, defenses="none, {name: median_blur, kernel_size: 3}", corruptions=plain))
    bare, defended = rows(summary)
    assert defended["corrupted_digest"].tolist() == bare["corrupted_digest"].tolist()
    assert defended["correct"].sum() > bare["correct"].sum()  # a median undoes salt and pepper


def test_a_stochastic_defense_has_shares_of_draws(tmp_path: Path) -> None:
    noise = "{name: random_noise, std: 0.4, scoring_draws: 10}"
    path = suite(tmp_path, defenses=f"none, {noise}", corruptions="[{name: contrast, severities: [4]}]")
    shares = rows(run(path))[1]["correctness"]
    assert ((shares > 0) & (shares < 1)).any()
    assert np.allclose(shares * 10, (shares * 10).round())
    again = rows(run(path, "name=again"))[1]
    assert again["correctness"].tolist() == shares.tolist()


def test_published_files_of_other_images_stop_the_run_before_anything(tmp_path: Path) -> None:
    root = tmp_path / "CIFAR-10-C"
    root.mkdir()
    np.save(root / "labels.npy", np.zeros(100, dtype=np.int64))
    images = tmp_path / "images.npz"
    np.savez(images, x=np.zeros((4, 3, 32, 32), np.uint8), y=np.arange(4))
    path = suite(tmp_path, samples=4, models="zoo:pyautoattack_resnet18", corruptions=f"{{path: {root}}}")
    with pytest.raises(DatasetError, match="3 of 4 labels"):
        run(path, "dataset.name=cifar10", f"dataset.path={images}")
    assert not (tmp_path / "results" / "corrupted").exists()


def test_other_weights_and_another_seed_are_other_cells(tmp_path: Path) -> None:
    plain = {one.cell for one in run(suite(tmp_path)).corrupted}
    other = {one.cell for one in run(suite(tmp_path, models="zoo:mnist_pgd")).corrupted}
    seeded = suite(tmp_path, corruptions="{kinds: [{name: contrast, severities: [2, 4]}], seed: 1}")
    assert len(plain | other | {one.cell for one in run(seeded).corrupted}) == 6


def test_published_files_of_real_images(shared: Path, tmp_path: Path) -> None:
    """The published layout, filled from the first 40 real test images: severity s adds 8 s to every pixel."""
    images = shared / "cifar10" / "cifar10_test_0_511.npz"
    with np.load(images) as real:
        x, y = real["x"][:40], real["y"][:40].astype(np.int64)
    brighter = [np.clip(x.astype(int) + 8 * severity, 0, 255).astype(np.uint8) for severity in range(1, 6)]
    root = tmp_path / "CIFAR-10-C"
    root.mkdir()
    np.save(root / "labels.npy", np.tile(y, 5))
    np.save(root / "brightness.npy", np.concatenate(brighter).transpose(0, 2, 3, 1))
    wide = "architecture: wong_kolter, mean: [.485, .456, .406], std: [.225, .225, .225]"
    path = suite(
        tmp_path, samples=40, corruptions=f"{{kinds: brightness, path: {root}}}",
        models=f"{{id: m, source: checkpoint, weights: {shared}/models/cifar_sgd_8px.pth, {wide}}}",
    )  # fmt: skip
    summary = run(path, "dataset.name=cifar10", f"dataset.path={images}")
    assert [one.status for one in summary.corrupted] == ["done"] * 5, summary.corrupted[0].reason
    spec = summary.corrupted[0].model
    model = models.load(spec, Setting("cifar10", "linf", 10, (3, 32, 32)), PLACES, device=torch.device("cpu"))
    for pixels, frame in zip(brighter, rows(summary), strict=True):
        with torch.no_grad():
            wanted = model(torch.from_numpy(pixels).float() / 255).argmax(1).numpy()
        assert frame["correct"].tolist() == (wanted == y).tolist()
