"""The runs that are joined, as they are read: nothing is written into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.errors import MergeError
from bench.runner.submitted import NAME
from bench.store.records import CellResult, RunRecord
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.cells import Cell
from bench.suites.corruption_cells import CorruptionCell, expand_corruptions
from bench.suites.expand import expand


class Key(NamedTuple):
    """What a cell is called within a suite; no two cells of one suite share it."""

    role: str
    model: str
    defense: str
    norm: str
    eps: str
    attack: str
    adversary: str
    seed: int
    search: str
    label: str
    """for people, with what else tells a cell from others"""


def key_of(cell: Cell) -> Key:
    """The key of a cell."""
    ball = cell.threat_model
    return Key(
        cell.role, cell.model.id, cell.defense_id, ball.norm, str(ball.eps), cell.attack_id, cell.adversary, cell.seed,
        cell.search, cell.label,
    )  # fmt: skip


class CorruptedKey(NamedTuple):
    """The same of a corruption cell."""

    model: str
    defense: str
    corruption: str
    severity: int


def corrupted_key(cell: CorruptionCell) -> CorruptedKey:
    """The key of a corruption cell."""
    return CorruptedKey(cell.model.id, cell.defense_id, cell.corruption, cell.severity)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One of the runs.

    Attributes:
        name: for people and records: the run's name, or its directory as it was given where several have the same.
        directory: the run.
        record: its ``run.json``.
        cells: the id of each cell that its suite has.
        submitted: ids of the submissions that it lists.
        corrupted: the id of each corruption cell that its suite has.
        target: whether the joined run takes its place.
    """

    name: str
    directory: RunDirectory
    record: RunRecord
    cells: dict[Key, str]
    submitted: tuple[str, ...]
    corrupted: dict[CorruptedKey, str]
    target: bool = False

    def result(self, cell: str) -> CellResult | None:
        """The record of a cell, listed or not.

        Raises:
            StoreError: where it is damaged.
        """
        return self.directory.read_cell(cell)


def open_sources(runs: Sequence[Path], into: Path) -> list[Source]:
    """Reads the runs, the one at the target first.

    Args:
        runs: directories of runs, each as a user names it.
        into: where the joined run is to be.

    Raises:
        StoreError: where one isn't a run.
        MergeError: where one of them lies inside another, or its suite doesn't have the cells that it lists.
    """
    directories: dict[Path, RunDirectory] = {}
    if (into / "run.json").is_file():
        directories[into.resolve()] = RunDirectory(into)
    for path in runs:
        run = RunDirectory.open(path)
        directories.setdefault(run.path.resolve(), run)
    _refuse_nested([*directories, into.resolve()])
    records = {place: run.read_run() for place, run in directories.items()}
    names = [record.run for place, record in records.items() if place != into.resolve()]
    found = []
    for place, run in directories.items():
        record, target = records[place], place == into.resolve()
        name = record.run if target or names.count(record.run) == 1 else str(run.path)
        cells, submitted = _listed(run, record)
        found.append(Source(name, run, record, cells, submitted, _corrupted(run, record), target))
    return found


def _refuse_nested(places: Sequence[Path]) -> None:
    for one in places:
        for other in places:
            if one != other and one.is_relative_to(other):
                raise MergeError(f"{one} lies inside {other} (accepted: runs beside each other)")


def _listed(run: RunDirectory, record: RunRecord) -> tuple[dict[Key, str], tuple[str, ...]]:
    """Which listed id is which cell: ``run.json`` has them in the order of its suite, what was submitted last."""
    cells = expand(record.suite)
    own, rest = record.cells[: len(cells)], record.cells[len(cells) :]
    strange = [cell for cell in rest if not cell.startswith(f"{NAME}-")]
    if len(own) == len(cells) and not strange:
        strange = [
            listed for cell, listed in zip(cells, own, strict=True) if listed != f"{cell.slug}-{hash_of(listed)}"
        ]
    if len(own) < len(cells) or strange:
        first = f", such as {strange[0]}" if strange else ""
        raise MergeError(
            f"{run.path}: run.json lists {len(record.cells)} cells that aren't those of its suite here{first}; another version "
            "of bench made it, or it was edited: run its suite again there, or see bench verify"
        )
    return {key_of(cell): listed for cell, listed in zip(cells, own, strict=True)}, rest


def _corrupted(run: RunDirectory, record: RunRecord) -> dict[CorruptedKey, str]:
    """Which listed id is which corruption cell."""
    cells = expand_corruptions(record.suite)
    listed = record.corruption_cells
    fit = len(cells) == len(listed) and all(
        one == f"{cell.slug}-{hash_of(one)}" for cell, one in zip(cells, listed, strict=True)
    )
    if not fit:
        raise MergeError(
            f"{run.path}: run.json lists {len(listed)} corruption cells that aren't those of its suite here; run its suite "
            "again there, or see bench verify"
        )
    return {corrupted_key(cell): one for cell, one in zip(cells, listed, strict=True)}


def refuse_other_images(sources: Sequence[Source]) -> Source:
    """The run with the most samples, whose selection holds that of every other.

    Raises:
        MergeError: where the images differ.
    """
    for one in sources:
        if not one.record.positions:
            raise MergeError(
                f"{one.directory.path}: run.json is from before it said which samples it asks for; run its suite again there"
            )
    most = max(sources, key=lambda one: len(one.record.positions))
    for one in sources:
        for key in ("digest", "num_classes", "shape"):
            here, there = most.record.dataset.get(key), one.record.dataset.get(key)
            if here is not None and there is not None and here != there:
                raise MergeError(
                    f"not the same images: the dataset's {key} is {_short(here)} in {most.name}, {_short(there)} in {one.name}"
                )
        if one.record.positions != most.record.positions[: len(one.record.positions)]:
            raise MergeError(
                f"not the same images: the samples of {one.name} aren't the first ones of {most.name} (accepted: the same "
                "selection, of which one has more)"
            )
    return most


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) else str(value)


def unsound(source: Source, cell: str, result: CellResult) -> str:
    """Why a finished cell's files can't be believed; empty where they can: the digests must be those of its end.

    Joining gives files new digests, so that what was changed since would never be found again. A run that was stopped while
    more samples were attacked has more rows than its record counts: they are as good as those of an unfinished cell.

    Raises:
        StoreError: where a file is damaged.
    """
    sealed = result.provenance.get("parts")
    if sealed is None and "facts" not in result.provenance:  # from before digests were kept
        return ""
    if sealed == source.directory.seals(cell):
        return ""
    if source.record.finished is None and len(source.directory.read_samples(cell)) > result.samples:
        return ""
    return (
        f"{source.directory.path}: cells/{result.cell}.json: its files aren't those that it was finished with; bench verify "
        "tells which, and running its suite there again finishes what was stopped"
    )


def refuse_unsound(source: Source, cells: Sequence[str]) -> None:
    """Refuses a run some of whose finished cells have other files now.

    Raises:
        MergeError: naming all of them.
        StoreError: where a file is damaged.
    """
    found = []
    for cell in cells:
        result = source.result(cell)
        if result is not None and result.status == "done":
            found.append(unsound(source, cell, result))
    problems = [text for text in found if text]
    if problems:
        raise MergeError("\n".join(problems))
