"""What lies on disk of a run, read file by file: what can't be read becomes a problem that names it, and the rest is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_type_hints

from bench.errors import StoreError
from bench.runner.verify.results import Found
from bench.store import parts
from bench.store.corrupted import CorruptedRecord
from bench.store.parts import Examples, ShardReport
from bench.store.records import CellResult, SampleRecord
from bench.store.run_directory import RunDirectory, hash_of

if TYPE_CHECKING:
    import pandas as pd

_TYPES = {"str": "object", "int": "int64", "float": "float64", "bool": "bool"}


class Rows(NamedTuple):
    """The rows of a cell, as far as they could be read."""

    frame: pd.DataFrame
    """by position; the columns of :class:`bench.store.records.SampleRecord`"""
    reports: list[ShardReport]
    whole: bool
    """whether every part could be read"""


class Part(NamedTuple):
    """A file of examples."""

    name: str
    examples: Examples


def inside(directory: RunDirectory, path: Path) -> str:
    """The path of a file of a run, from the run's directory on."""
    return str(path.relative_to(directory.path))


def knows_detector_steps(directory: RunDirectory) -> bool:
    """Whether ``run.json``, which can be read, was written when the harness added ``adam_pgd`` to what rejects."""
    written = json.loads((directory.path / "run.json").read_text(encoding="utf-8"))
    return "detector_steps" in written["suite"]["run"]


def read_record(directory: RunDirectory, cell: str, found: Found) -> CellResult | None:
    """The record of a cell; ``None`` where there is none that can be read, or it is another cell's."""
    path = directory.cell_path(cell)
    if path is None:
        found.add("missing", "no record of it under cells/: it isn't finished, and has no number", cell=cell)
        return None
    try:
        result = directory.read_cell(cell)
    except StoreError as error:
        found.add("unreadable", _first(error), cell=cell)
        return None
    assert result is not None
    if result.cell != cell:
        name = inside(directory, path)
        kind = "it is the record of another cell" if hash_of(result.cell) != hash_of(cell) else "it has another name"
        found.add("identity", f"{name}: {kind}, {result.cell}", cell=cell)
    return result if hash_of(result.cell) == hash_of(cell) else None


def read_rows(directory: RunDirectory, cell: str, found: Found) -> Rows:
    """The rows of a cell: those of other cells, and the second ones of a sample, are left out and named."""
    import pandas as pd

    frames, reports, whole = [], list[ShardReport](), True
    for path in directory.sample_parts(cell):
        try:
            part = parts.read_rows(path)
            frames.append(_own(typed(part.rows, path), inside(directory, path), cell, found))
            reports += part.reports
        except StoreError as error:
            found.add("unreadable", _first(error), cell=cell)
            whole = False
    if not frames:
        return Rows(pd.DataFrame(columns=list(SampleRecord._fields)), reports, whole)
    frame = pd.concat(frames, ignore_index=True)
    twice = frame["sample_id"].duplicated()
    if twice.any():
        found.add("row", "a sample has several rows", cell=cell, samples=frame["sample_id"][twice])
        frame = frame[~twice]
    return Rows(frame.sort_values("position", ignore_index=True), reports, whole)


def _own(rows: pd.DataFrame, name: str, cell: str, found: Found) -> pd.DataFrame:
    strange = ~rows["cell"].str.endswith(f"-{hash_of(cell)}")
    if strange.any():
        other = rows["cell"][strange].iloc[0]
        found.add("row", f"{name}: {int(strange.sum())} rows of another cell, {other}", cell=cell)
    return rows[~strange]


def typed(
    rows: pd.DataFrame, path: Path, record: type[SampleRecord] | type[CorruptedRecord] = SampleRecord
) -> pd.DataFrame:
    """The columns in the types of the records.

    Args:
        rows: of one file.
        path: the file.
        record: what a row is.

    Raises:
        StoreError: where a value is none of that type.
    """
    try:
        kinds = get_type_hints(record)
        floats = [name for name, kind in kinds.items() if kind is float]
        if rows.drop(columns=floats).isna().any(axis=None):
            raise ValueError("a value is missing")
        return rows.astype({name: _TYPES[kinds[name].__name__] for name in record._fields}, errors="raise")
    except (ValueError, TypeError, OverflowError) as error:
        raise StoreError(f"{path}: damaged ({error})") from error


def read_parts(directory: RunDirectory, cell: str, found: Found) -> Iterator[Part]:
    """The files of a cell's examples that can be read, one at a time."""
    seen: set[str] = set()
    for path in directory.example_parts(cell):
        name = inside(directory, path)
        try:
            examples = parts.read_examples(path)
        except StoreError as error:
            found.add("unreadable", _first(error), cell=cell)
            continue
        if examples.images.ndim != 4 or examples.images.dtype != "float32":
            shape = f"{examples.images.dtype} of shape {examples.images.shape}"
            found.add("unreadable", f"{name}: {shape}, not float32 images (N, C, H, W)", cell=cell)
            continue
        twice = seen.intersection(examples.sample_ids)
        if twice or len(set(examples.sample_ids)) != len(examples.sample_ids):
            found.add("row", f"{name}: a sample has several examples", cell=cell, samples=sorted(twice))
        seen.update(examples.sample_ids)
        yield Part(name, examples)


def example_ids(directory: RunDirectory, cell: str) -> set[str]:
    """The samples whose examples a cell has, by what the files say of themselves; of those that can't be read none."""
    from safetensors import SafetensorError, safe_open

    found: set[str] = set()
    for path in directory.example_parts(cell):
        try:
            with safe_open(path, framework="np") as file:
                found.update(json.loads((file.metadata() or {})["sample_ids"]))
        except (SafetensorError, OSError, KeyError, ValueError, TypeError):
            continue
    return found


def check_seals(directory: RunDirectory, cell: str, result: CellResult, found: Found) -> str:
    """Compares a cell's files with the digests that its record has of them.

    Returns:
        Why they couldn't be compared; empty where they were.
    """
    sealed = result.provenance.get("parts")
    if sealed is None and "facts" not in result.provenance:
        return "its record is from before the files' digests were kept"
    compare_seals(directory, cell, f"cells/{result.cell}.json", sealed, directory.parts_of(cell), found)
    return ""


def compare_seals(
    directory: RunDirectory, cell: str, record: str, sealed: object, there: Mapping[str, Path], found: Found
) -> None:
    """Compares files with their digests.

    Args:
        directory: the run.
        cell: id of the cell.
        record: the file with the digests.
        sealed: the digests by name, as it has them.
        there: the files by name.
        found: gets the problems.
    """
    if not isinstance(sealed, dict):
        found.add("seal", f"{record}: the digests of its files are gone", cell=cell)
        return
    for name in sorted({*sealed, *there}):
        if name not in there:
            found.add("seal", f"{name} is gone", cell=cell)
        elif name not in sealed:
            found.add("seal", f"{name} wasn't there when the cell was finished", cell=cell)
        else:
            try:
                digest = _digest(there[name])
            except OSError as error:
                found.add("unreadable", f"{inside(directory, there[name])}: {error.strerror}", cell=cell)
                continue
            if digest != sealed[name]:
                then = str(sealed[name])[:12]
                found.add("seal", f"{name} has the digest {digest[:12]}, it was finished with {then}", cell=cell)


def _digest(path: Path) -> str:
    """Read afresh: no time of change is believed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]
