"""Carlini-Wagner.

Carlini & Wagner 2017, Towards Evaluating the Robustness of Neural Networks, arXiv:1608.04644. Under L2 the paper's
minimum-norm attack (our own, or that of foolbox or ART); under Linf what the tables of the literature call CW: PGD on
the margin loss f6 (Madry et al. 2018, arXiv:1706.06083, section 5).
"""

from __future__ import annotations

from typing import Any, ClassVar

from bench.attacks.base import Attack
from bench.attacks.carlini_wagner import CWL2
from bench.attacks.parameters import CWParams, PGDParams
from bench.attacks.pgd import PGD


class CW(Attack):
    """What a suite means by ``cw``: :meth:`create` gives the attack for the norm."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    @classmethod
    def create(cls, params: Any, *, norm: str, backend: str | None) -> Attack:  # Any: as in the base class
        """PGD on the margin loss under Linf; Carlini-Wagner under L2, our own or a library's."""
        if not isinstance(params, CWParams):
            raise TypeError(f"cw takes CWParams, got {type(params).__name__}")
        if norm == "linf":
            return CWLinf(PGDParams(steps=params.steps, restarts=params.restarts, alpha=params.alpha, loss="margin"))
        if backend == "art":
            from bench.attacks.backends.art import ArtCW

            return ArtCW(params)
        if backend == "foolbox":
            from bench.attacks.backends.foolbox import FoolboxCW

            return FoolboxCW(params)
        return CWL2(params)


class CWLinf(PGD):
    """PGD on the margin loss."""

    norms: ClassVar[tuple[str, ...]] = ("linf",)
