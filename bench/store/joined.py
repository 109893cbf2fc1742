"""The verdicts of many cells side by side, one place per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.errors import SchemaError, StoreError
from bench.store.images import Images
from bench.store.packed import Packer
from bench.store.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
AnyArray = npt.NDArray[Any]  # Any: numbers of whatever type holds them exactly
_VERDICTS = ["clean_correct", "success", "robust"]
_HALVES = ["even_correctness", "odd_correctness"]
_WORDS = ["sample_id", "sample_digest"]
_KEPT = ["position", "clean_correct", "robust", "minimal_distance"]
"""Columns that are kept as they are."""
_COLUMNS = [
    "position",
    *_WORDS,
    *_VERDICTS,
    "minimal_distance",
    "forwards",
    "backwards",
    "clean_correctness",
    "correctness",
    "queries",
    *_HALVES,
    "certified_prediction",
    "certified_radius",
    "label",
]


class Samples:
    """The verdicts of one cell, by sample; each array is laid out anew whenever it is asked for.

    Args:
        packed: the cell's columns, as :class:`bench.store.packed.Packer` gives them.
        place: of each of the cell's rows among the N samples; -1 for one that doesn't count.
        count: N.
        damage: why rows could not be read; empty where they could.
    """

    def __init__(self, packed: Mapping[str, AnyArray], place: IntArray, count: int, damage: str = "") -> None:
        self._packed, self._place, self._count, self.damage = packed, place, count, damage

    @property
    def known(self) -> BoolArray:
        """Which samples have a row, shape (N,)."""
        known = np.zeros(self._count, dtype=bool)
        known[self._place[self._place >= 0]] = True
        return known

    @property
    def clean_correct(self) -> BoolArray:
        """Shape (N,); false where there is no row."""
        return self._laid("clean_correct", 0.0).astype(bool)

    @property
    def robust(self) -> BoolArray:
        """Shape (N,); true where there is no row."""
        return self._laid("robust", 1.0).astype(bool)

    @property
    def clean_correctness(self) -> FloatArray:
        """As in the records, shape (N,); 0 where there is no row."""
        return self._laid("clean_correctness", 0.0)

    @property
    def correctness(self) -> FloatArray:
        """As in the records, shape (N,); 1 where there is no row."""
        return self._laid("correctness", 1.0)

    @property
    def halves(self) -> FloatArray:
        """The same by even and by odd draws alone, shape (2, N)."""
        return np.stack([self._laid(name, 1.0) for name in _HALVES])

    @property
    def certified_radius(self) -> FloatArray:
        """Within which the right class is certified, shape (N,); 0 where another is, NaN where nobody looked."""
        return self._laid("certified_radius", np.nan)

    @property
    def minimal_distance(self) -> FloatArray:
        """Shape (N,); NaN where there is none."""
        return self._laid("minimal_distance", np.nan)

    @property
    def passes(self) -> FloatArray:
        """Forward and backward passes together, shape (N,); NaN where there is no row."""
        return self._laid("passes", np.nan)

    @property
    def queries(self) -> FloatArray:
        """That broke each sample, shape (N,); 0 where none did, NaN where nobody counted."""
        return self._laid("queries", np.nan)

    def _laid(self, name: str, without: float) -> FloatArray:
        """A column by sample, and what stands where there is no row."""
        values = np.full(self._count, without)
        counted = self._place >= 0
        values[self._place[counted]] = self._packed[name][counted]
        return values


class Joined:
    """Reads the rows of cells, one after the other, and joins them by sample; of each it keeps a few bytes per row.

    Args:
        run: the run.
        cells: ids of the cells.
        positions: the samples that count, in the dataset's order; every sample that has a row where none is given.

    Attributes:
        positions: of the samples that count, sorted, shape (N,).
        sample_ids: the id of each, empty where no cell has a row of it.
        sample_digests: the digest of each, empty where no cell has a row of it.

    Raises:
        StoreError: where cells disagree about which sample stands at a position.
    """

    def __init__(self, run: RunDirectory, cells: Sequence[str], positions: Sequence[int]) -> None:
        self._damage: dict[str, str] = {}
        self._images = Images(run.path)
        self._packer = Packer()
        self._cells = {cell: self._read(run, cell) for cell in cells}
        self.positions: IntArray = (
            np.unique(np.array(positions, dtype=np.int64)) if positions else self._images.positions()
        )
        self.sample_ids, self.sample_digests = self._images.at(self.positions)
        self._places: dict[int, IntArray] = {}

    def count(self, cell: str) -> int:
        """How many rows a cell has, those of samples that don't count now included."""
        return len(self._cells[cell]["position"])

    def samples(self, cell: str) -> Samples:
        """The verdicts of one cell, in the order of the positions."""
        packed = self._cells[cell]
        rows = packed["position"]
        if id(rows) not in self._places:  # cells with the same samples share them
            self._places[id(rows)] = self._place(rows.astype(np.int64))
        return Samples(packed, self._places[id(rows)], len(self.positions), self._damage.get(cell, ""))

    def _place(self, rows: IntArray) -> IntArray:
        place = np.searchsorted(self.positions, rows)
        there = np.isin(rows, self.positions)
        return np.where(there, place, -1)

    def _read(self, run: RunDirectory, cell: str) -> Mapping[str, AnyArray]:
        """The columns of a cell; no rows, and a reason, where they are damaged or contradict themselves."""
        import pandas as pd

        try:
            rows = run.read_samples(cell, _COLUMNS)
            _consistent(rows, cell)
        except SchemaError:
            raise
        except StoreError as error:
            self._damage[cell] = str(error)
            rows = pd.DataFrame({name: [] for name in _COLUMNS})
        self._images.add(cell, rows)
        return {name: self._packer.pack(values) for name, values in _columns(rows).items()}


def _columns(rows: pd.DataFrame) -> dict[str, FloatArray]:
    """What is kept of the rows of a cell, each of shape (n,)."""
    found = {name: rows[name].to_numpy(dtype=float) for name in _COLUMNS if name not in _WORDS}
    kept = {name: found[name] for name in _KEPT}
    kept["clean_correctness"] = _or(found["clean_correctness"], found["clean_correct"])
    kept["correctness"] = _or(found["correctness"], found["robust"])
    kept |= {half: _or(found[half], kept["correctness"]) for half in _HALVES}
    right, radii = found["certified_prediction"] == found["label"], found["certified_radius"]
    kept["certified_radius"] = np.where(right | np.isnan(radii), radii, 0.0)
    kept["passes"] = found["forwards"] + found["backwards"]
    kept["queries"] = np.where(found["queries"] >= 0, found["queries"], np.nan)
    return kept


def _or(shares: FloatArray, verdicts: FloatArray) -> FloatArray:
    """Shares of draws; files from before them have none, and the verdict is all there is."""
    result: FloatArray = np.where(np.isnan(shares), verdicts, shares)
    return result


def _consistent(rows: pd.DataFrame, cell: str) -> None:
    if any(rows[name].dtype != bool and rows[name].isna().any() for name in _VERDICTS):
        raise StoreError(f"cell {cell}: a sample has no verdict")
    clean_correct, success, robust = (rows[name].to_numpy(dtype=bool) for name in _VERDICTS)
    wrong = robust & (success | ~clean_correct)
    if wrong.any():
        sample = rows["sample_id"][wrong].iloc[0]
        raise StoreError(f"cell {cell}: sample {sample} is recorded as robust, but also as broken or wrong when clean")
