"""The notes under a table: why a number is missing, what the audit found, what a comparison shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bench.leaderboard.records import Note
from bench.stats import paired, paired_difference
from bench.store.audit import Finding
from bench.store.outcomes import CellOutcome, RowOutcome, least_correct, unbroken
from bench.store.published import Published, other_radius
from bench.store.records import Flag
from bench.suites.declared import declared

Severity = Literal["info", "warning", "invalid", "failed"]
_MANY = 5
"""Up to so many rows are named in a note; more are counted."""
_WORDS = {"error": "error: ", "unavailable": "n/a: ", "partial": "", "missing": ""}


class Notes(NamedTuple):
    """The notes of a table, and which of them stand beside each row."""

    notes: tuple[Note, ...]
    marks: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Remark:
    """What is said, whoever it is said of."""

    text: str
    severity: Severity
    source: str = ""


def collect(rows: Sequence[RowOutcome], published: Mapping[str, Published | None], unplaced: Sequence[str]) -> Notes:
    """The notes of a table, numbered in the order of its rows; what is said of several rows is said once.

    Args:
        rows: the rows of the table.
        published: by label of the row, what RobustBench has published for it.
        unplaced: ids of unfinished cells that belong to no row.
    """
    said: dict[_Remark, dict[str, list[str]]] = {}
    attacks = dict.fromkeys(cell.attack for row in rows for cell in row.of("suite"))
    for row in rows:
        for cell in row.cells:
            for remark in _of_cell(cell):
                said.setdefault(remark, {}).setdefault(row.label, []).append(_name(cell))
        bare = next((one for one in rows if one.bare and one.model == row.model), None)
        about = (
            *_audited(row),
            *_of_row(row, attacks, bare),
            *_submitted(row),
            *_of_published(row, published[row.label]),
        )
        for remark in about:
            said.setdefault(remark, {}).setdefault(row.label, [])
        if unplaced:
            text = f"{len(unplaced)} cell(s) aren't finished, and their names don't tell which row they belong to"
            said.setdefault(_Remark(text, "failed"), {}).setdefault(row.label, [])
    notes = tuple(
        Note(
            number=number,
            subject=_subject(where, rows),
            text=remark.text,
            severity=remark.severity,
            source=remark.source,
        )
        for number, (remark, where) in enumerate(said.items(), start=1)
    )
    marks = {
        row.label: tuple(number for number, where in enumerate(said.values(), start=1) if row.label in where)
        for row in rows
    }
    return Notes(notes, marks)


def _of_cell(cell: CellOutcome) -> list[_Remark]:
    remarks = []
    if cell.status != "done":
        remarks.append(_Remark(_one_line(_WORDS[cell.status] + cell.reason), "failed"))
    marks: tuple[Flag | Finding, ...] = (*(() if cell.result is None else cell.result.flags), *cell.findings)
    for mark in marks:
        remarks.append(_Remark(_one_line(mark.message), mark.severity, _one_line(mark.source)))
    return list(dict.fromkeys(remarks))


def _audited(row: RowOutcome) -> list[_Remark]:
    return [_Remark(_one_line(one.message), one.severity, _one_line(one.source)) for one in row.findings]


def _of_row(row: RowOutcome, attacks: Iterable[str], bare: RowOutcome | None) -> list[_Remark]:
    own = {cell.attack for cell in row.of("suite")}
    who = [role for role in ("oblivious", "naive") if row.of(role)]
    if not own and who:
        text = f"only the {' and the '.join(who)} adversary attacked it: an attacker who knows the defense does better"
        return [_Remark(text, "warning")]
    remarks = []
    lacking = [attack for attack in attacks if attack not in own]
    if lacking:
        remarks.append(_Remark(f"not attacked with {', '.join(lacking)}, as other rows are", "warning"))
    return [
        *remarks,
        *(remark for remark in (_hides_the_gradient(row), _against_the_bare(row, bare), _contradiction(row)) if remark),
    ]


def _submitted(row: RowOutcome) -> list[_Remark]:
    """What people have broken with examples of their own, by author and what they say of them."""
    groups: dict[tuple[str, str], list[CellOutcome]] = {}
    for cell in row.of("submitted"):
        args = {} if cell.result is None else cell.result.attack.args
        groups.setdefault((str(args.get("author") or cell.attack), str(args.get("note") or "")), []).append(cell)
    remarks = []
    for (author, said), cells in groups.items():
        broken = row.clean_correct & ~unbroken(tuple(cells))
        others = tuple(cell for cell in row.attacked if cell not in cells)
        alone = int((broken & unbroken(others)).sum()) if others else int(broken.sum())
        text = f"{int(broken.sum())} image(s) broken by examples that {author} submitted" + (
            f" ({said})" if said else ""
        )
        remarks.append(_Remark(_one_line(f"{text}, {alone} of them by nothing else"), "info"))
    return remarks


def _contradiction(row: RowOutcome) -> _Remark | None:
    """Images that are certified at this radius, and that an attack broke within it."""
    cells = tuple(cell for cell in row.of("certificate") if cell.status == "done")
    if not cells:
        return None
    both = unbroken(cells) & ~row.worst
    if not both.any():
        return None
    return _Remark(
        f"{int(both.sum())} image(s) are certified at this radius, and yet an attack broke them within it: the certificate or "
        "its assumptions don't hold",
        "warning",
        "Cohen et al. 2019, arXiv:1902.02918",
    )


def _against_the_bare(row: RowOutcome, bare: RowOutcome | None) -> _Remark | None:
    """Whether a defense helps or harms under attack, on the same images."""
    if bare is None or row.bare or not row.complete or not bare.complete:
        return None
    difference, interval = paired_difference(row.worst_correctness, bare.worst_correctness)
    text = f"{100 * abs(difference):.1f} points ({100 * interval.low:+.1f} to {100 * interval.high:+.1f}, paired)"
    if interval.low > 0:
        return _Remark(
            f"under everything that attacked it here, more images stay right than without the defense: {text}. An upper bound: "
            "an attack made for this defense may well find more",
            "info",
        )
    if interval.high < 0:
        return _Remark(f"fewer images stay right under attack than without the defense: {text}", "info")
    return None


def _hides_the_gradient(row: RowOutcome) -> _Remark | None:
    """Whether significantly more survives an attacker who doesn't know the defense than one who does."""
    oblivious, adaptive = row.of("oblivious"), row.of("suite") + row.of("gradient_free")
    if not oblivious or not adaptive or any(cell.status != "done" for cell in oblivious + adaptive):
        return None
    unaware, aware = least_correct(oblivious), least_correct(adaptive)
    if unaware.sum() <= aware.sum() or paired(unaware, aware) >= 0.05:
        return None
    high, low = 100 * float(unaware.mean()), 100 * float(aware.mean())
    return _Remark(
        f"the oblivious number ({high:.1f}) is {high - low:.1f} points above the adaptive one ({low:.1f}):"
        + _what(row),
        "warning",
    )


def _what(row: RowOutcome) -> str:
    """What such a gap says of a defense."""
    results = [cell.result for cell in row.cells if cell.result is not None and cell.result.defense.name != "none"]
    if results and declared(results[0].defense).differentiable:
        return " whoever knows the defense finds other examples"
    return " the defense hides the gradient, it does not remove the examples"


def _of_published(row: RowOutcome, found: Published | None) -> list[_Remark]:
    if found is None:
        return []
    remarks = []
    if found.unreliable:
        remarks.append(_Remark("RobustBench marks its AutoAttack number as unreliable", "info", found.link))
    radius = other_radius(found, row.threat_model.eps)
    return [*remarks, _Remark(radius, "info")] if radius else remarks


def _subject(where: Mapping[str, Sequence[str]], rows: Sequence[RowOutcome]) -> str:
    """Which rows, and which of their attacks where it isn't all of them."""
    if len(where) == len(rows) > 1 and len(where) > 2:
        return "all rows"
    if len(where) > _MANY:
        return f"{len(where)} rows"
    every = {row.label: {_name(cell) for cell in row.cells} for row in rows}
    return "; ".join(
        label if not cells or set(cells) == every[label] else f"{label} ({', '.join(dict.fromkeys(cells))})"
        for label, cells in where.items()
    )


def _name(cell: CellOutcome) -> str:
    return f"{cell.attack} {cell.role}" if cell.role in ("oblivious", "naive", "submitted") else cell.attack


def _one_line(text: str) -> str:
    return " ".join(text.split())
