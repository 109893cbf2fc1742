"""Square attack.

Andriushchenko et al. 2020, Square Attack: a query-efficient black-box adversarial attack via random search,
arXiv:1912.00049. Run by the official AutoAttack's code (:mod:`bench.attacks.backends.autoattack`).
"""

from __future__ import annotations

from bench.attacks.backends.autoattack import ReferenceSquare


class Square(ReferenceSquare):
    """The attack that a suite means by ``square``."""
