"""Columns of a cell's rows as checked arrays: what isn't a number is refused here, for every metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    if name not in rows:
        raise ValueError(f"the rows have no column {name} (they have: {', '.join(map(str, rows.columns))})")
    return rows[name]
