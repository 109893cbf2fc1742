"""What a suite leaves out of the evaluation of a defense: in the record of a run, and in what is evaluated in memory."""

from __future__ import annotations

from bench.store.records import Flag
from bench.suites.cells import Cell
from bench.suites.spec import Suite

SOURCE = "Tramer et al. 2020, arXiv:2002.08347"


def weak_adversary(suite: Suite, cell: Cell) -> list[Flag]:
    """Flags of a defended cell whose row lacks an adversary; none for the bare model.

    Args:
        suite: says who attacks.
        cell: one of its cells.
    """
    if cell.defense.name == "none":
        return []
    if "adaptive" not in suite.adversaries:
        text = "only an oblivious adversary: nobody who knows the defense has attacked it"
        return [Flag(rule="no-adaptive-attack", severity="warning", message=text, source=SOURCE)]
    if suite.run.gradient_free_queries == 0:
        text = "the gradient-free attack is switched off (run.gradient_free_queries: 0): masked gradients would go unnoticed"
        return [Flag(rule="no-gradient-free-attack", severity="warning", message=text, source=SOURCE)]
    return []
