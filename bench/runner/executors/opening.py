"""The worker that the user's settings ask for, on this machine or on a node."""

from __future__ import annotations

import torch

from bench.datasets.base import Dataset
from bench.runner.options import RunSettings
from bench.runner.worker import Worker
from bench.suites.places import Places


def worker_of(
    dataset: Dataset, calibration: Dataset | None, settings: RunSettings, places: Places, device: torch.device
) -> Worker:
    """The worker.

    Args:
        dataset: the images.
        calibration: clean images for the thresholds of detectors; ``None`` where no defense needs any.
        settings: the user's.
        places: where things lie on this machine.
        device: where models run.
    """
    return Worker(
        dataset,
        places,
        device,
        settings.batch_size,
        pinned=settings.pin_batch,
        compiled=settings.compile,
        graphs=settings.graphs,
        calibration=calibration,
    )
