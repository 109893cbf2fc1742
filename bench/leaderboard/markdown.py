"""The leaderboard as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tabulate import tabulate

from bench.leaderboard.agreement import AGREEMENT, agreement_grid, by_threat_model
from bench.leaderboard.audited import audit_grid, audit_heading, audit_line
from bench.leaderboard.corruption_grid import (
    BY_CORRUPTION,
    SEVERITY,
    by_corruption_grid,
    corruption_grid,
    corruption_heading,
    failures,
    severity_grid,
)
from bench.leaderboard.grid import BREAKERS, RESTORED, Grid, Words, breakers, grid, heading, percent, restorations, said
from bench.leaderboard.records import CellNumbers, CorruptionTable, Leaderboard, Note, Table, TransferMatrix
from bench.leaderboard.transfer_grid import (
    ABOUT,
    RATE,
    SUCCESS,
    rate_grid,
    success_grid,
    transfer_failures,
    transfer_heading,
)
from bench.store.records import Estimate

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")
_INSIDE_WORD = re.compile(r"(?<=[A-Za-z0-9])\\_(?=[A-Za-z0-9])")


def escape(text: str) -> str:
    """Text that Markdown shows as it is; an underscore inside a word needs nothing."""
    return _INSIDE_WORD.sub("_", _SPECIAL.sub(r"\\\1", text))


def _bold(text: str) -> str:
    return f"**{text}**"


WORDS = Words(escape=escape, bold=_bold)


def markdown(board: Leaderboard) -> str:
    """The tables as Markdown; below them the rules of the audit, and the metrics and the cost of every cell."""
    parts = [f"# {escape(board.suite)}"]
    if board.description:
        parts.append(escape(board.description))
    if board.note:
        parts.append(f"**Note:** {escape(board.note)}")
    for table in board.tables:
        parts += _table(board, table)
    if board.transfers:
        parts += [
            "## Transfer",
            escape(f"{ABOUT[0].upper()}{ABOUT[1:]}."),
            *(part for matrix in board.transfers for part in _transfer(matrix)),
        ]
    if board.corruptions is not None:
        parts += _corruptions(board, board.corruptions)
    if board.agreement:
        parts += ["## Agreement of libraries", AGREEMENT]
        for threat_model, lines in by_threat_model(board.agreement):
            parts += [f"### {escape(threat_model)}", _drawn(agreement_grid(lines, WORDS))]
    if board.audit is not None:
        parts += ["## Audit", escape(audit_heading(board.audit)), _drawn(audit_grid(board.audit, WORDS))]
    parts += ["## Cells", _legend(), _cells(board.cells)]
    return "\n\n".join(parts) + "\n"


def _table(board: Leaderboard, table: Table) -> list[str]:
    parts = [f"## {escape(table.threat_model)}", escape(heading(board, table)), _drawn(grid(table, WORDS))]
    for title, found in ((BREAKERS, breakers(table, WORDS)), (RESTORED, restorations(table, WORDS))):
        if found is not None:
            parts += [title, _drawn(found)]
    if table.notes:
        parts.append("\n".join(f"- ⚑{note.number} {escape(_said(note))}" for note in table.notes))
    return [*parts, _code(escape(audit_line(board, table)))]


def _transfer(matrix: TransferMatrix) -> list[str]:
    """The examples of each model on every other, by one attack under one threat model."""
    parts = [f"### {escape(transfer_heading(matrix))}"]
    for title, found in ((SUCCESS, success_grid(matrix, WORDS)), (RATE, rate_grid(matrix, WORDS))):
        parts += [title, _drawn(found)]
    lines = transfer_failures(matrix)
    return parts + (["\n".join(f"- {escape(line)}" for line in lines)] if lines else [])


def _corruptions(board: Leaderboard, table: CorruptionTable) -> list[str]:
    """Rows under common corruptions; every cell stands in ``corruptions.csv``."""
    heading = escape(corruption_heading(board, table))
    parts = ["## Common corruptions", heading, _drawn(corruption_grid(table, WORDS))]
    by_severity = severity_grid(table, WORDS)
    if by_severity is not None:
        parts += [SEVERITY, _drawn(by_severity)]
    parts += [BY_CORRUPTION, _drawn(by_corruption_grid(table, WORDS))]
    return parts + ["\n".join(f"- {escape(line)}" for line in lines) for lines in [failures(table)] if lines]


def _drawn(found: Grid) -> str:
    """A grid as a table."""
    align = found.align if found.rows else None
    return tabulate(found.rows, headers=found.headers, tablefmt="pipe", disable_numparse=True, colalign=align)


def _said(note: Note) -> str:
    """A note with its rule, its source and what to do."""
    source = f" ({note.source})" if note.source else ""
    advice = f" Advice: {note.advice}" if note.advice else ""
    return f"{said(note)} [{note.rule}]{source}{advice}"


def _code(text: str) -> str:
    """Commands as code."""
    return text.replace("\\`", "`")


def _legend() -> str:
    return (
        "Success: verified successes in % of the clean-correct images. Distance: median over the successes, in the threat"
        " model's norm and [0, 1] units. 8 bits: successes that are still one when the image is rounded to 8 bits, in %."
        " Confidence: mean probability of the wrong class over the successes, in %."
        " Reused: images that a smaller eps had broken, and that weren't attacked again. Passes: forward / backward per image."
    )


def _cells(cells: Sequence[CellNumbers]) -> str:
    headers = ("threat model", "model", "defense", "attack", "seed", "status", "success", "8 bits", "distance", "confidence",
               "reused", "passes", "seconds", "images/s")  # fmt: skip
    align = ("left",) * 4 + ("right",) + ("left",) + ("right",) * 8
    rows = [_cell(cell) for cell in cells]
    return tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=align if rows else None)


def _cell(cell: CellNumbers) -> tuple[str, ...]:
    found, cost = cell.metrics, cell.cost
    role = {
        "suite": "",
        "oblivious": " (oblivious)",
        "naive": " (naive)",
        "gradient_free": " (gradient-free)",
        "certificate": " (certificate)",
        "submitted": " (submitted)",
        "prerequisite": " (examples)",
        "transfer": "",
    }
    passes = [_number(found.get(name), "{:,.1f}") for name in ("forwards", "backwards")]
    return (
        cell.threat_model,
        escape(cell.model),
        escape(cell.defense),
        escape(cell.attack) + role[cell.role],
        str(cell.seed),
        cell.status,
        _percent(found.get("attack_success_rate")),
        "–" if cell.rounded is None else percent(cell.rounded),
        _number(found.get("median_distance"), "{:.4f}"),
        _percent(found.get("adversarial_confidence")),
        "–" if cost is None else f"{cost.reused:,}",
        " / ".join(passes),
        "–" if cost is None else f"{cost.seconds:,.1f}",
        "–" if cost is None or cost.images_per_second is None else f"{cost.images_per_second:,.1f}",
    )


def _percent(estimate: Estimate | None) -> str:
    return "–" if estimate is None or estimate.value is None else percent(estimate.value)


def _number(estimate: Estimate | None, form: str) -> str:
    return "–" if estimate is None or estimate.value is None else form.format(estimate.value)
