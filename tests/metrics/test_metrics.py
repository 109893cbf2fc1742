"""Metrics against numbers worked out by hand or by another library's formula."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench import metrics, registry
from bench.errors import MetricError, UnknownNameError
from bench.metrics import estimates
from bench.store.records import Estimate, SampleRecord


def rows(n: int = 10, correct: int = 8, broken: int = 3, **columns: object) -> pd.DataFrame:
    """n samples, the first correct, of those the first broken, at distance 0.01 * (1 + position)."""
    records = [
        SampleRecord(
            cell="cell-0123456789ab",
            position=i,
            sample_id=f"s/{i}",
            sample_digest="0" * 16,
            label=1,
            clean_prediction=1 if i < correct else 0,
            clean_correct=i < correct,
            adversarial_prediction=0 if i < broken or i >= correct else 1,
            success=i < broken,
            robust=broken <= i < correct,
            linf=0.01 * (1 + i),
            l2=0.1 * (1 + i),
            raw_distance=0.01 * (1 + i),
            clean_margin=1.0,
            adversarial_margin=-1.0,
            clean_confidence=0.5 + 0.01 * i,
            adversarial_confidence=0.3 + 0.1 * i / n,
            iterations=5,
            forwards=float(i),
            backwards=2.0,
            rejected=False,
            stage="",
            minimal_distance=0.0 if i >= correct else 0.01 * (1 + i) if i < broken else math.inf,
        )
        for i in range(n)
    ]
    return pd.DataFrame(records).assign(**columns)


def test_shares_and_their_wilson_intervals() -> None:
    got = metrics.compute(rows(), norm="linf")
    assert list(got) == list(metrics.TABLE)
    for name, count, n in (
        ("clean_accuracy", 8, 10),
        ("robust_accuracy", 5, 10),
        ("attack_success_rate", 3, 8),
    ):
        reference = stats.binomtest(count, n).proportion_ci(method="wilson")
        assert got[name].value == pytest.approx(count / n)
        assert (got[name].low, got[name].high) == pytest.approx((reference.low, reference.high))
        assert got[name].n == n


def test_distances_are_those_of_the_successes_in_the_norm() -> None:
    linf, l2 = metrics.compute(rows(), norm="linf"), metrics.compute(rows(), norm="l2")
    assert linf["median_distance"].value == pytest.approx(0.02)
    assert linf["mean_distance"].value == pytest.approx(0.02)
    assert l2["median_distance"].value == pytest.approx(0.2)
    assert l2["mean_distance"].n == 3
    assert linf["median_distance"].low is None  # three values allow no 95 % interval


def test_the_median_minimal_distance_is_over_the_clean_correct_images() -> None:
    def median(**columns: object) -> Estimate:
        return metrics.compute(rows(**columns), ["median_minimal_distance"], norm="linf")["median_minimal_distance"]  # type: ignore[arg-type]

    assert median(n=12, correct=11, broken=11) == Estimate(value=0.06, low=0.02, high=0.1, n=11)
    assert median(n=12, correct=11, broken=6) == Estimate(value=0.06, low=0.02, high=None, n=11)
    assert median(n=12, correct=11, broken=3) == Estimate(value=None, low=0.02, high=None, n=11)
    assert median(n=12, correct=11, broken=0) == Estimate(value=None, n=11)
    assert median(n=4, correct=4, broken=3) == Estimate(value=0.025, n=4)
    assert median(n=4, correct=0, broken=0) == Estimate(value=None, n=0)
    assert median(minimal_distance=math.nan) == Estimate(value=None, n=0)
    partly = [math.nan, *[0.1] * 9]  # rows of before the column beside newer ones
    assert median(minimal_distance=partly) == Estimate(value=None, n=0)
    with pytest.raises(MetricError, match=r"median_minimal_distance: .*at least 0, got -1"):
        median(minimal_distance=-1.0)


def test_confidences_and_passes() -> None:
    got = metrics.compute(rows(), norm="linf")
    assert got["clean_confidence"].value == pytest.approx(0.545)
    assert got["adversarial_confidence"].value == pytest.approx(0.31)
    assert got["forwards"].value == pytest.approx(4.5)
    assert got["backwards"] == Estimate(value=2.0, low=2.0, high=2.0, n=10)


def test_nothing_to_compute_from_is_none_not_zero() -> None:
    got = metrics.compute(rows(broken=0), norm="linf")
    for name in ("median_distance", "mean_distance", "adversarial_confidence"):
        assert got[name] == Estimate(value=None, n=0)
    assert got["attack_success_rate"].value == 0.0
    assert metrics.compute(rows(correct=0, broken=0), ["attack_success_rate"], norm="linf") == {
        "attack_success_rate": Estimate(value=None, n=0)
    }
    empty = metrics.compute(rows().iloc[:0], norm="l2")
    assert {(estimate.value, estimate.n) for estimate in empty.values()} == {(None, 0)}


def test_one_sample() -> None:
    got = metrics.compute(rows(n=1, correct=1, broken=1), norm="linf")
    assert got["mean_distance"] == Estimate(value=0.01, n=1)
    assert got["robust_accuracy"].value == 0.0
    assert got["robust_accuracy"].high == pytest.approx(stats.binomtest(0, 1).proportion_ci(method="wilson").high)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.5])
@pytest.mark.parametrize(
    ("column", "metric"),
    [
        ("linf", "mean_distance"),
        ("linf", "median_distance"),
        ("clean_confidence", "clean_confidence"),
        ("forwards", "forwards"),
    ],
)
def test_what_is_no_number_is_refused(column: str, metric: str, bad: float) -> None:
    values = rows()[column].to_numpy().copy()
    values[4] = bad
    with pytest.raises(MetricError, match=rf"metric {metric}: .*{column}.*s/4"):
        metrics.compute(rows(**{column: values}), [metric], norm="linf")


def test_rows_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(MetricError, match="robust"):
        metrics.compute(rows(robust=[True] * 10), ["robust_accuracy"], norm="linf")
    with pytest.raises(MetricError, match="success"):
        metrics.compute(rows(success=[True] * 10), ["attack_success_rate"], norm="linf")
    with pytest.raises(MetricError, match="true and false"):
        metrics.compute(rows(clean_correct=[None] + [True] * 9), ["clean_accuracy"], norm="linf")
    with pytest.raises(MetricError, match="probabilities"):
        metrics.compute(rows(clean_confidence=[1.5] * 10), ["clean_confidence"], norm="linf")


def test_a_norm_without_a_column_is_refused() -> None:
    with pytest.raises(MetricError, match=r"metric mean_distance: .*no column l0"):
        metrics.compute(rows(), ["mean_distance"], norm="l0")


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="robust_accuracy"):
        metrics.compute(rows(), ["robust_acuracy"], norm="linf")


def test_a_plugin_metric_that_raises_or_lies_is_named() -> None:
    def worst_label(rows: pd.DataFrame, *, norm: str) -> Estimate:
        raise KeyError("label_x")

    def not_finite(rows: pd.DataFrame, *, norm: str) -> Estimate:
        return Estimate(value=math.nan, n=len(rows))

    def bare_number(rows: pd.DataFrame, *, norm: str) -> float:
        return 0.5

    try:
        for function in (worst_label, not_finite, bare_number):
            registry.metrics.add(function.__name__, function, origin="plugin.py")
        with pytest.raises(MetricError, match="metric worst_label: KeyError: 'label_x'"):
            metrics.compute(rows(), ["worst_label"], norm="linf")
        with pytest.raises(MetricError, match=r"metric not_finite: .*finite"):
            metrics.compute(rows(), ["not_finite"], norm="linf")
        with pytest.raises(MetricError, match="metric bare_number: returned float"):
            metrics.compute(rows(), ["bare_number"], norm="linf")
        assert "bare_number" in registry.metrics.entries()
    finally:
        registry.metrics.remove("plugin.py")


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60), st.randoms(use_true_random=False))
def test_the_mean_does_not_depend_on_the_order(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    estimate = estimates.mean(np.array(values))
    assert estimate == estimates.mean(np.array(shuffled))
    assert estimate.value == pytest.approx(np.mean(values))
    assert min(values) - 1e-12 <= estimate.low <= estimate.value <= estimate.high <= max(values) + 1e-12


def test_the_bootstrap_agrees_with_the_t_interval() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=5000)
    estimate = estimates.mean(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.08)


@given(st.integers(6, 200))
def test_the_median_interval_covers_and_is_the_shortest(n: int) -> None:
    ordered = np.arange(n, dtype=float)
    estimate = estimates.median(ordered[::-1])
    k = int(estimate.low) + 1
    assert estimate.high == n - k
    assert stats.binom.cdf(k - 1, n, 0.5) <= 0.025 < stats.binom.cdf(k, n, 0.5)


def test_metrics_import_no_torch() -> None:
    code = (
        "import json, sys, pandas, bench.metrics as m; from bench import registry;"
        "[registry.metrics.load(name) for name in m.TABLE];"
        "print(json.dumps(sorted(set(sys.modules) & {'torch', 'torchvision', 'foolbox', 'art'})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
