"""What lies in a run's directory that nothing in the run refers to any more, and how it is removed.

Only files that bench itself writes, in the places and under the names where it writes them, are ever found here. Whatever a
cell that the suite has now rests on is kept: its record, its parts, those of its prerequisite and of the smaller eps that it
builds on (both are cells of the suite), and its row's probes. Submissions are a person's work, and are kept even while their
row is gone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from bench.errors import StoreError
from bench.store.atomic import explained, is_temporary
from bench.store.directories import aside
from bench.store.outcomes import RunOutcome, address, read_outcomes
from bench.store.probes import RowProbes
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory, hash_of

Kind: TypeAlias = Literal[
    "cell that the suite no longer has",
    "rows or examples of no cell",
    "examples without their rows",
    "probes of no row",
    "plot of what is gone",
    "half-written file",
    "half-joined run",
]
SUBMITTED = "submitted-"
_CELL = re.compile(r".+-[0-9a-f]{12}")
_PART = re.compile(r"part-\d{5,}\.(parquet|safetensors)")
_PARTS = ("samples", "adversarial", "purified")
_BY_BALL, _BY_NORM = ("passes", "gallery"), ("curves", "certified")
"""Plots of one threat model, and of one norm."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """Something that no run refers to.

    Attributes:
        kind: what it is.
        name: which one, for people.
        files: all of its files.
        bytes: their size.
    """

    kind: Kind
    name: str
    files: tuple[Path, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in one run.

    Attributes:
        directory: of the run.
        orphans: what can be removed.
        submissions: ids of submissions whose row the suite doesn't have now; they are kept.
    """

    directory: Path
    orphans: tuple[Orphan, ...]
    submissions: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """The size of all that can be removed."""
        return sum(orphan.bytes for orphan in self.orphans)


def runs_in(path: Path) -> list[RunDirectory]:
    """The run at a path, or those of a suite's directory or of a directory of results.

    Raises:
        StoreError: where there is none.
    """
    if (path / "run.json").is_file():
        return [RunDirectory(path)]
    found = sorted({record.parent for pattern in ("*/run.json", "*/*/run.json") for record in path.glob(pattern)})
    runs = [RunDirectory(one) for one in found if not any(part.startswith(".") for part in one.relative_to(path).parts)]
    if not runs:
        raise StoreError(f"{path}: no run here (accepted: a run's directory, or one of results with runs in it)")
    return runs


def find(run: RunDirectory) -> Found:
    """Everything in a run, and beside it, that nothing refers to; changes nothing.

    Raises:
        StoreError: where ``run.json`` or the record of a cell that the suite has can't be read: what it needs is unknown.
    """
    outcome = read_outcomes(run)
    kept = _needed(run, outcome.record.cells)
    attacked = _unlisted(run.path / "cells", [run.path / kind for kind in _PARTS], kept)
    corruptions = run.path / "corruptions"
    corrupted = _unlisted(corruptions, [corruptions], {hash_of(cell) for cell in outcome.record.corruption_cells})
    orphans = [
        *attacked.values(),
        *corrupted.values(),
        *_half_shards(run, outcome.record.cells),
        *_probes(run, outcome),
        *_plots(run, outcome),
        *_half_written(run),
        *_half_joined(run),
    ]
    submissions = (path.stem for path in (run.path / "cells").glob(f"{SUBMITTED}*.json"))
    return Found(run.path, tuple(orphans), tuple(sorted(name for name in submissions if hash_of(name) not in kept)))


def remove(run: RunDirectory, orphans: Sequence[Orphan]) -> int:
    """Removes what was shown, as far as it is still an orphan.

    Args:
        run: the run.
        orphans: as :func:`find` gave them.

    Returns:
        How many bytes that were.

    Raises:
        StoreError: where another process is writing into the run.
        WriteError: where a file can't be removed; what was removed before is gone.
    """
    with run.locked():  # which clears half-written files by itself
        still = {file for orphan in find(run).orphans for file in orphan.files}
        freed = 0
        for orphan in orphans:
            for file in orphan.files:
                if orphan.kind != "half-written file" and file not in still:
                    continue
                with explained(file):
                    file.unlink(missing_ok=True)
            freed += orphan.bytes
            _without_empty(run, orphan.files)
    return freed


def _without_empty(run: RunDirectory, files: Iterable[Path]) -> None:
    """Removes the directories that have nothing left in them, up to the run's own."""
    for folder in sorted({parent for file in files for parent in file.parents}, key=lambda one: -len(one.parts)):
        inside = folder.is_relative_to(run.path) and folder != run.path
        if inside or folder.is_relative_to(stage(run)) or folder.is_relative_to(aside(run.path)):
            with suppress(OSError):  # it isn't empty
                folder.rmdir()


def _needed(run: RunDirectory, cells: Sequence[str]) -> set[str]:
    """Hashes of the cells that the suite has, and of those that they build on."""
    needed = {hash_of(cell) for cell in cells}
    for cell in cells:
        below = run.read_cell(cell)
        while below is not None:
            facts = below.provenance.get("facts")
            name = str(facts.get("smaller_eps", "")) if isinstance(facts, dict) else ""
            if not name or name in needed:
                break
            needed.add(name)
            below = run.read_cell(f"cell-{name}")
    return needed


def _unlisted(records: Path, places: Sequence[Path], kept: set[str]) -> dict[str, Orphan]:
    """By hash the cells that nothing needs.

    Args:
        records: the directory of their records.
        places: directories that hold one of parts for each cell.
        kept: hashes of the cells that are needed.
    """
    files: dict[str, list[Path]] = {}
    names: dict[str, str] = {}
    recorded: set[str] = set()
    for path in sorted(records.glob("*.json")):
        if _cell_name(path.stem, kept) and _is_record(path):
            recorded.add(hash_of(path.stem))
            names[hash_of(path.stem)] = path.stem
            files.setdefault(hash_of(path.stem), []).append(path)
    for place in places:
        for folder in sorted(place.glob("*")):
            if _cell_name(folder.name, kept) and folder.is_dir() and not folder.is_symlink():
                own = [path for path in sorted(folder.iterdir()) if _PART.fullmatch(path.name) and path.is_file()]
                if own:
                    names.setdefault(hash_of(folder.name), folder.name)
                    files.setdefault(hash_of(folder.name), []).extend(own)
    return {
        name: _orphan(
            "cell that the suite no longer has" if name in recorded else "rows or examples of no cell", names[name], own
        )
        for name, own in files.items()
    }


def _cell_name(name: str, kept: set[str]) -> bool:
    """Whether a file or directory has the name of a cell that nothing needs, and that isn't a submission."""
    return bool(_CELL.fullmatch(name)) and hash_of(name) not in kept and not name.startswith(SUBMITTED)


def _is_record(path: Path) -> bool:
    """Whether bench wrote it: a record of that cell, of whatever version."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and "schema_version" in value and value.get("cell") == path.stem


def _half_shards(run: RunDirectory, cells: Sequence[str]) -> Iterator[Orphan]:
    """Examples that were written before a process was killed, whose rows weren't; the shard is attacked again anyway."""
    for cell in cells:
        numbers = {path.stem for path in run.sample_parts(cell)}
        sealed = _sealed(run.read_cell(cell))
        files = [
            path
            for path in (*run.example_parts(cell), *run.purified_parts(cell))
            if path.stem not in numbers and f"{path.parent.parent.name}/{path.name}" not in sealed
        ]
        if files:
            yield _orphan("examples without their rows", cell, files)


def _sealed(result: CellResult | None) -> set[str]:
    parts = None if result is None else result.provenance.get("parts")
    return set(parts) if isinstance(parts, dict) else set()


def _probes(run: RunDirectory, outcome: RunOutcome) -> Iterator[Orphan]:
    """Probes of rows that aren't there; kept where one without any may be the same row, whose model or defense was renamed."""
    rows = {(row.model, row.defense, address(row.threat_model)): row for row in outcome.rows}
    found: dict[Path, RowProbes] = {}
    for path in sorted((run.path / "probes").glob("*.json")):
        with suppress(OSError, ValueError):
            found[path] = RowProbes.model_validate_json(path.read_text(encoding="utf-8"))
    probed = {_row_of(one) for one in found.values()}
    unprobed = {(row.bare, key[2]) for key, row in rows.items() if key not in probed and row.worst_correctness.any()}
    for path, one in found.items():
        if _row_of(one) not in rows and (one.defense == "none", one.threat_model) not in unprobed:
            yield _orphan("probes of no row", path.stem, [path])


def _row_of(probes: RowProbes) -> tuple[str, str, str]:
    return probes.model, probes.defense, probes.threat_model


def _plots(run: RunDirectory, outcome: RunOutcome) -> Iterator[Orphan]:
    """Plots of threat models and norms that the suite no longer has."""
    balls = [row.threat_model for row in outcome.rows] + list(outcome.record.suite.threat_models)
    slugs, norms = {ball.slug for ball in balls}, {ball.norm for ball in balls}
    for kinds, known in ((_BY_BALL, slugs), (_BY_NORM, norms)):
        for kind in kinds:
            for path in sorted((run.path / "plots").glob(f"{kind}-*")):
                name = path.stem.removeprefix(f"{kind}-") if path.suffix in (".png", ".pdf") else ""
                if name and name not in known and re.fullmatch(r"(linf|l2|l1|l0)(-.+)?", name):
                    yield _orphan("plot of what is gone", path.name, [path])


def _half_written(run: RunDirectory) -> Iterator[Orphan]:
    for path in sorted(run.path.rglob(".*.tmp")):
        if is_temporary(path.name) and path.is_file() and not path.is_symlink():
            yield _orphan("half-written file", str(path.relative_to(run.path)), [path])


def _half_joined(run: RunDirectory) -> Iterator[Orphan]:
    """What a killed ``bench merge`` left beside the run; while another is at work, it is none."""
    for place in (stage(run), aside(run.path)):
        if not place.is_dir() or place.is_symlink():
            continue
        try:
            with RunDirectory(place).unwritten():
                files = sorted(path for path in place.rglob("*") if path.is_file() or path.is_symlink())
        except StoreError:
            continue
        if files:
            yield _orphan("half-joined run", place.name, files)


def stage(run: RunDirectory) -> Path:
    """Where ``bench merge`` writes a run before it is whole."""
    return run.path.with_name(f".{run.path.resolve().name}.merging")


def _orphan(kind: Kind, name: str, files: Sequence[Path]) -> Orphan:
    return Orphan(kind, name, tuple(files), sum(path.lstat().st_size for path in files))
