"""An explanation as plain text, wrapped to the width of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from bench.leaderboard import corruption_explain
from bench.leaderboard.explanation import CellExplained, CorruptedExplained, Explanation, Images, RowExplained
from bench.leaderboard.grid import percent
from bench.leaderboard.sentences import shown
from bench.store.records import Estimate
from bench.suites.cells import TRANSFERRED

_INDENT = "  "
_WHOLE = "\0"
"""Before a command: it stays in one line, to be copied."""
_ROLES = {
    "suite": "",
    "oblivious": "oblivious adversary",
    "naive": "naive adversary",
    "gradient_free": "gradient-free check",
    "certificate": "certificate",
    "submitted": "submitted",
    "prerequisite": "examples for other cells, which count here too",
    "transfer": "transfer",
}


def prose(explanation: Explanation, width: int = 120) -> str:
    """The explanation for a terminal.

    Args:
        explanation: of one or several rows.
        width: columns of the terminal.
    """
    width = max(width, 40)
    parts = [_row(explanation, row, width) for row in explanation.rows]
    parts += [_corrupted(explanation, row, width) for row in explanation.corrupted]
    return "\n\n".join(parts) + "\n"


def _corrupted(explanation: Explanation, row: CorruptedExplained, width: int) -> str:
    told = [("Images", list(_images(explanation.images))), *corruption_explain.sections(row)]
    return _titled(corruption_explain.heading(row), told, width)


def _row(explanation: Explanation, row: RowExplained, width: int) -> str:
    numbers = row.numbers
    name = numbers.model if numbers.defense == "none" else f"{numbers.model} + {numbers.defense}"
    number = shown(numbers.worst)
    what = f"{number}, an upper bound" if numbers.complete else f"at most {number}, without a rank"
    head = f"{name} under {row.threat_model}: robust accuracy {'unknown' if numbers.worst is None else what}"
    sections: list[tuple[str, Iterable[str]]] = [
        ("Images", _images(explanation.images)),
        ("Clean", _clean(row)),
        ("Attacks", _attacks(row)),
        ("Who broke what", _breakers(row)),
        ("Worst case", _worst(row)),
        ("Rank", _rank(row)),
        ("Published", _published(row)),
        ("Flags and findings", _notes(row)),
        ("What would make it stronger", _stronger(row)),
    ]
    return _titled(head, sections, width)


def _titled(head: str, sections: Sequence[tuple[str, Iterable[str]]], width: int) -> str:
    title = _wrapped(head, width)
    parts = [f"{title}\n{'=' * max(map(len, title.splitlines()))}"]
    for heading, texts in sections:
        lines = [_wrapped(text, width, _INDENT) for text in texts]
        parts += ["\n".join([heading, *lines])] if lines else []
    return "\n\n".join(parts)


def _images(images: Images) -> Iterator[str]:
    digest = f"; digest {images.digest[:12]}" if images.digest else ""
    yield f"{images.dataset}: {images.selection}{digest}."
    if images.note:
        yield f"Note: {images.note}"


def _clean(row: RowExplained) -> Iterator[str]:
    numbers = row.numbers
    if numbers.clean is None:
        yield f"Unknown: not every image has a record; {numbers.correct:,} are known to be right."
        return
    text = f"Clean accuracy {shown(numbers.clean)}: {numbers.correct:,} of {numbers.clean.n:,} images are right"
    yield f"{text} in the majority of the draws." if row.stochastic else f"{text}."


def _attacks(row: RowExplained) -> Iterator[str]:
    if row.attacker:
        yield f"Whoever knows the defense takes its gradient so: {row.attacker}."
    draws = next((cell.scoring_draws for cell in row.cells if cell.scoring_draws), None)
    if draws:
        yield f"Each image is scored by {draws} fresh draws that no attack has seen; it is broken where most of them are wrong."
    for cell in row.cells:
        yield _cell(cell)


def _cell(cell: CellExplained) -> str:
    how = ", ".join(_how(cell))
    sentences = [f"{cell.attack}{f' ({how})' if how else ''}"]
    if cell.status != "done":
        some = f"; {cell.broken:,} images that it has broken count all the same" if cell.broken else ""
        sentences.append(f"no number: {cell.status}: {cell.reason}{some}")
    elif cell.role == "certificate":
        sentences.append(
            f"certifies {shown(cell.left)} at this radius, a lower bound; it is no attack and breaks nothing"
        )
    else:
        sentences.append(f"broke {_broken(cell)}; by itself it leaves {shown(cell.left)}")
    text = f"{sentences[0]}: {sentences[1]}."
    return " ".join([text, *_cost(cell), *_stages(cell), *_flags(cell)])


def _broken(cell: CellExplained) -> str:
    """How many images, and how many of them only this cell."""
    of = f"of {cell.correct:,} clean-correct images"
    if not cell.broken:
        return f"none {of}"
    alone = f"{cell.alone:,} of which nothing else broke" if cell.alone else "all of which something else broke, too"
    return f"{cell.broken:,} {of}, {alone}"


def _how(cell: CellExplained) -> Iterator[str]:
    """With what it attacked."""
    if _ROLES[cell.role]:
        yield _ROLES[cell.role]
    if cell.gradient:
        yield cell.gradient
    if cell.role in ("submitted", "certificate") or not cell.search:
        return
    yield ", ".join(f"{name} {_value(value)}" for name, value in cell.args.items()) or "default parameters"
    if cell.backend not in (None, "bench"):
        yield f"from {cell.backend}"
    yield f"search {cell.search}"
    yield f"seed {cell.seed}"
    yield cell.precision


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cost(cell: CellExplained) -> Iterator[str]:
    if cell.status != "done" or cell.seconds is None:
        return
    if cell.attacked is None:
        yield f"It took {cell.seconds:,.1f} s."
        return
    transferred = cell.role in TRANSFERRED
    verb = "judged the examples of" if transferred else "attacked"
    parts = [f"It {verb} {cell.attacked:,} image{'s' * (cell.attacked != 1)}"]
    parts[0] += f" and took over {cell.reused:,} that a smaller eps had broken" if cell.reused else ""
    if cell.forwards is not None and cell.backwards is not None and not transferred:
        parts.append(f"with {cell.forwards:,.1f} forward and {cell.backwards:,.1f} backward passes an image")
    yield f"{', '.join([*parts, f'in {cell.seconds:,.1f} s'])}."


def _stages(cell: CellExplained) -> Iterator[str]:
    if cell.stages:
        told = ", ".join(f"{stage.name} {stage.broken:,} of {stage.attacked:,}" for stage in cell.stages)
        yield f"Stages, each on what the one before left: {told}."


def _flags(cell: CellExplained) -> Iterator[str]:
    if cell.flags:
        yield f"⚑ {', '.join(f'{rule} ({severity})' for rule, severity in cell.flags.items())}."


def _breakers(row: RowExplained) -> Iterator[str]:
    for part, broken in row.numbers.broken.items():
        yield f"{part}: {broken.count:,}, of which {broken.alone:,} by nothing else"


def _worst(row: RowExplained) -> Iterator[str]:
    numbers = row.numbers
    if numbers.worst is None:
        yield "Nothing is known: no image has a record."
        return
    count = sum(cell.role != "certificate" for cell in row.cells)
    cells = f"{count} cell{'s' * (count != 1)}"
    union = f"Per image the worst over {cells}: whatever one of them breaks counts."
    if row.stochastic:
        yield (
            f"{union} An image counts by the share of draws in which it stays right under the cell that leaves least; which "
            "cell that is, one half of the draws chooses, and the other half scores it."
        )
    else:
        left = round((numbers.worst.value or 0.0) * numbers.worst.n)
        yield f"{union} {left:,} of {numbers.worst.n:,} images are right when clean and unbroken by all of them."
    yield from _strongest(row, numbers.worst)
    if not numbers.complete:
        yield "Something is missing, failed or invalid (see the rank): the number is at most that, and has no interval."
    else:
        yield (
            f"The interval ({row.interval}, 95 %) covers which {numbers.worst.n:,} images were drawn. It covers no attack that "
            "wasn't tried: a stronger one can only lower the number."
        )


def _strongest(row: RowExplained, worst: Estimate) -> Iterator[str]:
    found = next((cell for cell in row.cells if cell.cell == row.strongest), None)
    if found is None or found.left is None or found.left.value is None or worst.value is None:
        return
    name = found.attack if found.role == "suite" else f"{found.attack} ({_ROLES[found.role]})"
    text = f"The strongest by itself, {name}, leaves {percent(found.left.value)} %"
    gap = 100 * (found.left.value - worst.value)
    yield (
        f"{text}; the others take off another {gap:.1f} points." if gap >= 0.05 else f"{text}; the others add nothing."
    )


def _rank(row: RowExplained) -> Iterator[str]:
    rank = row.numbers.rank
    if rank is None:
        yield "None, and the number is shown as ≤:"
        yield from row.unranked
        return
    low, high = rank
    text = f"{low if low == high else f'{low}–{high}'} of {row.ranked} ranked row{'s' * (row.ranked != 1)}"
    if row.ranked == 1:
        yield f"{text}."
    elif row.inseparable:
        yield f"{text}. Paired tests on the same images (all pairs, Holm) can't tell it from {_names(row.inseparable)}."
    else:
        yield f"{text}: paired tests on the same images (all pairs, Holm) tell it from every other."


def _names(names: tuple[str, ...]) -> str:
    return "; ".join(names)


def _published(row: RowExplained) -> Iterator[str]:
    found = row.numbers.published
    if found is None:
        return
    unreliable = ", which it marks as unreliable" if found.unreliable else ""
    clean, robust = 100 * found.clean, 100 * found.robust
    yield f"RobustBench gives {found.entry} {clean:.2f} % clean and {robust:.2f} % under attack{unreliable} (eps {found.eps})."
    parts = [
        f"{name} {100 * value + 0.0:+.1f} points"
        for name, value in (("clean", found.clean_difference), ("under attack", found.difference))
        if value is not None
    ]
    if parts:
        yield f"Here: {', '.join(parts)}."


def _notes(row: RowExplained) -> Iterator[str]:
    for note in row.notes:
        source = f" ({note.source})" if note.source else ""
        yield f"⚑{note.number} {note.severity} [{note.rule}] {note.subject}: {note.text}{source}"
        if note.advice:
            yield f"{_INDENT}what to do: {note.advice}"
    yield row.audit[:1].upper() + row.audit[1:]


def _stronger(row: RowExplained) -> Iterator[str]:
    for number, one in enumerate(row.stronger, start=1):
        yield f"{number}. {one.text[:1].upper()}{one.text[1:]}{':' if one.do else '.'}"
        if one.do:
            yield f"{_INDENT} {_WHOLE}{one.do}"
    if not row.stronger:
        yield "Nothing that is known here; an attack made for this model may still find more."


def _wrapped(text: str, width: int, indent: str = "") -> str:
    own = len(text) - len(text.lstrip())
    first = indent + " " * own
    if text.lstrip().startswith(_WHOLE):
        return first + text.lstrip().removeprefix(_WHOLE)
    return textwrap.fill(
        text.strip(), width, initial_indent=first, subsequent_indent=first + "  " * bool(indent), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
