"""Writes a joined run beside its place, and puts it there once it is whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from bench.digests import file_digest
from bench.errors import StoreError
from bench.runner import aggregate
from bench.runner.merge.audits import joined_audit, joined_probes
from bench.runner.merge.cells import JoinedCell, own_rows
from bench.runner.merge.corrupted import JoinedCorruption
from bench.runner.merge.rows import Choice, Part
from bench.runner.merge.sources import Source
from bench.store import gallery, parts
from bench.store.atomic import explained, is_temporary
from bench.store.corrupted import CorruptionStore, to_records
from bench.store.directories import copy_file, link_tree, replace_directory
from bench.store.parts import Examples
from bench.store.records import RunRecord
from bench.store.run_directory import RunDirectory

LOCK = ".lock"


def write(
    into: Path,
    sources: Sequence[Source],
    record: RunRecord,
    cells: Sequence[JoinedCell],
    corrupted: Sequence[JoinedCorruption],
    note: Callable[[str], None],
) -> None:
    """Writes the joined run. Whatever happens meanwhile, what is at its place is the old run or the new one.

    Args:
        into: its directory.
        sources: the runs, the one at ``into`` first.
        record: its ``run.json``.
        cells: its cells.
        corrupted: its corruption cells.
        note: told of what was dropped.

    Raises:
        WriteError: where something can't be written; what was there is untouched.
        StoreError: where a run changed while it was read, or another process joins into the same place.
    """
    stage = RunDirectory(into.with_name(f".{into.resolve().name}.merging"))
    with stage.locked():
        try:
            _emptied(stage.path)
            if sources[0].target:
                link_tree(sources[0].directory.path, stage.path, without=_left_out)
            for cell in cells:
                _cell(stage, cell, sources)
            _corrupted(stage, corrupted, sources)
            _gallery(stage, sources)
            joined_probes(stage, sources, record, note)
            joined_audit(stage, sources, record, note)
            stage.write_run(record)
            if into.is_dir() and not sources[0].target:
                into.rmdir()
            replace_directory(stage.path, into)
        except BaseException:
            shutil.rmtree(stage.path, ignore_errors=True)
            raise


def _left_out(name: str) -> bool:
    """``run.json`` is written last, so that half a run is none."""
    return name in (LOCK, "run.json") or is_temporary(name)


def _emptied(path: Path) -> None:
    """What a killed process left there."""
    with explained(path):
        for one in path.iterdir():
            if one.is_dir() and not one.is_symlink():
                shutil.rmtree(one)
            elif one.name != LOCK:
                one.unlink()


def _cell(stage: RunDirectory, joined: JoinedCell, sources: Sequence[Source]) -> None:
    """The files of one cell, then its record with their digests."""
    if joined.choice is not None and not joined.from_target_alone(sources):
        for kind in ("samples", "adversarial", "purified"):
            shutil.rmtree(stage.part_path(kind, joined.id, 0).parent, ignore_errors=True)
        for place, number in enumerate(joined.choice.numbers()):
            whole = joined.choice.whole(number)
            more = joined.reports if place == 0 else ()
            if whole is not None and not more:
                _copy(stage, joined.id, whole, sources)
            else:
                _write(stage, joined.id, joined.choice, number, more, sources)
    if joined.result is None:
        return
    result = joined.result
    if result.status == "done":
        result = aggregate.sealed(result, stage.seals(joined.id))
    stage.write_cell(result)


def _corrupted(stage: RunDirectory, cells: Sequence[JoinedCorruption], sources: Sequence[Source]) -> None:
    """The files of the corruption cells, then their records with the digests of these."""
    store = CorruptionStore(stage)
    for cell in cells:
        if cell.rows is not None and not cell.from_target_alone(sources):
            store.remove_parts(cell.id)
            for part in cell.parts:
                own = cell.rows[(cell.rows["source"] == part.source) & (cell.rows["part"] == part.number)]
                records = [one._replace(cell=cell.id) for one in to_records(own.drop(columns=["source", "part"]))]
                for place, report in enumerate(part.reports if records else ()):
                    store.write_shard(cell.id, part.number, records if place == 0 else [], report)
        if cell.result is not None:
            result = cell.result
            if result.status == "done":
                result = result.model_copy(update={"provenance": {**result.provenance, "parts": store.seals(cell.id)}})
            store.write_result(result)


def _copy(stage: RunDirectory, cell: str, part: Part, sources: Sequence[Source]) -> None:
    """A part as it is, what belongs to it first.

    Raises:
        StoreError: where the run has been written into meanwhile.
    """
    pairs = [*_beside(stage, cell, part.number, sources[part.source])]
    for path, target in (*pairs, (part.path, stage.part_path("samples", cell, part.number))):
        copy_file(path, target)
        if file_digest(path) != file_digest(target):
            raise StoreError(f"{path}: changed while it was read; run the same command again")


def _beside(stage: RunDirectory, cell: str, number: int, source: Source) -> Iterable[tuple[Path, Path]]:
    """A part's other files that a run has, each with its place in the joined one."""
    for kind in ("adversarial", "purified"):
        path = source.directory.part_path(kind, cell, number)
        if path.is_file():
            yield path, stage.part_path(kind, cell, number)


def _write(
    stage: RunDirectory,
    cell: str,
    choice: Choice,
    number: int,
    more: Sequence[parts.ShardReport],
    sources: Sequence[Source],
) -> None:
    """A part that is made of several, or has something to be said of it."""
    giving = choice.contributors(number)
    rows = [record for part in giving for record in parts.to_records(own_rows(choice, part))]
    for kind in ("adversarial", "purified"):
        kept = [_examples(kind, cell, choice, part, sources[part.source]) for part in giving]
        there = [one for one in kept if one is not None]
        if there:
            parts.write_examples(stage.part_path(kind, cell, number), _together(there))
    records = sorted((record._replace(cell=cell) for record in rows), key=lambda record: record.position)
    reports = [report for part in giving for report in part.reports]
    parts.write_rows(stage.part_path("samples", cell, number), records, [*reports, *more])


def _examples(kind: str, cell: str, choice: Choice, part: Part, source: Source) -> Examples | None:
    """The examples of the rows of one run that count; ``None`` where it has no such file."""
    path = source.directory.part_path(kind, cell, part.number)
    if not path.is_file():
        return None
    there = parts.read_examples(path)
    chosen = choice.chosen
    ids = set(chosen["sample_id"][(chosen["part"] == part.number) & (chosen["source"] == part.source)])
    keep = [place for place, sample in enumerate(there.sample_ids) if sample in ids]
    return Examples(tuple(there.sample_ids[place] for place in keep), there.images[keep])


def _together(found: Sequence[Examples]) -> Examples:
    filled = [one for one in found if one.sample_ids]
    if not filled:
        return found[0]
    return Examples(
        tuple(sample for one in filled for sample in one.sample_ids), np.concatenate([one.images for one in filled])
    )


def _gallery(stage: RunDirectory, sources: Sequence[Source]) -> None:
    """The clean images of the run that has the most."""
    there = [source for source in sources if (source.directory.path / gallery.FILE).is_file()]
    if not there:
        return
    most = max(there, key=lambda one: len(gallery.read_clean(one.directory).sample_ids))
    if not most.target:
        copy_file(most.directory.path / gallery.FILE, stage.path / gallery.FILE)
