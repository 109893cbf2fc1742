"""What a notebook gives, checked and put into the words of a suite."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bench.attacks.memory import out_of_memory
from bench.datasets.base import Dataset
from bench.errors import DatasetError, ModelError, Problem, SuiteError
from bench.suites.check import Parts, part_problems
from bench.suites.conflicts import conflicts
from bench.suites.messages import problems_of
from bench.suites.naming import resolve
from bench.suites.short_forms import model_id
from bench.suites.sources import Sources
from bench.suites.spec import Suite


def checked(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Images and labels on the CPU, as copies: nothing that happens here reaches the caller's tensors.

    Args:
        x: images, shape (N, C, H, W), floats in [0, 1].
        y: labels, shape (N,), integers.

    Raises:
        DatasetError: for anything else.
    """
    if not isinstance(x, Tensor) or x.dim() != 4 or not x.dtype.is_floating_point or x.numel() == 0:
        seen = f"{tuple(x.shape)} {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        hint = "; divide by 255" if isinstance(x, Tensor) and x.dtype == torch.uint8 else ""
        raise DatasetError(f"x: images must be a float tensor of shape (N, C, H, W) in [0, 1], got {seen}{hint}")
    if not isinstance(y, Tensor) or y.shape != (len(x),) or y.dtype.is_floating_point or y.is_complex():
        seen = f"{tuple(y.shape)} {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise DatasetError(f"y: labels must be an integer tensor of shape ({len(x)},), got {seen}")
    images = x.detach().float().cpu().clone()
    low, high = float(images.min()), float(images.max())
    if not torch.isfinite(images).all():
        bad = (~torch.isfinite(images).flatten(1).all(1)).nonzero().flatten()
        raise DatasetError(f"x: {len(bad)} images hold NaN or infinity, the first is image {int(bad[0])}")
    if low < 0 or high > 1:
        hint = "is it normalised? put the normalisation into the model" if low < 0 else "divide by 255?"
        raise DatasetError(f"x: images must be in [0, 1], got {low:.4g} to {high:.4g}; {hint}")
    if 0 < high <= 1 / 255:
        raise DatasetError(f"x: images must be in [0, 1], got {low:.4g} to {high:.4g}; looks divided by 255 twice")
    return images, y.detach().long().cpu().clone()


def num_classes_of(model: nn.Module, images: Tensor) -> int:
    """K, from what the model gives for one image.

    Args:
        model: in eval mode.
        images: shape (N, C, H, W), float32, on the model's device.

    Raises:
        ModelError: where it gives no logits (1, K) with K at least 2.
    """
    try:
        with torch.no_grad():
            logits = model(images[:1].clone())
    except Exception as error:
        if out_of_memory(error):
            raise
        others = {str(tensor.dtype) for tensor in model.parameters() if tensor.dtype != torch.float32}
        hint = f" (its parameters are {', '.join(sorted(others))}: give model.float())" if others else ""
        seen = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise ModelError(
            f"the model raises on float32 images of shape {tuple(images[:1].shape)}{hint}: {seen}"
        ) from error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != 1 or logits.shape[1] < 2:
        seen = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(f"the model gives {seen} for one image (accepted: logits of shape (1, K), K at least 2)")
    return int(logits.shape[1])


def suite_of(
    model: nn.Module,
    threat_model: str | Mapping[str, Any],
    attacks: Sequence[str | Mapping[str, Any]],
    defense: str | Mapping[str, Any] | None,
    adversary: str,
    seed: int,
    search: str,
) -> Suite:
    """The same words as a suite; an attack keeps the name that the caller gave it, where that is unique.

    Raises:
        SuiteError: with everything that can't work.
    """
    listed = [attacks] if isinstance(attacks, str | Mapping) else list(attacks)
    if not all(isinstance(one, str | Mapping) for one in listed):
        raise SuiteError([Problem("wrong type", key="attacks", accepted="names, or mappings with a name")])
    given: list[dict[str, Any]] = [{"name": one} if isinstance(one, str) else dict(one) for one in listed]
    names = [one.get("name") for one in given]
    for one in given:
        if names.count(one.get("name")) == 1:
            one.setdefault("id", one.get("name"))
    words = {
        "name": "evaluate",
        "dataset": "npz",
        "threat_models": [threat_model],
        "models": [{"id": model_id({"name": type(model).__name__}), "source": "memory"}],
        "attacks": given,
        "defenses": ["none" if defense is None else defense],
        "adversaries": ["oblivious", "adaptive"] if adversary == "adaptive" else [adversary],
        "run": {"seed": seed, "search": search},
    }
    try:
        suite = Suite.model_validate(words)
    except ValidationError as error:
        raise SuiteError(problems_of(error, Sources())) from error
    if len(suite.threat_models) != 1:
        raise SuiteError([Problem("several radii", key="threat_model", accepted="one norm and one eps")])
    parts = dataclasses.replace(Parts.of(suite), dataset=None, models={})
    problems = [*part_problems(parts, Sources()), *conflicts(suite, Sources())]
    if problems:
        raise SuiteError(problems)
    return resolve(suite)


def dataset_of(images: Tensor, labels: Tensor, num_classes: int) -> Dataset:
    """The images as a dataset.

    Raises:
        DatasetError: where a label isn't one of the model's classes.
    """
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        low, high = int(labels.min()), int(labels.max())
        raise DatasetError(f"y: labels go from {low} to {high}, the model has {num_classes} classes")
    return Dataset(
        name="memory",
        images=np.ascontiguousarray(images.numpy()),
        labels=labels.numpy(),
        sample_ids=tuple(f"{index:08d}" for index in range(len(labels))),
        positions=np.arange(len(labels), dtype=np.int64),
        num_classes=num_classes,
        class_names=(),
        digest="memory",
    )
