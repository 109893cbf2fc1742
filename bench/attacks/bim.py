"""BIM, the basic iterative method.

Kurakin et al. 2017, Adversarial Examples in the Physical World, arXiv:1607.02533.
"""

from __future__ import annotations

from typing import ClassVar

from bench.attacks.parameters import BIMParams, PGDParams
from bench.attacks.pgd import PGD

DEFAULT_REACH = 1.25
"""The default steps together reach 1.25 eps: the paper takes steps of one grey level, at most 1.25 eps of them."""


class BIM(PGD):
    """PGD on the cross-entropy from the clean image.

    Args:
        params: the number of steps and their size.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    backends: ClassVar[dict[str, str]] = {}

    def __init__(self, params: BIMParams) -> None:
        super().__init__(PGDParams(steps=params.steps, alpha=params.alpha, random_start=False))

    def alpha(self, radius: float) -> float:
        """The step size in [0, 1] units: as given, else such that all steps together reach 1.25 eps."""
        return min(radius, DEFAULT_REACH * radius / self.steps) if self.params.alpha is None else self.params.alpha
