"""The loop's own overhead in adversarial training over its bare forward and backward passes, in one process.

    python benchmarks/training.py [--case cifar] [--steps 20] [--rounds 3] [--device auto] [--precision float32]

Both sides make the same passes of the same network in the same precision: for each batch ``k`` forward and backward passes to
the images in evaluation mode, and one to the weights in training mode. The loop also reads and augments the images, draws the
random starts, projects, updates the weights and their average, and counts. The ratio is loop / bare per round, alternating;
the median counts. The goal is at most 1.3.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from bench.datasets.base import Dataset
from bench.models.architectures import building
from bench.runner import devices
from bench.training import loop, precision
from bench.training.load import load
from bench.training.loop import Saving
from bench.training.method_parameters import FGSMParams, PGDParams
from bench.training.recipe import Recipe
from bench.training.train import method_of

RECIPE = """
name: benchmark
dataset: {dataset}
architecture: {architecture}
method: {method}
epochs: 1
batch_size: 128
optimizer: {{name: sgd, lr: 0.01}}
augmentation: {{hflip: {flip}, shift: 4}}
average: {{name: ema, decay: 0.99}}
precision: {precision}
"""
FGSM = "{name: fgsm, eps: 8/255}"
CASES = {
    "mnist": ("mnist", "mnist_cnn", "{name: pgd, eps: 0.3, steps: 7}", (1, 28, 28)),
    "cifar": ("cifar10", "preact_resnet", FGSM, (3, 32, 32)),
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
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def bare(recipe: Recipe, network: nn.Module, images: Dataset, device: torch.device) -> None:
    """The passes alone, on one batch that lies there already."""
    assert isinstance(recipe.method, PGDParams | FGSMParams)
    attack = recipe.method.steps if isinstance(recipe.method, PGDParams) else 1
    kind = precision.resolved(recipe, device)
    x, y = (tensor.to(device) for tensor in images.batch(range(recipe.batch_size)))
    x = precision.arranged_images(x, kind)
    for _ in range(len(images) // recipe.batch_size):
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


def main() -> None:
    """Prints the ratio of each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "auto"))
    asked = parser.parse_args()
    device = devices.choose(asked.device)
    print(f"{devices.describe(device)}, {asked.steps} steps of 128 images, {asked.precision}")
    for name in asked.case or ("mnist", "cifar"):
        dataset, architecture, method, shape = CASES[name]
        images = noise(shape, asked.steps * 128)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "recipe.yaml"
            flip = str(dataset == "cifar10").lower()
            said = {"dataset": dataset, "architecture": architecture, "method": method, "flip": flip}
            path.write_text(RECIPE.format(precision=asked.precision, **said))
            recipe = load(path)
            state = loop.fresh(recipe, lambda a=architecture: building.build(a, {}, num_classes=10), device)
            saving = Saving(Path(directory) / "checkpoint", {}, every_seconds=1e9)

            def train(recipe=recipe, state=state, images=images, saving=saving) -> None:
                loop.fit(
                    recipe,
                    replace(state, epoch=0, step=0),
                    images,
                    method_of(recipe),
                    device=device,
                    saving=saving,
                    report=lambda end: None,
                )

            ratios, times = [], []
            for turn in range(asked.rounds + 1):
                least = timed(lambda r=recipe, s=state, i=images: bare(r, s.model, i, device), device)
                whole = timed(train, device)
                if turn:  # the first warms up
                    ratios.append(whole / least)
                    times.append((least, whole))
        least, whole = (1000 * statistics.median(side) / asked.steps for side in zip(*times, strict=True))
        said = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name}: {statistics.median(ratios):.2f} ({said}); {whole:.1f} ms a step, bare {least:.1f}")


if __name__ == "__main__":
    main()
