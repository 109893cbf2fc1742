"""Which image stands at which position of a run's dataset, by the rows of its cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd


class Images:
    """Holds every cell to the same image at the same position.

    Args:
        path: of the run, for messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._there: dict[int, tuple[str, str, str]] = {}
        self._last: pd.DataFrame | None = None

    def add(self, cell: str, rows: pd.DataFrame) -> None:
        """The images of one more cell.

        Args:
            cell: its id.
            rows: with the columns ``position``, ``sample_id`` and ``sample_digest``.

        Raises:
            StoreError: where another cell has another image at a position.
        """
        images = rows[["position", "sample_id", "sample_digest"]]
        if self._last is not None and images.equals(self._last):  # mostly so: the cells of a run share their images
            return
        self._last = images
        columns = (rows["position"].tolist(), rows["sample_id"].tolist(), rows["sample_digest"].tolist())
        for position, sample, digest in zip(*columns, strict=True):
            one, image, first = self._there.setdefault(position, (sample, digest, cell))
            if (one, image) != (sample, digest):
                raise StoreError(
                    f"{self._path}: position {position} holds sample {one} ({image}) in cell {first}, but {sample} "
                    f"({digest}) in cell {cell}; the cells of a run share their images"
                )

    def positions(self) -> npt.NDArray[np.int64]:
        """Those of all rows, sorted."""
        return np.array(sorted(self._there), dtype=np.int64)

    def at(self, positions: npt.NDArray[np.int64]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The ids and the digests of the samples at these positions, empty where no cell has a row of one."""
        found = [self._there.get(position, ("", "", "")) for position in positions.tolist()]
        return tuple(one for one, _, _ in found), tuple(digest for _, digest, _ in found)
