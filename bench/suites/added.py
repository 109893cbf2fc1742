"""The attacks that the harness adds to the rows of a defense, whatever the suite asks for."""

from __future__ import annotations

from collections.abc import Sequence

from bench import registry
from bench.suites.combine import Combined
from bench.suites.declared import declared
from bench.suites.naming import entry_of, with_defaults
from bench.suites.spec import AttackSpec, Suite

ADAM = "adam_pgd"
"""What a row gets whose defense rejects: detectors on pixels know the signed steps of most attacks."""


def against_detector(suite: Suite, adaptive: Sequence[Combined]) -> AttackSpec | None:
    """PGD with Adam's steps, for a row whose defense rejects; ``None`` where it is off, there already or of no use.

    Args:
        suite: says how many steps.
        adaptive: the row's combinations whose attacker knows the defense.
    """
    steps = suite.run.detector_steps
    if not adaptive or steps == 0 or not declared(adaptive[0].defense).rejects:
        return None
    return _attack(ADAM, "steps", steps, adaptive, name=f"{ADAM}-{steps}")


def gradient_free(suite: Suite, adaptive: Sequence[Combined]) -> AttackSpec | None:
    """The small attack without gradients that every defended row gets; ``None`` where it is off or there already.

    Args:
        suite: says how many queries.
        adaptive: the row's combinations whose attacker knows the defense.
    """
    queries = suite.run.gradient_free_queries
    if not adaptive or queries == 0:
        return None
    return _attack("square", "n_queries", queries, adaptive, name="square")


def _attack(kind: str, key: str, size: int, adaptive: Sequence[Combined], *, name: str) -> AttackSpec | None:
    """An attack of a size, unless the row has it in that size or a larger one, or it doesn't know the norm."""
    entry = entry_of(registry.attacks, kind)
    if entry is None or (entry.norms and adaptive[0].threat_model.norm not in entry.norms):
        return None
    if any(one.attack.name == kind and _size(one.attack, key) >= size for one in adaptive):
        return None
    taken = {one.attack.id for one in adaptive}
    args = with_defaults(entry.params, {key: size})
    own = name if name not in taken else f"{name}-{size}"
    return AttackSpec(id=own, name=kind, backend=entry.facts.get("backend"), args=args)


def _size(attack: AttackSpec, key: str) -> int:
    size = attack.args.get(key, 0)
    return size if isinstance(size, int) else 0
