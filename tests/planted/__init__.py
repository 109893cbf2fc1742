"""Evidence in which every rule of the audit must fire, in which it nearly does, and in which it can't look."""

from __future__ import annotations

from planted import adversary, black_box, claims, files, gradients, strength
from planted.case import Case

CASES: tuple[Case, ...] = (
    *files.CASES,
    *claims.CASES,
    *strength.CASES,
    *black_box.CASES,
    *gradients.CASES,
    *adversary.CASES,
)
"""For each rule several."""
