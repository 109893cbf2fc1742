"""What a trained model is worth: measured on the test images with the harness's own attacks and its own judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bench import attacks, registry, threat_models
from bench.attacks.base import AttackContext, Samples
from bench.attacks.draws import Draws
from bench.attacks.listener import Listener, nobody
from bench.datasets.base import Dataset
from bench.models.wrapper import CountedModel
from bench.runner.batch_size import find_batch_size
from bench.runner.claims import keep_its_word
from bench.runner.devices import search_precision
from bench.runner.judge import exact_arithmetic, judge, predict
from bench.stats import BoolArray
from bench.suites.naming import with_defaults
from bench.suites.spec import AttackSpec, ThreatModelSpec
from bench.training.draws import BatchDraws
from bench.training.method_parameters import AdversarialParams
from bench.training.pgd import perturb
from bench.training.seeds import Seeds
from bench.training.verdicts import SavedVerdicts

SHARD = 256
"""Images that are attacked together, as in a run with the default shard size, so that the verdicts are the same."""
WATCH_STEPS = 10
"""PGD steps of the measurement during the training: a quick look, not a number for a table."""
BATCH_SIZE = 256


@dataclass(frozen=True, slots=True)
class Attacked:
    """One attack under one threat model.

    Attributes:
        attack: with its id and every parameter.
        threat_model: the ball.
        robust: clean-correct and unbroken, shape (N,).
        seconds: what it took.
    """

    attack: AttackSpec
    threat_model: ThreatModelSpec
    robust: BoolArray
    seconds: float


def clean(network: nn.Module, images: Dataset, device: torch.device) -> BoolArray:
    """Which images are classified correctly in float32, shape (N,); for the network see :func:`attacked`."""
    x, y = images.batch(range(len(images)))
    model = CountedModel(network, num_classes=images.num_classes)
    with exact_arithmetic():
        predicted = predict(model, x.to(device), y.to(device), BATCH_SIZE).predicted
    correct: BoolArray = (predicted == y).numpy()
    return correct


def attacked(
    network: nn.Module,
    images: Dataset,
    correct: BoolArray,
    *,
    attack: AttackSpec,
    threat_model: ThreatModelSpec,
    device: torch.device,
    report: Callable[[int, int], None],
    listener: Listener = nobody,
    saved: SavedVerdicts | None = None,
) -> Attacked:
    """Attacks the images that are classified correctly and judges what comes back.

    Args:
        network: the trained network; it is put into evaluation mode and stays there, without gradients for its weights.
        images: the test images.
        correct: which of them it classifies correctly, shape (N,).
        attack: as in a suite.
        threat_model: as in a suite.
        device: where the network is.
        report: called with (images finished, images still robust) after every shard.
        listener: hears how the attack on each shard goes on.
        saved: where verdicts of finished shards are kept, and taken from.

    Raises:
        AttackError: where the attack claims to have broken an image that the judge finds unbroken.
        StoreError: where verdicts can't be kept.
    """
    spec, seconds = resolved(attack), 0.0
    model = CountedModel(network, num_classes=images.num_classes)
    robust = correct.copy()
    built = attacks.build(spec, threat_model.norm)
    # On a GPU every pass costs about as much, whatever its size; what a library draws depends on its chunk.
    shard = len(images) if device.type == "cuda" and not built.chunked else SHARD
    with exact_arithmetic():
        for first in range(0, len(images), shard):
            last = min(first + shard, len(images))
            rows = np.arange(first, last)
            rows = rows[correct[rows]]
            ids = [images.sample_ids[row] for row in rows]
            key = "" if saved is None else saved.key(built, spec, threat_model, ids)
            found = None if saved is None else saved.find(key, len(rows))
            if found is None:
                started = time.perf_counter()
                unbroken = _unbroken(model, images, rows, spec, threat_model, device, listener)
                found = unbroken, time.perf_counter() - started
                if saved is not None:
                    saved.save(key, *found)
            robust[rows], took = found
            seconds += took
            report(last, int(robust[:last].sum()))
    return Attacked(spec, threat_model, robust, seconds)


def resolved(attack: AttackSpec) -> AttackSpec:
    """The attack with every default filled in and an id: ``pgd-40`` where it has steps, else its name."""
    args = with_defaults(registry.attacks.entry(attack.name).params, attack.args)
    named = f"{attack.name}-{args['steps']}" if "steps" in args else attack.name
    return attack.model_copy(update={"args": args, "id": attack.id or named})


def _unbroken(
    model: CountedModel,
    images: Dataset,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
    spec: AttackSpec,
    threat_model: ThreatModelSpec,
    device: torch.device,
    listener: Listener,
) -> BoolArray:
    """Which of these images withstand the attack, shape (len(rows),)."""
    if not len(rows):
        return np.zeros(0, dtype=np.bool_)
    x, y = images.batch(rows)
    samples = Samples(x.to(device), y.to(device), tuple(images.sample_ids[row] for row in rows))
    ball = threat_models.build(threat_model.norm, threat_model.eps)
    attack = attacks.build(spec, threat_model.norm)
    fast = device.type == "cuda" and not attack.chunked
    precision = search_precision("auto", device) if fast else "float32"
    size = find_batch_size(model, samples.x[:1]) if fast else BATCH_SIZE
    context = AttackContext(
        ball, Draws(0, spec.name), batch_size=size, report=listener, precision=precision, graphed=fast, fill=fast
    )
    result = attack.run(model, samples, context)
    model.forget_compiled()
    verdict = judge(
        model,
        samples.x,
        samples.y,
        result.x_adv,
        threat_model=ball,
        minimum_norm=attack.minimum_norm,
        batch_size=BATCH_SIZE,
        sample_ids=samples.ids,
    )
    everyone = torch.ones(len(samples), dtype=torch.bool)  # they are the ones that are classified correctly
    keep_its_word(model, samples, result, verdict, everyone, threat_model=ball, batch_size=BATCH_SIZE)
    unbroken: BoolArray = (verdict.prediction.predicted == y).numpy()
    return unbroken


def watch(
    network: nn.Module, images: Dataset, params: AdversarialParams | None, device: torch.device
) -> tuple[float, float | None]:
    """Clean accuracy, and robust accuracy under ten steps of the training attack, for the lines of the progress.

    Args:
        network: as it is now; its mode is left as it was.
        images: a few test images.
        params: of the training attack; ``None`` where the model isn't trained against one.
        device: where the network is.
    """
    batch = images.batch(range(len(images)))
    x, y = batch.x.to(device), batch.y.to(device)
    with evaluating(network):
        with torch.no_grad():
            correct = network(x).argmax(1) == y
        if params is None:
            return float(correct.float().mean()), None
        x_adv = perturb(
            network,
            x,
            y,
            threat_model=threat_models.build(params.norm, params.eps),
            steps=WATCH_STEPS,
            alpha=2.5 * float(params.eps) / WATCH_STEPS,
            draws=BatchDraws(Seeds(0).generator("watch"), len(x), 0, len(x), device),
        )
        with torch.no_grad():
            robust = correct & (network(x_adv).argmax(1) == y)
    return float(correct.float().mean()), float(robust.float().mean())


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, and back in the mode that it was in."""
    was = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was)
