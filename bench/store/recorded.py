"""The cells that records speak of."""

from __future__ import annotations

from bench.store.corrupted import CorruptionResult
from bench.store.records import CellResult
from bench.suites.cells import Cell
from bench.suites.corruption_cells import LIST, CorruptionCell
from bench.suites.corruptions import CorruptionSpec, CorruptionsSpec


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


def recorded_corruption(result: CorruptionResult) -> CorruptionCell:
    """The corruption cell that a record speaks of; where its images came from is among its facts.

    Args:
        result: the record.
    """
    kind = CorruptionSpec(name=result.corruption, severities=(result.severity,))
    return CorruptionCell(
        result.dataset,
        result.model,
        result.defense,
        result.corruption,
        result.severity,
        CorruptionsSpec(kinds=(kind,)),
        result.seed,
        LIST,
    )
