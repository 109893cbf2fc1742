"""What a verification found, and how its findings are gathered: one line per kind and cell, however many samples it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from bench.errors import BenchError

Kind: TypeAlias = Literal[
    "unreadable",
    "missing",
    "not-verifiable",
    "identity",
    "seal",
    "row",
    "clean-image",
    "corrupted-image",
    "missing-example",
    "not-finite",
    "outside",
    "distance",
    "prediction",
    "success",
    "image-quality",
    "metrics",
    "hairline",
    "borderline",
]
"""Of a problem, or of something on the hairline (the last two)."""

ROUNDING = ("hairline", "borderline")
"""Kinds of what is no problem."""
NAMED = 20
"""So many samples are named at most; all are counted."""
_PIECES = 6


@dataclass(frozen=True, slots=True)
class VerifyProblem:
    """Something that isn't as it should be, or (``hairline``, ``borderline``) that rounding decides.

    Attributes:
        kind: what it is about.
        cell: id of the cell; empty where it concerns the run as a whole.
        samples: the first of the samples that it concerns, at most 20.
        count: of all of them; of the files or facts where it concerns no samples.
        message: what was found, and in which file, in one line.
    """

    kind: Kind
    cell: str
    samples: tuple[str, ...]
    count: int
    message: str


@dataclass(frozen=True, slots=True)
class CellVerification:
    """What was checked of one cell.

    Attributes:
        cell: its id.
        label: the cell, for people.
        status: as recorded (``done``, ``error``, ``unavailable``); ``missing`` where there is no record that can be read.
        rows: rows of samples that the suite asks for.
        examples: examples that were judged again; of an oblivious cell those of the bare model.
        successes: those among them that are successes, as recorded and here.
        rounded: those among the successes that are still one when the image is rounded to 8 bits; ``None`` where there
            are no successes to round.
        hairline: samples whose recorded verdict differs from the one here by no more than rounding.
        borderline: successes whose margin is no more than rounding away from none.
        unchecked: what could not be, or need not be checked of it; empty where all was.
    """

    cell: str
    label: str
    status: str
    rows: int = 0
    examples: int = 0
    successes: int = 0
    rounded: int | None = None
    hairline: int = 0
    borderline: int = 0
    unchecked: tuple[str, ...] = ()

    @property
    def rounded_rate(self) -> float | None:
        """Share of the successes that survive rounding to 8 bits; ``None`` where there is none."""
        return None if self.rounded is None else self.rounded / self.successes


@dataclass(frozen=True, slots=True)
class Verification:
    """A run, verified.

    Attributes:
        directory: of the run.
        problems: everything that isn't as it should be.
        hairline: verdicts that rounding decides: no problem, but to be known.
        cells: what was checked of each cell that the run lists.
        notes: what lies in the directory and was left alone.
        corrupted: the same of each corruption cell; its examples are corrupted images.
    """

    directory: Path
    problems: tuple[VerifyProblem, ...]
    hairline: tuple[VerifyProblem, ...]
    cells: tuple[CellVerification, ...]
    notes: tuple[str, ...] = ()
    corrupted: tuple[CellVerification, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def examples(self) -> int:
        """Examples that were judged again, over all cells."""
        return sum(cell.examples for cell in self.cells)

    @property
    def corrupted_images(self) -> int:
        """Corrupted images that were judged again, over all corruption cells."""
        return sum(cell.examples for cell in self.corrupted)

    def as_json(self) -> dict[str, Any]:  # Any: JSON values
        """The whole result as JSON values."""
        cells = [{**asdict(cell), "rounded_rate": cell.rounded_rate} for cell in self.cells]
        whole = {**asdict(self), "directory": str(self.directory), "cells": cells}
        return {"sound": self.sound, "examples": self.examples, **whole}


class Found:
    """Gathers what is found: per kind and cell one problem, whose message has a piece for each thing that is wrong."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[Kind, str, str], dict[str, _Piece]] = {}

    def add(self, kind: Kind, what: str, *, cell: str = "", samples: Iterable[str] = (), detail: str = "") -> None:
        """Something was found.

        Args:
            kind: what it is about.
            what: what is wrong, in a few words: the same words of other samples are the same piece. What has no cell keeps a
                problem of its own.
            cell: id of the cell.
            samples: all samples that it concerns.
            detail: of the first of them.
        """
        pieces = self._pieces.setdefault((kind, cell, "" if cell else what), {})
        old = pieces.get(what, _Piece((), detail))
        pieces[what] = _Piece(tuple(dict.fromkeys((*old.samples, *samples))), old.detail)

    def problems(self) -> tuple[VerifyProblem, ...]:
        """What isn't as it should be: first what concerns the run as a whole, then cell by cell."""
        return tuple(one for one in self._all() if one.kind not in ROUNDING)

    def hairline(self) -> tuple[VerifyProblem, ...]:
        """What rounding decides."""
        return tuple(one for one in self._all() if one.kind in ROUNDING)

    def count(self, kind: Kind, cell: str) -> int:
        """Samples of one kind in one cell."""
        return sum(one.count for one in self._all() if (one.kind, one.cell) == (kind, cell))

    def _all(self) -> list[VerifyProblem]:
        cells = list(dict.fromkeys(["", *(cell for _, cell, _ in self._pieces)]))
        return [
            _problem(kind, cell, pieces)
            for (kind, cell, _), pieces in sorted(self._pieces.items(), key=lambda item: cells.index(item[0][1]))
        ]


class _Piece(NamedTuple):
    samples: tuple[str, ...]
    detail: str


def _problem(kind: Kind, cell: str, pieces: Mapping[str, _Piece]) -> VerifyProblem:
    samples = tuple(dict.fromkeys(sample for piece in pieces.values() for sample in piece.samples))
    texts = [_text(what, piece) for what, piece in pieces.items()]
    more = len(texts) - _PIECES
    message = "; ".join(texts[:_PIECES]) + (f"; and {more} more" if more > 0 else "")
    return VerifyProblem(kind, cell, samples[:NAMED], len(samples) or len(pieces), message)


def _text(what: str, piece: _Piece) -> str:
    if not piece.samples:
        return what
    detail = f": {piece.detail}" if piece.detail else ""
    many = f"{len(piece.samples)} samples, first " if len(piece.samples) > 1 else ""
    return f"{what} ({many}{piece.samples[0]}{detail})"


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def reason_of(error: BaseException) -> str:
    """The same, with its kind where it isn't one of ours."""
    return first_line(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {first_line(error)}"
