"""Metrics: one number of a cell each, with its 95 % interval over the sampling of images.

A metric is a pure function ``(rows, *, norm) -> Estimate`` over the rows of one cell
(:class:`bench.store.records.SampleRecord`), in a file of its own. Third parties add theirs through the entry point
``bench.metrics`` or a plugin's ``METRICS``. A number that isn't finite is refused, never averaged away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from bench import registry
from bench.errors import MetricError
from bench.registry import Entry
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


class Metric(Protocol):
    """What a metric is: a pure function of the rows of one cell."""

    def __call__(self, rows: pd.DataFrame, *, norm: str) -> Estimate:
        """The number of these rows.

        Args:
            rows: one row per sample, with the columns of :class:`bench.store.records.SampleRecord`.
            norm: norm of the cell's threat model: "linf", "l2", "l1" or "l0".
        """
        ...


TABLE: dict[str, Entry] = {
    name: Entry(f"bench.metrics.{name}:{name}", summary, facts={"unit": unit})
    for name, unit, summary in (
        (
            "clean_accuracy",
            "share",
            "correct on the clean images / all images; the mean over scoring draws behind a stochastic defense",
        ),
        (
            "robust_accuracy",
            "share",
            "clean-correct and unbroken / all images; the mean over scoring draws behind a stochastic defense: an upper bound",
        ),
        ("attack_success_rate", "share", "verified successes / clean-correct images"),
        ("median_distance", "distance", "median distance of the verified successes, in the threat model's norm"),
        ("mean_distance", "distance", "mean distance of the verified successes, in the threat model's norm"),
        (
            "median_minimal_distance",
            "distance",
            "median distance that a minimum-norm attack needed, over the clean-correct images, under search: strongest",
        ),
        ("clean_confidence", "share", "mean probability of the predicted class on the clean images"),
        ("adversarial_confidence", "share", "mean probability of the wrong class on the verified successes"),
        ("forwards", "passes", "forward passes per sample"),
        ("backwards", "passes", "backward passes per sample"),
        ("false_positive_rate", "share", "detector: clean images rejected / all images"),
        (
            "detection_rate",
            "share",
            "detector: judged points rejected / clean-correct samples whose judged point isn't the clean image",
        ),
        (
            "detector_auc",
            "share",
            "detector: area under its ROC curve, judged points of clean-correct samples against all clean images",
        ),
        (
            "tpr_at_5_fpr",
            "share",
            "detector: judged points of clean-correct samples above the threshold that 5 % of all clean images exceed",
        ),
        ("accuracy_with_rejection", "share", "detector: correct / accepted, on the clean images"),
        ("psnr", "dB", "purifier: mean PSNR of the judged point against the clean image, in dB"),
        ("psnr_purified", "dB", "purifier: mean PSNR of the purified judged point against the clean image, in dB"),
        ("ssim", "similarity", "purifier: mean SSIM of the judged point to the clean image"),
        ("ssim_purified", "similarity", "purifier: mean SSIM of the purified judged point to the clean image"),
        ("lpips", "distance", "purifier: mean LPIPS distance of the judged point from the clean image"),
        (
            "lpips_purified",
            "distance",
            "purifier: mean LPIPS distance of the purified judged point from the clean image",
        ),
        (
            "label_restoration_rate",
            "share",
            "defense: label given and accepted / judged points that fool the bare model, which was right on the clean image",
        ),
        (
            "clean_damage",
            "share",
            "defense: clean images misclassified or rejected / those that the bare model classifies right",
        ),
        (
            "defense_success_rate",
            "share",
            "defense: unbroken / clean-correct images, 1 - attack success rate: an upper bound",
        ),
    )
}


def compute(rows: pd.DataFrame, names: Sequence[str] = (), *, norm: str) -> dict[str, Estimate]:
    """The metrics of one cell.

    Args:
        rows: one row per sample, with the columns of :class:`bench.store.records.SampleRecord`.
        names: which metrics, in this order; every known one where none is given.
        norm: norm of the cell's threat model.

    Raises:
        UnknownNameError: for a name that no table knows.
        MetricError: where a metric raises or returns what isn't a finite estimate; the message names the metric.
    """
    return {name: _one(rows, name, norm) for name in names or registry.metrics.entries()}


def _one(rows: pd.DataFrame, name: str, norm: str) -> Estimate:
    registry.metrics.entry(name)  # an unknown name is the suite's mistake, not the metric's
    try:
        metric: Metric = registry.metrics.load(name)
        estimate = metric(rows.copy(), norm=norm)  # what one metric changes must not reach the next
    except Exception as error:
        raise MetricError(f"metric {name}: {type(error).__name__}: {error}") from error
    if not isinstance(estimate, Estimate):
        raise MetricError(f"metric {name}: returned {type(estimate).__name__}; a metric returns bench.store Estimate")
    numbers = (estimate.value, estimate.low, estimate.high)
    if any(number is not None and not math.isfinite(number) for number in numbers):
        raise MetricError(f"metric {name}: returned a number that isn't finite: {estimate!r}")
    return estimate
