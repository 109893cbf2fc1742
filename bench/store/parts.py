"""Part files: the rows of one shard of one cell as parquet, its adversarial examples as safetensors.

The rows are the commit point: examples are written first, so a part whose rows are there is whole. What a shard cost
stands in the metadata of its parquet file, so that it survives a kill and travels with the rows.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_type_hints

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import SchemaError, StoreError
from bench.store.atomic import write_bytes
from bench.store.records import SCHEMA_VERSION, Flag, SampleRecord

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_METADATA_KEY = b"bench"
_AND = " and "
_TYPES = {"str": "string", "int": "int64", "float": "float64", "bool": "bool"}


class StageCost(BaseModel):
    """One stage of an ensemble on one shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    attacked: int
    broken: int
    seconds: float


class ShardReport(BaseModel):
    """What one evaluation of a shard cost and noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int
    seconds: float
    forwards: float = 0.0
    backwards: float = 0.0
    device: str
    batch_size: int
    peak_memory: int | None = None
    """bytes, as in :class:`bench.store.records.Cost`"""
    precision: str = "float32"
    """of the search, joined where stages of an ensemble differ; verdicts are always float32"""
    stages: tuple[StageCost, ...] = ()
    flags: tuple[Flag, ...] = ()
    zero_gradient: int = 0
    """unbroken samples on which every gradient that the attack took was zero"""
    purify_seconds: float | None = None
    """of the purifiers, for all samples once"""
    eot_agreement: float | None = None
    """of a stochastic defense: mean cosine between the first gradients of two halves of the draws"""
    unbroken: int = 0
    """samples that the attack left robust"""
    silent: int = 0
    """of these, samples of which the attack had a verified adversarial point and returned another one"""

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those of the search, one by one."""
        return tuple(self.precision.split(_AND))


def join_precisions(precisions: Iterable[str]) -> str:
    """As records say them: ``bfloat16 and tf32``."""
    return _AND.join(sorted(set(precisions)))


class Examples(NamedTuple):
    """Adversarial examples: ids and float32 images of shape (N, C, H, W)."""

    sample_ids: tuple[str, ...]
    images: npt.NDArray[np.float32]


class Part(NamedTuple):
    """One part file as read."""

    rows: pd.DataFrame
    reports: tuple[ShardReport, ...]


def check_version(version: int, path: Path) -> None:
    """Refuses what a newer bench wrote: its fields may mean something else.

    Raises:
        SchemaError: naming the file and both versions.
    """
    if version > SCHEMA_VERSION:
        raise SchemaError(f"{path}: written by a newer bench (schema {version}, this one reads {SCHEMA_VERSION})")


def schema() -> pa.Schema:
    """The columns of a part, in the order of :class:`SampleRecord`."""
    import pyarrow as pa

    return pa.schema([(name, _TYPES[kind.__name__]) for name, kind in get_type_hints(SampleRecord).items()])


def write_rows(path: Path, records: Sequence[SampleRecord], reports: Sequence[ShardReport]) -> None:
    """Writes the rows of a part with what they cost."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {"schema_version": SCHEMA_VERSION, "reports": [report.model_dump(mode="json") for report in reports]}
    values = zip(*records, strict=True) if records else ((),) * len(SampleRecord._fields)
    columns = dict(zip(SampleRecord._fields, values, strict=True))
    table = pa.table(columns, schema=schema().with_metadata({_METADATA_KEY: json.dumps(metadata).encode()}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


def read_rows(path: Path, columns: Sequence[str] = SampleRecord._fields) -> Part:
    """Reads the rows of a part.

    Args:
        path: the file.
        columns: fields of :class:`SampleRecord`; others aren't read at all.

    Raises:
        StoreError: where the file is damaged (names it, and what to do).
        SchemaError: where a newer bench wrote it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read(list(columns))
        metadata = json.loads((table.schema.metadata or {})[_METADATA_KEY])
        check_version(int(metadata["schema_version"]), path)
        reports = tuple(ShardReport.model_validate(report) for report in metadata["reports"])
        rows = _with_later_columns(table, columns).select(list(columns)).to_pandas()
    except (pa.ArrowException, OSError, KeyError, ValueError, ValidationError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete this file to compute its samples again") from error
    return Part(rows, reports)


def _with_later_columns(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """An older part with those of the columns that have a default, filled with it."""
    import pyarrow as pa

    later = [name for name in columns if name not in table.column_names and name in SampleRecord._field_defaults]
    kinds = get_type_hints(SampleRecord) if later else {}
    for name in later:
        filled = [SampleRecord._field_defaults[name]] * len(table)
        table = table.append_column(name, pa.array(filled, _TYPES[kinds[name].__name__]))
    return table


def to_records(rows: pd.DataFrame) -> list[SampleRecord]:
    """The rows of a frame as records."""
    return [SampleRecord(*row) for row in rows[list(SampleRecord._fields)].astype(object).itertuples(index=False)]


def write_examples(path: Path, examples: Examples) -> None:
    """Writes adversarial examples; their sample ids stand in the file's metadata."""
    from safetensors.numpy import save

    metadata = {"schema_version": str(SCHEMA_VERSION), "sample_ids": json.dumps(list(examples.sample_ids))}
    images = {"x_adv": np.ascontiguousarray(examples.images, dtype=np.float32)}
    write_bytes(path, save(images, metadata=metadata))


def read_examples(path: Path) -> Examples:
    """Reads adversarial examples.

    Raises:
        StoreError: where the file is damaged.
        SchemaError: where a newer bench wrote it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            check_version(int(metadata["schema_version"]), path)
            sample_ids = tuple(json.loads(metadata["sample_ids"]))
            images = file.get_tensor("x_adv")
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise StoreError(
            f"{path}: damaged ({error}); delete it and its part under samples/ to compute it again"
        ) from error
    if len(sample_ids) != len(images):
        raise StoreError(f"{path}: damaged: {len(sample_ids)} ids for {len(images)} images")
    return Examples(sample_ids, images)
