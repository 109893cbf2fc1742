"""Evaluates shards on a node, with what the driver sent there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from bench import heap, models
from bench.attacks.listener import Listener
from bench.datasets.base import Dataset
from bench.datasets.corruptions import open_corruptions
from bench.datasets.corruptions.base import Pixels
from bench.errors import ModelError
from bench.runner.corrupted_shard import Images, Kept
from bench.runner.devices import describe
from bench.runner.executors.attempt import attempt
from bench.runner.executors.opening import worker_of
from bench.runner.shards import AnyOutcome, AnyShard, CorruptedShard, Failure, failure_of
from bench.suites.corruption_cells import CorruptionCell
from bench.suites.places import Places
from bench.suites.references import members

if TYPE_CHECKING:
    from bench.runner.executors.luggage import Localiser, RunLuggage


class NodeEvaluator:
    """Keeps a worker between shards.

    Args:
        luggage: what the driver sent.
        dataset: the images.
        calibration: those for thresholds, or ``None``.
        places: where things lie here.
        localiser: finds paths.
    """

    def __init__(
        self,
        luggage: RunLuggage,
        dataset: Dataset,
        calibration: Dataset | None,
        places: Places,
        localiser: Localiser,
    ) -> None:
        torch.set_num_threads(luggage.settings.cluster.cpus_per_worker)
        heap.keep()
        cuda = luggage.settings.device != "cpu" and torch.cuda.is_available()
        self._worker = worker_of(
            dataset, calibration, luggage.settings, places, torch.device("cuda" if cuda else "cpu")
        )
        self._luggage, self._places, self._localiser = luggage, places, localiser
        spec = luggage.corruptions
        self._images = None if spec is None else Kept(open_corruptions(spec, dataset))
        self._same: set[str] = set()

    @property
    def device(self) -> str:
        """For people."""
        return describe(self._worker.device)

    def __call__(self, shard: AnyShard, report: Listener) -> AnyOutcome | Failure:
        """See :class:`bench.runner.executors.evaluator.Evaluator`."""
        torch.set_num_threads(self._luggage.settings.cluster.cpus_per_worker)  # it is a setting of each thread
        cell = shard.cell
        here = replace(cell, model=self._localiser.model(cell.model), defense=self._localiser.defense(cell.defense))
        shard = replace(shard, cell=here)  # type: ignore[arg-type]  # a cell of the same kind
        try:
            self._refuse_others(shard)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the edge of the model's cells: they become errors)
            return failure_of(error, model=True)
        images: Images | None = self._images
        if isinstance(shard, CorruptedShard) and shard.images is not None:
            images = _Sent(shard)
        return attempt(self._worker, images, shard, report)

    def _refuse_others(self, shard: AnyShard) -> None:
        """Weights under the same name that aren't the same would give numbers of another model.

        Raises:
            ModelError: naming the model and this machine's file.
        """
        cell, setting = shard.cell, self._worker.setting(shard.cell.norm)
        wanted = [(cell.model, self._luggage.models[cell.model.id])]
        wanted += zip(members(cell.defense), self._luggage.members[cell.defense_id, cell.norm], strict=True)
        for spec, digests in wanted:
            key = f"{cell.norm} {spec.model_dump_json()}"
            if key in self._same:
                continue
            found = models.locate(spec, setting, self._places)
            if (found.weights_digest, found.architecture_digest) != digests:
                what = "other weights" if found.weights_digest != digests.weights else "other code of its architecture"
                raise ModelError(f"{spec.id}: this node has {what} than the driver: {found.path or 'in a library'}")
            self._same.add(key)


class _Sent:
    """Corrupted images that came with the shard."""

    def __init__(self, shard: CorruptedShard) -> None:
        assert shard.images is not None
        self._places = {member: place for place, member in enumerate(shard.members)}
        self._images: Pixels = shard.images

    def of(self, cell: CorruptionCell, members: tuple[int, ...]) -> Pixels:
        """See :class:`bench.runner.corrupted_shard.Images`."""
        return np.ascontiguousarray(self._images[[self._places[member] for member in members]])
