"""The cell that a record speaks of."""

from __future__ import annotations

from bench.store.records import CellResult
from bench.suites.cells import Cell


def recorded_cell(result: CellResult, precision: str) -> Cell:
    """The cell that a record speaks of.

    Args:
        result: the record.
        precision: of the run's suite, for records from before they kept their own.
    """
    asked = result.provenance.get("precision")
    return Cell(
        result.role,
        result.dataset,
        result.model,
        result.defense,
        result.threat_model,
        result.attack,
        result.adversary,
        result.seed,
        result.search,  # type: ignore[arg-type]
        str(asked) if asked else "float32" if result.role == "submitted" else precision,
        result.source,
    )
