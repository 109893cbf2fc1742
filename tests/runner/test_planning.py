"""Plans for given devices: what is measured, what is known of attacks, and the estimates that follow from the two."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import attacks
from bench.errors import BenchError, SchemaError, StoreError, UnknownNameError
from bench.registry import ALL
from bench.runner.events import Silent
from bench.runner.options import RunSettings
from bench.runner.passes import Passes
from bench.runner.planning import files, fleet, peaks, sources
from bench.runner.planning.duration import correction, shard_seconds
from bench.runner.planning.forecast import Request, calibrate, forecast
from bench.runner.planning.speeds import Calibration, Point, RowSpeed, seconds
from bench.runner.planning.spending import Kind, Spending, abreast, at_most, weights
from bench.runner.planning.taken import compare
from bench.runner.run import run_suite
from bench.store.parts import ShardReport
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places
from bench.suites.spec import AttackSpec

Write = Callable[..., Path]
PGD = "{name: pgd, steps: 5}"
BOTH = """
name: both
dataset: {name: mnist, samples: 8}
threat_models: ["linf:0.2"]
models: [zoo:mnist_standard, zoo:mnist_pgd]
attacks: [fgsm]
"""


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def settings(path: Path, **changed: object) -> RunSettings:
    usual = RunSettings(path.parent / "results", device="cpu", places=Places(download=False, allow_plugins=True))
    return replace(usual, **changed)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """Speeds of both models of the zoo on this machine, measured once for the tests that only need some."""
    path = tmp_path_factory.mktemp("measured") / "both.yaml"
    path.write_text(BOTH)
    return calibrate(load_suite(path), settings(path), path.with_name("speeds.json"))


@pytest.fixture
def prepared(suite: Write, measured: Calibration) -> Write:
    """A suite beside whose results these speeds lie."""

    def write(**changed: Any) -> Path:
        path = suite(**changed)
        files.write(files.speeds_path(path.parent / "results", measured.device), measured)
        return path

    return write


# -- devices -----------------------------------------------------------------------------------------------------------


def test_devices_by_any_spelling() -> None:
    assert fleet.parse("8xh100, 2 X cpu", ["H100", "cpu"]) == (fleet.Group(8, "H100"), fleet.Group(2, "cpu"))


@pytest.mark.parametrize(
    "text", ["", "H100", "0xH100", "xH100", "8x", "8xH100,", "-1xH100", "1.5xH100", "8xH100 2xcpu"]
)
def test_devices_that_are_none(text: str) -> None:
    with pytest.raises(BenchError, match=r"accepted: COUNTxNAME"):
        fleet.parse(text, ["H100", "cpu"])


def test_a_device_that_nobody_knows() -> None:
    with pytest.raises(UnknownNameError, match=r"'H10'; did you mean H100.*known: H100, cpu"):
        fleet.parse("2xH10", ["H100", "cpu"])


def test_peak_rates() -> None:
    assert [peaks.kind_of(name) for name in ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA L40S")] == [
        "H100", "A100", "L40S",
    ]  # fmt: skip
    assert peaks.kind_of("NVIDIA GeForce RTX 4090") == "GeForce-RTX-4090"
    assert peaks.ratio("H100", "A100", "bfloat16") == pytest.approx((3.35 / 2.04, 989 / 312))
    assert peaks.ratio("A100", "H100", "bfloat16") == pytest.approx((312 / 989, 2.04 / 3.35))
    assert peaks.ratio("H100", "T4", "bfloat16").high == pytest.approx(989 / 8.1)  # it doesn't multiply bfloat16


# -- from passes to seconds --------------------------------------------------------------------------------------------


def line(fixed: float, each: float) -> tuple[Point, ...]:
    """Times that grow evenly with the samples."""
    return tuple(
        Point(samples=n, low=0.9 * (fixed + each * n), middle=fixed + each * n, high=1.2 * (fixed + each * n))
        for n in (1, 8, 64)
    )


SPEED = RowSpeed(
    key="k", model="m", defense="none", norm="linf", precision="float32", batch_size=64, asked=None, wanted=64, fills=False,
    load=0.0, warm=0.0,
    base=line(1.0, 0.5), step=line(0.2, 0.1), query=line(0.1, 0.03),
)  # fmt: skip


def known(steps: list[float], queries: list[float], budget: Passes) -> Spending:
    return Spending(
        Kind(np.array(steps), budget.backwards), Kind(np.array(queries), budget.forwards - budget.backwards), "test"
    )


def test_times_between_and_beyond_what_was_measured() -> None:
    found = seconds(line(0.2, 0.1), np.array([0.5, 1.0, 4.5, 64.0, 128.0]), "middle")
    assert found == pytest.approx([0.15, 0.3, 0.65, 6.6, 13.2])


def test_a_shrinking_batch_takes_what_its_passes_take() -> None:
    steps, queries = [0.0, 3.0, 3.0, 50.0], [1.0, 1.0, 2.0, 2.0]
    expected = 1.0 + 0.5 * 4
    for k in range(50):
        left = sum(taken > k for taken in steps)
        expected += 0.2 + 0.1 * left
    for k in range(2):
        left = sum(taken > k for taken in queries)
        expected += 0.1 + 0.03 * left
    found = known(steps, queries, Passes(52.0, 50.0))
    assert shard_seconds(SPEED, found, 4, 4, "middle") == pytest.approx(expected)


def test_restarts_share_passes_on_a_device_that_fills_its_batches() -> None:
    spending = replace(known([90.0] * 2, [0.0] * 2, Passes(90.0, 90.0)), abreast=9.0)
    one_after_the_other, at_once = 90 * (0.2 + 0.1 * 2), 10 * (0.2 + 0.1 * 18)
    assert shard_seconds(SPEED, spending, 2, 2, "middle") == pytest.approx(2.0 + one_after_the_other)
    filling = SPEED.model_copy(update={"fills": True})
    assert shard_seconds(filling, spending, 2, 2, "middle") == pytest.approx(2.0 + at_once)


@pytest.mark.parametrize(
    ("attack", "runs"),
    [
        ({"name": "pgd", "args": {"restarts": 5}}, 5.0),
        ({"name": "fgsm"}, 1.0),
        ({"name": "apgd_targeted", "args": {"steps": 100}}, 9.0),
    ],
)
def test_runs_that_may_share_passes(attack: dict[str, Any], runs: float) -> None:
    assert abreast(attacks.build(AttackSpec(**attack), "linf"), num_classes=10) == runs


def test_stages_of_an_ensemble_come_one_after_the_other() -> None:
    """APGD on the cross-entropy in one run of 100 steps, then targeted APGD and FAB in nine of 100 each."""
    found = abreast(attacks.build(AttackSpec(name="autoattack"), "linf"), num_classes=10)
    assert 2 < found < 9


def test_bounds_hold_the_middle_and_the_budget() -> None:
    spending = known([1.0] * 30 + [40.0] * 2, [2.0] * 32, Passes(102.0, 100.0))
    low, middle, high = (shard_seconds(SPEED, spending, 64, 10_000, bound) for bound in ("low", "middle", "high"))
    most = shard_seconds(SPEED, at_most(Passes(102.0, 100.0)), 64, 10_000, "high")
    assert low < middle < high < most
    least = shard_seconds(SPEED, at_most(Passes(102.0, 100.0)), 64, 10_000, "low")
    assert least == pytest.approx(0.9 * (SPEED.base[2].middle + SPEED.step[2].middle + SPEED.query[2].middle))


def test_the_high_bound_keeps_more_images_to_the_end() -> None:
    spending = known([1.0] * 30 + [40.0] * 2, [0.0] * 32, Passes(100.0, 100.0))
    more = weights(spending, 10_000, "high", (1.0, 1.0)).budget
    assert 0.05 < more < 0.2
    expected = 1.2 * (1.0 + 0.5 * 64)
    for k in range(100):
        share = (1 - more) * (1.0 if k < 1 else 2 / 32 if k < 40 else 0.0) + more
        expected += 1.2 * (0.2 + 0.1 * 64 * share)
    found = shard_seconds(SPEED, spending, 64, 10_000, "high")
    assert found == pytest.approx(expected, rel=1e-3), "a step and a query weigh by what they take in a whole shard"


@pytest.mark.parametrize(("survivors", "n"), [(0, 32), (3, 32), (32, 32), (40, 100)])
def test_the_share_of_survivors_has_the_interval_of_agresti_and_coull(survivors: int, n: int) -> None:
    spending = known([0.0] * (n - survivors) + [10.0] * survivors, [0.0] * n, Passes(10.0, 10.0))
    z = 1.96
    share = (survivors + z**2 / 2) / (n + z**2)
    reach = z * math.sqrt(share * (1 - share) / (n + z**2))
    high = weights(spending, 10**9, "high", (1.0, 1.0))
    low = weights(spending, 10**9, "low", (1.0, 1.0))
    assert high.observed * survivors / n + high.budget == pytest.approx(min(share + reach, 1.0))
    assert low.observed * survivors / n == pytest.approx(max(share - reach, 0.0))


def test_what_shards_took_corrects_the_estimate_of_their_device_alone() -> None:
    spending = known([10.0] * 32, [1.0] * 32, Passes(11.0, 10.0))
    expected = shard_seconds(SPEED, spending, 32, 32, "middle")
    report = ShardReport(samples=32, seconds=1.5 * expected, device="cpu (1 threads)", batch_size=64)
    spending = replace(spending, reports=(report, report))
    assert correction(SPEED, spending, "cpu (1 threads)") == pytest.approx(1.5)
    assert correction(SPEED, spending, "cuda (NVIDIA H100)") is None
    gpu = "cuda (NVIDIA H100)"
    few = shard_seconds(SPEED, spending, 2, 2, "middle")
    assert 2 < few < 20
    for took, factor in ((20.0, 1.0), (40.0, 40 / few), (few / 2, 0.5)):
        there = report.model_copy(update={"device": gpu, "samples": 2, "seconds": took})
        found = correction(SPEED, replace(spending, reports=(there,)), gpu)
        assert found == pytest.approx(factor), "its first passes may take long, whatever comes after them"
    short = report.model_copy(update={"seconds": 0.1})
    assert correction(SPEED, replace(spending, reports=(short,)), "cpu (1 threads)") is None


# -- speeds ------------------------------------------------------------------------------------------------------------


def test_speeds_are_measured_once(suite: Write) -> None:
    path = suite(samples=8, attacks="fgsm")
    first, second = Notes(), Notes()
    threads = torch.get_num_threads()
    before = forecast(load_suite(path), settings(path), Request("1xcpu"), first)
    assert first.said == [f"measuring mnist_standard on cpu ({threads} threads) (1 of 1)"]
    again = forecast(load_suite(path), settings(path), Request("1xcpu"), second)
    assert second.said == []
    assert again.seconds == before.seconds
    (kept,) = (path.parent / "results" / files.PLANS / "speeds").iterdir()
    measured = files.read(kept, Calibration)
    for row in measured.rows:
        for points in (row.base, row.step, row.query):
            assert [point.samples for point in points] == [1, 8]
            assert all(0 < point.low <= point.middle <= point.high for point in points)
    files.write(kept, measured.model_copy(update={"torch": "1.0"}))
    forecast(load_suite(path), settings(path), Request("1xcpu"), second)
    assert second.said == first.said, "figures of another torch say nothing"


def test_a_plan_says_that_others_used_the_cores(suite: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "UTC, while other processes used its cores"
    monkeypatch.setattr(sources, "others_at_work", lambda enough: 64.0)
    path = suite(samples=1, attacks="fgsm")
    for _ in range(2):  # measured, and kept
        (device,) = forecast(load_suite(path), settings(path), Request("1xcpu")).devices
        assert device.source.endswith(said)
    monkeypatch.setattr(sources, "others_at_work", lambda enough: 0.0)
    other_batches = settings(path, batch_size=1)
    (device,) = forecast(load_suite(path), other_batches, Request("1xcpu")).devices
    assert not device.source.endswith(said)


def test_speeds_of_another_device(suite: Write, measured: Calibration, tmp_path: Path) -> None:
    path, file = suite(samples=8, attacks=PGD), tmp_path / "speeds.json"
    loaded, own = load_suite(path), settings(path)
    rows = tuple(row.model_copy(update={"warm": 0.0}) for row in measured.rows if row.model == "mnist_standard")
    files.write(file, measured.model_copy(update={"kind": "H100", "device": "cuda (NVIDIA H100)", "rows": rows}))
    with pytest.raises(BenchError, match=r"no speeds of H100 \(accepted: .*--calibration FILE.*--calibrate FILE"):
        forecast(loaded, own, Request("8xH100"))
    given = forecast(loaded, own, Request("2xH100", (file,)))
    assert [(one.count, one.kind, one.origin) for one in given.devices] == [(2, "H100", "measured")]
    with pytest.raises(BenchError, match=r"no speeds of A100"):
        forecast(loaded, own, Request("2xH100,2xA100", (file,)))
    scaled = forecast(loaded, own, Request("2xA100", (file,), scale=True))
    assert [(one.kind, one.origin) for one in scaled.devices] == [("A100", "scaled")]
    by = peaks.ratio("H100", "A100", "float32")
    assert scaled.cells[0].seconds is not None
    assert given.cells[0].seconds is not None
    assert scaled.cells[0].seconds.low == pytest.approx(by.low * given.cells[0].seconds.low)
    assert scaled.cells[0].seconds.high == pytest.approx(by.high * given.cells[0].seconds.high)
    with pytest.raises(BenchError, match=r"a CPU tells nothing of a GPU"):
        forecast(loaded, own, Request("2xA100", scale=True))
    other = load_suite(suite(samples=8, attacks=PGD, models="zoo:mnist_pgd"))
    with pytest.raises(BenchError, match=r"no speeds of mnist_pgd on H100 .*--calibrate FILE"):
        forecast(other, own, Request("8xH100", (file,)))


@pytest.mark.parametrize(
    ("text", "error", "seen"),
    [
        ("half a", StoreError, "accepted: a file that bench plan has written"),
        ('{"schema_version": 99}', SchemaError, "newer bench"),
        ('{"schema_version": 1, "kind": "H100"}', StoreError, "device: field required"),
    ],
)
def test_files_that_hold_no_speeds(suite: Write, tmp_path: Path, text: str, error: type[BenchError], seen: str) -> None:
    path, file = suite(samples=8), tmp_path / "speeds.json"
    file.write_text(text)
    with pytest.raises(error, match=seen) as found:
        forecast(load_suite(path), settings(path), Request("1xH100", (file,)))
    assert str(file) in str(found.value)
    with pytest.raises(StoreError, match="No such file"):
        forecast(load_suite(path), settings(path), Request("1xH100", (tmp_path / "none.json",)))


# -- whole plans -------------------------------------------------------------------------------------------------------


def test_a_plan_before_within_and_after_a_run(prepared: Write) -> None:
    path = prepared(samples=24, models="zoo:mnist_pgd", attacks=PGD, eps="[0.1, 0.3]")
    own, loaded = settings(path), load_suite(path)
    blind = forecast(loaded, own, Request("1xcpu"))
    assert {cell.known for cell in blind.cells} == {"its budget"}
    assert blind.seconds.middle is None
    planned = forecast(loaded, own, Request("1xcpu", pilot=8))
    assert {cell.known for cell in planned.cells} == {"8 rows of a pilot"}
    assert planned.seconds.middle is not None
    assert planned.seconds.high <= blind.seconds.high * 1.01
    assert not (path.parent / "results" / "small").exists(), "a pilot is no part of the run"
    run_suite(load_suite(path, overrides=["threat_models=[{norm: linf, eps: 0.1}]"]), own)
    found = compare(own, "small")
    assert found is not None
    assert (len(found.cells), found.left, found.wall) == (1, 1, None)
    rest = forecast(loaded, own, Request("1xcpu"))
    assert [(cell.state, cell.samples) for cell in rest.cells] == [("done", 0), ("to do", 24)]
    assert rest.cells[0].seconds is not None
    assert rest.cells[0].seconds.high == 0
    run_suite(loaded, own)
    done = compare(own, "small")
    assert done is not None
    assert (len(done.cells), done.left) == (2, 0)
    assert done.taken > 0
    assert done.expected.low / 10 < done.taken < 10 * done.expected.high, "wildly off, whatever else the machine did"
    over = forecast(loaded, own, Request("1xcpu"))
    assert (over.seconds.high, over.wall.high, over.busy) == (0, 0, None)
    assert compare(own, "small") == done, "nothing new was to be expected"


def test_what_was_there_before_the_plan_is_not_taken(prepared: Write) -> None:
    path = prepared(samples=24, attacks=PGD)
    own, loaded = settings(path), load_suite(path)
    run_suite(load_suite(path, overrides=["dataset.samples=16"]), own)
    (cell,) = forecast(loaded, own, Request("1xcpu")).cells
    assert (cell.samples, cell.evaluated, cell.known) == (8, 16, "16 rows of this run")
    early = compare(own, "small")
    assert early is not None
    assert (early.cells, early.left) == ((), 1)
    run_suite(loaded, own)
    done = compare(own, "small")
    assert done is not None
    reports = RunDirectory(own.directory("small")).read_reports(cell.cells[0])
    assert sum(report.samples for report in reports) == 24
    assert done.taken == pytest.approx(sum(report.seconds for report in reports) - cell.before)
    assert 0 < cell.before < sum(report.seconds for report in reports)


def test_known_rows_come_from_other_runs_and_seeds(prepared: Write) -> None:
    path = prepared(samples=8, attacks=PGD)
    run_suite(load_suite(path), settings(path, run="first"))
    loaded = load_suite(path, overrides=["run.seeds=[0, 1]", "dataset.samples=12"])
    found = forecast(loaded, settings(path), Request("2xcpu"))
    assert [cell.known for cell in found.cells] == ["8 rows of the run first", "8 rows of the run first of seed 0"]


def test_more_devices_take_less_time(prepared: Write) -> None:
    path = prepared(samples=20, attacks=PGD)
    one, four = (forecast(load_suite(path), settings(path), Request(f"{count}xcpu")) for count in (2, 4))
    assert four.wall.high <= one.wall.high
    assert one.seconds.high / 2 <= one.wall.high
    assert one.busy is not None
    assert one.busy <= 1


PLUGIN = """
from bench.attacks.base import Attack, AttackResult
class Mine(Attack):
    norms = ("linf",)
    def run(self, model, samples, context):
        return AttackResult.untouched(samples)
ATTACKS = {"mine": Mine}
"""


def test_what_nobody_knows_is_not_in_the_sum_and_said(prepared: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    path = prepared(samples=8, attacks=f"mine, {PGD}", more="plugins: [mine.py]")
    try:
        found = forecast(load_suite(path), settings(path), Request("2xcpu"))
    finally:
        ALL["attacks"].remove(str(tmp_path / "mine.py"))
    mine, pgd = found.cells
    assert mine.seconds is None
    assert pgd.seconds is not None
    assert found.unknown == 1
    assert found.rows[0].seconds == pgd.seconds


def test_models_that_are_not_here_count_nothing(prepared: Write) -> None:
    path = prepared(
        samples=8,
        attacks="fgsm",
        models="zoo:mnist_standard, {id: gone, source: checkpoint, architecture: mnist_cnn, weights: gone.pt}",
    )
    found = forecast(load_suite(path), settings(path), Request("1xcpu"))
    assert [(cell.state, cell.seconds is None) for cell in found.cells] == [("to do", False), ("unavailable", True)]
    saved = json.loads(files.forecast_path(path.parent / "results", "small", "default").read_text())
    assert saved == json.loads(found.model_dump_json())
