"""AutoAttack.

Croce & Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks,
arXiv:2003.01690. Run by the official code (:mod:`bench.attacks.backends.autoattack`).
"""

from __future__ import annotations

from bench.attacks.backends.autoattack import ReferenceAutoAttack


class AutoAttack(ReferenceAutoAttack):
    """The ensemble that a suite means by ``autoattack``."""
