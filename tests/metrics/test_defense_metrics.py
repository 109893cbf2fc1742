"""Metrics of defended cells against scikit-learn and against counts made by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from bench import metrics
from bench.errors import MetricError
from bench.metrics import estimates
from bench.store.records import Estimate, SampleRecord

NOTHING = Estimate(value=None, n=0)
DETECTION = ("false_positive_rate", "detection_rate", "detector_auc", "tpr_at_5_fpr", "accuracy_with_rejection")
QUALITY = ("psnr", "psnr_purified", "ssim", "ssim_purified", "lpips", "lpips_purified")
RESTORATION = (*QUALITY, "label_restoration_rate", "clean_damage", "defense_success_rate")


def rows(n: int, **columns: Any) -> pd.DataFrame:
    """n samples of label 1, all clean-correct and unbroken, at distance 0.1; any column may be set."""
    record = SampleRecord(
        cell="cell-0123456789ab", position=0, sample_id="s/0", sample_digest="0" * 16, label=1, clean_prediction=1,
        clean_correct=True, adversarial_prediction=1, success=False, robust=True, linf=0.1, l2=1.0, raw_distance=0.1,
        clean_margin=1.0, adversarial_margin=1.0, clean_confidence=0.9, adversarial_confidence=0.9, iterations=5,
        forwards=5.0, backwards=5.0, rejected=False, stage="",
    )  # fmt: skip
    records = [record._replace(position=i, sample_id=f"s/{i}") for i in range(n)]
    return pd.DataFrame(records, columns=list(SampleRecord._fields)).assign(**columns)


def one(name: str, frame: pd.DataFrame) -> Estimate:
    return metrics.compute(frame, [name], norm="linf")[name]


def is_share(estimate: Estimate, count: int, n: int) -> bool:
    """Whether it is count / n with Wilson's interval."""
    interval = stats.binomtest(count, n).proportion_ci(method="wilson")
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((count / n, interval.low, interval.high))
    return estimate.n == n


# -- stochastic defenses -------------------------------------------------------------------------------------------


def test_draws_that_differ_make_a_mean() -> None:
    clean, judged = [1.0, 0.9, 0.5, 0.0], [1.0, 0.2, 0.5, 0.0]
    frame = rows(4, clean_correctness=clean, correctness=judged)
    assert one("clean_accuracy", frame) == estimates.mean(np.array(clean))
    assert one("robust_accuracy", frame) == estimates.mean(np.array(judged))
    assert one("robust_accuracy", frame).value == pytest.approx(0.425)


@pytest.mark.parametrize("shares", [[1.0, 1.0, 0.0, 0.0], [math.nan] * 4, [1.0, math.nan, math.nan, 0.0], None])
def test_draws_that_agree_leave_the_verdicts(shares: list[float] | None) -> None:
    frame = rows(4, clean_correct=[True, True, True, False], robust=[True, True, False, False])
    frame = frame.assign(success=[False, False, True, False])
    if shares is None:
        frame = frame.drop(columns=["clean_correctness", "correctness"])
    else:
        frame = frame.assign(clean_correctness=shares, correctness=shares)
    assert is_share(one("clean_accuracy", frame), 3, 4)
    assert is_share(one("robust_accuracy", frame), 2, 4)


def test_shares_that_are_none_are_refused() -> None:
    for shares, message in (
        ([1.5, 0.5], r"shares, got 1\.5"),
        ([-0.5, 0.5], r"shares, got -0\.5"),
        ([0.5, math.nan], "1 of 2 samples have no share"),
    ):
        with pytest.raises(MetricError, match=message):
            one("clean_accuracy", rows(2, clean_correctness=shares))
    with pytest.raises(MetricError, match="more often than its clean image"):
        one("robust_accuracy", rows(2, clean_correctness=[1.0, 0.5], correctness=[0.5, 0.6]))
    with pytest.raises(MetricError, match="can't be robust"):  # the verdicts are looked at in any case
        one("robust_accuracy", rows(2, success=[True, False], clean_correctness=1.0, correctness=[0.4, 0.6]))


# -- detection -----------------------------------------------------------------------------------------------------


def detected(n: int, seed: int, *, ties: bool = False) -> pd.DataFrame:
    """A detector that accepts margins of at most 0, and an attack that it half sees."""
    generator = np.random.default_rng(seed)
    clean, judged = generator.normal(-1.5, 1, n), generator.normal(0.0, 1, n)
    if ties:
        clean, judged = clean.round(), judged.round()
    correct = (generator.random(n) < 0.8) & (clean <= 0)
    return rows(
        n,
        clean_correct=correct,
        robust=correct,
        linf=np.where(generator.random(n) < 0.9, 0.1, 0.0),
        clean_rejected=clean > 0,
        rejected=judged > 0,
        clean_rejection_margin=clean,
        rejection_margin=judged,
    )


def scores(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Judged margins of the attacked, clean margins of all, and the truth over both in this order."""
    judged = frame["rejection_margin"][frame["clean_correct"] & (frame["linf"] > 0)].to_numpy()
    clean = frame["clean_rejection_margin"].to_numpy()
    return judged, clean, np.r_[np.ones(len(judged)), np.zeros(len(clean))]


def test_shares_of_a_detector() -> None:
    frame = rows(
        6,
        clean_rejection_margin=[-1.0, -1.0, 1.0, -1.0, -1.0, 2.0],
        clean_rejected=[False, False, True, False, False, True],
        clean_correct=[True, True, False, True, False, False],
        robust=[True, False, False, True, False, False],
        success=[False, True, False, False, False, False],
        linf=[0.1, 0.1, 0.1, 0.0, 0.1, 0.1],
        rejection_margin=[1.0, -1.0, 1.0, -1.0, 1.0, 1.0],
        rejected=[True, False, True, False, True, True],
    )
    assert is_share(one("false_positive_rate", frame), 2, 6)
    assert is_share(one("detection_rate", frame), 1, 2)  # of samples 0 and 1; 3 was not moved
    assert is_share(one("accuracy_with_rejection", frame), 3, 4)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_scikit_learns(seed: int, ties: bool) -> None:
    frame = detected(211, seed, ties=ties)
    judged, clean, truth = scores(frame)
    estimate = one("detector_auc", frame)
    assert estimate.value == pytest.approx(reference.roc_auc_score(truth, np.r_[judged, clean]), abs=1e-12)
    assert estimate.n == len(judged)
    assert estimate.low < estimate.value < estimate.high


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [7, 20, 60, 199, 400])
def test_the_rate_is_on_scikit_learns_curve(n: int, ties: bool) -> None:
    frame = detected(n, n, ties=ties)
    judged, clean, truth = scores(frame)
    fpr, tpr, _ = reference.roc_curve(truth, np.r_[judged, clean], drop_intermediate=False)
    estimate = one("tpr_at_5_fpr", frame)
    assert estimate.value == pytest.approx(tpr[fpr <= 0.05 + 1e-12].max(), abs=1e-12)
    assert estimate.n == len(judged)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_the_interval_of_the_area_agrees_with_delongs() -> None:
    """With everything attacked and independent of its clean image, DeLong et al. (1988) is the known answer."""
    n = 1500
    frame = detected(n, 5).assign(linf=0.1, clean_correct=True, robust=True)
    judged, clean, _ = scores(frame)
    wins = (judged[:, None] > clean[None]).astype(float)
    variance = wins.mean(1).var(ddof=1) / n + wins.mean(0).var(ddof=1) / n
    estimate = one("detector_auc", frame)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.1)
    assert estimate.high + estimate.low == pytest.approx(2 * wins.mean(), abs=2e-3)


def test_positive_and_negative_of_one_image_stay_together() -> None:
    """Where the attack raises every margin by the same amount, the pairs cancel most of the spread."""
    n = 600
    clean = np.random.default_rng(1).normal(size=n)
    paired = rows(n, clean_rejection_margin=clean, rejection_margin=clean + 1, clean_rejected=clean > 3)
    apart = paired.assign(rejection_margin=np.random.default_rng(2).permutation(clean + 1))
    widths = [one("detector_auc", frame) for frame in (paired, apart)]
    assert widths[0].value == pytest.approx(widths[1].value)
    assert widths[0].high - widths[0].low < 0.7 * (widths[1].high - widths[1].low)


@pytest.mark.parametrize("name", ["detector_auc", "tpr_at_5_fpr"])
def test_the_order_of_the_rows_does_not_matter(name: str) -> None:
    frame = detected(150, 3, ties=True)
    assert one(name, frame) == one(name, frame.sample(frac=1, random_state=1).reset_index(drop=True))


def test_detectors_that_see_everything_and_nothing() -> None:
    sees = rows(40, clean_rejection_margin=-np.arange(1.0, 41), rejection_margin=math.inf)
    assert one("detector_auc", sees) == Estimate(value=1.0, low=1.0, high=1.0, n=40)
    assert one("tpr_at_5_fpr", sees) == Estimate(value=1.0, low=1.0, high=1.0, n=40)
    blind = rows(40, clean_rejection_margin=-1.0, rejection_margin=-1.0)
    assert one("detector_auc", blind).value == 0.5
    assert one("tpr_at_5_fpr", blind).value == 0.0
    single = rows(3, clean_rejection_margin=-1.0, rejection_margin=1.0, linf=[0.1, 0.0, 0.0])
    assert one("detector_auc", single) == Estimate(value=1.0, n=1)


@pytest.mark.parametrize("name", DETECTION)
def test_without_a_detector_there_is_nothing(name: str) -> None:
    assert one(name, rows(5)) == NOTHING
    assert one(name, rows(5).drop(columns=["clean_rejection_margin", "rejection_margin"])) == NOTHING
    partly = rows(5, clean_rejection_margin=[math.nan, -1.0, -1.0, -1.0, -1.0], rejection_margin=-1.0)
    assert one(name, partly) == NOTHING


@pytest.mark.parametrize("name", ["detection_rate", "detector_auc", "tpr_at_5_fpr"])
def test_without_attacked_samples_nothing_is_detected(name: str) -> None:
    assert one(name, rows(5, linf=0.0, clean_rejection_margin=-1.0, rejection_margin=-1.0)) == NOTHING
    wrong = rows(5, clean_correct=False, robust=False, clean_rejection_margin=-1.0, rejection_margin=-1.0)
    assert one(name, wrong) == NOTHING
    # what was not attacked needs no margin
    some = rows(5, linf=[0.1] * 3 + [0.0] * 2, clean_rejection_margin=-1.0, rejection_margin=[1.0] * 3 + [math.nan] * 2)
    assert one(name, some).n == 3


def test_a_detector_that_rejects_everything_accepts_nothing() -> None:
    frame = rows(
        5, clean_rejected=True, clean_correct=False, robust=False, clean_rejection_margin=1.0, rejection_margin=1.0
    )
    assert one("false_positive_rate", frame).value == 1
    assert one("accuracy_with_rejection", frame) == NOTHING


@settings(max_examples=20)
@given(st.integers(2, 40), st.integers(0, 10**6))
def test_the_area_turns_round_with_the_margins(n: int, seed: int) -> None:
    frame = detected(n, seed, ties=True)
    turned = frame.assign(
        clean_rejection_margin=-frame["clean_rejection_margin"], rejection_margin=-frame["rejection_margin"]
    )
    area, other = one("detector_auc", frame), one("detector_auc", turned)
    assert area.n == other.n
    if area.value is not None:
        assert area.value + other.value == pytest.approx(1)


# -- restoration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUALITY)
def test_quality_is_a_mean_over_what_has_a_value(name: str) -> None:
    values = [20.0, math.nan, 40.0, 33.0, math.nan]
    assert one(name, rows(5, **{name: values})) == estimates.mean(np.array([20.0, 40.0, 33.0]))
    assert one(name, rows(5, **{name: values})).n == 3
    assert one(name, rows(2, **{name: [-0.5, 0.0]})).value == -0.25  # structures may be turned round
    with pytest.raises(MetricError, match=f"column {name} must hold finite numbers"):
        one(name, rows(2, **{name: [math.inf, 0.0]}))


def test_what_a_defense_gives_back_and_breaks() -> None:
    frame = rows(
        8,
        #                 restored, broken, rejected, not fooled, bare wrong, damaged, rejected clean, robust
        bare_prediction=[1, 1, 1, 1, 0, 1, 1, 1],
        bare_adversarial_prediction=[0, 2, 0, 1, 0, 0, 1, 1],
        adversarial_prediction=[1, 0, 1, 1, 1, 0, 1, 1],
        rejected=[False, False, True, False, False, False, False, False],
        clean_correct=[True, True, True, True, True, False, False, True],
        success=[False, True, False, False, False, False, False, False],
        robust=[True, False, True, True, True, False, False, True],
    )
    assert is_share(one("label_restoration_rate", frame), 1, 4)  # of samples 0, 1, 2 and 5
    assert is_share(one("clean_damage", frame), 2, 7)
    assert is_share(one("defense_success_rate", frame), 5, 6)
    broken = one("attack_success_rate", frame)
    kept = one("defense_success_rate", frame)
    assert (kept.value, kept.low, kept.high) == pytest.approx((1 - broken.value, 1 - broken.high, 1 - broken.low))


def test_a_bare_model_that_is_never_right_or_never_fooled() -> None:
    never_right = rows(3, bare_prediction=0, bare_adversarial_prediction=0)
    assert one("label_restoration_rate", never_right) == NOTHING
    assert one("clean_damage", never_right) == NOTHING
    never_fooled = rows(3, bare_prediction=1, bare_adversarial_prediction=1)
    assert one("label_restoration_rate", never_fooled) == NOTHING
    assert is_share(one("clean_damage", never_fooled), 0, 3)


@pytest.mark.parametrize("name", RESTORATION)
def test_without_a_defense_there_is_nothing(name: str) -> None:
    assert one(name, rows(5)) == NOTHING
    older = [*QUALITY, "bare_prediction", "bare_adversarial_prediction"]
    assert one(name, rows(5).drop(columns=older)) == NOTHING
    if name in RESTORATION[6:9]:
        partly = rows(3, bare_prediction=[1, -1, 1], bare_adversarial_prediction=[0, -1, 0])
        assert one(name, partly) == NOTHING
