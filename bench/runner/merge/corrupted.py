"""The corruption cells of several runs, joined: whose rows count, and the records that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.errors import MergeError, SchemaError, StoreError
from bench.metrics import estimates
from bench.runner.merge.cells import best_of, with_origin
from bench.runner.merge.identity import Missing, told
from bench.runner.merge.rows import allowed, refuse_clashes
from bench.runner.merge.sources import Source, corrupted_key
from bench.store.corrupted import CorruptedReport, CorruptionResult, CorruptionStore, read_part
from bench.store.run_directory import hash_of
from bench.suites.corruption_cells import CorruptionCell, expand_corruptions
from bench.suites.spec import Suite

if TYPE_CHECKING:
    import pandas as pd


class _Part(NamedTuple):
    """One part file of one run."""

    source: int
    number: int
    reports: tuple[CorruptedReport, ...]


@dataclass(frozen=True, slots=True, eq=False)
class JoinedCorruption:
    """One corruption cell of the joined run.

    Attributes:
        id: its id.
        cell: what it is.
        status: as in the records; ``partial`` where samples are missing, ``missing`` where there is no record.
        result: its record, without the digests of its files; ``None`` where it isn't finished anywhere.
        rows: those that count, with the place of each row's run in ``source`` and the number of its file in ``part``.
        parts: the files that they are from.
        lacking: samples of the joined suite that have no row.
        shared: samples that several runs have.
        differing: those among them whose verdicts aren't the same.
        skipped: why rows of cells that aren't done couldn't be read.
    """

    id: str
    cell: CorruptionCell
    status: str
    result: CorruptionResult | None
    rows: pd.DataFrame | None
    parts: tuple[_Part, ...] = ()
    lacking: int = 0
    shared: int = 0
    differing: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def given(self) -> dict[int, int]:
        """How many rows each run gives, by its place."""
        return {} if self.rows is None else _given(self.rows)

    def from_target_alone(self, sources: Sequence[Source]) -> bool:
        """Whether the files that are at the target already are all that it gets."""
        return sources[0].target and set(self.given()) <= {0}


class JoinedCorruptions(NamedTuple):
    """All of them."""

    cells: tuple[JoinedCorruption, ...]
    missing: tuple[Missing, ...]
    """those that no run has"""
    notes: tuple[str, ...]
    """what else a user must know"""


def join_corruptions(
    suite: Suite, sources: Sequence[Source], positions: Sequence[int], preferred: int | None
) -> JoinedCorruptions:
    """Joins the corruption cells. Where runs disagree about an image, wrong counts before right.

    Args:
        suite: the joined one.
        sources: the runs.
        positions: of the samples that it asks for.
        preferred: place of the run whose rows count in any case.

    Raises:
        MergeError: where runs mean different cells by the same words, have different images, or contradict each other.
        StoreError: where a file of a cell that is done is damaged.
    """
    stores = [CorruptionStore(source.directory) for source in sources]
    cells, missing, problems = list[JoinedCorruption](), list[Missing](), list[str]()
    for cell in expand_corruptions(suite):
        identity = _identity(cell, sources, stores, problems)
        if identity is None:
            identity = cell.id({"unknown": list(corrupted_key(cell))})
            missing.append(Missing(identity, cell.label))
        cells.append(_joined(cell, identity, sources, stores, positions, preferred))
    if problems:
        raise MergeError("not the same cells: " + "\n".join(dict.fromkeys(problems)))
    if preferred is None:
        _refuse_contradicting(cells)
    return JoinedCorruptions(tuple(cells), tuple(missing), tuple(_notes(cells)))


def _identity(
    cell: CorruptionCell, sources: Sequence[Source], stores: Sequence[CorruptionStore], problems: list[str]
) -> str | None:
    """The id that the runs give it; a problem where they mean different cells."""
    found: dict[str, tuple[str, CorruptionResult | None]] = {}
    empty: dict[str, str] = {}
    for source, store in zip(sources, stores, strict=True):
        listed = source.corrupted.get(corrupted_key(cell))
        if listed is None:
            continue
        result = store.read_result(listed)
        if store.parts(listed) or (result is not None and result.status == "done"):
            found.setdefault(hash_of(listed), (source.name, result))
        else:  # a model that couldn't be had, or a cell that never began, has another id and says nothing
            empty.setdefault(hash_of(listed), source.name)
    if not found:
        return next((f"{cell.slug}-{one}" for one in empty), None)
    (first, (name, here)), *others = found.items()
    for _, (other, there) in others:
        facts = [{} if one is None else one.provenance.get("facts", {}) for one in (here, there)]
        differing = list(told("facts", *facts)) or ["another version of a defense or a library, which no record names"]
        problems.append(f"{cell.label}: {name} and {other} differ: {'; '.join(differing)}")
    return f"{cell.slug}-{first}"


def _joined(
    cell: CorruptionCell,
    identity: str,
    sources: Sequence[Source],
    stores: Sequence[CorruptionStore],
    positions: Sequence[int],
    preferred: int | None,
) -> JoinedCorruption:
    results = [store.read_result(identity) for store in stores]
    every, parts, skipped = _read(identity, sources, stores, results)
    best = best_of(results, {} if every is None else _given(every))
    unfinished = JoinedCorruption(
        identity,
        cell,
        "missing" if best is None else best.status,
        None if best is None else _renamed(best, identity, cell),
        None,
        lacking=len(positions),
        skipped=skipped,
    )
    if every is None:
        return unfinished
    refuse_clashes(every, sources, identity)
    rows = _chosen(every, preferred)
    wanted = rows[rows["position"].isin(set(positions))]
    verdicts = every.groupby("sample_id")[["correct", "clean_correct"]].nunique().max(axis=1)
    joined = replace(
        unfinished,
        rows=rows,
        parts=parts,
        lacking=len(positions) - len(wanted),
        shared=int((every.groupby("sample_id")["source"].nunique() > 1).sum()),
        differing=tuple(verdicts.index[verdicts > 1]),
    )
    if joined.result is None or (joined.lacking and joined.result.status != "done") or not len(wanted):
        return joined
    result = _finished(joined.result, wanted, rows, parts, results, sources)
    return replace(joined, status="partial" if joined.lacking else "done", result=result)


def _given(rows: pd.DataFrame) -> dict[int, int]:
    """How many rows are from each run, by its place."""
    places, counts = np.unique(rows["source"].to_numpy(dtype=np.int64), return_counts=True)
    return {int(place): int(count) for place, count in zip(places, counts, strict=True)}


def _read(
    identity: str,
    sources: Sequence[Source],
    stores: Sequence[CorruptionStore],
    results: Sequence[CorruptionResult | None],
) -> tuple[pd.DataFrame | None, tuple[_Part, ...], tuple[str, ...]]:
    """All rows of all runs, the files that they are from, and why others couldn't be read."""
    import pandas as pd

    frames, parts, skipped = list[pd.DataFrame](), list[_Part](), list[str]()
    for place, (source, store, result) in enumerate(zip(sources, stores, results, strict=True)):
        done = result is not None and result.status == "done"
        for path in store.parts(identity):
            try:
                rows, reports = read_part(path)
            except SchemaError:
                raise
            except StoreError as error:
                if done:
                    raise
                skipped.append(str(error).splitlines()[0])
                continue
            number = int(path.stem.split("-")[1])
            parts.append(_Part(place, number, reports))
            frames.append(rows.assign(source=place, part=number))
        if result is not None and done:
            _refuse_unsound(source, store, identity, result)
    return (pd.concat(frames, ignore_index=True) if frames else None), tuple(parts), tuple(skipped)


def _refuse_unsound(source: Source, store: CorruptionStore, identity: str, result: CorruptionResult) -> None:
    """Joining gives files new digests, so that what was changed since would never be found again.

    A run that was stopped while more samples were evaluated has more rows than its record counts.
    """
    if result.provenance.get("parts") == store.seals(identity):
        return
    if source.record.finished is None and len(store.read(identity).rows) > result.samples:
        return
    raise MergeError(
        f"{source.directory.path}: corruptions/{result.cell}.json: its files aren't those that it was finished with; bench "
        "verify tells which, and running its suite there again finishes what was stopped"
    )


def _chosen(every: pd.DataFrame, preferred: int | None) -> pd.DataFrame:
    """A row of every sample: the one that is right least often, or that of the preferred run; equal ones of the first."""
    order = every["source"] if preferred is None else every["source"].where(every["source"] != preferred, -1)
    by = ["correctness", "clean_correctness", "order"] if preferred is None else ["order"]
    ordered = every.assign(order=order).sort_values(by, kind="stable").drop(columns="order")
    return ordered.drop_duplicates("sample_id").sort_values("position", ignore_index=True)


def _renamed(result: CorruptionResult, identity: str, cell: CorruptionCell) -> CorruptionResult:
    words = {"cell": identity, "dataset": cell.dataset, "model": cell.model, "defense": cell.defense}
    return result.model_copy(update=words)


def _finished(
    best: CorruptionResult,
    wanted: pd.DataFrame,
    rows: pd.DataFrame,
    parts: Sequence[_Part],
    results: Sequence[CorruptionResult | None],
    sources: Sequence[Source],
) -> CorruptionResult:
    """The record that follows from the rows."""
    giving = {(int(source), int(part)) for source, part in rows[["source", "part"]].itertuples(index=False)}
    reports = [report for part in parts if part[:2] in giving for report in part.reports]
    result = best.model_copy(
        update={
            "status": "done",
            "reason": "",
            "traceback": "",
            "samples": len(wanted),
            "accuracy": estimates.share(wanted["correctness"].to_numpy(dtype=float)),
            "clean_accuracy": estimates.share(wanted["clean_correctness"].to_numpy(dtype=float)),
            "seconds": sum(report.seconds for report in reports),
            "flags": tuple(dict.fromkeys(flag for report in reports for flag in report.flags)),
        }
    )
    return with_origin(result, results, sources, _given(rows))


def _refuse_contradicting(cells: Sequence[JoinedCorruption]) -> None:
    """Refuses runs that disagree about more than machines do, in one cell or over all of them."""
    beyond = [cell for cell in cells if len(cell.differing) > allowed(cell.shared)]
    differing, shared = sum(len(cell.differing) for cell in cells), sum(cell.shared for cell in cells)
    if not beyond and differing <= allowed(shared):
        return
    named = [
        f"{cell.cell.label}: {len(cell.differing)} of {cell.shared} shared samples have other verdicts "
        f"({', '.join(cell.differing[:3])}, ...)"
        for cell in beyond or cells
        if cell.differing
    ]
    raise MergeError(
        "\n".join(
            [
                f"the runs contradict each other in {differing} of {shared} verdicts on corrupted images that several have; "
                "--prefer RUN says whose rows count",
                *named,
            ]
        )
    )


def _notes(cells: Sequence[JoinedCorruption]) -> list[str]:
    notes = [f"{text}; left out" for cell in cells for text in cell.skipped]
    for cell in cells:
        if cell.differing:
            count = len(cell.differing)
            what = f"{count} sample{'s' * (count != 1)} with other verdicts in several runs; wrong counts before right"
            notes.append(f"{cell.cell.label}: {what}: {', '.join(cell.differing[:5])}")
    return notes
