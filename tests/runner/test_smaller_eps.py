"""Several eps in one suite: what a smaller one broke isn't attacked again, and every number stays what it would be."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench import datasets, models
from bench.errors import Interrupted
from bench.models.base import Setting
from bench.registry import ALL
from bench.runner.events import Silent
from bench.runner.executors import attempt as attempt_module
from bench.runner.options import RunSettings
from bench.runner.plan import estimate
from bench.runner.run import RunSummary, run_suite
from bench.store.parts import Examples, read_examples, write_examples
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

Write = Callable[..., Path]

EPS = "[0.2, 0.35, 0.4]"
PGD = "{name: pgd, steps: 10}"
PLACES = Places(download=False, allow_plugins=True)
VOLATILE = {"provenance", "cost"}


@pytest.fixture
def three(suite: Write) -> Write:
    """A suite with three eps on the adversarially trained digits."""

    def write(**changed: object) -> Path:
        return suite(
            **{"samples": 40, "eps": EPS, "models": "zoo:mnist_pgd", "attacks": PGD, "shard_size": 16, **changed}
        )

    return write


def settings(path: Path, name: str = "default") -> RunSettings:
    return RunSettings(results=path.parent / "results", run=name, device="cpu", places=PLACES)


def run(path: Path, *overrides: str, name: str = "default") -> RunSummary:
    return run_suite(load_suite(path, overrides=overrides), settings(path, name))


def samples(summary: RunSummary, cell: CellResult) -> pd.DataFrame:
    return RunDirectory(summary.directory).read_samples(cell.cell)


def by_eps(summary: RunSummary, **wanted: object) -> dict[float, CellResult]:
    """The cells by growing eps."""
    results = [one for one in summary.results if all(getattr(one, key) == value for key, value in wanted.items())]
    found = {float(result.threat_model.eps): result for result in results}
    assert len(found) == len(results)
    return dict(sorted(found.items()))


def assert_equal(one: RunSummary, other: RunSummary) -> None:
    """The same cells with the same rows, metrics, stages, flags, passes and examples."""
    left, right = RunDirectory(one.directory), RunDirectory(other.directory)
    assert left.read_run().cells == right.read_run().cells
    for a, b in zip(one.results, other.results, strict=True):
        assert a.model_dump(exclude=VOLATILE) == b.model_dump(exclude=VOLATILE)
        pd.testing.assert_frame_equal(left.read_samples(a.cell), right.read_samples(b.cell), check_exact=True)
        if a.cost is None or b.cost is None:
            assert a.cost == b.cost
            continue
        assert (a.cost.forwards, a.cost.backwards, a.cost.reused) == (b.cost.forwards, b.cost.backwards, b.cost.reused)
        examples, others = left.read_examples(a.cell), right.read_examples(b.cell)
        assert examples.sample_ids == others.sample_ids
        assert (examples.images == others.images).all()


# -- what it gives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_is_robust_shrinks_as_eps_grows_and_costs_less(three: Write, norm: str) -> None:
    """Sample by sample: never weaker than without, and a subset of what is robust at a smaller eps."""
    path = three(samples=60, eps=EPS if norm == "linf" else "[1.0, 2.5, 4.0]")
    path.write_text(path.read_text().replace("norm: linf", f"norm: {norm}"))
    with_reuse, without = run(path), run(path, "run.reuse=none", name="none")
    before, reused = None, 0
    for eps, cell in by_eps(with_reuse).items():
        rows, plain = samples(with_reuse, cell), samples(without, by_eps(without)[eps])
        assert not (rows["robust"] & ~plain["robust"]).any()
        carried = rows["stage"] == "smaller-eps"
        assert cell.cost is not None
        assert cell.cost.reused == carried.sum()
        assert cell.cost.forwards == rows["forwards"].sum()
        if before is not None:
            assert set(rows["sample_id"][rows["robust"]]) <= set(before["sample_id"][before["robust"]])
            assert carried.equals(before["success"].rename("stage"))
            assert rows[carried][["linf", "l2"]].equals(before[carried][["linf", "l2"]])
            fields = ["forwards", "backwards", "iterations"]
            assert (rows[carried][fields] == 0).all(axis=None)
            others = ["success", "stage", "linf", "l2", "adversarial_margin"]
            pd.testing.assert_frame_equal(rows[~carried][others], plain[~carried][others], atol=1e-4)
            assert rows[fields].sum().le(plain[fields].sum()).all()
        before, reused = rows, reused + int(carried.sum())
    assert reused > 5


def test_carried_points_are_saved_and_break_the_model_again(three: Write) -> None:
    summary = run(three())
    largest = by_eps(summary)[0.4]
    rows = samples(summary, largest)
    examples = RunDirectory(summary.directory).read_examples(largest.cell)
    assert list(examples.sample_ids) == rows["sample_id"][rows["success"]].tolist()
    setting = Setting("mnist", "linf", 10, (1, 28, 28))
    model = models.load(largest.model, setting, PLACES, device=torch.device("cpu"))
    with torch.no_grad():
        predicted = model(torch.from_numpy(examples.images)).argmax(1).tolist()
    assert predicted == rows["adversarial_prediction"][rows["success"]].tolist()
    images = datasets.load(largest.dataset, PLACES)
    clean = images.batch(np.array([images.sample_ids.index(one) for one in examples.sample_ids])).x.numpy()
    distances = np.abs(examples.images - clean).max((1, 2, 3))
    carried = (rows["stage"] == "smaller-eps")[rows["success"]].to_numpy()
    assert (distances[carried] <= 0.35 + 1e-6).all()
    assert (distances <= 0.4 + 1e-6).all()


def test_every_seed_has_its_own_chain(three: Write) -> None:
    path = three(attacks="{name: pgd, steps: 3}", more="seeds: [0, 1]")
    summary = run(path)
    for seed in (0, 1):
        cells = by_eps(summary, seed=seed)
        alone = run(path, f"run.seeds=[{seed}]", name=f"seed{seed}")
        assert [cell.cell for cell in cells.values()] == [cell.cell for cell in by_eps(alone).values()]
        for eps, cell in cells.items():
            assert samples(summary, cell).equals(samples(alone, by_eps(alone)[eps]))
    assert len({result.cell for result in summary.results}) == 6


def test_stages_of_an_ensemble_add_up(three: Write) -> None:
    attack = "{name: autoattack, version: custom, attacks: [apgd-ce, square], n_queries: 50}"
    summary = run(three(samples=24, eps="[0.3, 0.35, 0.4]", attacks=attack))
    names = []
    for cell in by_eps(summary).values():
        rows = samples(summary, cell)
        left = int(rows["clean_correct"].sum())
        for stage in cell.stages:
            assert stage.attacked == left
            assert stage.broken == (rows["success"] & (rows["stage"] == stage.name)).sum()
            left -= stage.broken
            assert stage.robust_accuracy == left / len(rows)
        assert left == rows["robust"].sum()
        names.append([stage.name for stage in cell.stages])
    assert names[0] == ["apgd-ce", "square"]
    assert names[1] == ["smaller-eps", "apgd-ce", "square"]
    assert names[2][:2] == ["smaller-eps", "apgd-ce"]


def test_strongest_and_oblivious_cells_attack_everything(three: Write) -> None:
    path = three(samples=16, eps="[0.35, 0.4]", defenses="none, bit_depth", more="")
    summary = run(path, "run.gradient_free_queries=20")
    reused = {
        (one.role, one.defense_id, float(one.threat_model.eps)): one.cost.reused
        for one in summary.results
        if one.cost is not None
    }
    assert len(reused) == len(summary.results) == 10
    assert {role for (role, _, _), count in reused.items() if count} == {"suite", "gradient_free"}
    assert reused["suite", "none", 0.4] > 0
    assert reused["suite", "bit_depth", 0.4] > 0
    own = run(path, "run.search=strongest", "run.gradient_free_queries=0", name="strongest")
    assert {one.cost.reused for one in own.results if one.cost is not None} == {0}


def test_libraries_attack_everything(three: Write) -> None:
    """Their draws belong to fixed chunks of samples: taking some away would change the others' verdicts."""
    path = three(samples=16, attacks="{name: pgd, steps: 5, backend: foolbox}")
    with_reuse, without = run(path), run(path, "run.reuse=none")
    assert [one.cell for one in with_reuse.results] == [one.cell for one in without.results]
    assert [one.cost.reused for one in with_reuse.results if one.cost] == [0, 0, 0]


# -- what it must not depend on ----------------------------------------------------------------------------------------


def test_the_id_says_what_a_cell_builds_on(three: Write) -> None:
    path = three(samples=8, attacks="fgsm")
    ids = {name: [one.cell for one in by_eps(run(path, *how)).values()] for name, how in {
        "three": (), "none": ("run.reuse=none",), "two": ("threat_models=[{norm: linf, eps: [0.2, 0.4]}]",),
        "one": ("threat_models=[{norm: linf, eps: 0.4}]",), "nothing saved": ("run.save_adversarial=none",),
    }.items()}  # fmt: skip
    assert ids["three"][0] == ids["none"][0] == ids["two"][0]
    assert ids["one"][0] == ids["none"][2]
    assert ids["nothing saved"] == ids["three"]
    assert len({ids["three"][2], ids["none"][2], ids["two"][1]}) == 3
    assert len({*ids["three"], *ids["none"]}) == 5


def test_the_order_of_the_suite_does_not_matter(three: Write) -> None:
    up, down = run(three(), name="up"), run(three(eps="[0.4, 0.2, 0.35]"), name="down")
    assert [float(one.threat_model.eps) for one in down.results] == [0.4, 0.2, 0.35]
    assert RunDirectory(down.directory).read_run().cells == tuple(one.cell for one in down.results)
    for eps, cell in by_eps(up).items():
        assert samples(up, cell).equals(samples(down, by_eps(down)[eps]))


def test_other_shards_and_more_samples_give_the_same_rows(three: Write) -> None:
    path = three()
    whole = run(path, name="whole")
    run(path, "dataset.samples=20", "run.shard_size=8", name="grown")
    grown = run(path, name="grown")
    for eps, cell in by_eps(whole).items():
        one, other = samples(whole, cell), samples(grown, by_eps(grown)[eps])
        assert one["cell"].equals(other["cell"])
        assert one[["success", "stage", "iterations"]].equals(other[["success", "stage", "iterations"]])
        assert np.allclose(one["linf"], other["linf"], atol=1e-6)


def test_resumed_without_the_larger_cells_parts(three: Write) -> None:
    path = three()
    expected, found = run(path, name="whole"), run(path)
    for eps in (0.35, 0.4):
        shutil.rmtree(found.directory / "samples" / by_eps(found)[eps].cell)
        shutil.rmtree(found.directory / "adversarial" / by_eps(found)[eps].cell)
        assert_equal(run(path), expected)
    part = found.directory / "samples" / by_eps(found)[0.4].cell / "part-00001.parquet"
    part.unlink()
    assert_equal(run(path), expected)


@pytest.mark.parametrize("after", [2, 4, 7])
def test_interrupted_and_resumed(three: Write, after: int) -> None:
    class Stops(Silent):
        shards = 0

        def shard_done(self, samples: int, robust: int) -> None:
            self.shards += 1
            if self.shards == after:
                raise KeyboardInterrupt

    path = three(eps="[0.4, 0.2, 0.35]", attacks="{name: pgd, steps: 4}")
    with pytest.raises(Interrupted):
        run_suite(load_suite(path), settings(path), Stops())
    assert_equal(run(path), run(path, name="whole"))


def test_nothing_is_computed_again_where_all_is_done(three: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the examples are gone: nobody needs them any more."""
    path = three(attacks="fgsm")
    first = run(path)
    shutil.rmtree(first.directory / "adversarial")
    monkeypatch.setattr(attempt_module, "evaluate", None)
    assert [one.cell for one in run(path).results] == [one.cell for one in first.results]


def test_examples_that_are_gone_are_made_again_for_a_larger_eps(three: Write) -> None:
    """A run that saved nothing gets a larger eps: the smaller one's successes are searched again, and no others."""
    path = three()
    smallest = "threat_models=[{norm: linf, eps: 0.35}]"
    first = run(path, smallest, "run.save_adversarial=none")
    assert RunDirectory(first.directory).read_examples(first.results[0].cell).sample_ids == ()
    more = "threat_models=[{norm: linf, eps: [0.35, 0.4]}]"
    found, expected = run(path, more), run(path, more, name="whole")
    assert [one.cell for one in found.results] == [one.cell for one in expected.results]
    for one, other in zip(found.results, expected.results, strict=True):
        here, there = samples(found, one), samples(expected, other)  # last bits differ with the size of the batch
        assert here[["cell", "sample_id", "success", "stage"]].equals(there[["cell", "sample_id", "success", "stage"]])
        assert np.allclose(here["linf"], there["linf"], atol=1e-6)
    largest = samples(found, found.results[1])
    assert (largest["stage"] == "smaller-eps").sum() > 5
    costs = [one.cost.forwards for one in (first.results[0], found.results[0]) if one.cost]
    again = samples(found, found.results[0])
    assert costs[1] - costs[0] == again["forwards"][again["success"]].sum()


def test_a_cell_that_is_built_on_keeps_its_successes(three: Write) -> None:
    path = three()
    found, expected = run(path, "run.save_adversarial=none"), run(path, name="whole")
    directory = RunDirectory(found.directory)
    counts = [len(directory.read_examples(one.cell).sample_ids) for one in by_eps(found).values()]
    broken = [int(samples(found, one)["success"].sum()) for one in by_eps(found).values()]
    assert counts == [*broken[:2], 0]
    for one, other in zip(found.results, expected.results, strict=True):
        assert samples(found, one).equals(samples(expected, other))


def test_whether_failures_are_saved_too_does_not_matter(three: Write) -> None:
    path = three()
    found, expected = run(path, "run.save_adversarial=all"), run(path, name="whole")
    for one, other in zip(found.results, expected.results, strict=True):
        assert samples(found, one).equals(samples(expected, other))


# -- what must not be trusted ------------------------------------------------------------------------------------------


def tampered(image: np.ndarray, clean: np.ndarray, how: str) -> np.ndarray:
    return {
        "no success": clean,
        "outside the ball": 1 - clean,
        "outside the bounds": image - 0.3,
        "not finite": np.full_like(image, np.nan),
    }[how]


@pytest.mark.parametrize("how", ["no success", "outside the ball", "outside the bounds", "not finite"])
def test_a_point_that_is_no_success_here_is_attacked(three: Write, how: str) -> None:
    path = three(eps="[0.35, 0.4]")
    found, plain = run(path), run(path, "run.reuse=none", name="none")
    smaller, larger = by_eps(found).values()
    expected = samples(found, larger)
    shutil.rmtree(found.directory / "samples" / larger.cell)
    images = datasets.load(larger.dataset, PLACES)
    changed = set()
    for part in RunDirectory(found.directory).example_parts(smaller.cell):
        ids, points = read_examples(part)
        places = [images.sample_ids.index(one) for one in ids]
        clean = images.batch(np.array(places, dtype=np.int64)).x.numpy()
        if len(ids):
            points[0] = tampered(points[0], clean[0], how)
            changed.add(ids[0])
        write_examples(part, Examples(ids, points))
    assert changed
    again = run(path)
    rows, attacked = samples(again, by_eps(again)[0.4]), samples(plain, by_eps(plain)[0.4])
    touched = rows["sample_id"].isin(changed)
    assert (rows["stage"][touched] == "").all()
    assert (rows["iterations"][touched] > 0).all()
    same = ["success", "iterations", "forwards", "linf"]
    pd.testing.assert_frame_equal(rows[touched][same], attacked[touched][same], atol=1e-5)
    pd.testing.assert_frame_equal(rows[~touched], expected[~touched], atol=1e-5)


def test_images_of_another_shape_are_not_used(three: Write) -> None:
    path = three(samples=16, eps="[0.35, 0.4]")
    found, plain = run(path), run(path, "run.reuse=none", name="none")
    smaller, larger = by_eps(found).values()
    shutil.rmtree(found.directory / "samples" / larger.cell)
    for part in RunDirectory(found.directory).example_parts(smaller.cell):
        ids, points = read_examples(part)
        write_examples(part, Examples(ids, points[:, :, ::2]))
    again = by_eps(run(path))[0.4]
    left, right = samples(found, again), samples(plain, by_eps(plain)[0.4])
    assert left.drop(columns="cell").equals(right.drop(columns="cell"))


PLUGIN = """
from pathlib import Path

from bench.attacks.base import AttackResult
from bench.attacks.pgd import PGD
from bench.attacks.parameters import PGDParams


class Fails(PGD):
    Params = PGDParams

    def run(self, model, samples, context):
        if Path("HERE", f"fail-{context.threat_model.radius:g}").exists():
            raise RuntimeError("no luck")
        return super().run(model, samples, context)


ATTACKS = {"fails": Fails}
"""


@pytest.fixture
def failing(three: Write, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "plugin.py").write_text(PLUGIN.replace("HERE", tmp_path.as_posix()))
    yield three(attacks="{name: fails, steps: 5}", more="plugins: [plugin.py]")
    for registry in ALL.values():
        registry.remove(str(tmp_path / "plugin.py"))


@pytest.mark.parametrize(("fail", "reused"), [(["0.35"], True), (["0.2"], True), (["0.2", "0.35"], False)])
def test_a_smaller_eps_that_failed_is_not_built_on(
    failing: Path, tmp_path: Path, fail: list[str], reused: bool
) -> None:
    """The larger ones are other cells then; once the failure is gone, the run is what it would have been."""
    for eps in fail:
        (tmp_path / f"fail-{eps}").touch()
    broken = run(failing)
    states = {f"{eps:g}": one.status for eps, one in by_eps(broken).items()}
    assert states == {eps: "error" if eps in fail else "done" for eps in ("0.2", "0.35", "0.4")}
    directory = RunDirectory(broken.directory)
    assert directory.read_run().cells == tuple(one.cell for one in broken.results)
    assert [one.status for one in directory.read_cells()] == list(states.values())
    rows = samples(broken, by_eps(broken)[0.4])
    assert (rows["stage"] == "smaller-eps").any() == reused
    left = [eps for eps in ("0.2", "0.35", "0.4") if eps not in fail]
    alone = run(failing, f"threat_models=[{{norm: linf, eps: [{', '.join(left)}]}}]", name="alone")
    assert {one.cell for one in alone.results} == {one.cell for one in broken.results if one.status == "done"}
    assert rows.equals(samples(alone, by_eps(alone)[0.4]))
    assert_equal(run(failing), broken)
    for eps in fail:
        (tmp_path / f"fail-{eps}").unlink()
    assert_equal(run(failing), run(failing, name="whole"))


def test_a_larger_eps_that_is_done_outlives_a_damaged_smaller_one(three: Write) -> None:
    path = three(eps="[0.35, 0.4]")
    first = run(path)
    smaller, larger = by_eps(first).values()
    (first.directory / "samples" / smaller.cell / "part-00001.parquet").write_bytes(b"half a file")
    second = run(path)
    assert [one.status for one in by_eps(second).values()] == ["error", "done"]
    assert by_eps(second)[0.4].cell == larger.cell


def test_damaged_examples_are_an_error_that_names_the_file(three: Write) -> None:
    path = three(eps="[0.35, 0.4]")
    first = run(path, name="whole")
    found = run(path)
    smaller, larger = by_eps(found).values()
    shutil.rmtree(found.directory / "samples" / larger.cell)
    part = RunDirectory(found.directory).example_parts(smaller.cell)[0]
    part.write_bytes(part.read_bytes()[:50])
    states = by_eps(run(path))
    assert states[0.35].status == "error"
    assert part.name in states[0.35].reason
    part.unlink()
    again = run(path)
    for one, other in zip(again.results, first.results, strict=True):
        assert one.cell == other.cell
        columns = ["sample_id", "success", "stage"]
        assert samples(again, one)[columns].equals(samples(first, other)[columns])


# -- what is told of it ------------------------------------------------------------------------------------------------


def test_the_plan_is_an_upper_bound(three: Write) -> None:
    path = three()
    outline = estimate(load_suite(path), settings(path))
    assert [row.state for row in outline.rows] == ["to do"] * 3
    summary = run(path)
    for row, result in zip(outline.rows, summary.results, strict=True):
        assert result.cost is not None
        assert row.forwards is not None
        assert 0 < result.cost.forwards <= row.forwards
    shutil.rmtree(summary.directory / "samples" / by_eps(summary)[0.4].cell)
    shutil.rmtree(summary.directory / "adversarial" / by_eps(summary)[0.35].cell)
    again = {
        row.label.split(" | ")[1]: (row.state, row.samples) for row in estimate(load_suite(path), settings(path)).rows
    }
    broken = int(samples(summary, by_eps(summary)[0.35])["success"].sum())
    assert again == {"Linf 0.2": ("done", 0), "Linf 0.35": ("partly done", broken), "Linf 0.4": ("to do", 40)}
