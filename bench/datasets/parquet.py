"""Any parquet file of encoded images (JPEG, PNG) and labels, as the Hugging Face hub keeps them.

Labels are read at once; of the images only the selected ones are read and decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.datasets.arrays import check_labels
from bench.datasets.parameters import ParquetParameters, TableParameters
from bench.datasets.pixels import decode_image, stack_images
from bench.datasets.source import Images, Labels, Positions, Source, numbered
from bench.digests import file_digest, value_digest
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

_IMAGE_COLUMNS, _LABEL_COLUMNS = ("image", "img"), ("label", "fine_label")
JPEG_NOTE = "decoded from JPEG (lossy), not the original pixels"


@dataclass(frozen=True, slots=True)
class Table:
    """The parquet files of one split, opened.

    Attributes:
        files: in the order of the images.
        image_column: encoded images.
        labels: shape (N,), int64.
        starts: position of each file's first image, and the number of images.
        digest: sha256 of the files and of the names of the columns.
    """

    files: tuple[Path, ...]
    image_column: str
    labels: Labels
    starts: tuple[int, ...]
    digest: str

    def encoded(self, positions: Positions) -> list[bytes]:
        """The encoded images at these positions; reads only the row groups that hold them."""
        found: dict[int, bytes] = {}
        wanted = np.unique(positions)
        for file, start, stop in zip(self.files, self.starts, self.starts[1:], strict=False):
            inside = wanted[(wanted >= start) & (wanted < stop)]
            if len(inside):
                found.update(self._from_file(file, start, inside))
        return [found[int(position)] for position in positions]

    def _from_file(self, path: Path, start: int, positions: Positions) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        with _opened(path) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                inside = positions[(positions >= start) & (positions < start + rows)]
                if len(inside):
                    column = _read(path, file, self.image_column, group)
                    found.update((int(p), _bytes(column[int(p) - start], path, int(p))) for p in inside)
                start += rows
        return found


def parquet(spec: DatasetSpec, parameters: ParquetParameters, places: Places) -> Source:
    """The images of ``spec.path``: a file, or a directory with ``<split>*.parquet``."""
    files = find_files(Path(spec.path or "").expanduser(), spec.split)
    named = parameters.num_classes or (len(parameters.class_names) or None)
    table = open_table(files, parameters, num_classes=named)
    return table_source(table, spec, channels=None, num_classes=named, class_names=parameters.class_names)


def find_files(path: Path, split: str) -> tuple[Path, ...]:
    """The parquet files that ``path`` means: itself, or those of the split in a directory.

    Raises:
        DatasetError: if there are none.
    """
    if path.is_file():
        return (path,)
    if not path.exists():
        raise DatasetError(f"{path}: no such file or directory")
    files = tuple(sorted(path.glob(f"{split}.parquet")) or sorted(path.glob(f"{split}-*.parquet")))
    if not files:
        raise DatasetError(
            f"{path}: no parquet files of the {split} split (accepted: {split}.parquet, {split}-*.parquet)"
        )
    return files


def open_table(files: Sequence[Path], parameters: TableParameters, *, num_classes: int | None) -> Table:
    """Reads the labels and finds the column of images.

    Raises:
        DatasetError: if a file is damaged or lacks a column, or the labels aren't labels.
    """
    labels, starts, image_column, label_column = [], [0], "", ""
    for path in files:
        with _opened(path) as file:
            image_column = _column(path, file, parameters.image_column, _IMAGE_COLUMNS, "image_column")
            label_column = _column(path, file, parameters.label_column, _LABEL_COLUMNS, "label_column")
            column = _read(path, file, label_column, None)
            rows = file.metadata.num_rows
        if column.null_count:
            raise DatasetError(f"{path}: {label_column}: {column.null_count} rows have no label")
        values = np.asarray(column.to_numpy())
        labels.append(check_labels(values, count=rows, num_classes=num_classes, where=f"{path}: {label_column}"))
        starts.append(starts[-1] + rows)
    if starts[-1] == 0:
        raise DatasetError(f"{files[0]}: no images")
    how = {"image_column": image_column, "label_column": label_column}
    digest = value_digest({"files": [file_digest(path) for path in files], **how})
    return Table(tuple(files), image_column, np.concatenate(labels), tuple(starts), digest)


def table_source(
    table: Table, spec: DatasetSpec, *, channels: int | None, num_classes: int | None, class_names: tuple[str, ...]
) -> Source:
    """A source that decodes images when they are asked for.

    Args:
        table: the opened files.
        spec: for the ids, ``name/split/position``.
        channels: 1 or 3; as the first image has them where it is ``None``.
        num_classes: number of classes; the largest label + 1 where it is ``None``.
        class_names: names of the classes, or empty.
    """
    ids = numbered(f"{spec.name}/{spec.split}", len(table.labels))
    first = table.encoded(np.zeros(1, dtype=np.int64))[0]
    depth = channels or decode_image(first, channels=None, where=ids[0]).shape[0]

    def decode(positions: Positions) -> Images:
        names = [ids[position] for position in positions]
        encoded = table.encoded(positions)
        return stack_images(
            (decode_image(data, channels=depth, where=name) for data, name in zip(encoded, names, strict=True)), names
        )

    return Source(
        labels=table.labels,
        sample_ids=ids,
        decode=decode,
        num_classes=num_classes or int(table.labels.max()) + 1,
        class_names=class_names,
        digest=value_digest({"table": table.digest, "channels": depth}),
        note=JPEG_NOTE if first.startswith(b"\xff\xd8") else "",
    )


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: not a readable parquet file: {error}") from error


def _read(path: Path, file: pq.ParquetFile, column: str, group: int | None) -> pa.ChunkedArray:
    try:
        table = file.read([column]) if group is None else file.read_row_group(group, [column])
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: {column}: truncated or damaged: {error}") from error
    return table.column(0)


def _column(path: Path, file: pq.ParquetFile, asked: str | None, usual: tuple[str, ...], parameter: str) -> str:
    names = file.schema_arrow.names
    for name in (asked,) if asked is not None else usual:
        if name in names:
            return str(name)
    missing = repr(asked) if asked is not None else " or ".join(usual)
    raise DatasetError(f"{path}: {parameter}: no column {missing} (accepted: {', '.join(names)})")


def _bytes(cell: pa.Scalar, path: Path, position: int) -> bytes:
    """The encoded image of a cell: bytes, or the ``bytes`` field of a struct."""
    value = cell.as_py()
    if isinstance(value, dict):
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise DatasetError(
            f"{path}: image {position} holds no bytes (accepted: encoded images, or a struct with bytes)"
        )
    return value
