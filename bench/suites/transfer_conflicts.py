"""A ``transfer`` that can't work: names that no part of the suite has, selections that leave nothing to try."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import Problem, nearest
from bench.suites.combine import Combined, meets, names
from bench.suites.messages import shown
from bench.suites.sources import Sources
from bench.suites.spec import Suite
from bench.suites.transfer_cells import crossings, reusable

_FIELDS = {
    "sources": "model",
    "targets": "model",
    "defenses": "defense",
    "attacks": "attack",
    "threat_models": "threat_model",
}


def transfer_problems(suite: Suite, left: Sequence[Combined], sources: Sources) -> list[Problem]:
    """What is wrong with a suite's ``transfer``.

    Args:
        suite: one that is resolved.
        left: the combinations that ``include`` and ``exclude`` leave.
        sources: the lines that it was read from.
    """
    wanted = suite.transfer
    if wanted is None or not left:
        return []
    problems = []
    for key, field in _FIELDS.items():
        for place, pattern in enumerate(getattr(wanted, key)):
            if any(meets(field, pattern, one) for one in left):
                continue
            there = list(dict.fromkeys(name for one in left for name in names(field, one)[:1]))
            message = f"no {field.replace('_', ' ')} of this suite is called {shown(pattern)}{nearest(pattern, there)}"
            problems.append(sources.problem(("transfer", key, place), message, ", ".join(there)))
    if not problems and not crossings(suite, left):
        problems.append(
            sources.problem(("transfer",), f"nothing to try: {_why(suite)}", "a selection that leaves some")
        )
    return problems


def _why(suite: Suite) -> str:
    if len(suite.models) < 2:
        return "the suite has one model, and transfer takes the examples of one to another"
    if not any(reusable(attack) for attack in suite.attacks):
        return f"the examples of {', '.join(str(attack.id) for attack in suite.attacks)} can't be reused"
    return "no source meets another model as its target, under one threat model and with an attack whose examples can be reused"
