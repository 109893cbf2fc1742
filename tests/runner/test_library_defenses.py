"""ART's defenses in a suite: attacked as ours are, judged as ours are, and refused before anything runs where they can't be."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from bench.defenses import libraries
from bench.errors import SuiteError
from bench.runner.facts import defense_facts, defenses_of
from bench.runner.run import RunSummary
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory
from bench.suites.spec import DefenseSpec

Run = Callable[..., RunSummary]
NOTHING = "METRICS = {}\nATTACKS = {'other': object}"
ARGS = {"art.Cutout": "length: 8", "art.CutoutPyTorch": "length: 8", "art.FeatureSqueezing": "bit_depth: 3"}


def written(name: str, args: str = "") -> str:
    args = ", ".join(one for one in (ARGS.get(name, ""), args) if one)
    return f"{{id: {name.removeprefix('art.')}, name: {name}, args: {{{args}}}}}"


def cell(summary: RunSummary, defense: str, adversary: str) -> CellResult:
    role = "naive" if adversary == "naive" else "suite"
    (found,) = (
        one for one in summary.results if (one.defense_id, one.adversary, one.role) == (defense, adversary, role)
    )
    return found


def rows(summary: RunSummary, result: CellResult) -> pd.DataFrame:
    return RunDirectory(summary.directory).read_samples(result.cell)


def test_each_of_them_runs_under_every_adversary(plugged: Run) -> None:
    summary = plugged(
        NOTHING,
        attacks="{name: pgd, steps: 3}",
        defenses=", ".join(written(name, "eps: 0.2" if "Binary" in name else "") for name in libraries.TABLE),
        adversaries="oblivious, naive, adaptive",
        samples=6,
    )
    assert {one.defense_id for one in summary.results if one.role == "suite"} == {
        name.removeprefix("art.") for name in libraries.TABLE
    }
    for result in summary.results:
        assert result.status == "done", result.traceback
        assert "unmarked-randomness" not in {flag.rule for flag in result.flags}


def test_bpda_breaks_what_hides_the_gradient_and_ours_agree(plugged: Run) -> None:
    summary = plugged(
        NOTHING,
        attacks="{name: pgd, steps: 20}",
        defenses=", ".join(
            [
                written("art.FeatureSqueezing"),
                "{id: ours, name: bit_depth, bits: 3}",
                written("art.ClassLabels"),
                written("art.ReverseSigmoid"),
                "none",
            ]
        ),
        adversaries="naive, adaptive",
        samples=12,
    )
    bare = next(one for one in summary.results if one.defense_id == "none" and one.role == "suite")
    broken = rows(summary, bare)["success"].mean()
    assert broken > 0.5
    for name in ("FeatureSqueezing", "ClassLabels", "ReverseSigmoid"):
        assert rows(summary, cell(summary, name, "naive"))["success"].mean() < 0.2, name
        assert rows(summary, cell(summary, name, "adaptive"))["success"].mean() >= broken - 0.2, name
    for adversary in ("naive", "adaptive"):
        theirs, ours = (rows(summary, cell(summary, name, adversary)) for name in ("FeatureSqueezing", "ours"))
        assert (theirs["success"] == ours["success"]).mean() > 0.9
        assert (theirs["clean_correct"] == ours["clean_correct"]).all()


def test_versions_of_the_libraries_are_part_of_a_cells_identity() -> None:
    facts = defense_facts(defenses_of(DefenseSpec(id="x", name="art.JpegCompression", args={"quality": 50})), ())
    assert set(facts["defense_libraries"]) == {"adversarial-robustness-toolbox", "pillow"}
    assert all(facts["defense_libraries"].values())


@pytest.mark.parametrize(
    ("defense", "message"),
    [
        ("{name: art.SpatialSmoothing, window: 3}", r"unknown parameter 'window' of the defense art\.SpatialSmoothing"),
        ("{name: art.SpatialSmoothing, window_size: 0}", "window_size"),
        ("{name: art.Cutout}", r"'length' of the defense art\.Cutout is missing"),
        ("{name: art.PixelDefend}", r"the defense art\.PixelDefend can't be used here: it needs a PixelCNN"),
        ("{name: art.Jpeg}", r"unknown defense 'art\.Jpeg'"),
        ("{name: art.SpatialSmoothing, eot_iter: 4}", "is not stochastic: it has no draws"),
        ("{name: art.BinaryInputDetector, surrogate: median_blur}", "a purifier can't stand in for its score"),
        ("{name: jpeg, surrogate: art.CutoutPyTorch}", "unknown surrogate"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(plugged: Run, defense: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        plugged(NOTHING, attacks="{name: fgsm}", defenses=defense)
