"""Whole runs of stochastic, rejecting, chained and certified defenses on real digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import bench
import bench.leaderboard
import bench.plots
from bench.errors import DatasetError
from bench.leaderboard import table
from bench.plots import certified
from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.store.gallery import read_purified
from bench.store.outcomes import read_outcomes
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

Write = Callable[..., Path]
KNOWING = "adversaries: [oblivious, naive, adaptive]"


def run(path: Path, results: Path, *overrides: str) -> RunSummary:
    return run_suite(load_suite(path, overrides=overrides), RunSettings(results=results, device="cpu"))


def by_role(summary: RunSummary) -> dict[tuple[str, str, str], CellResult]:
    return {(result.defense_id, result.role, result.attack_id): result for result in summary.results}


def rows(summary: RunSummary, result: CellResult) -> pd.DataFrame:
    frame = RunDirectory(summary.directory).read_samples(result.cell)
    return frame.sort_values("position").reset_index(drop=True)


def value(result: CellResult, metric: str = "robust_accuracy") -> float:
    assert result.status == "done", result.traceback
    found = result.metrics[metric].value
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["gradient_killer", "{name: bit_depth, bits: 4}", "logit_temperature"])
def test_what_hides_the_gradient_stops_the_naive_attacker_alone(suite: Write, tmp_path: Path, name: str) -> None:
    path = suite(defenses=f"none, {name}", eps="0.1", attacks="{name: pgd, steps: 20}", more=KNOWING)
    summary = run(path, tmp_path, "run.gradient_free_queries=0")
    found = {(result.defense.name != "none", result.role): result for result in summary.results}
    naive, adaptive, bare = (value(found[key]) for key in ((True, "naive"), (True, "suite"), (False, "suite")))
    assert naive >= 0.8
    assert adaptive <= bare + 0.051
    (shown,) = table.make(RunDirectory(summary.directory)).tables
    row = next(one for one in shown.rows if one.defense != "none")
    assert row.complete  # the naive number's zero gradients don't spoil the row
    assert row.broken["BPDA"].count - row.broken["naive"].count >= 5
    assert row.naive is not None


def test_a_plain_defense_has_no_naive_attacker_of_its_own(suite: Write) -> None:
    from bench.suites.expand import expand

    roles = [cell.role for cell in expand(load_suite(suite(defenses="gaussian_blur", more=KNOWING)).suite)]
    assert "naive" not in roles
    assert "oblivious" in roles


RANDOM = "{name: random_noise, std: 0.3}"


def test_a_stochastic_defense_is_scored_by_the_mean_over_fresh_draws(suite: Write, tmp_path: Path) -> None:
    more = "  eot_iter: 4\n  scoring_draws: 16\n"
    path = suite(defenses=f"none, {RANDOM}", eps="0.15", attacks="{name: pgd, steps: 10}", more="")
    path.write_text(path.read_text().replace("run: {shard_size: 8}", f"run:\n  shard_size: 8\n{more}{KNOWING}"))
    summary = run(path, tmp_path, "run.gradient_free_queries=20")
    found = {result.role: result for result in summary.results if result.defense.name != "none"}
    frame = rows(summary, found["suite"])
    shares = frame["correctness"].to_numpy()
    assert np.allclose(shares * 16, np.round(shares * 16))
    assert ((shares > 0) & (shares < 1)).any()
    assert value(found["suite"]) == pytest.approx(shares.mean())
    assert (frame["correctness"] <= frame["clean_correctness"] + 1e-12).all()
    assert frame["success"].equals(frame["clean_correct"] & (shares < 0.5) & ~frame["robust"])
    halves = (frame["even_correctness"] + frame["odd_correctness"]) / 2
    assert np.allclose(np.minimum(halves, frame["clean_correctness"]), shares, atol=1e-9)
    assert any(flag.rule == "eot-convergence" for flag in found["suite"].flags)
    assert found["suite"].defense.scoring_draws == 16
    # EOT finds what a single draw doesn't.
    assert value(found["suite"]) <= value(found["naive"]) + 0.02

    again = run(path, tmp_path / "other", "run.shard_size=20", "run.gradient_free_queries=20")
    same = {result.role: result for result in again.results if result.defense.name != "none"}
    other = rows(again, same["suite"])
    assert same["suite"].cell == found["suite"].cell
    assert np.mean(np.abs(other["correctness"] - frame["correctness"]) < 1e-9) >= 0.95


def test_the_worst_of_a_stochastic_row_is_chosen_by_other_draws_than_score_it(suite: Write, tmp_path: Path) -> None:
    path = suite(defenses=RANDOM, eps="0.15", attacks="fgsm, {name: pgd, steps: 5}")
    summary = run(path, tmp_path, "run.eot_iter=2", "run.scoring_draws=10", "run.gradient_free_queries=0")
    outcome = read_outcomes(RunDirectory(summary.directory))
    (row,) = outcome.rows
    even, odd = (np.stack([cell.halves[half] for cell in row.cells]) for half in (0, 1))
    places = np.arange(even.shape[1])
    expected = (odd[even.argmin(0), places] + even[odd.argmin(0), places]) / 2
    expected = np.minimum(expected, row.clean_correctness)
    assert np.allclose(row.worst_correctness, expected)
    assert row.worst_correctness.mean() >= np.stack([cell.correctness for cell in row.cells]).min(0).mean() - 1e-12
    (shown,) = table.make(RunDirectory(summary.directory)).tables
    (line,) = shown.rows
    assert line.worst is not None
    assert line.worst.value == pytest.approx(expected.mean())


def test_a_detector_is_calibrated_on_images_that_nobody_evaluates(suite: Write, tmp_path: Path) -> None:
    path = suite(
        defenses="{name: feature_squeezing, bits: 1, fpr: 0.1}", samples=60, eps="0.1", attacks="fgsm", more=KNOWING
    )
    quick = ("run.gradient_free_queries=20", "run.detector_steps=0")
    summary = run(path, tmp_path, *quick)
    found = {result.role: result for result in summary.results}
    frame = rows(summary, found["suite"])
    assert frame["clean_rejected"].equals(frame["clean_rejection_margin"] > 0)
    assert not (frame["clean_rejected"] & frame["clean_correct"]).any()  # a rejected clean image is an error
    assert 0 < value(found["suite"], "false_positive_rate") < 0.3
    moved = frame["clean_correct"] & ~frame["robust"]
    assert not (frame["rejected"] & moved).any()  # a rejected point is no success
    assert (frame["rejected"] & frame["robust"]).any() or not frame["rejected"].any()
    assert value(found["naive"], "detection_rate") > value(found["suite"], "detection_rate") - 0.2
    identities = {result.cell for result in summary.results}
    fewer = run(path, tmp_path / "fewer", "dataset.samples=30", *quick)
    assert {result.cell for result in fewer.results} == identities  # the same images calibrate it


def test_there_must_be_images_left_for_calibration(suite: Write, tmp_path: Path) -> None:
    path = suite(defenses="feature_squeezing", samples=1000, attacks="fgsm")
    with pytest.raises(DatasetError, match=r"leaves 0 to calibrate .*fewer samples, or other images under calibration"):
        run(path, tmp_path)


def test_calibration_images_may_not_be_evaluated(suite: Write, tmp_path: Path) -> None:
    more = "calibration: {name: mnist, samples: 50}"
    path = suite(defenses="feature_squeezing", samples=10, attacks="fgsm", more=more)
    with pytest.raises(DatasetError, match="10 of its 50 images are evaluated, too, first"):
        run(path, tmp_path)
    more = "calibration: {name: mnist, split: train, samples: 50}"
    path = suite(defenses="feature_squeezing", samples=10, attacks="fgsm", more=more)
    summary = run(path, tmp_path, "run.detector_steps=0")
    assert {result.status for result in summary.results} == {"done"}


def test_a_chain_is_one_row(suite: Write, tmp_path: Path) -> None:
    chain = "{chain: [{name: jpeg, quality: 50}, {name: bit_depth, bits: 3}]}"
    path = suite(defenses=f"none, {chain}", attacks="fgsm", samples=12)
    summary = run(path, tmp_path, "run.gradient_free_queries=20")
    found = {result.role: result for result in summary.results if result.defense.name == "chain"}
    assert {result.defense_id for result in found.values()} == {"jpeg-quality50+bit_depth-bits3"}
    assert set(found) == {"suite", "oblivious", "gradient_free"}
    frame = rows(summary, found["oblivious"])
    assert (frame["psnr_purified"] > 5).all()
    assert (frame["bare_prediction"] >= 0).all()
    assert found["suite"].cost is not None
    assert found["suite"].cost.purify_ms is not None
    assert found["suite"].cost.purify_ms > 0
    assert value(found["oblivious"], "label_restoration_rate") >= 0


def test_purified_successes_are_kept_for_the_gallery(suite: Write, tmp_path: Path) -> None:
    path = suite(defenses="none, {name: bit_depth, bits: 1}", attacks="fgsm", samples=12, eps="0.4")
    summary = run(path, tmp_path, "run.gradient_free_queries=20")
    directory = RunDirectory(summary.directory)
    found = {(result.defense.name, result.role): result for result in summary.results}
    kept = 0
    for role in ("suite", "oblivious"):
        frame = rows(summary, found["bit_depth", role])
        broken = frame["sample_id"][frame["success"]]
        ids, images = read_purified(directory, found["bit_depth", role].cell, set(frame["sample_id"]))
        assert set(ids) == set(broken)
        assert np.isin(images, (0, 1)).all()
        kept += len(ids)
    assert kept > 0
    adaptive = found["bit_depth", "suite"].cell
    points = dict(zip(*directory.read_examples(adaptive), strict=True))
    for sample, image in zip(*read_purified(directory, adaptive, set(points)), strict=True):
        np.testing.assert_array_equal(image, np.round(points[sample]))
    others = (found["none", "suite"], found["bit_depth", "gradient_free"])
    assert not any(directory.purified_parts(other.cell) for other in others)
    assert any(name.startswith("gallery-") for name in (one.stem for one in bench.plots.write(directory)))

    before = {one: one.stat().st_mtime_ns for one in summary.directory.glob("purified/*/*")}
    run(path, tmp_path, "run.gradient_free_queries=20")
    assert {one: one.stat().st_mtime_ns for one in summary.directory.glob("purified/*/*")} == before

    fewer = run(
        path, tmp_path / "none", "run.gradient_free_queries=0", "run.save_adversarial=none", "adversaries=[adaptive]"
    )
    assert not (fewer.directory / "purified").exists()


def test_smoothing_is_certified_beside_its_attacks(suite: Write, tmp_path: Path) -> None:
    path = suite(
        defenses="{name: smoothing, sigma: 0.25, n: 20, alpha: 0.05, n_certify: 200}", samples=12, attacks="fgsm"
    )
    summary = run(path, tmp_path, "threat_models=['l2:0.5']", "run.gradient_free_queries=0", "run.scoring_draws=3")
    found = {result.role: result for result in summary.results}
    frame = rows(summary, found["certificate"])
    right = frame["certified_prediction"] == frame["label"]
    assert (frame["certified_radius"] >= 0).all()
    assert frame["robust"].equals(frame["clean_correct"] & right & (frame["certified_radius"] >= 0.5))
    (shown,) = table.make(RunDirectory(summary.directory)).tables
    (row,) = shown.rows
    assert row.certified is not None
    assert row.worst is not None
    assert 0 < (row.certified.value or 0) <= (row.worst.value or 0) + 1e-9
    assert "certified" not in row.attacks

    directory = RunDirectory(summary.directory)
    bench.leaderboard.write(directory)
    lines = pd.read_csv(directory.path / "certified.csv")
    steps = frame["certified_radius"][right & frame["clean_correct"] & (frame["certified_radius"] > 0)]
    assert lines["radius"].tolist() == pytest.approx([0, *sorted(set(steps))])
    assert lines["certified_accuracy"].tolist() == pytest.approx(
        [(steps >= one).mean() * len(steps) / 12 for one in lines["radius"]]
    )
    beyond = lines["certified_accuracy"][lines["radius"] >= 0.5].max()
    assert (0 if np.isnan(beyond) else beyond) == pytest.approx(row.certified.value)
    names = {path.name for path in bench.plots.write(directory)}
    assert {"certified-l2.png", "certified-l2.pdf"} <= names
    assert set(certified.places(read_outcomes(directory))["alpha"]) == {0.05}


def test_smoothing_says_nothing_of_linf(suite: Write) -> None:
    from bench.errors import SuiteError
    from bench.suites.check import check

    with pytest.raises(SuiteError, match="the defense smoothing under linf; it works under l2 only"):
        check(load_suite(suite(defenses="smoothing")))


def test_a_larger_eps_attacks_a_stochastic_defense_from_nothing(suite: Write, tmp_path: Path) -> None:
    path = suite(defenses=f"none, {RANDOM}", attacks="fgsm", eps="[0.1, 0.2]", samples=10)
    summary = run(path, tmp_path, "run.gradient_free_queries=0", "run.eot_iter=2", "run.scoring_draws=5")
    larger = [one for one in summary.results if str(one.threat_model.eps) == "1/5" and one.role == "suite"]
    reused = {one.defense.name: one.cost.reused if one.cost else -1 for one in larger}
    assert reused["none"] > 0
    assert reused["random_noise"] == 0


def test_a_library_attacks_a_stochastic_defense(suite: Write, tmp_path: Path) -> None:
    path = suite(defenses=RANDOM, attacks="{name: pgd, steps: 5, backend: foolbox}", samples=8)
    summary = run(path, tmp_path, "run.gradient_free_queries=0", "run.scoring_draws=5")
    assert {result.status for result in summary.results} == {"done"}
    (adaptive,) = [result for result in summary.results if result.role == "suite"]
    assert "no-eot" in {flag.rule for flag in adaptive.flags}


@pytest.mark.parametrize(("draws", "rule"), [(1, "no-eot"), (4, "eot-convergence")])
@pytest.mark.parametrize("attack", ["{name: pgd, steps: 3}", "{name: autoattack, version: custom, attacks: [apgd-ce]}"])
def test_a_single_draw_is_no_eot(suite: Write, tmp_path: Path, draws: int, rule: str, attack: str) -> None:
    path = suite(defenses=RANDOM, attacks=attack, samples=6)
    summary = run(path, tmp_path, "run.gradient_free_queries=10", "run.scoring_draws=4", f"run.eot_iter={draws}")
    found = {result.role: {flag.rule for flag in result.flags} for result in summary.results}
    assert {"no-eot", "eot-convergence"} & found["suite"] == {rule}
    assert not {"no-eot", "eot-convergence"} & (found["gradient_free"] | found["oblivious"])


def test_a_certificate_alone_makes_no_row(suite: Write) -> None:
    from bench.suites.expand import expand

    path = suite(defenses="none, smoothing", attacks="square", more="adversaries: [oblivious]")
    cells = expand(load_suite(path, overrides=["threat_models=['l2:0.5']"]).suite)
    assert [cell.role for cell in cells] == ["suite"]


PLUGIN = """
import torch
from bench.defenses.base import Purifier


class Halftone(Purifier):
    '''Rounds to black and white.'''

    differentiable = False

    def purify(self, x):
        return (x > 0.5).float()

    def surrogate(self, x):
        return torch.sigmoid(10 * (x - 0.5))


DEFENSES = {"halftone": Halftone}
"""


DETECTOR = """
from bench.defenses.base import Detector


class Grey(Detector):
    '''Rejects images with many grey pixels.'''

    differentiable = True

    def score(self, sight):
        return (sight.x * (1 - sight.x)).flatten(1).mean(1)


DEFENSES = {"grey": Grey}
"""


def test_a_plugins_detector_is_calibrated_and_attacked_jointly(suite: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(DETECTOR)
    attack = "{name: pgd, steps: 20}"
    path = suite(defenses="{name: grey, fpr: 0.1}", attacks=attack, samples=20, more=f"plugins: [mine.py]\n{KNOWING}")
    settings = RunSettings(results=tmp_path, device="cpu", places=Places(allow_plugins=True))
    options = ["run.gradient_free_queries=0", "run.detector_steps=40"]
    summary = run_suite(load_suite(path, overrides=options), settings)
    found = {result.role: result for result in summary.results if result.attack.name == "pgd"}
    assert set(found) == {"prerequisite", "suite", "naive", "oblivious"}
    assert value(found["naive"], "detection_rate") > 0.5
    assert value(found["suite"]) < value(found["naive"])
    (adam,) = (result for result in summary.results if result.attack.name == "adam_pgd")
    assert (adam.role, adam.attack_id, adam.status) == ("suite", "adam_pgd-40", "done")
    (shown,) = table.make(RunDirectory(summary.directory)).tables
    assert shown.attacks == ("pgd-20", "adam_pgd-40")
    assert shown.rows[0].attacks["adam_pgd-40"].robust.value == value(adam)


def test_a_plugin_gets_the_adaptive_adversary_too(suite: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    more = f"plugins: [mine.py]\n{KNOWING}"
    path = suite(defenses="none, halftone", attacks="{name: pgd, steps: 10}", eps="0.2", samples=16, more=more)
    settings = RunSettings(results=tmp_path, device="cpu", places=Places(allow_plugins=True))
    summary = run_suite(load_suite(path, overrides=["run.gradient_free_queries=0"]), settings)
    found = {result.role: result for result in summary.results if result.defense.name == "halftone"}
    assert set(found) == {"suite", "naive", "oblivious"}
    assert value(found["naive"]) >= value(found["suite"])
    assert value(found["naive"]) == value(found["suite"], "clean_accuracy")


def test_in_python_it_is_the_same(suite: Write, tmp_path: Path) -> None:
    from bench.datasets import load
    from bench.models import load as load_model
    from bench.models.base import Setting
    from bench.suites.places import Places
    from bench.suites.spec import DatasetSpec, ModelSpec

    places = Places(download=False)
    data = load(DatasetSpec(name="mnist", samples=20), places)
    x, y = data.batch(range(20))
    spec = ModelSpec(id="m", source="zoo", name="mnist_standard")
    model = load_model(spec, Setting("mnist", "linf", 10, (1, 28, 28)), places, device=torch.device("cpu")).module
    result = bench.evaluate(
        model, x, y, "linf:0.2", ["fgsm"], defense={"name": "jpeg", "quality": 75}, adversary="adaptive"
    )
    summary = run(suite(defenses="{name: jpeg, quality: 75}", attacks="fgsm"), tmp_path)
    found = {result.role: result for result in summary.results}
    shown = result.table.set_index("attack")["robust_accuracy"]
    assert shown["fgsm"] == pytest.approx(value(found["suite"]))
    assert shown["fgsm (oblivious)"] == pytest.approx(value(found["oblivious"]))
    calibration = load(DatasetSpec(name="mnist", split="train", samples=100), places).batch(range(100))
    noisy = bench.evaluate(model, x, y, "linf:0.2", ["fgsm", "bim"], defense={"name": "random_noise", "std": 0.3})
    table_ = noisy.table.set_index("attack")["robust_accuracy"]
    assert (table_ * 1000 % 50 > 1e-6).any()  # means over draws, not counts of 20 images
    assert table_["worst case"] <= min(table_["fgsm"], table_["bim"]) + 0.05
    guarded = bench.evaluate(
        model, x[:4], y[:4], "linf:0.2", ["fgsm"], defense="feature_squeezing", calibration=tuple(calibration)
    )
    assert set(guarded.table["status"]) == {"done"}
    assert "adam_pgd-200" in set(guarded.table["attack"])
