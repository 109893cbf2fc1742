"""Columns of a cell's rows as checked arrays: what isn't a number is refused here, for every metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd


def flags(rows: pd.DataFrame, name: str) -> npt.NDArray[np.bool_]:
    """A column of truths, shape (N,).

    Raises:
        ValueError: where the column is missing, or holds anything but true and false.
    """
    column = _column(rows, name)
    if column.dtype == bool:
        return column.to_numpy()
    wrong = [value for value in column.tolist() if not isinstance(value, bool | np.bool_)]
    if wrong:
        raise ValueError(f"column {name} must hold true and false only, got {wrong[0]!r} in {len(wrong)} row(s)")
    return column.to_numpy(dtype=bool)


def numbers(rows: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """A column of finite numbers of at least 0, shape (N,).

    Raises:
        ValueError: where the column is missing, or holds NaN, infinity, a negative number or no number.
    """
    values = _column(rows, name).to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(values) | (values < 0)
    if wrong.any():
        sample = rows["sample_id"].iloc[int(np.argmax(wrong))] if "sample_id" in rows else int(np.argmax(wrong))
        raise ValueError(
            f"column {name} must hold finite numbers of at least 0, got {values[wrong][0]} for sample {sample}"
            f" ({int(wrong.sum())} such row(s))"
        )
    return values


def probabilities(rows: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """A column of probabilities, shape (N,); up to 1e-6 above 1 is rounding and is clipped.

    Raises:
        ValueError: as :func:`numbers`, and for anything above 1.
    """
    values = numbers(rows, name)
    if (values > 1 + 1e-6).any():
        raise ValueError(f"column {name} must hold probabilities, got {values.max()}")
    return np.minimum(values, 1.0)


def minimal_distances(rows: pd.DataFrame) -> npt.NDArray[np.float64] | None:
    """The smallest distances that a minimum-norm attack found, infinity where it found nothing, shape (N,).

    ``None`` where a sample has none (NaN): those that have one are no fair choice of the images.

    Raises:
        ValueError: where the column is missing, or holds a negative number or no number.
    """
    values = _column(rows, "minimal_distance").to_numpy(dtype=np.float64)
    if np.isnan(values).any():
        return None
    if (values < 0).any():
        raise ValueError(f"column minimal_distance must hold numbers of at least 0, got {values.min()}")
    return values


def clean_correct(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which samples are correct on the clean image, shape (N,)."""
    return flags(rows, "clean_correct")


def successes(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which samples have a verified success, shape (N,).

    Raises:
        ValueError: where a success was not clean-correct, so that the rows contradict themselves.
    """
    success = flags(rows, "success")
    if (success & ~clean_correct(rows)).any():
        raise ValueError("column success: a sample that was wrong on the clean image can't be a success")
    return success


def robust(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which samples are clean-correct and unbroken, shape (N,).

    Raises:
        ValueError: where a robust sample was wrong on the clean image or has a verified success.
    """
    unbroken = flags(rows, "robust")
    if (unbroken & (successes(rows) | ~clean_correct(rows))).any():
        raise ValueError("column robust: a sample that is wrong on the clean image or broken can't be robust")
    return unbroken


def correctness(rows: pd.DataFrame, name: str) -> npt.NDArray[np.float64] | None:
    """Shares of the scoring draws in which each sample is right, shape (N,).

    ``None`` where the verdicts say it all: every share is 0 or 1, or there is none (files from before these columns).

    Args:
        rows: one row per sample of a cell.
        name: ``clean_correctness``, or ``correctness`` for the judged points.

    Raises:
        ValueError: for what is no share, where some samples of a stochastic defense have none, or where a judged point is
            right more often than its clean image.
    """
    shares = _optional(rows, name)
    if ((shares < 0) | (shares > 1)).any():
        raise ValueError(f"column {name} must hold shares, got {shares[(shares < 0) | (shares > 1)][0]}")
    missing = np.isnan(shares)
    if (missing | (shares == 0) | (shares == 1)).all():
        return None
    if missing.any():
        raise ValueError(f"column {name}: {int(missing.sum())} of {len(shares)} samples have no share")
    if name == "correctness" and (shares > _optional(rows, "clean_correctness") + 1e-9).any():
        raise ValueError("column correctness: a judged point can't be right more often than its clean image")
    return shares


def measured(rows: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """The numbers of a column that has some for some samples only, shape (at most N,); none where it is missing.

    Raises:
        ValueError: where the column holds infinity.
    """
    values = _optional(rows, name)
    if np.isinf(values).any():
        raise ValueError(
            f"column {name} must hold finite numbers, got infinity in {int(np.isinf(values).sum())} row(s)"
        )
    return values[~np.isnan(values)]


class Bare(NamedTuple):
    """What the bare model says, behind a defense."""

    clean_right: npt.NDArray[np.bool_]
    """whether it gives the label on the clean image, shape (N,)"""
    fooled: npt.NDArray[np.bool_]
    """whether it gives another class on the judged point, shape (N,)"""


def bare(rows: pd.DataFrame) -> Bare | None:
    """The bare model's answers; ``None`` where there is no defense, and in files from before these columns."""
    names = ("bare_prediction", "bare_adversarial_prediction")
    if any(name not in rows for name in names) or (rows[list(names)] < 0).any(axis=None):
        return None
    clean, judged, label = (_column(rows, name).to_numpy(dtype=np.int64) for name in (*names, "label"))
    return Bare(clean == label, judged != label)


class Margins(NamedTuple):
    """How far a detector's score lies above its threshold."""

    clean: npt.NDArray[np.float64]
    """on every clean image, shape (N,)"""
    judged: npt.NDArray[np.float64]
    """on every judged point, shape (N,)"""
    attacked: npt.NDArray[np.bool_]
    """the positives: clean-correct samples whose judged point isn't the clean image, shape (N,)"""


def margins(rows: pd.DataFrame) -> Margins | None:
    """The detector's margins; ``None`` without a detector, and where a sample that counts has none."""
    clean, judged = _optional(rows, "clean_rejection_margin"), _optional(rows, "rejection_margin")
    attacked = clean_correct(rows) & (numbers(rows, "linf") > 0)
    if np.isnan(clean).any() or np.isnan(judged[attacked]).any():
        return None
    return Margins(clean, judged, attacked)


def _optional(rows: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """A column that older files lack, NaN where there is nothing, shape (N,)."""
    return rows[name].to_numpy(dtype=np.float64) if name in rows else np.full(len(rows), np.nan)


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    if name not in rows:
        raise ValueError(f"the rows have no column {name} (they have: {', '.join(map(str, rows.columns))})")
    return rows[name]
