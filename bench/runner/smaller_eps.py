"""Which smaller eps a cell builds on, once it is known which cells are finished."""

from __future__ import annotations

import numpy as np

from bench.runner.preflight import PlannedCell
from bench.store.parts import Examples
from bench.store.run_directory import RunDirectory


class SmallerEps:
    """The finished cells of a run, for the larger eps that build on them.

    A cell's id names the one that it builds on. Where that one failed, the cell builds on the next smaller that is
    there, or on none, and then it is another cell with another id: records under one id never depend on what happened
    to be on disk.

    Args:
        directory: the run.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._done: dict[str, PlannedCell] = {}
        self._read: tuple[str, Examples | None] | None = None

    def finished(self, planned: PlannedCell, actual: PlannedCell) -> None:
        """A cell is done.

        Args:
            planned: as the suite has it.
            actual: as it was run.
        """
        self._done[planned.id] = actual

    def settled(self, planned: PlannedCell) -> PlannedCell:
        """The cell as it can be run now.

        Raises:
            StoreError: where the records or the examples of a smaller eps are damaged.
        """
        source = planned.smaller
        while source is not None:
            actual = self._done.get(source.id)
            if actual is not None and self.successes(actual) is not None:
                return planned.built_on(actual)
            source = source.smaller
        return planned.built_on(None)

    def successes(self, planned: PlannedCell) -> Examples | None:
        """The points that broke a sample in this cell; ``None`` where one isn't on disk.

        Raises:
            StoreError: where a file is damaged.
        """
        if self._read is None or self._read[0] != planned.id:
            self._read = (planned.id, self._successes(planned))
        return self._read[1]

    def _successes(self, planned: PlannedCell) -> Examples | None:
        rows = self._directory.read_samples(planned.id, ("sample_id", "success"))
        broken = set(rows["sample_id"][rows["success"].astype(bool)])
        examples = self._directory.read_examples(planned.id)
        if not broken <= set(examples.sample_ids):
            return None
        kept = [place for place, sample in enumerate(examples.sample_ids) if sample in broken]
        images = examples.images[kept] if kept else np.zeros((0, *examples.images.shape[1:]), np.float32)
        return Examples(tuple(examples.sample_ids[place] for place in kept), images)
