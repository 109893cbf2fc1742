"""Certified accuracy against the radius, from the certificates of the records.

Cohen et al. 2019, Certified Adversarial Robustness via Randomized Smoothing, arXiv:1902.02918. Unlike a robust accuracy, it
is a lower bound: no attack within the radius can do more harm, up to the error that each certificate is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.stats import wilson
from bench.store.cell_outcome import CellOutcome, FloatArray
from bench.store.outcomes import RowOutcome, RunOutcome


class Certainty(NamedTuple):
    """The certified accuracy at one radius, with its 95 % interval over the sampling of images; shares in [0, 1]."""

    radius: float
    certified_accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Certificates:
    """The certificates of one (model, defense).

    Attributes:
        model: id of the model.
        defense: the defense's name in tables.
        label: both, for people.
        norm: of the radii.
        alpha: probability with which each certificate may be wrong; ``None`` where the record doesn't tell.
        radii: within which each image is certified to be right, shape (N,): 0 where the defense abstains, or is wrong on the
            clean image.
    """

    model: str
    defense: str
    label: str
    norm: str
    alpha: float | None
    radii: FloatArray

    def at(self, places: Iterable[float]) -> list[Certainty]:
        """The share of images that are certified to be right at these radii; at 0, at any radius at all."""
        ordered, found = np.sort(self.radii[self.radii > 0]), []
        for radius in places:
            holding = len(ordered) - int(np.searchsorted(ordered, radius, side="left"))
            interval = wilson(holding, len(self.radii))
            found.append(Certainty(float(radius), holding / len(self.radii), interval.low, interval.high))
        return found

    def places(self, most: int = 200) -> list[float]:
        """Radii beyond which the share falls, from 0; so many at even distances where it falls more often."""
        steps = np.unique(np.append(self.radii, 0.0))
        if len(steps) > most:
            steps = np.linspace(0.0, float(steps[-1]), most)
        return [float(step) for step in steps]


def certificates(outcome: RunOutcome) -> list[Certificates]:
    """Those of every row that has valid ones, in the suite's order.

    A certificate doesn't depend on eps: of several radii of the suite the first is taken.
    """
    found: dict[tuple[str, str], Certificates] = {}
    for row in outcome.rows:
        for cell in row.of("certificate"):
            if cell.valid and (row.threat_model.norm, row.label) not in found:
                found[row.threat_model.norm, row.label] = _certificates(row, cell)
    return list(found.values())


def _certificates(row: RowOutcome, cell: CellOutcome) -> Certificates:
    """As the tables count: an image on which the prediction itself is wrong or abstains is not certified."""
    radii = np.where(cell.clean_correct, np.nan_to_num(cell.certified_radius), 0.0)
    return Certificates(row.model, row.defense, row.label, row.threat_model.norm, _alpha(cell), radii)


def _alpha(cell: CellOutcome) -> float | None:
    links = () if cell.result is None else cell.result.defense.links
    alpha = links[0].args.get("alpha") if links else None
    return float(alpha) if isinstance(alpha, int | float) else None
