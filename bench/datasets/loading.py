"""From a suite's dataset to images in memory: parameters checked, source opened, images selected and decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from bench import registry
from bench.datasets.arrays import check_images, check_labels
from bench.datasets.base import Dataset
from bench.datasets.selection import select
from bench.datasets.source import Source, numbered
from bench.digests import arrays_digest
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec


def open_source(spec: DatasetSpec, places: Places) -> Source:
    """All that a dataset holds, before any image is selected.

    Raises:
        UnknownNameError: for a name that no table knows.
        DatasetError: if it can't be had, or is damaged.
    """
    entry = registry.datasets.entry(spec.name)
    if entry.origin != "bench":
        return _plugin_source(spec, registry.datasets.load(spec.name))
    sources = entry.facts.get("sources", ())
    if spec.source is not None and spec.source not in sources:
        accepted = ", ".join(sources) or "none: leave it out"
        raise DatasetError(f"{spec.name}: source: {spec.source!r} is not one of its sources (accepted: {accepted})")
    if spec.source == "samples":
        from bench.datasets.samples import samples

        return samples(spec)
    if "path" in entry.facts.get("needs", ()) and spec.path is None:
        raise DatasetError(f"{spec.name}: path: missing; it names the images")
    open_named: Callable[..., Source] = registry.datasets.load(spec.name)
    return open_named(spec, _parameters(spec, entry.params), places)


def take(spec: DatasetSpec, source: Source) -> Dataset:
    """The selected images of a source.

    Raises:
        DatasetError: if there are fewer than asked for.
    """
    chosen = select(source.labels, samples=spec.samples, how=spec.select, seed=spec.seed, name=spec.name)
    images = source.decode(chosen)
    return Dataset(
        name=spec.name,
        images=images,
        labels=source.labels[chosen],
        sample_ids=tuple(source.sample_ids[position] for position in chosen),
        positions=chosen,
        num_classes=source.num_classes,
        class_names=source.class_names,
        digest=source.digest,
        note=source.note,
    )


def _parameters(spec: DatasetSpec, model: type[BaseModel] | None) -> BaseModel | None:
    if model is None:
        return None
    try:
        return model.model_validate(spec.args)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'args'}: {item['msg']}" for item in error.errors())
        raise DatasetError(f"{spec.name}: {problems} (accepted: {', '.join(model.model_fields)})") from error


def _plugin_source(spec: DatasetSpec, build: Callable[..., Any]) -> Source:
    """A third party's dataset: a function that returns images and labels, or a Source."""
    given = build(**spec.args)
    if isinstance(given, Source):
        return given
    if not isinstance(given, tuple) or len(given) != 2:
        raise DatasetError(f"{spec.name}: the plugin must return (images, labels), it returned {type(given).__name__}")
    images = check_images(np.asarray(given[0]), layout="nchw", where=spec.name)
    num_classes = getattr(build, "num_classes", None)
    labels = check_labels(np.asarray(given[1]), count=len(images), num_classes=num_classes, where=spec.name)
    return Source(
        labels=labels,
        sample_ids=numbered(f"{spec.name}/{spec.split}", len(labels)),
        decode=lambda positions: images[positions],
        num_classes=num_classes or int(labels.max()) + 1,
        class_names=tuple(getattr(build, "class_names", ())),
        digest=arrays_digest({"x": images, "y": labels}),
    )
