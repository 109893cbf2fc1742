"""The verdicts of many cells side by side, one place per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.errors import SchemaError, StoreError
from bench.store.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
_IMAGE = ["position", "sample_id", "sample_digest"]
_VERDICTS = ["clean_correct", "success", "robust"]
_COLUMNS = [
    *_IMAGE,
    *_VERDICTS,
    "minimal_distance",
    "forwards",
    "backwards",
    "clean_correctness",
    "correctness",
    "queries",
]
_HALVES = ["even_correctness", "odd_correctness"]
_CERTIFIED = ["certified_prediction", "certified_radius", "label"]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The verdicts of one cell.

    Attributes:
        known: which samples have a row, shape (N,).
        clean_correct: shape (N,); false where there is no row.
        robust: shape (N,); true where there is no row.
        clean_correctness: as in the records, shape (N,); 0 where there is no row.
        correctness: as in the records, shape (N,); 1 where there is no row.
        halves: the same by even and by odd draws alone, shape (2, N).
        certified_radius: within which the right class is certified, shape (N,); 0 where another is, NaN where nobody looked.
        minimal_distance: shape (N,); NaN where there is none.
        passes: forward and backward passes together, shape (N,); NaN where there is no row.
        queries: that broke each sample, shape (N,); 0 where none did, NaN where nobody counted.
        damage: why rows could not be read; empty where they could.
    """

    known: BoolArray
    clean_correct: BoolArray
    robust: BoolArray
    clean_correctness: FloatArray
    correctness: FloatArray
    halves: FloatArray
    certified_radius: FloatArray
    minimal_distance: FloatArray
    passes: FloatArray
    queries: FloatArray
    damage: str = ""


class Joined:
    """Reads the rows of cells and joins them by sample.

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
        self._rows = {cell: self._read(run, cell) for cell in cells}
        wanted = [positions] if positions else [rows["position"] for rows in self._rows.values()]
        self.positions: npt.NDArray[np.int64] = np.unique(np.concatenate([np.zeros(0), *wanted])).astype(np.int64)
        self.sample_ids, self.sample_digests = self._check(run)

    def count(self, cell: str) -> int:
        """How many rows a cell has, those of samples that don't count now included."""
        return len(self._rows[cell])

    def samples(self, cell: str) -> Samples:
        """The verdicts of one cell, in the order of the positions."""
        rows = self._rows[cell]
        rows = rows[rows["position"].isin(self.positions)]
        place = np.searchsorted(self.positions, rows["position"].to_numpy(dtype=np.int64))
        known = np.zeros(len(self.positions), dtype=bool)
        clean_correct, robust = np.zeros_like(known), np.ones_like(known)
        known[place] = True
        clean_correct[place] = rows["clean_correct"].to_numpy(dtype=bool)
        robust[place] = rows["robust"].to_numpy(dtype=bool)
        clean_shares, shares = np.zeros(len(known)), np.ones(len(known))
        clean_shares[place] = _or(rows["clean_correctness"], rows["clean_correct"])
        shares[place] = _or(rows["correctness"], rows["robust"])
        halves = np.ones((2, len(known)))
        for half, name in enumerate(_HALVES):
            halves[half, place] = _or(rows[name], rows["correctness"].fillna(rows["robust"].astype(float)))
        right = (rows["certified_prediction"] == rows["label"]).to_numpy(dtype=bool)
        radii = rows["certified_radius"].to_numpy(dtype=float)
        certified_radius = np.full(len(known), np.nan)
        certified_radius[place] = np.where(right | np.isnan(radii), radii, 0.0)
        minimal_distance, passes = np.full(len(known), np.nan), np.full(len(known), np.nan)
        minimal_distance[place] = rows["minimal_distance"].to_numpy(dtype=float)
        passes[place] = (rows["forwards"] + rows["backwards"]).to_numpy(dtype=float)
        queries = np.full(len(known), np.nan)
        queries[place] = rows["queries"].where(rows["queries"] >= 0).to_numpy(dtype=float)
        damage = self._damage.get(cell, "")
        return Samples(
            known,
            clean_correct,
            robust,
            clean_shares,
            shares,
            halves,
            certified_radius,
            minimal_distance,
            passes,
            queries,
            damage,
        )

    def _read(self, run: RunDirectory, cell: str) -> pd.DataFrame:
        """The rows of a cell; none, and a reason, where they are damaged or contradict themselves."""
        import pandas as pd

        try:
            rows = run.read_samples(cell)[[*_COLUMNS, *_HALVES, *_CERTIFIED]]
            _consistent(rows, cell)
        except SchemaError:
            raise
        except StoreError as error:
            self._damage[cell] = str(error)
            return pd.DataFrame({name: [] for name in (*_COLUMNS, *_HALVES, *_CERTIFIED)})
        return rows

    def _check(self, run: RunDirectory) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Every position must hold the same image in every cell: its id and digest, empty where no cell has a row."""
        import pandas as pd

        if not self._rows:
            return (), ()
        images = pd.concat([rows[_IMAGE].assign(cell=cell) for cell, rows in self._rows.items()], ignore_index=True)
        images = images.drop_duplicates(_IMAGE)
        twice = images[images["position"].duplicated(keep=False)].sort_values("position", kind="stable")
        if len(twice):
            one, other = twice.iloc[0], twice.iloc[1]
            raise StoreError(
                f"{run.path}: position {one.position} holds sample {one.sample_id} ({one.sample_digest}) in cell {one.cell},"
                f" but {other.sample_id} ({other.sample_digest}) in cell {other.cell}; the cells of a run share their images"
            )
        there = {int(place): (str(one), str(digest)) for place, one, digest in images[_IMAGE].itertuples(index=False)}
        found = [there.get(int(place), ("", "")) for place in self.positions]
        return tuple(one for one, _ in found), tuple(digest for _, digest in found)


def _or(shares: pd.Series[float], verdicts: pd.Series[bool] | pd.Series[float]) -> FloatArray:
    """Shares of draws; files from before them have none, and the verdict is all there is."""
    known = shares.to_numpy(dtype=float)
    result: FloatArray = np.where(np.isnan(known), verdicts.to_numpy(dtype=float), known)
    return result


def _consistent(rows: pd.DataFrame, cell: str) -> None:
    verdicts = rows[_VERDICTS]
    if verdicts.isna().any(axis=None):
        raise StoreError(f"cell {cell}: a sample has no verdict")
    verdicts = verdicts.astype(bool)
    wrong = verdicts["robust"] & (verdicts["success"] | ~verdicts["clean_correct"])
    if wrong.any():
        sample = rows["sample_id"][wrong].iloc[0]
        raise StoreError(f"cell {cell}: sample {sample} is recorded as robust, but also as broken or wrong when clean")
