"""One run on disk: ``results/<suite>/<run>/``, the finished cells of one suite."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from bench.digests import file_digest
from bench.errors import SchemaError, StoreError
from bench.store import parts
from bench.store.atomic import explained, is_temporary, write_text
from bench.store.audit import AuditRecord
from bench.store.damage import damage
from bench.store.names import Names
from bench.store.names import hash_of as hash_of
from bench.store.probes import RowProbes
from bench.store.records import CellResult, RunRecord, SampleRecord

if TYPE_CHECKING:
    import pandas as pd

_IDENTITY = ("cell", "sample_id", "position")
"""Columns by which the rows of a cell are known to be its own, each once."""
Record = TypeVar("Record", RunRecord, CellResult, AuditRecord, RowProbes)


class RunDirectory:
    """Reads and writes the records of one run.

    Cells are found by the hash at the end of their id, so that renaming a model in the suite loses nothing.

    Args:
        path: ``results/<suite>/<run>``; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names = Names(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """A run that is there already.

        Args:
            path: the run's directory, or a suite's directory with a single run in it.

        Raises:
            StoreError: where there is none.
        """
        if (path / "run.json").is_file():
            return cls(path)
        runs = sorted(found.parent for found in path.glob("*/run.json")) if path.is_dir() else []
        if len(runs) == 1:
            return cls(runs[0])
        if runs:
            names = ", ".join(run.name for run in runs)
            raise StoreError(f"{path}: several runs here ({names}); name one, such as {runs[0]}")
        raise StoreError(f"{path}: no run.json here; a run is a directory such as results/<suite>/default")

    # -- records ---------------------------------------------------------------------------------------------------

    def read_run(self) -> RunRecord:
        """``run.json``."""
        return self._read(self.path / "run.json", RunRecord)

    def write_run(self, record: RunRecord) -> None:
        """Writes ``run.json``."""
        write_text(self.path / "run.json", record.model_dump_json(indent=1) + "\n")

    def write_cell(self, result: CellResult) -> None:
        """Writes ``cells/<cell>.json``, in place of an older record of the same cell."""
        path = self.path / "cells" / f"{result.cell}.json"
        write_text(path, result.model_dump_json(indent=1) + "\n")
        self._names.wrote("cells", path.name)
        for name in self._names.of("cells", hash_of(result.cell), ".json"):
            if name != path.name:
                with explained(path.with_name(name)):
                    path.with_name(name).unlink(missing_ok=True)

    def read_cell(self, cell: str) -> CellResult | None:
        """The record of one cell, or ``None`` where it isn't finished."""
        found = self.cell_path(cell)
        return self._read(found, CellResult) if found is not None else None

    def read_cells(self) -> list[CellResult]:
        """The finished cells that the suite has now, in its order."""
        results = [self.read_cell(cell) for cell in self.read_run().cells]
        return [result for result in results if result is not None]

    # -- the audit -------------------------------------------------------------------------------------------------

    def cell_path(self, cell: str) -> Path | None:
        """The file of a cell's record; ``None`` where it isn't finished."""
        return self._names.path("cells", cell, ".json")

    def read_audit(self) -> AuditRecord | None:
        """``audit.json``, or ``None`` where the run was never audited."""
        path = self.path / "audit.json"
        return self._read(path, AuditRecord) if path.is_file() else None

    def write_audit(self, record: AuditRecord) -> None:
        """Writes ``audit.json``."""
        write_text(self.path / "audit.json", record.model_dump_json(indent=1) + "\n")

    def read_probes(self, key: str) -> RowProbes | None:
        """What the probes of one row saw, or ``None`` where they haven't run.

        Args:
            key: of the row, as in :attr:`bench.store.probes.RowProbes.key`.
        """
        found = sorted((self.path / "probes").glob(f"*-{key}.json"))
        return self._read(found[0], RowProbes) if found else None

    def write_probes(self, slug: str, record: RowProbes) -> None:
        """Writes the probes of one row.

        Args:
            slug: the readable prefix of the file's name.
            record: what they saw.
        """
        write_text(self.path / "probes" / f"{slug}-{record.key}.json", record.model_dump_json(indent=1) + "\n")

    # -- samples ---------------------------------------------------------------------------------------------------

    def read_samples(self, cell: str, columns: Sequence[str] = SampleRecord._fields) -> pd.DataFrame:
        """All rows of one cell by position.

        Args:
            cell: id of the cell.
            columns: fields of :class:`SampleRecord`; others aren't read at all.
        """
        return self.read_part_frames(cell, columns)[0]

    def read_reports(self, cell: str) -> list[parts.ShardReport]:
        """What the shards of one cell cost."""
        return self.read_part_frames(cell)[1]

    def read_part_frames(
        self, cell: str, columns: Sequence[str] = SampleRecord._fields
    ) -> tuple[pd.DataFrame, list[parts.ShardReport]]:
        """The rows and the costs of one cell; ``columns`` as for :meth:`read_samples`."""
        import pandas as pd

        directory, needed = self._directory("samples", cell), list(dict.fromkeys([*_IDENTITY, *columns]))
        read = [parts.read_rows(path, needed) for path in self.sample_parts(cell)]
        reports = [report for part in read for report in part.reports]
        if not read:
            return pd.DataFrame(columns=list(columns)), reports
        rows = pd.concat([part.rows for part in read], ignore_index=True)
        strange = [name for name in rows["cell"].unique() if hash_of(name) != hash_of(cell)]
        if strange:
            raise StoreError(f"{directory}: rows of another cell ({strange[0]}); delete the part that was copied there")
        if rows["sample_id"].duplicated().any():
            raise StoreError(f"{directory}: a sample has two rows; delete the part that was copied there")
        return rows.sort_values("position", ignore_index=True)[list(columns)], reports

    def read_examples(self, cell: str) -> parts.Examples:
        """The adversarial examples of one cell that were kept; empty where there are none."""
        read = [parts.read_examples(path) for path in self.example_parts(cell)]
        if not read:
            return parts.Examples((), np.zeros((0, 0, 0, 0), np.float32))
        return parts.Examples(
            tuple(sample for examples in read for sample in examples.sample_ids),
            np.concatenate([examples.images for examples in read]),
        )

    def sample_parts(self, cell: str) -> list[Path]:
        """The files that hold the rows of one cell, in the order of its shards."""
        return sorted(self._directory("samples", cell).glob("part-*.parquet"))

    def parts_of(self, cell: str) -> dict[str, Path]:
        """The files that a cell's number rests on, by names such as ``samples/part-00000.parquet``: without the cell's."""
        rows = {f"samples/{path.name}": path for path in self.sample_parts(cell)}
        return {**rows, **{f"adversarial/{path.name}": path for path in self.example_parts(cell)}}

    def seals(self, cell: str) -> dict[str, str]:
        """The sha256 of each of a cell's parts as they lie on disk, by the same names.

        Raises:
            StoreError: where a file can't be read.
        """
        try:
            return {name: file_digest(path) for name, path in self.parts_of(cell).items()}
        except OSError as error:
            raise StoreError(f"{error.filename}: can't read: {error.strerror}") from error

    def example_parts(self, cell: str) -> list[Path]:
        """The files that hold the adversarial examples of one cell, in the order of its shards."""
        return sorted(self._directory("adversarial", cell).glob("part-*.safetensors"))

    def purified_parts(self, cell: str) -> list[Path]:
        """The files that hold what a purifier made of some adversarial examples of one cell, for pictures."""
        return sorted(self._directory("purified", cell).glob("part-*.safetensors"))

    def write_shard(
        self,
        cell: str,
        index: int,
        records: Sequence[SampleRecord],
        report: parts.ShardReport,
        examples: parts.Examples | None,
        purified: parts.Examples | None = None,
    ) -> None:
        """Adds the rows of one shard to its part file, replacing older rows of the same samples.

        Args:
            cell: id of the cell.
            index: number of the shard.
            records: the new rows.
            report: what they cost.
            examples: the adversarial examples to keep, or ``None`` to keep none.
            purified: what a purifier made of some of them, for pictures.
        """
        rows_path, examples_path = (self.part_path(kind, cell, index) for kind in ("samples", "adversarial"))
        new = {record.sample_id for record in records}
        old_rows, reports = parts.read_rows(rows_path) if rows_path.is_file() else (None, ())
        old_records = [] if old_rows is None else parts.to_records(old_rows)
        if examples is not None:
            if old_records and examples_path.is_file():
                examples = _merge(parts.read_examples(examples_path), examples, new)
            parts.write_examples(examples_path, examples)
            self._names.wrote("adversarial", examples_path.parent.name)
        if purified is not None:
            self._write_purified(cell, index, purified, new if old_records else None)
        kept = [record for record in old_records if record.sample_id not in new]
        merged = sorted([*kept, *records], key=lambda record: record.position)
        parts.write_rows(rows_path, merged, [*reports, report])
        self._names.wrote("samples", rows_path.parent.name)

    def _write_purified(self, cell: str, index: int, purified: parts.Examples, new: set[str] | None) -> None:
        """Adds to those of samples that aren't ``new``; ``None``: to nothing. A damaged older file only costs pictures."""
        path = self.part_path("purified", cell, index)
        if new is not None and path.is_file():
            try:
                purified = _merge(parts.read_examples(path), purified, new)
            except SchemaError:
                raise
            except StoreError:
                pass
        if purified.sample_ids or path.is_file():
            parts.write_examples(path, purified)

    def part_path(self, kind: str, cell: str, number: int) -> Path:
        """The file of one shard of a cell.

        Args:
            kind: samples, adversarial or purified.
            cell: id of the cell.
            number: of the shard.
        """
        suffix = "parquet" if kind == "samples" else "safetensors"
        return self._directory(kind, cell) / f"part-{number:05d}.{suffix}"

    def _directory(self, kind: str, cell: str) -> Path:
        """Where a cell's parts lie: an existing directory with its hash, whatever its readable prefix."""
        return self._names.path(kind, cell) or self.path / kind / cell

    # -- the directory itself --------------------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second process from writing into the same run, and clears what a killed one left half-written.

        Raises:
            StoreError: where another process writes there.
        WriteError: where the directory can't be written.
        """
        path = self.path / ".lock"
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                other = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                raise StoreError(
                    f"{self.path}: another bench process (pid {other}) is writing into this run; wait or use --run NAME"
                ) from None
            with explained(self.path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                for stale in self.path.rglob(".*.tmp"):
                    if is_temporary(stale.name):
                        stale.unlink(missing_ok=True)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def unwritten(self) -> Iterator[None]:
        """Keeps other processes from writing into the run while it is read; writes nothing itself.

        Raises:
            StoreError: where another process is writing there.
        """
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDONLY)
        except OSError:  # nobody has ever written there, or may
            yield
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                other = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                raise StoreError(
                    f"{self.path}: another bench process (pid {other}) is writing into this run; wait until it ends"
                ) from None
            except OSError:  # a file system without locks
                pass
            yield
        finally:
            os.close(descriptor)

    @staticmethod
    def _read(path: Path, kind: type[Record]) -> Record:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{path}: can't read: {error}") from error
        try:
            record = kind.model_validate_json(text)
        except ValidationError as error:
            version = _version(text)  # a newer record may have other fields
            if version is not None:
                parts.check_version(version, path)
            raise StoreError(f"{path}: damaged: {damage(error)}") from error
        parts.check_version(record.schema_version, path)
        return record


class _Versioned(BaseModel):
    schema_version: int


def _version(text: str) -> int | None:
    try:
        return _Versioned.model_validate_json(text).schema_version
    except ValidationError:
        return None


def _merge(old: parts.Examples, new: parts.Examples, replaced: set[str]) -> parts.Examples:
    keep = [index for index, sample in enumerate(old.sample_ids) if sample not in replaced]
    if not keep:
        return new
    if not new.sample_ids:
        return parts.Examples(tuple(old.sample_ids[index] for index in keep), old.images[keep])
    return parts.Examples(
        tuple(old.sample_ids[index] for index in keep) + new.sample_ids,
        np.concatenate([old.images[keep], new.images]),
    )
