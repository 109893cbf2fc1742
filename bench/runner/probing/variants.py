"""Which attack of a row the probes vary, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench import registry
from bench.audit.evidence import kind
from bench.registry import Entry
from bench.store.cell_outcome import CellOutcome
from bench.store.outcomes import RowOutcome
from bench.suites.naming import with_defaults
from bench.suites.spec import AttackSpec

STEPS = 50
"""Fewest steps of the probe with more steps."""
RESTARTS = 3
"""By what the probe with more restarts multiplies them."""


@dataclass(frozen=True, slots=True)
class Variants:
    """What the probes run in the place of a row's strongest white-box attack.

    Attributes:
        growth: at several eps.
        more_steps: with at least twice its steps.
        more_restarts: with three times its restarts.
        large_eps: at an eps at which nothing can stand.
    """

    growth: AttackSpec
    more_steps: AttackSpec
    more_restarts: AttackSpec
    large_eps: AttackSpec


def strongest(row: RowOutcome) -> CellOutcome | None:
    """The finished white-box cell of the suite that leaves least; of equals the one without stages. ``None`` without any."""
    found = [cell for cell in row.of("suite") if cell.status == "done" and kind(cell) in ("white-box", "ensemble")]
    return min(found, key=lambda cell: (cell.correctness.sum(), kind(cell) == "ensemble"), default=None)


def variants(spec: AttackSpec, norm: str, radius: float) -> Variants:
    """The variants of one attack.

    An ensemble, an attack of a third party and one whose steps can't be set are varied by Auto-PGD on the margin in
    their place.

    Args:
        spec: the attack, with its defaults filled in.
        norm: of the threat model.
        radius: eps; more steps that are too small to cross the ball get the attack's own step size.
    """
    entry = registry.attacks.entry(spec.name)
    known = set(entry.params.model_fields) if entry.params is not None else set()
    ours = entry.origin == "bench"
    if spec.name == "fgsm":
        loss = spec.args.get("loss", "ce")
        many = _spec("pgd", steps=STEPS, loss=loss)
        return Variants(spec, many, _spec("pgd", steps=20, restarts=RESTARTS, loss=loss), many)
    plain = ours and entry.facts.get("kind") == "white-box" and "steps" in known
    if not plain:
        growth = spec if not ours and not entry.facts.get("minimum_norm") else _auto(steps=STEPS)
        large = spec if ours else _auto(steps=STEPS)
        return Variants(growth, _auto(steps=200), _auto(steps=STEPS, restarts=RESTARTS), large)
    steps = int(spec.args.get("steps", 1))
    longer = _with(spec, entry, steps=max(2 * steps, STEPS))
    alpha = spec.args.get("alpha")
    if alpha is not None and alpha * longer.args["steps"] < 2 * radius:
        longer = _with(longer, entry, alpha=None)
    minimum = entry.facts.get("minimum_norm", False)
    by_distance = norm in minimum if isinstance(minimum, tuple) else bool(minimum)
    restarts = _with(spec, entry, restarts=RESTARTS * int(spec.args.get("restarts", 1)))
    if not _takes(entry, "restarts", norm):
        restarts = _auto(steps=STEPS, restarts=RESTARTS)
    if by_distance:  # one that looks for near points may well find none in a huge ball
        return Variants(_auto(steps=STEPS), longer, restarts, _auto(steps=STEPS))
    large = spec if not _takes(entry, "alpha", norm) else _with(spec, entry, alpha=None, steps=max(steps, 20))
    return Variants(spec, longer, restarts, large)


def _takes(entry: Entry, name: str, norm: str) -> bool:
    known = set(entry.params.model_fields) if entry.params is not None else set()
    norms = entry.facts.get("parameter_norms", {}).get(name)
    return name in known and (norms is None or norm in norms)


def _with(spec: AttackSpec, entry: Entry, **changed: Any) -> AttackSpec:  # Any: the attack's own parameters
    known = set(entry.params.model_fields) if entry.params is not None else set()
    args = {**spec.args, **{name: value for name, value in changed.items() if name in known}}
    return spec.model_copy(update={"args": args})


def _auto(**args: Any) -> AttackSpec:  # Any: the attack's own parameters
    return _spec("apgd", loss="margin", **args)


def _spec(name: str, **args: Any) -> AttackSpec:  # Any: the attack's own parameters
    entry = registry.attacks.entry(name)
    return AttackSpec(id=name, name=name, backend=entry.facts.get("backend"), args=with_defaults(entry.params, args))


def single_step(norm: str) -> AttackSpec | None:
    """FGSM, where it works under the norm."""
    return _spec("fgsm") if norm in registry.attacks.entry("fgsm").norms else None


def gradient_free(norm: str, queries: int) -> AttackSpec | None:
    """Square, where it works under the norm."""
    return _spec("square", n_queries=queries) if norm in registry.attacks.entry("square").norms else None


def source(norm: str) -> AttackSpec:
    """What makes the examples that are tried on other models."""
    return _spec("pgd", steps=20) if norm in registry.attacks.entry("pgd").norms else _spec("apgd", steps=20)
