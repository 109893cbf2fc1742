"""The positive control: a linear model of which it is known, without any attack, what is breakable.

An attack that fails there fails for reasons of its own (Carlini et al. 2019, On Evaluating Adversarial Robustness,
arXiv:1902.06705, section 4).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench import threat_models
from bench.attacks.listener import nobody
from bench.attacks.losses import margin
from bench.datasets.base import Dataset
from bench.models.wrapper import CountedModel
from bench.runner.evaluate import evaluate
from bench.runner.shards import Shard
from bench.runner.worker import Worker
from bench.store.probes import ProbeResult
from bench.suites.cells import Cell
from bench.suites.expand import NONE
from bench.suites.places import Places
from bench.suites.spec import ModelSpec
from bench.threat_models.base import ThreatModel

SPEC = ModelSpec(id="linear-control", source="control")
_SIDE = 32
"""Larger images are averaged down to this many pixels a side first, which is linear, too."""
_MARGIN = 5.0
"""Median margin of the clean images: logits of an ordinary size."""
_NEAR = 0.125
"""Median distance of the boundary as a share of eps, as if there were no bounds on the pixels."""
_SLACK = 0.1
"""A sample counts as breakable where the known point goes beyond the boundary by this share of the clean margin."""


class Control(NamedTuple):
    """A linear model, and what is known of it."""

    model: CountedModel
    dataset: Dataset
    """the images, with the model's own predictions as labels: all are right when clean"""
    breakable: Tensor
    """shape (N,), bool: verified to be misclassified at a known point of the ball"""


def linear(dataset: Dataset, ball: ThreatModel, members: tuple[int, ...]) -> Control:
    """A random linear model whose boundary lies well inside the ball of most images.

    Random weights say little of images; what they say is made smaller still, by taking from the weights most of what lies in
    the images' span, until the median distance of the boundary is :data:`_NEAR` eps.

    Args:
        dataset: the images.
        ball: the threat model.
        members: places of the N samples.
    """
    x = dataset.batch(np.asarray(members, dtype=np.int64)).x
    pool: nn.Module = nn.AdaptiveAvgPool2d(_SIDE) if min(x.shape[2:]) > _SIDE else nn.Identity()
    flat = pool(x).flatten(1)
    layer = nn.Linear(flat.shape[1], dataset.num_classes)
    model = CountedModel(nn.Sequential(pool, nn.Flatten(), layer), num_classes=dataset.num_classes)
    with torch.no_grad():
        weight = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        centred = (flat - flat.mean(0)).double()
        inside = weight @ torch.linalg.pinv(centred) @ centred
        layer.weight.copy_(weight)
        layer.bias.copy_(-(weight @ flat.mean(0).double()))
        typical = _typical_distance(model, ball, x)
        share = min(1.0, _NEAR * ball.radius / typical) if typical > 0 else 1.0
        near = weight - (1 - share) * inside
        scale = _MARGIN / float(_margins(near @ centred.T).median().clamp_min(1e-9))
        layer.weight.copy_(scale * near)
        layer.bias.copy_(-scale * (near @ flat.mean(0).double()))
        labels = model(x).argmax(1)
    chosen = np.asarray(members, dtype=np.int64)
    relabelled = replace(
        dataset,
        images=dataset.images[chosen],
        labels=labels.numpy(),
        sample_ids=tuple(dataset.sample_ids[place] for place in members),
        positions=dataset.positions[chosen],
    )
    return Control(model, relabelled, _breakable(model, ball, x, labels))


def _typical_distance(model: CountedModel, ball: ThreatModel, x: Tensor) -> float:
    """Median distance of the boundary to the runner-up class, as if there were no bounds."""
    point = x.clone().requires_grad_(True)
    with torch.enable_grad():
        logits = model(point)
        clean = margin(logits, logits.argmax(1))
        (slope,) = torch.autograd.grad(clean.sum(), point)
    step = (slope * ball.ascend(slope)).flatten(1).sum(1)
    return float((-clean.detach() / step.clamp_min(1e-12)).median())


def _margins(logits: Tensor) -> Tensor:
    """Largest less second largest logit of each column, shape (N,)."""
    top = logits.topk(2, dim=0).values
    return top[0] - top[1]


def _breakable(model: CountedModel, ball: ThreatModel, x: Tensor, y: Tensor) -> Tensor:
    """Which samples the best point for the runner-up class misclassifies with some slack, shape (N,), bool."""
    point = x.clone().requires_grad_(True)
    with torch.enable_grad():
        clean = margin(model(point), y)
    (slope,) = torch.autograd.grad(clean.sum(), point)
    with torch.no_grad():
        after = margin(model(_best(ball, x, slope)), y)
    return (clean.detach() < 0) & (after > _SLACK * -clean.detach())


def _best(ball: ThreatModel, x: Tensor, slope: Tensor) -> Tensor:
    """A point of the ball and the bounds that goes far along a slope: under Linf and L1 the farthest."""
    if ball.norm == "l1":
        room = torch.where(slope > 0, ball.bounds[1] - x, x - ball.bounds[0]).flatten(1)
        order = slope.flatten(1).abs().argsort(dim=1, descending=True)
        sorted_room = room.gather(1, order)
        before = sorted_room.cumsum(1) - sorted_room
        spent = torch.minimum(sorted_room, (ball.radius - before).clamp_min(0))
        delta = torch.zeros_like(room).scatter(1, order, spent).view_as(x) * slope.sign()
        return ball.project(x + delta, x)
    point = x
    for _ in range(1 if ball.norm == "linf" else 5):  # what the bounds cut off is spent on other pixels
        point = ball.project(point + 2 * ball.radius * ball.ascend(slope), x)
    return point


def tried(control: Control, cell: Cell, places: Places, device: torch.device) -> ProbeResult:
    """What a cell's attack breaks of the linear model.

    Args:
        control: as :func:`linear` makes it.
        cell: one of the suite; its model and defense are left out.
        places: directories and permissions.
        device: where it runs.
    """
    started = time.perf_counter()
    plain = replace(cell, model=SPEC, defense=NONE, adversary="adaptive", search="first_success", role="suite")
    worker = Worker(control.dataset, places, device)
    worker.adopt(SPEC, control.model.to(device), keep=True)
    members = tuple(range(len(control.dataset)))
    outcome = evaluate(worker, Shard(plain, "control", 0, members, "none"), nobody)
    return ProbeResult(
        name=f"control:{cell.attack_id}",
        attack=cell.attack,
        eps=str(cell.threat_model.eps),
        broken=tuple(record.success for record in outcome.records),
        seconds=time.perf_counter() - started,
        details={"breakable": control.breakable.tolist()},
    )


def ball_of(cell: Cell) -> ThreatModel:
    """The cell's threat model."""
    return threat_models.build(cell.threat_model.norm, cell.threat_model.eps)
