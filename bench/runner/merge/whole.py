"""Joins runs of one suite: reads all of them, decides, and writes the joined one as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError, MergeError, StoreError
from bench.runner.merge.cells import JoinedCell, agreed, join
from bench.runner.merge.corrupted import JoinedCorruption, join_corruptions
from bench.runner.merge.identity import Identified, Missing, identify
from bench.runner.merge.rows import LIMIT, Contradiction, allowed
from bench.runner.merge.sources import Source, open_sources, refuse_other_images, refuse_unsound
from bench.runner.merge.writing import write
from bench.runner.preflight import load_plugins
from bench.runner.provenance import command
from bench.store.corrupted import CorruptionStore
from bench.store.directories import recover
from bench.store.records import JoinedRun, RunRecord
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.cells import Cell
from bench.suites.expand import Makers
from bench.suites.loaded import LoadedSuite
from bench.suites.places import Places
from bench.suites.short_forms import identifier
from bench.suites.spec import AttackSpec, Suite
from bench.suites.union import union

_OF_NO_ROW: tuple[str, ...] = ("prerequisite", "transfer")
"""Roles of cells that don't tell what a submission against their row is."""


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """What became of it, or would.

    Attributes:
        directory: the joined run's.
        sources: the runs that it was joined from, with the one that was there first.
        record: its ``run.json``.
        cells: its cells, in the suite's order.
        missing: cells of the joined suite that no run has.
        contradictions: where runs disagree about a sample.
        left: by run, cells that it lists and the joined suite hasn't.
        notes: what else a user must know.
        changed: whether anything is different from what was there before.
        corrupted: its corruption cells, likewise.
    """

    directory: Path
    sources: tuple[Source, ...]
    record: RunRecord
    cells: tuple[JoinedCell, ...]
    missing: tuple[Missing, ...]
    contradictions: tuple[Contradiction, ...]
    left: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]
    changed: bool
    corrupted: tuple[JoinedCorruption, ...] = ()

    def count(self, *statuses: str) -> int:
        """How many cells have one of these statuses."""
        return sum(one.status in statuses for one in self.every)

    @property
    def every(self) -> list[JoinedCell | JoinedCorruption]:
        """All cells, corruption cells last."""
        return [*self.cells, *self.corrupted]


def merge_runs(
    runs: Sequence[Path],
    into: Path,
    *,
    prefer: Path | None = None,
    dry_run: bool = False,
    places: Places | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Merged:
    """Joins runs of one suite, so that the joined one is a run as any other; needs neither models nor images.

    The runs are only read. A run that is at ``into`` already is joined with them, and is replaced as a whole at the end: a
    process that is killed, or a full disk, leaves it as it was.

    Args:
        runs: directories of runs.
        into: the joined run's directory.
        prefer: the run whose rows count where the others say otherwise and nobody broke the sample; without it, runs that
            contradict each other in more than 0.5 % of a cell's shared samples (one sample in any case) are refused.
        dry_run: write nothing.
        places: permissions for the suite's plugins.
        note: told of what comes along.

    Raises:
        MergeError: where they can't be joined.
        StoreError: where a run can't be read, or another process is writing into it.
        WriteError: where the joined run can't be written; nothing has changed then.
    """
    _refuse_name(into)
    if not dry_run:
        recover(into)
    with ExitStack() as held:
        sources = open_sources(runs, into)
        if not sources:
            raise MergeError("no run to join (accepted: at least one)")
        for source in sources:
            lock = source.directory.locked() if source.target and not dry_run else source.directory.unwritten()
            held.enter_context(lock)
        _load_plugins(sources, places or Places())
        merged = _decided(sources, into, prefer)
        if merged.changed and not dry_run:
            write(merged.directory, merged.sources, merged.record, merged.cells, merged.corrupted, note)
    return merged


def _refuse_name(into: Path) -> None:
    try:
        identifier(into.resolve().name)
    except ValueError as error:
        raise BenchError(f"--into: {error}") from error
    if into.exists() and not (into / "run.json").is_file() and any(into.iterdir()):
        raise StoreError(f"{into}: something else is there (accepted: a run, an empty directory, or none)")


def _load_plugins(sources: Sequence[Source], places: Places) -> None:
    """Attacks and defenses of the suite's own are needed to know its cells."""
    first = sources[0]
    plugins = tuple(Path(plugin) for plugin in first.record.suite.plugins)
    load_plugins(LoadedSuite(first.record.suite, first.directory.path / "run.json", plugins=plugins), places)


def _decided(sources: Sequence[Source], into: Path, prefer: Path | None) -> Merged:
    suite = union([(source.name, source.record.suite) for source in sources])
    most = refuse_other_images(sources)
    found = identify(suite, sources)
    submissions = _submissions(suite, found, sources)
    preferred = _preferred(prefer, sources)
    all_cells = {**found.cells, **submissions}
    for source in sources:
        refuse_unsound(source, list(all_cells))
    makers = Makers(found.cells.values())
    cells = [
        join(suite, identity, cell, makers, sources, most.record.positions, preferred)
        for identity, cell in all_cells.items()
    ]
    contradictions = tuple(one for cell in cells if cell.choice is not None for one in cell.choice.contradictions)
    skipped = [f"{text}; left out" for cell in cells if cell.choice is not None for text in cell.choice.skipped]
    if preferred is None:
        _refuse_contradicting(cells)
    corrupted = join_corruptions(suite, sources, most.record.positions, preferred)
    record = _record(suite, most, sources, into, cells, corrupted.cells)
    listed = {hash_of(cell) for cell in (*all_cells, *(one.id for one in corrupted.cells))}
    left = {source.name: tuple(cell for cell in _ids(source) if hash_of(cell) not in listed) for source in sources}
    merged = Merged(
        into,
        tuple(sources),
        record,
        tuple(cells),
        (*found.missing, *corrupted.missing),
        contradictions,
        left,
        (*found.notes, *_place(into, suite), *skipped, *corrupted.notes),
        changed=True,
        corrupted=corrupted.cells,
    )
    return replace(merged, changed=_changed(merged))


def _ids(source: Source) -> tuple[str, ...]:
    return (*source.record.cells, *source.record.corruption_cells)


def _place(into: Path, suite: Suite) -> tuple[str, ...]:
    if into.resolve().parent.name == suite.name:
        return ()
    return (f"{into} isn't of the form RESULTS/{suite.name}/RUN, where bench run would go on with it",)


def _preferred(prefer: Path | None, sources: Sequence[Source]) -> int | None:
    if prefer is None:
        return None
    wanted = RunDirectory.open(prefer).path.resolve()
    places = [place for place, source in enumerate(sources) if source.directory.path.resolve() == wanted]
    if not places:
        accepted = ", ".join(str(source.directory.path) for source in sources)
        raise MergeError(f"--prefer {prefer}: not one of the runs (accepted: {accepted})")
    return places[0]


def _submissions(suite: Suite, found: Identified, sources: Sequence[Source]) -> dict[str, Cell]:
    """What was submitted against a row that the joined suite has."""
    rows: dict[tuple[str, str, Any], Cell] = {}  # Any: a threat model
    for cell in found.cells.values():
        if cell.role not in _OF_NO_ROW:
            rows.setdefault((cell.model.id, cell.defense_id, cell.threat_model), cell)
    kept: dict[str, Cell] = {}
    known: set[str] = set()
    for source in sources:
        for identity in source.submitted:
            result = source.result(identity)
            row = None if result is None else rows.get((result.model.id, result.defense_id, result.threat_model))
            if result is None or row is None or hash_of(identity) in known:
                continue
            known.add(hash_of(identity))
            attack: AttackSpec = result.attack
            cell = replace(
                row, role="submitted", attack=attack, adversary="adaptive", seed=result.seed, search="first_success",
                precision="float32", source=None,
            )  # fmt: skip
            kept[f"{cell.slug}-{hash_of(identity)}"] = cell
    return kept


def _refuse_contradicting(cells: Sequence[JoinedCell]) -> None:
    """Refuses runs that disagree about more than machines do, in one cell or over all of them."""
    choices = [cell.choice for cell in cells if cell.choice is not None]
    differing, shared = (sum(getattr(choice, name) for choice in choices) for name in ("differing", "shared"))
    beyond = [cell for cell in cells if cell.choice is not None and cell.choice.differing > allowed(cell.choice.shared)]
    if not beyond and differing <= allowed(shared):
        return
    told = [
        f"{cell.cell.label}: {cell.choice.differing} of {cell.choice.shared} shared samples have other verdicts "
        f"({', '.join(dict.fromkeys(sample for one in cell.choice.contradictions for sample in one.samples[:3]))}, ...)"
        for cell in (beyond or [cell for cell in cells if cell.choice is not None and cell.choice.differing])
        if cell.choice is not None
    ]
    raise MergeError(
        "\n".join(
            [
                f"the runs contradict each other in {differing} of {shared} verdicts that several have (accepted: "
                f"{100 * LIMIT:g} % of a cell's and of all, and one sample in any case); --prefer RUN says whose rows count "
                "where nobody broke the sample, verified successes count in any case",
                *told,
            ]
        )
    )


def _record(
    suite: Suite,
    most: Source,
    sources: Sequence[Source],
    into: Path,
    cells: Sequence[JoinedCell],
    corrupted: Sequence[JoinedCorruption],
) -> RunRecord:
    records = [source.record for source in sources]
    statuses = {*(cell.status for cell in cells), *(cell.status for cell in corrupted)}
    whole = all(record.finished for record in records) and not statuses & {"partial", "missing"}
    joined: dict[str, JoinedRun] = {}
    for source in sources:
        told = source.record.joined if source.target else ()
        for one in told or (_joined_run(source),):
            joined[one.name] = one
    return RunRecord(
        suite=suite,
        run=into.resolve().name,
        command=command(),
        started=min(record.started for record in records),
        finished=max(record.finished or "" for record in records) if whole else None,
        cells=tuple(cell.id for cell in cells),
        corruption_cells=tuple(cell.id for cell in corrupted),
        positions=most.record.positions,
        dataset=most.record.dataset,
        environment=agreed([one.environment for one in joined.values()]),
        joined=tuple(joined.values()),
    )


def _joined_run(source: Source) -> JoinedRun:
    record = source.record
    return JoinedRun(
        name=source.name,
        directory=str(source.directory.path),
        command=record.command,
        started=record.started,
        finished=record.finished,
        samples=len(record.positions),
        seeds=record.suite.run.seeds,
        environment=record.environment,
    )


def _changed(merged: Merged) -> bool:
    """Whether the target isn't there, or would get another file."""
    target = merged.sources[0]
    if not target.target:
        return True
    old = target.record
    if merged.record.model_copy(update={"command": old.command}) != old:
        return True
    store = CorruptionStore(target.directory)
    pairs: list[tuple[JoinedCell | JoinedCorruption, Any]] = [  # Any: a record, or None
        *((cell, target.result(cell.id)) for cell in merged.cells),
        *((cell, store.read_result(cell.id)) for cell in merged.corrupted),
    ]
    return any(
        not cell.from_target_alone(merged.sources) or _without_seals(cell.result) != _without_seals(before)
        for cell, before in pairs
    )


def _without_seals(result: Any) -> Any:  # Any: a record, or None
    if result is None:
        return None
    return result.model_copy(update={"provenance": {**result.provenance, "parts": None}})
