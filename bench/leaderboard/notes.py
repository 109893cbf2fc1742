"""The notes under a table: why a number is missing, what the audit found, what a comparison shows.

Each names its rule: that of the flag or finding, or one of those that are looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from bench.leaderboard.records import Note
from bench.stats import paired, paired_difference
from bench.store.audit import Finding
from bench.store.cell_outcome import CellOutcome, least_correct, unbroken
from bench.store.outcomes import RowOutcome
from bench.store.published import Published, other_radius
from bench.store.records import Flag
from bench.suites.declared import declared

Severity = Literal["info", "warning", "invalid", "failed"]
SEVEREST: tuple[Severity, ...] = ("invalid", "failed", "warning", "info")
"""The severest first."""
_ORDER: dict[Severity, int] = {"invalid": 0, "failed": 0, "warning": 1, "info": 2}
"""Which notes come first: what takes a row's rank, then what a reader must weigh, then the rest."""
_MANY = 5
"""Up to so many rows are named in a note; more are counted."""
_WORDS = {"error": "error: ", "unavailable": "n/a: ", "partial": "", "missing": ""}


class Notes(NamedTuple):
    """The notes of a table, and where they stand."""

    notes: tuple[Note, ...]
    marks: Mapping[str, tuple[int, ...]]
    """by label of the row, all that are said of it"""
    cells: Mapping[str, tuple[int, ...]]
    """by id of the cell, the warnings of it and what makes it invalid"""


@dataclass(frozen=True, slots=True)
class _Remark:
    """What is said, whoever it is said of."""

    text: str
    severity: Severity
    rule: str
    source: str = ""
    advice: str = ""


def collect(rows: Sequence[RowOutcome], published: Mapping[str, Published | None], unplaced: Sequence[str]) -> Notes:
    """The notes of a table, the severest first and then in the order of its rows; what is said of several is said once.

    Args:
        rows: the rows of the table.
        published: by label of the row, what RobustBench has published for it.
        unplaced: ids of unfinished cells that belong to no row.
    """
    said: dict[_Remark, dict[str, list[CellOutcome]]] = {}
    attacks = dict.fromkeys(cell.attack for row in rows for cell in row.of("suite"))
    for row in rows:
        for cell in row.cells:
            for remark in _of_cell(cell):
                said.setdefault(remark, {}).setdefault(row.label, []).append(cell)
        bare = next((one for one in rows if one.bare and one.model == row.model), None)
        about = (
            *_audited(row),
            *_of_row(row, attacks, bare),
            *_submitted(row),
            *_crossed(row),
            *_of_published(row, published[row.label]),
        )
        for remark in about:
            said.setdefault(remark, {}).setdefault(row.label, [])
        if unplaced:
            text = f"{len(unplaced)} cell(s) aren't finished, and their names don't tell which row they belong to"
            said.setdefault(_Remark(text, "failed", "cell-missing"), {}).setdefault(row.label, [])
    return _numbered(sorted(said.items(), key=lambda item: _ORDER[item[0].severity]), rows)


def _numbered(said: Sequence[tuple[_Remark, Mapping[str, Sequence[CellOutcome]]]], rows: Sequence[RowOutcome]) -> Notes:
    """The notes with their numbers, and where these stand."""
    notes = []
    marks: dict[str, list[int]] = {row.label: [] for row in rows}
    cells: dict[str, list[int]] = {}
    for number, (remark, where) in enumerate(said, start=1):
        notes.append(
            Note(
                number=number,
                subject=_subject(where, rows),
                text=remark.text,
                severity=remark.severity,
                rule=remark.rule,
                source=remark.source,
                advice=remark.advice,
            )
        )
        for label, own in where.items():
            marks[label].append(number)
            for cell in own if remark.severity in ("warning", "invalid") else ():
                cells.setdefault(cell.id, []).append(number)
    return Notes(
        tuple(notes),
        {label: tuple(numbers) for label, numbers in marks.items()},
        {cell: tuple(numbers) for cell, numbers in cells.items()},
    )


def _of_cell(cell: CellOutcome) -> list[_Remark]:
    remarks = []
    if cell.status != "done":
        remarks.append(_Remark(_one_line(_WORDS[cell.status] + cell.reason), "failed", f"cell-{cell.status}"))
    flags = [_of_mark(flag) for flag in (() if cell.result is None else cell.result.flags)]
    known = {flag.text for flag in flags}
    findings = [_of_mark(one) for one in cell.findings if _worth_a_note(one) or _one_line(one.message) in known]
    # The audit takes flags over in the same words and with its advice: that is said once, as severely as either says it.
    again = known & {one.text for one in findings}
    for one in findings:
        severities = [one.severity, *(flag.severity for flag in flags if flag.text == one.text)]
        remarks.append(replace(one, severity=min(severities, key=SEVEREST.index)))
    remarks += [flag for flag in flags if flag.text not in again]
    return list(dict.fromkeys(remarks))


def _of_mark(mark: Flag | Finding) -> _Remark:
    advice = mark.advice if isinstance(mark, Finding) else ""
    return _Remark(_one_line(mark.message), mark.severity, mark.rule, _one_line(mark.source), _one_line(advice))


def _audited(row: RowOutcome) -> list[_Remark]:
    return [_of_mark(finding) for finding in row.findings if _worth_a_note(finding)]


def _worth_a_note(finding: Finding) -> bool:
    """What the audit says for completeness stands in ``audit.json`` and in ``bench explain``, and marks no number."""
    return finding.severity != "info"


def _of_row(row: RowOutcome, attacks: Iterable[str], bare: RowOutcome | None) -> list[_Remark]:
    own = {cell.attack for cell in row.of("suite")}
    who = [role for role in ("oblivious", "naive") if row.of(role)]
    if not own and who:
        text = f"only the {' and the '.join(who)} adversary attacked it: an attacker who knows the defense does better"
        return [_Remark(text, "warning", "no-adaptive-attack")]
    remarks = []
    lacking = [attack for attack in attacks if attack not in own]
    if lacking:
        remarks.append(
            _Remark(f"not attacked with {', '.join(lacking)}, as other rows are", "warning", "attack-missing")
        )
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
        remarks.append(_Remark(_one_line(f"{text}, {alone} of them by nothing else"), "info", "submitted"))
    return remarks


def _crossed(row: RowOutcome) -> list[_Remark]:
    """What nothing but the examples of other models broke: no column of the table shows it."""
    cells = row.of("transfer")
    others = tuple(cell for cell in row.attacked if cell not in cells)
    if not cells or not others:
        return []
    alone = row.clean_correct & ~unbroken(cells) & unbroken(others)
    if not alone.any():
        return []
    models = ", ".join(dict.fromkeys(cell.source for cell in cells if (alone & ~cell.robust).any()))
    text = f"{int(alone.sum())} image(s) broken by the examples of other models alone ({models}); they count in the worst case"
    return [_Remark(_one_line(text), "info", "transfer", "Papernot et al. 2016, arXiv:1605.07277")]


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
        "certificate-broken",
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
            "against-the-bare",
        )
    if interval.high < 0:
        return _Remark(
            f"fewer images stay right under attack than without the defense: {text}", "info", "against-the-bare"
        )
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
        "oblivious-above-adaptive",
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
        text = "RobustBench marks its AutoAttack number as unreliable"
        remarks.append(_Remark(text, "info", "published-unreliable", found.link))
    radius = other_radius(found, row.threat_model.eps)
    return [*remarks, _Remark(radius, "info", "published-radius")] if radius else remarks


def _subject(where: Mapping[str, Sequence[CellOutcome]], rows: Sequence[RowOutcome]) -> str:
    """Which rows, and which of their attacks where it isn't all of them."""
    if len(where) == len(rows) > 1 and len(where) > 2:
        return "all rows"
    if len(where) > _MANY:
        return f"{len(where)} rows"
    every = {row.label: {_name(cell) for cell in row.cells} for row in rows}
    named = {label: list(dict.fromkeys(_name(cell) for cell in cells)) for label, cells in where.items()}
    return "; ".join(
        label if not names or set(names) == every[label] else f"{label} ({', '.join(names)})"
        for label, names in named.items()
    )


def _name(cell: CellOutcome) -> str:
    return f"{cell.attack} {cell.role}" if cell.role in ("oblivious", "naive", "submitted") else cell.attack


def _one_line(text: str) -> str:
    return " ".join(text.split())
