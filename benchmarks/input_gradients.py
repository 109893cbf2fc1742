"""What the gradients of bench/models/input_gradients.py cost beside those of torch: of convolutions, and of whole networks.

    python benchmarks/input_gradients.py [--threads N] [--rounds N]

Each line: milliseconds of torch and of ours (the least of rounds that alternate), and their ratio. Convolutions: the gradient
at the input alone; networks: a forward and a backward pass down to the images, whose channels lie last in memory, as in most
attacks. Drawn images; the networks are those of the package, and those of the test material where BENCH_SHARED_DATA names it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from attacks import NETWORKS, SHARED, load
from torch import Tensor

from bench import heap, models
from bench.models import input_gradients
from bench.models.base import Setting
from bench.models.input_gradients import input_gradient
from bench.models.wrapper import CountedModel
from bench.suites.places import Places
from bench.suites.spec import ModelSpec

CONVOLUTIONS = (
    # images, channels, side, kernels, side of the kernel, stride, padding
    (256, 1, 28, 32, 5, 1, 2),
    (256, 1, 28, 16, 4, 2, 1),
    (256, 3, 32, 16, 3, 1, 1),
    (256, 4, 32, 16, 3, 1, 1),
    (256, 3, 32, 8, 3, 2, 1),
    (256, 3, 32, 16, 4, 2, 1),
    (256, 8, 16, 16, 3, 2, 1),
    (256, 8, 16, 16, 1, 2, 0),
    (256, 12, 16, 64, 3, 2, 1),
    (256, 16, 16, 32, 4, 2, 1),
    (32, 3, 32, 64, 3, 1, 1),
    (8, 3, 224, 64, 7, 2, 3),
    (8, 3, 224, 192, 16, 16, 0),
    (8, 3, 224, 96, 4, 4, 0),
)
ZOO = (("mnist_pgd", "mnist", (1, 28, 28), 256), ("pyautoattack_resnet18", "cifar10", (3, 32, 32), 32))


def timed(contestants: tuple[Callable[[], object], Callable[[], object]], rounds: int) -> str:
    """Milliseconds of torch and of ours, and their ratio."""
    seconds: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for contestant, times in zip(contestants, seconds, strict=True):
            started = time.perf_counter()
            contestant()
            if number:  # the first is for warming up
                times.append(time.perf_counter() - started)
    torchs, ours = (1000 * min(times) for times in seconds)
    return f"{torchs:9.2f} {ours:9.2f} {ours / torchs:7.2f}"


def convolution(shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format, rounds: int) -> str:
    """A line for the gradient at one convolution's input."""
    count, channels, side, kernels, kernel, stride, padding = shape
    x = torch.rand(count, channels, side, side).to(dtype).contiguous(memory_format=layout)
    weight = torch.randn(kernels, channels, kernel, kernel).to(dtype).contiguous(memory_format=layout)
    gradient = torch.randn_like(F.conv2d(x, weight, None, stride, padding))
    known = ([kernels], [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [True, False, False])
    torchs = partial(torch.ops.aten.convolution_backward, gradient, x, weight, *known)
    pairs = {"stride": (stride, stride), "padding": (padding, padding)}
    return timed((torchs, partial(input_gradient, gradient, weight, (side, side), **pairs)), rounds)


def network(model: CountedModel, x: Tensor, precision: str, rounds: int) -> str:
    """A line for a forward and a backward pass of a network."""
    x = x.contiguous(memory_format=torch.channels_last)
    suitable = input_gradients._suitable

    def both(fast: bool) -> None:
        input_gradients._suitable = suitable if fast else lambda _: []
        points = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext():
            logits = model(points)
        torch.autograd.grad(logits.logsumexp(1).sum(), points)

    try:
        return timed((partial(both, False), partial(both, True)), rounds)
    finally:
        input_gradients._suitable = suitable


def networks() -> list[tuple[str, CountedModel, Tensor]]:
    """Names, models and images."""
    found = []
    for name, dataset, shape, count in ZOO:
        spec, setting = ModelSpec.model_validate(f"zoo:{name}"), Setting(dataset, "linf", 10, shape)
        model = models.load(spec, setting, Places(download=False), device=torch.device("cpu"))
        found.append((name, model, torch.rand(count, *shape)))
    if SHARED.is_dir():
        found += [(name, load(name), torch.rand(256, 3, 32, 32)) for name in NETWORKS]
    return found


def main() -> None:
    """Prints the lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own number)")
    parser.add_argument("--rounds", type=int, default=10, help="timed rounds; the least time counts (default 10)")
    wanted = parser.parse_args()
    if wanted.threads:
        torch.set_num_threads(wanted.threads)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; milliseconds: torch, ours, ratio")
    with heap.kept():
        for shape in CONVOLUTIONS:
            for dtype in (torch.float32, torch.bfloat16):
                for name, layout in (("NCHW", torch.contiguous_format), ("NHWC", torch.channels_last)):
                    line = convolution(shape, dtype, layout, wanted.rounds)
                    print(f"{shape!s:32} {str(dtype)[6:]:9} {name:5} {line}", flush=True)
        for name, model, x in networks():
            for precision in ("float32", "bfloat16"):
                line = network(model, x, precision, wanted.rounds)
                print(f"{name + ' ' + str(len(x)):32} {precision:15} {line}", flush=True)


if __name__ == "__main__":
    main()
