"""Threat models: one file per norm family. ``build("linf", eps)`` gives the one that a suite names."""

from __future__ import annotations

from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING

from bench.errors import UnknownNameError

if TYPE_CHECKING:
    from bench.threat_models.base import ThreatModel

TABLE = {"linf": "bench.threat_models.linf:Linf", "l2": "bench.threat_models.l2:L2", "l1": "bench.threat_models.l1:L1"}


def build(norm: str, eps: Fraction) -> ThreatModel:
    """The threat model of a norm and a radius in [0, 1] units.

    Raises:
        UnknownNameError: for a norm that has no file here.
    """
    if norm not in TABLE:
        raise UnknownNameError("norm", norm, [], sorted(TABLE))
    module, _, name = TABLE[norm].partition(":")
    threat_model: ThreatModel = getattr(import_module(module), name)(eps)
    return threat_model
