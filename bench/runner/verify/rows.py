"""Whether the rows of a cell are those of its samples, and agree with themselves: what needs no model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bench import threat_models
from bench.datasets.base import Dataset
from bench.runner.verify.results import Found, Kind
from bench.suites.cells import Cell
from bench.suites.declared import declared
from bench.suites.spec import DefenseSpec
from bench.threat_models.base import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE

if TYPE_CHECKING:
    import pandas as pd

AnyArray = npt.NDArray[np.object_]
BoolArray = npt.NDArray[np.bool_]
_ROUNDING = 1e-6
_PASSES = ("forwards", "backwards")
_NORMS = ("linf", "l2", "l1")


class Rule(NamedTuple):
    """What the columns of a row must keep, and which rows don't."""

    broken: BoolArray
    """shape (N,)"""
    what: str
    shown: tuple[str, ...]
    """columns whose values say it"""


def check_images(rows: pd.DataFrame, dataset: Dataset, digests: AnyArray, cell: str, found: Found) -> pd.DataFrame:
    """Compares which image each row speaks of with the dataset.

    Args:
        rows: all rows of the cell.
        dataset: the images that the suite asks for.
        digests: of each of them, shape (N,).
        cell: id of the cell.
        found: gets the problems.

    Returns:
        The rows of samples that the suite asks for.
    """
    places = {sample: place for place, sample in enumerate(dataset.sample_ids)}
    place = np.array([places.get(sample, -1) for sample in rows["sample_id"]], dtype=np.int64)
    asked = place >= 0
    positions = rows["position"].to_numpy(dtype=np.int64)
    taken = ~asked & np.isin(positions, dataset.positions)
    _samples(found, cell, rows, taken, "clean-image", "the position is another sample's", "position")
    rows, place, positions = rows[asked].reset_index(drop=True), place[asked], positions[asked]
    moved = positions != dataset.positions[place]
    _samples(found, cell, rows, moved, "clean-image", "the position isn't the sample's", "position")
    labels = rows["label"].to_numpy(dtype=np.int64) != dataset.labels[place]
    _samples(found, cell, rows, labels, "clean-image", "the label isn't the dataset's", "label")
    other = rows["sample_digest"].to_numpy(dtype=object) != digests[place]
    _samples(found, cell, rows, other, "clean-image", "the digest isn't that of the dataset's image", "sample_digest")
    return rows


def check_rows(rows: pd.DataFrame, cell: Cell, identity: str, found: Found) -> None:
    """Whether every row agrees with itself.

    Args:
        rows: of one cell.
        cell: the cell.
        identity: its id.
        found: gets the problems.
    """
    for rule in _rules(rows, cell):
        _samples(found, identity, rows, rule.broken, "row", rule.what, *rule.shown)


def check_corrupted_rows(rows: pd.DataFrame, defense: DefenseSpec, identity: str, found: Found) -> None:
    """The same of a corruption cell.

    Args:
        rows: of one cell.
        defense: its defense.
        identity: its id.
        found: gets the problems.
    """
    for rule in _corrupted_rules(rows, declared(defense).stochastic):
        _samples(found, identity, rows, rule.broken, "row", rule.what, *rule.shown)


def _corrupted_rules(rows: pd.DataFrame, stochastic: bool) -> Iterator[Rule]:
    label = rows["label"].to_numpy()
    for share, verdict, prediction in (
        ("clean_correctness", "clean_correct", "clean_prediction"),
        ("correctness", "correct", "prediction"),
    ):
        values, right = rows[share].to_numpy(dtype=float), _flags(rows, verdict)
        yield Rule(~((values >= 0) & (values <= 1)), f"{share} is no share", (share,))
        yield Rule((values > 0.5) != right, f"{verdict} isn't the majority's", (share, verdict))
        if not stochastic:
            yield Rule(values != right, f"{share} isn't the verdict", (share, verdict))
            other = right & (rows[prediction].to_numpy() != label)
            yield Rule(other, f"{verdict} isn't what the prediction says", ("label", prediction))
    confidence = rows["confidence"].to_numpy(dtype=float)
    yield Rule(~((confidence >= 0) & (confidence <= 1 + _ROUNDING)), "confidence is no probability", ("confidence",))
    if not stochastic:
        rejected, correct = _flags(rows, "rejected"), _flags(rows, "correct")
        said = (rows["prediction"].to_numpy() == label) & ~rejected
        yield Rule(correct != said, "correct isn't what the prediction says", ("label", "prediction", "rejected"))


def _rules(rows: pd.DataFrame, cell: Cell) -> Iterator[Rule]:
    yield from _verdicts(rows, cell)
    yield from _shares(rows, cell)
    yield from _distances(rows, cell)
    for name in ("clean_confidence", "adversarial_confidence"):
        values = rows[name].to_numpy(dtype=float)
        yield Rule(~((values >= 0) & (values <= 1 + _ROUNDING)), f"{name} is no probability", (name,))
    for name in _PASSES:
        values = rows[name].to_numpy(dtype=float)
        yield Rule(~((values >= 0) & np.isfinite(values)), f"{name} is no number of passes", (name,))


def _verdicts(rows: pd.DataFrame, cell: Cell) -> Iterator[Rule]:
    correct, success, robust = (_flags(rows, name) for name in ("clean_correct", "success", "robust"))
    yield Rule(success & ~correct, "a success on an image that is wrong when clean", ("success", "clean_correct"))
    yield Rule(success & robust, "both broken and robust", ("success", "robust"))
    holds = correct & ~success
    if cell.role == "certificate":
        radius = float(cell.threat_model.eps)
        right = rows["certified_prediction"].to_numpy() == rows["label"].to_numpy()
        holds &= right & (rows["certified_radius"].to_numpy(dtype=float) >= radius)
    yield Rule(robust != holds, "robust isn't clean-correct and unbroken", ("clean_correct", "success", "robust"))
    yield Rule(
        (rows["stage"] != "").to_numpy(dtype=bool) & ~success, "a stage that broke it without a success", ("stage",)
    )
    moved = rows["linf"].to_numpy(dtype=float) > 0
    yield Rule(success & ~moved, "a success at the clean image itself", ("success", "linf"))
    if _by_draws(rows, cell):
        return
    label = rows["label"].to_numpy()
    clean = (rows["clean_prediction"].to_numpy() == label) & ~_flags(rows, "clean_rejected")
    yield Rule(correct != clean, "clean_correct isn't what the clean prediction says", ("label", "clean_prediction"))
    fooled = (rows["adversarial_prediction"].to_numpy() != label) & ~_flags(rows, "rejected")
    said = success if cell.role != "certificate" else correct & fooled
    yield Rule(
        said != (correct & fooled), "success isn't what the predictions say", ("label", "adversarial_prediction")
    )
    for name in ("clean", "adversarial"):
        margin, wrong = rows[f"{name}_margin"].to_numpy(dtype=float), rows[f"{name}_prediction"].to_numpy() != label
        broken = np.isnan(margin) | (wrong & (margin > 0)) | (~wrong & (margin < 0))
        yield Rule(broken, f"{name}_margin has the wrong sign", (f"{name}_margin", f"{name}_prediction"))


def _shares(rows: pd.DataFrame, cell: Cell) -> Iterator[Rule]:
    """Files from before these columns have NaN there."""
    correct, success = _flags(rows, "clean_correct"), _flags(rows, "success")
    clean, judged = (rows[name].to_numpy(dtype=float) for name in ("clean_correctness", "correctness"))
    half = np.isnan(clean) != np.isnan(judged)
    yield Rule(half, "one of the two shares is missing", ("clean_correctness", "correctness"))
    known = ~np.isnan(clean) & ~np.isnan(judged)
    for name, values in (("clean_correctness", clean), ("correctness", judged)):
        yield Rule(known & ~((values >= 0) & (values <= 1)), f"{name} is no share", (name,))
    above = known & (judged > clean + 1e-9)
    yield Rule(above, "right more often under attack than clean", ("clean_correctness", "correctness"))
    yield Rule(known & ((clean > 0.5) != correct), "clean_correct isn't the majority's", ("clean_correctness",))
    if cell.role != "certificate":
        broken = known & ((correct & (judged < 0.5)) != success)
        yield Rule(broken, "success isn't the majority's", ("success", "correctness"))
    if not _by_draws(rows, cell):
        for name, values, verdict in (
            ("clean_correctness", clean, correct),
            ("correctness", judged, _flags(rows, "robust")),
        ):
            yield Rule(known & (values != verdict), f"{name} isn't the verdict", (name,))


def _distances(rows: pd.DataFrame, cell: Cell) -> Iterator[Rule]:
    ball = threat_models.build(cell.threat_model.norm, cell.threat_model.eps)
    linf, l2, l1 = (rows[name].to_numpy(dtype=float) for name in _NORMS)
    old = np.isnan(l1)
    l1 = np.where(old, np.inf, l1)
    order = (linf >= 0) & (linf <= l2 * (1 + 1e-5) + _ROUNDING) & (l2 <= l1 * (1 + 1e-5) + _ROUNDING)
    yield Rule(~order, "distances that no image has", _NORMS)
    if ball.norm in _NORMS:
        most = ball.radius * (1 + RELATIVE_TOLERANCE) + ABSOLUTE_TOLERANCE
        beyond = rows[ball.norm].to_numpy(dtype=float) > most
        yield Rule(beyond, f"the judged point lies beyond eps {ball.radius:.6g}", (ball.norm,))
    minimal = rows["minimal_distance"].to_numpy(dtype=float)
    known = ~np.isnan(minimal)
    correct, success = _flags(rows, "clean_correct"), _flags(rows, "success")
    shown = ("minimal_distance", "success", "clean_correct")
    yield Rule(known & ~correct & (minimal != 0), "wrong when clean, but with a minimal distance", shown)
    near = minimal <= ball.radius
    yield Rule(known & correct & (near != success), "the minimal distance and success disagree about eps", shown)
    yield Rule(known & (minimal < 0), "a minimal distance below 0", shown)


def _by_draws(rows: pd.DataFrame, cell: Cell) -> bool:
    """Whether verdicts are those of a majority of draws."""
    shares = rows[["clean_correctness", "correctness"]].to_numpy(dtype=float)
    return declared(cell.defense).stochastic or bool(((shares > 0) & (shares < 1)).any())


def _flags(rows: pd.DataFrame, name: str) -> BoolArray:
    return rows[name].to_numpy(dtype=bool)


def _samples(
    found: Found, cell: str, rows: pd.DataFrame, broken: BoolArray, kind: Kind, what: str, *shown: str
) -> None:
    if not broken.any():
        return
    first = rows[broken].iloc[0]
    detail = ", ".join(f"{name} {_shown(first[name])}" for name in shown)
    found.add(kind, what, cell=cell, samples=rows["sample_id"][broken], detail=detail)


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
