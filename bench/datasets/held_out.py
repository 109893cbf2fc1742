"""Clean images that nobody evaluates on: what detectors calibrate their thresholds with."""

from __future__ import annotations

import numpy as np

from bench.datasets.base import Dataset
from bench.datasets.loading import open_source, take
from bench.datasets.source import Positions, Source
from bench.digests import value_digest
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

HELD_OUT = 500
"""Images that are taken from the end of the dataset where the suite names none."""
FEWEST = 20
"""Images below which no threshold means anything."""


def held_out(wanted: DatasetSpec | None, evaluated: Dataset, spec: DatasetSpec, places: Places) -> Dataset:
    """The images for calibration, none of which is evaluated.

    Args:
        wanted: ``calibration`` of the suite; where it isn't given, the last images of the evaluated dataset's own order.
        evaluated: the images that the suite evaluates on.
        spec: what they were selected by.
        places: directories and permissions.

    Raises:
        DatasetError: where images are evaluated, too, or too few are left.
    """
    if wanted is not None:
        return disjoint(take(wanted, open_source(wanted, places)), evaluated)
    source = open_source(spec, places)
    used = set(evaluated.positions.tolist())
    free = [place for place in range(len(source.labels) - 1, -1, -1) if place not in used][:HELD_OUT]
    if len(free) < FEWEST:
        raise DatasetError(
            f"calibration: the suite evaluates {len(evaluated)} of the {len(source.labels)} images of {spec.name}, which "
            f"leaves {len(free)} to calibrate a detector on (accepted: fewer samples, or other images under calibration)"
        )
    return _chosen(spec.name, source, np.asarray(sorted(free), dtype=np.int64))


def disjoint(found: Dataset, evaluated: Dataset) -> Dataset:
    """Images for calibration, where they have nothing in common with what is evaluated.

    Raises:
        DatasetError: where an image is in both, or shapes or classes differ.
    """
    if found.shape != evaluated.shape or found.num_classes != evaluated.num_classes:
        raise DatasetError(
            f"calibration: {found.num_classes} classes of images of shape {found.shape}, but {evaluated.num_classes} of "
            f"{evaluated.shape} are evaluated"
        )
    used = {evaluated.sample_digest(place) for place in range(len(evaluated))}
    same = [found.sample_ids[place] for place in range(len(found)) if found.sample_digest(place) in used]
    if same:
        raise DatasetError(
            f"calibration: {len(same)} of its {len(found)} images are evaluated, too, first {same[0]} (accepted: other images)"
        )
    return found


def _chosen(name: str, source: Source, positions: Positions) -> Dataset:
    return Dataset(
        name=name,
        images=source.decode(positions),
        labels=source.labels[positions],
        sample_ids=tuple(source.sample_ids[int(position)] for position in positions),
        positions=positions,
        num_classes=source.num_classes,
        class_names=source.class_names,
        digest=source.digest,
        note=source.note,
    )


def calibration_digest(images: Dataset) -> str:
    """What thresholds depend on: every image and label, in order."""
    digests = [images.sample_digest(place) for place in range(len(images))]
    return value_digest([*digests, *images.labels.tolist()])
