"""What the audit's probes saw: small extra attacks on one fixed subset of a run's samples, ``probes/<row>-<hash>.json``.

Probes never count in a table: they show whether the attacks that do count were strong enough. Every verdict is the judge's,
in float32, as in a cell. Nothing is reused from smaller eps or from survivors of another attack.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from bench.store.records import SCHEMA_VERSION
from bench.suites.spec import AttackSpec


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProbeResult(_Record):
    """One probe: an attack on the n samples of the subset."""

    name: str
    """such as ``noise``, ``single-step``, ``more-steps``, ``large-eps``, ``transfer:other-model``"""
    attack: AttackSpec | None = None
    eps: str
    """exact, as a fraction"""
    broken: tuple[bool, ...] = ()
    """verified successes, by sample of the subset (by the majority of the scoring draws of a stochastic defense); none where
    the probe failed"""
    failed: str = ""
    """why there is no result, in one line"""
    seconds: float = 0.0
    details: dict[str, Any] = {}  # Any: JSON values


class Gradients(_Record):
    """What the model's gradients look like on the subset; shares of the clean-correct samples, in [0, 1]."""

    samples: int
    missing: float
    """no gradient reaches the image, or it isn't finite"""
    zero: float
    """the gradient of the margin is exactly zero, on the clean image and on a random point of the ball"""
    zero_loss: float
    """the gradient of the cross-entropy is exactly zero, though that of the margin isn't"""
    vanishing: float
    """the whole ball, taken as linear, would change the margin by less than a thousandth of it"""
    noise_cosine: float | None
    """median cosine between the gradients at a point and at one that tiny noise away; ``None`` where there is nothing to
    measure"""
    slope_error: float | None
    """median relative error of the gradient's own prediction for a tiny step along it; ``None`` where there is nothing to
    measure, and where the attacker's gradient is only meant to be near (BPDA, EOT)"""


class RowProbes(_Record):
    """All probes of one row, (model, defense) under one threat model."""

    schema_version: int = SCHEMA_VERSION
    key: str
    """hash of all that can change a probe's result: the row's cells, the subset, the probes' settings"""
    model: str
    defense: str
    """``none`` for the bare model"""
    threat_model: str
    """``norm:eps``, eps as an exact fraction"""
    positions: tuple[int, ...]
    """of the n samples of the subset, in the dataset's order"""
    clean_correct: tuple[bool, ...]
    probes: dict[str, ProbeResult]
    gradients: Gradients | None = None
    controls: dict[str, ProbeResult] = {}
    """by attack: what it breaks of a linear model whose breakable samples are known exactly; ``details`` has ``breakable``"""
    strongest: str = ""
    """the row's strongest white-box attack, which the probes vary"""
    failed: str = ""
    """why the row couldn't be probed at all, in one line"""
