"""Whole runs on real digits whose examples are tried on other models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench import models, threat_models
from bench.datasets import load as load_dataset
from bench.models.architectures.mnist_cnn import mnist_cnn
from bench.models.base import Setting
from bench.runner.merge import merge_runs
from bench.runner.options import RunSettings
from bench.runner.plan import estimate
from bench.runner.run import RunSummary, run_suite
from bench.runner.verify.whole import verify_run
from bench.store.crossings import matrices
from bench.store.outcomes import read_outcomes
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.load import load_suite
from bench.suites.places import Places

Write = Callable[..., Path]
BOTH = "zoo:mnist_standard, zoo:mnist_pgd"
PGD = "{name: pgd, steps: 5}"


def run(path: Path, results: Path, *overrides: str) -> RunSummary:
    return run_suite(load_suite(path, overrides=overrides), RunSettings(results=results, device="cpu"))


def crossed(summary: RunSummary) -> dict[tuple[str, str, str], CellResult]:
    """By source, target and defense."""
    return {
        (result.source.id, result.model.id, result.defense_id): result
        for result in summary.results
        if result.source is not None
    }


def made_by(summary: RunSummary, model: str) -> CellResult:
    (found,) = (one for one in summary.results if one.role == "prerequisite" and one.model.id == model)
    return found


def rows(summary: RunSummary, result: CellResult) -> pd.DataFrame:
    return RunDirectory(summary.directory).read_samples(result.cell).sort_values("position").reset_index(drop=True)


def test_the_examples_of_one_model_are_judged_by_the_other_itself(suite: Write, tmp_path: Path) -> None:
    summary = run(suite(models=BOTH, attacks=PGD, samples=40, eps="0.3", more="transfer: all"), tmp_path)
    dataset = load_dataset(load_suite(tmp_path / "small.yaml").suite.dataset, Places())
    x, y = dataset.batch(np.arange(40))
    found = crossed(summary)
    assert set(found) == {("mnist_standard", "mnist_pgd", "none"), ("mnist_pgd", "mnist_standard", "none")}
    for (source, target, _), result in found.items():
        spec = next(one.model for one in summary.results if one.model.id == target)
        model = models.load(spec, Setting("mnist", "linf", 10, dataset.shape), Places(), device=torch.device("cpu"))
        examples = RunDirectory(summary.directory).read_examples(made_by(summary, source).cell)
        place = {sample: at for at, sample in enumerate(examples.sample_ids)}
        points = torch.from_numpy(examples.images[[place[sample] for sample in dataset.sample_ids]])
        assert (
            threat_models.build("linf", load_suite(tmp_path / "small.yaml").suite.threat_models[0].eps)
            .contains(points, x)
            .all()
        )
        with torch.no_grad():
            clean, fooled = model(x).argmax(1) == y, model(points).argmax(1) != y
        frame = rows(summary, result)
        assert frame["clean_correct"].tolist() == clean.tolist()
        assert frame["success"].tolist() == (clean & fooled).tolist()
        assert result.metrics["robust_accuracy"].value == pytest.approx(float((clean & ~fooled).float().mean()))
        assert (frame["forwards"].sum(), frame["backwards"].sum()) == (0, 0)
    assert sum(rows(summary, result)["success"].sum() for result in found.values()) > 5


def test_a_broken_image_counts_in_the_worst_case_of_the_target(suite: Write, tmp_path: Path) -> None:
    """One step against the robust model breaks little; examples of the other break what it doesn't."""
    path = suite(
        models=BOTH,
        attacks=PGD,
        samples=40,
        eps="0.3",
        defenses="none, {name: bit_depth, bits: 3}",
        more="transfer: all",
    )
    summary = run(path, tmp_path, "run.gradient_free_queries=0")
    for row in read_outcomes(RunDirectory(summary.directory)).rows:
        crossing = [cell for cell in row.cells if cell.role == "transfer"]
        assert [cell.source for cell in crossing] == [
            {"mnist_standard": "mnist_pgd", "mnist_pgd": "mnist_standard"}[row.model]
        ]
        broken = np.logical_or.reduce([cell.clean_correct & ~cell.robust for cell in row.attacked])
        assert (row.worst == ~broken & row.clean_correct).all()
        assert row.complete


def test_it_resumes_and_nothing_is_computed_twice(suite: Write, tmp_path: Path) -> None:
    path = suite(models=BOTH, attacks=PGD, samples=16)
    before = run(path, tmp_path)
    suite(models=BOTH, attacks=PGD, samples=16, more="transfer: all")
    first = run(path, tmp_path)
    assert len(first.results) == len(before.results) + 4  # two that make examples, two that judge them
    assert {one.cell for one in before.results} < {one.cell for one in first.results}
    stamps = {file: file.stat().st_mtime_ns for file in first.directory.rglob("part-*")}
    again = run(path, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in again.directory.rglob("part-*")} == stamps
    more = run(path, tmp_path, "dataset.samples=24")
    assert {len(rows(more, result)) for result in crossed(more).values()} == {24}
    assert {hash_of(one.cell) for one in more.results} == {hash_of(one.cell) for one in first.results}


def test_the_id_changes_with_the_cell_that_makes_the_examples(suite: Write, tmp_path: Path) -> None:
    """Another network under the same name, attacked in the same way, and the target as it was."""
    own = "{id: own, source: checkpoint, weights: own.pt, architecture: mnist_cnn}"
    path = suite(models=f"zoo:mnist_pgd, {own}", attacks=PGD, samples=8, more="transfer: {sources: own}")
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(mnist_cnn().state_dict(), tmp_path / "own.pt")
        summary = run(path, tmp_path)
        (result,) = crossed(summary).values()
        assert result.provenance["facts"]["examples"] == hash_of(made_by(summary, "own").cell)
        found.append(result)
    one, other = found
    assert one.cell.rsplit("-", 1)[0] == other.cell.rsplit("-", 1)[0] == "transfer-mnist_pgd-linf-0.2-pgd-5-from-own-s0"
    assert hash_of(one.cell) != hash_of(other.cell)


def test_a_source_that_cant_be_had_leaves_no_number(suite: Write, tmp_path: Path) -> None:
    nowhere = "{id: gone, source: checkpoint, weights: nowhere.pt, architecture: mnist_cnn}"
    summary = run(suite(models=f"zoo:mnist_pgd, {nowhere}", attacks=PGD, samples=8, more="transfer: all"), tmp_path)
    found = crossed(summary)
    for result in found.values():
        assert result.status in ("error", "unavailable")
        assert not result.metrics
    assert found["gone", "mnist_pgd", "none"].reason.startswith("the examples of gone: ")
    outcome = read_outcomes(RunDirectory(summary.directory))
    (row,) = (row for row in outcome.rows if row.model == "mnist_pgd")
    assert not row.complete
    (matrix,) = matrices(outcome)
    assert matrix.squares["gone", "mnist_pgd"].status == found["gone", "mnist_pgd", "none"].status
    assert matrix.squares["mnist_pgd", "mnist_pgd"].status == "done"


FAILS = """
from bench.attacks.base import Attack
from bench.attacks.pgd import PGD


class Fragile(PGD):
    def run(self, model, samples, context):
        if context.search == "strongest":
            raise RuntimeError("out of luck")
        return super().run(model, samples, context)


ATTACKS = {"mine": Fragile}
"""


def test_a_source_that_fails_leaves_an_error_that_names_it(plugged: Callable[..., RunSummary]) -> None:
    summary = plugged(FAILS, models=BOTH, more="transfer: {sources: mnist_standard}")
    (result,) = crossed(summary).values()
    assert result.status == "error"
    assert "the examples of the bare model are missing: mnist_standard" in result.reason
    assert "out of luck" in result.reason
    assert not result.metrics


def test_an_interrupted_run_goes_on_where_examples_were_lost(suite: Write, tmp_path: Path) -> None:
    path = suite(models=BOTH, attacks=PGD, samples=16, more="transfer: all")
    first = run(path, tmp_path)
    shutil.rmtree(next(first.directory.glob("adversarial/mnist_standard-*")))
    for place in first.directory.glob("samples/transfer-*"):
        shutil.rmtree(place)
    again = run(path, tmp_path)
    assert {key: one.metrics["robust_accuracy"] for key, one in crossed(again).items()} == {
        key: one.metrics["robust_accuracy"] for key, one in crossed(first).items()
    }


def test_verify_judges_them_again_and_finds_what_was_changed(suite: Write, tmp_path: Path) -> None:
    path = suite(
        models=BOTH, attacks=PGD, samples=12, defenses="none, {name: random_noise, std: 0.1}", more="transfer: all"
    )
    summary = run(path, tmp_path, "run.gradient_free_queries=0", "run.scoring_draws=6", "run.eot_iter=2")
    assert verify_run(summary.directory).problems == ()
    found = crossed(summary)
    assert set(found) == {(a, b, d) for a, b in (("mnist_pgd", "mnist_standard"), ("mnist_standard", "mnist_pgd"))
                          for d in ("none", "random_noise-std0.1")}  # fmt: skip
    directory, result = RunDirectory(summary.directory), found["mnist_pgd", "mnist_standard", "none"]
    directory.write_cell(result.model_copy(update={"source": result.model}))
    problems = [one.message for one in verify_run(summary.directory).problems]
    assert any("source" in message or "its fields" in message for message in problems), problems


@pytest.mark.parametrize("sharded", ["attacks", "models"])
def test_runs_of_the_same_suite_are_joined_and_finished(suite: Write, tmp_path: Path, sharded: str) -> None:
    """By attacks every crossing is there; by models each run has made some of the examples, and the joined one goes on."""
    third = f"{{id: own, source: checkpoint, weights: {tmp_path}/own.pt, architecture: mnist_cnn}}"
    torch.save(mnist_cnn().state_dict(), tmp_path / "own.pt")
    parts = {"attacks": ("[fgsm]", f"[{PGD}]"), "models": (f"[{BOTH}]", f"[zoo:mnist_pgd, {third}]")}[sharded]
    path = suite(models=f"{BOTH}, {third}", attacks=f"fgsm, {PGD}", samples=8, more="transfer: all")
    runs = []
    for number, part in enumerate(parts):
        settings = RunSettings(results=tmp_path, run=str(number), device="cpu")
        runs.append(run_suite(load_suite(path, overrides=[f"{sharded}={part}"]), settings).directory)
    joined = merge_runs(runs, tmp_path / "small" / "default")
    assert len(joined.missing) == {"attacks": 0, "models": 2 * 2}[sharded]
    before = {one.stem for one in (tmp_path / "small" / "default" / "cells").glob("*.json")}
    summary = run(path, tmp_path)
    assert before <= {one.cell for one in summary.results}
    assert {result.status for result in summary.results} == {"done"}
    assert len(crossed(summary)) == 6
    assert verify_run(summary.directory).problems == ()


def test_the_plan_says_what_it_costs(suite: Write, tmp_path: Path) -> None:
    path = suite(models=BOTH, attacks=PGD, samples=8, more="transfer: all")
    outline = estimate(load_suite(path), RunSettings(results=tmp_path, device="cpu"))
    own = [row for row in outline.rows if " transfer from " in row.label]
    assert [(row.state, row.samples, row.forwards, row.backwards) for row in own] == [("to do", 8, 8.0, 0.0)] * 2


def test_several_seeds_count_together(suite: Write, tmp_path: Path) -> None:
    path = suite(
        models=BOTH, attacks=PGD, samples=30, eps="0.3", more="transfer: {sources: mnist_standard}\nseeds: [0, 1]"
    )
    summary = run(path, tmp_path)
    (matrix,) = matrices(read_outcomes(RunDirectory(summary.directory)))
    square = matrix.squares["mnist_standard", "mnist_pgd"]
    per_seed = [rows(summary, one)["success"] for one in summary.results if one.source is not None]
    assert len(per_seed) == 2
    assert square.broken.tolist() == (per_seed[0] | per_seed[1]).tolist()


def test_an_unfinished_cell_stands_in_its_row(suite: Write, tmp_path: Path) -> None:
    path = suite(models=BOTH, attacks=PGD, samples=8, defenses="none, jpeg", more="transfer: all")
    summary = run(path, tmp_path, "run.gradient_free_queries=0")
    for record in summary.directory.glob("cells/transfer-*.json"):
        record.unlink()
    outcome = read_outcomes(RunDirectory(summary.directory))
    assert outcome.unplaced == ()
    for row in outcome.rows:
        (cell,) = row.of("transfer")
        other = "mnist_pgd" if row.model == "mnist_standard" else "mnist_standard"
        assert (cell.status, cell.attack, cell.source) == ("missing", f"pgd-5 from {other}", other)
        assert not row.complete
