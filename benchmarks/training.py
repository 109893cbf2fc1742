"""The loop's own overhead in adversarial training over its bare forward and backward passes, in one process.

    python benchmarks/training.py [--case cifar] [--steps 4] [--batch-size 32] [--rounds 3] [--device auto]
                                  [--precision float32]

Both sides make the same passes of the same network in the same precision: for each batch ``k`` forward and backward passes to
the images in evaluation mode, and one to the weights in training mode. The loop also reads and augments the images, draws the
random starts, projects, updates the weights and their average, and counts. The ratio is loop / bare per round, alternating;
the median counts. What comes once at the end of an epoch (batch norm's statistics of the averaged weights, FGSM's look at PGD)
is measured once and shared out over an epoch of the real length, 4,000 digits or 50,000 images. The goal is at most 1.3.

On a CPU the seconds are those that the process was computing, so that other programs on the machine count little; on a GPU they
are those of the clock.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from bench.datasets.base import Dataset
from bench.models.architectures import building
from bench.runner import devices
from bench.training import loop, precision
from bench.training.checkpoint import State
from bench.training.images import TrainingImages
from bench.training.load import load
from bench.training.loop import Saving
from bench.training.method_parameters import FGSMParams, PGDParams
from bench.training.recipe import Recipe
from bench.training.train import method_of
from bench.training.update import Updates

RECIPE = """
name: benchmark
dataset: {dataset}
architecture: {architecture}
method: {method}
epochs: 1
batch_size: {batch_size}
optimizer: {{name: sgd, lr: 0.01}}
augmentation: {{hflip: {flip}, shift: 4}}
average: {{name: ema, decay: 0.99}}
precision: {precision}
"""
FGSM = "{name: fgsm, eps: 8/255}"
LENGTH = {"mnist": 4000, "cifar10": 50_000}
"""Images of an epoch."""
CASES = {
    "mnist": ("mnist", "mnist_cnn", "{name: pgd, eps: 0.3, steps: 7}", (1, 28, 28)),
    "cifar": ("cifar10", "preact_resnet", FGSM, (3, 32, 32)),
    "cifar-small": (
        "cifar10",
        "{name: preact_resnet, width: [64, 96, 128], stem: 32, stem_stride: 2, activation: silu}",
        FGSM,
        (3, 32, 32),
    ),
    "cifar-pgd": ("cifar10", "preact_resnet", "{name: pgd, eps: 8/255, steps: 7}", (3, 32, 32)),
    "resnet18": ("cifar10", "resnet18", FGSM, (3, 32, 32)),
    "resnet18-pgd": ("cifar10", "resnet18", "{name: pgd, eps: 8/255, steps: 7}", (3, 32, 32)),
}


def noise(shape: tuple[int, int, int], images: int) -> Dataset:
    """Images whose content doesn't matter for a time."""
    rng = np.random.default_rng(0)
    return Dataset(
        name="noise",
        images=rng.integers(0, 256, (images, *shape), dtype=np.uint8),
        labels=rng.integers(0, 10, images),
        sample_ids=tuple(map(str, range(images))),
        positions=np.arange(images),
        num_classes=10,
        class_names=(),
        digest="0" * 64,
    )


def timed(work: Callable[[], None], device: torch.device) -> float:
    """Seconds, the device's work included."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    started = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - started


def bare(recipe: Recipe, network: nn.Module, images: Dataset, device: torch.device, steps: int) -> None:
    """The passes alone, on one batch that lies there already."""
    assert isinstance(recipe.method, PGDParams | FGSMParams)
    attack = recipe.method.steps if isinstance(recipe.method, PGDParams) else 1
    kind = precision.resolved(recipe, device)
    x, y = (tensor.to(device) for tensor in images.batch(range(recipe.batch_size)))
    x = precision.arranged_images(x, kind)
    for _ in range(steps):
        network.eval()
        with precision.passes(kind, device):
            for _ in range(attack):
                point = x.detach().requires_grad_()
                torch.autograd.grad(F.cross_entropy(network(point), y, reduction="sum"), point)
        network.train()
        network.zero_grad(set_to_none=True)
        with precision.passes(kind, device):
            loss = F.cross_entropy(network(x), y)
        loss.backward()


def ours(recipe: Recipe, state: State, images: Dataset, device: torch.device, steps: int) -> None:
    """The same number of steps of the loop, without the end of an epoch."""
    updates = Updates(
        recipe,
        state,
        TrainingImages(images, device),
        method_of(recipe),
        loop.ALONE,
        batches=len(images) // recipe.batch_size,
    )
    order = torch.randperm(len(images))
    with loop.deterministic(device):
        for step in range(steps):
            updates.batch(order[step * recipe.batch_size : (step + 1) * recipe.batch_size])


def last_step(recipe: Recipe, state: State, images: Dataset, device: torch.device, checkpoint: Path) -> None:
    """The last step of an epoch, and its end."""
    loop.fit(
        recipe,
        replace(state, epoch=0, step=math.ceil(len(images) / recipe.batch_size) - 1),
        images,
        method_of(recipe),
        device=device,
        saving=Saving(checkpoint, {}, every_seconds=1e9),
        report=lambda end: None,
    )


def measured(case: str, asked: argparse.Namespace, device: torch.device, directory: Path) -> str:
    """The ratios of a case, for people."""
    dataset, architecture, method, shape = CASES[case]
    path, flip = directory / f"{case}.yaml", str(dataset == "cifar10").lower()
    said = {"dataset": dataset, "architecture": architecture, "method": method, "flip": flip}
    path.write_text(RECIPE.format(precision=asked.precision, batch_size=asked.batch_size, **said))
    recipe, images = load(path), noise(shape, LENGTH[dataset])
    build = partial(building.build, recipe.architecture, recipe.architecture_args, num_classes=10)
    state = loop.fresh(recipe, build, device)
    times = []
    for _ in range(asked.rounds + 1):
        least = timed(lambda: bare(recipe, state.model, images, device, asked.steps), device)
        times.append((least, timed(lambda: ours(recipe, state, images, device, asked.steps), device)))
    del times[0]  # it warms up
    least, whole = (statistics.median(side) / asked.steps for side in zip(*times, strict=True))
    end = timed(lambda: last_step(recipe, state, images, device, directory / "checkpoint"), device) - whole
    share = end / (len(images) / recipe.batch_size) / least
    ratios = [mine / theirs for theirs, mine in times]
    single = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return (
        f"{case}: {statistics.median(ratios) + share:.2f}: steps {statistics.median(ratios):.2f} ({single}), the epoch's end "
        f"{share:.3f}; {1000 * whole:.1f} ms a step, bare {1000 * least:.1f}, the end {end:.1f} s"
    )


def main() -> None:
    """Prints the ratio of each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "auto"))
    asked = parser.parse_args()
    device = devices.choose(asked.device)
    print(
        f"{devices.describe(device)}, {asked.steps} steps of {asked.batch_size} images, {asked.precision}", flush=True
    )
    with tempfile.TemporaryDirectory() as directory:
        for case in asked.case or ("mnist", "cifar"):
            print(measured(case, asked, device, Path(directory)), flush=True)


if __name__ == "__main__":
    main()
