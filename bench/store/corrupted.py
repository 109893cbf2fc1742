"""Corruption cells on disk, apart from the attack cells: ``corruptions/<cell>.json`` and ``corruptions/<cell>/part-*.parquet``.

A corrupted image is no adversarial example. Nothing here is among ``cells/`` and ``samples/``, so that no robust accuracy
and no worst case can ever count it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.digests import file_digest
from bench.errors import StoreError
from bench.store.atomic import explained, write_bytes, write_text
from bench.store.parts import check_version
from bench.store.records import SCHEMA_VERSION, Estimate, Flag, Status
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.spec import DatasetSpec, DefenseSpec, ModelSpec

if TYPE_CHECKING:
    import pandas as pd

_KEY = b"bench"
_TYPES = {"str": "string", "int": "int64", "float": "float64", "bool": "bool"}


class CorruptedRecord(NamedTuple):
    """One sample of one corruption cell: one row of the parquet files."""

    cell: str
    """id of the cell"""
    position: int
    """position of the sample in the dataset's order, from 0"""
    sample_id: str
    sample_digest: str
    """of the clean image, as in :class:`bench.store.records.SampleRecord`"""
    corrupted_digest: str
    """the same of the corrupted image"""
    label: int
    clean_prediction: int
    clean_correct: bool
    clean_correctness: float
    """share of the scoring draws of a stochastic defense in which the clean image is right and accepted; 0 or 1 for others"""
    prediction: int
    """float32 prediction on the corrupted image"""
    correct: bool
    """right and accepted, in most draws"""
    correctness: float
    """the share of draws; an abstention counts as an error"""
    margin: float
    """logit of the label minus the best other logit"""
    confidence: float
    """softmax probability of the predicted class"""
    rejected: bool
    """the defense abstained"""


class CorruptedReport(BaseModel):
    """What one evaluation of a shard cost and noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int
    seconds: float
    device: str
    flags: tuple[Flag, ...] = ()


class CorruptionResult(BaseModel):
    """``corruptions/<cell>.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    cell: str
    """id"""
    status: Status
    dataset: DatasetSpec
    model: ModelSpec
    defense: DefenseSpec
    corruption: str
    severity: int
    published: bool
    """whether the images are the published ones; else a library made them"""
    seed: int
    """of the draws that score a stochastic defense"""
    samples: int
    """samples that the suite asked for"""
    accuracy: Estimate | None = None
    clean_accuracy: Estimate | None = None
    seconds: float = 0.0
    flags: tuple[Flag, ...] = ()
    reason: str = ""
    """why the cell is an error or unavailable, in one line"""
    traceback: str = ""
    provenance: dict[str, Any] = {}  # Any: JSON values
    """digests and versions (``facts`` is what the id was made of beside the fields here), the device, the time, and ``parts``,
    the sha256 of the files that the number rests on"""

    @property
    def defense_id(self) -> str:
        """The defense's name in tables."""
        return self.defense.id or self.defense.name


class Corrupted(NamedTuple):
    """The rows of a cell, and what they cost."""

    rows: pd.DataFrame
    reports: tuple[CorruptedReport, ...]


class CorruptionStore:
    """Reads and writes the corruption cells of one run; like other cells they are found by the hash in their id.

    The directory is listed once: there may be hundreds of cells, and nobody else writes there.

    Args:
        run: the run.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.path = run.path / "corruptions"
        there = sorted(path.name for path in self.path.iterdir()) if self.path.is_dir() else []
        self._directories = {hash_of(name): name for name in reversed(there) if not name.endswith(".json")}
        self._results = {
            hash_of(name.removesuffix(".json")): name for name in reversed(there) if name.endswith(".json")
        }

    def write_result(self, result: CorruptionResult) -> None:
        """Writes the record of a cell, in place of an older one.

        Raises:
            WriteError: where it can't be written.
        """
        path = self.path / f"{result.cell}.json"
        write_text(path, result.model_dump_json(indent=1) + "\n")
        older = self.path / self._results.get(hash_of(result.cell), path.name)
        if older != path:
            with explained(older):
                older.unlink(missing_ok=True)
        self._results[hash_of(result.cell)] = path.name

    def read_result(self, cell: str) -> CorruptionResult | None:
        """The record of a cell, or ``None`` where it isn't finished.

        Raises:
            StoreError: where it is damaged.
            SchemaError: where a newer bench wrote it.
        """
        if hash_of(cell) not in self._results:
            return None
        path = self.path / self._results[hash_of(cell)]
        try:
            text = path.read_text(encoding="utf-8")
            check_version(int(json.loads(text)["schema_version"]), path)
            return CorruptionResult.model_validate_json(text)
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            raise StoreError(f"{path}: damaged: {error}") from error

    def write_shard(self, cell: str, index: int, records: Sequence[CorruptedRecord], report: CorruptedReport) -> None:
        """Adds the rows of one shard to its part file, replacing older rows of the same samples.

        Raises:
            StoreError: where the older file is damaged.
            WriteError: where it can't be written.
        """
        path = self._directory(cell) / f"part-{index:05d}.parquet"
        old, reports = read_part(path) if path.is_file() else (None, ())
        new = {record.sample_id for record in records}
        kept = [] if old is None else [record for record in to_records(old) if record.sample_id not in new]
        merged = sorted([*kept, *records], key=lambda record: record.position)
        _write(path, merged, [*reports, report])
        self._directories.setdefault(hash_of(cell), cell)

    def read(self, cell: str) -> Corrupted:
        """All rows of a cell by position, and what they cost.

        Raises:
            StoreError: where a file is damaged or holds another cell's rows.
        """
        import pandas as pd

        read = [read_part(path) for path in self.parts(cell)]
        reports = tuple(report for part in read for report in part.reports)
        if not read:
            return Corrupted(pd.DataFrame(columns=list(CorruptedRecord._fields)), reports)
        rows = pd.concat([part.rows for part in read], ignore_index=True)
        directory = self._directory(cell)
        if not rows["cell"].str.endswith(f"-{hash_of(cell)}").all():
            raise StoreError(f"{directory}: rows of another cell; delete the part that was copied there")
        if rows["sample_id"].duplicated().any():
            raise StoreError(f"{directory}: a sample has two rows; delete the part that was copied there")
        return Corrupted(rows.sort_values("position", ignore_index=True), reports)

    def parts(self, cell: str) -> list[Path]:
        """The files that hold the rows of a cell, in the order of its shards."""
        return sorted(self._directory(cell).glob("part-*.parquet"))

    def seals(self, cell: str) -> dict[str, str]:
        """The sha256 of each part as it lies on disk."""
        return {path.name: file_digest(path) for path in self.parts(cell)}

    def remove_parts(self, cell: str) -> None:
        """Removes all rows of a cell.

        Raises:
            WriteError: where they can't be removed.
        """
        for path in self.parts(cell):
            with explained(path):
                path.unlink()

    def _directory(self, cell: str) -> Path:
        return self.path / self._directories.get(hash_of(cell), cell)


def _write(path: Path, records: Iterable[CorruptedRecord], reports: Sequence[CorruptedReport]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(records)
    metadata = {"schema_version": SCHEMA_VERSION, "reports": [report.model_dump(mode="json") for report in reports]}
    schema = pa.schema([(name, _TYPES[kind.__name__]) for name, kind in get_type_hints(CorruptedRecord).items()])
    columns = {name: [getattr(row, name) for row in rows] for name in CorruptedRecord._fields}
    table = pa.table(columns, schema=schema.with_metadata({_KEY: json.dumps(metadata).encode()}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


def read_part(path: Path) -> Corrupted:
    """The rows of one part file, and what they cost.

    Raises:
        StoreError: where it is damaged.
        SchemaError: where a newer bench wrote it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        metadata = json.loads((table.schema.metadata or {})[_KEY])
        check_version(int(metadata["schema_version"]), path)
        reports = tuple(CorruptedReport.model_validate(report) for report in metadata["reports"])
        rows = table.select(list(CorruptedRecord._fields)).to_pandas()
    except (pa.ArrowException, OSError, KeyError, ValueError, ValidationError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete this file to compute its samples again") from error
    return Corrupted(rows, reports)


def to_records(rows: pd.DataFrame) -> list[CorruptedRecord]:
    """The rows of a frame as records."""
    return [CorruptedRecord(*row) for row in rows.astype(object).itertuples(index=False)]
