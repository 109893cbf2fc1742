"""Times AutoAttack on a GPU, ours against the official code, on a ResNet-18 and a WideResNet-28-10.

    python benchmarks/gpu.py --data DIR                       # both networks, 512 images, batch 512
    python benchmarks/gpu.py --data DIR --network resnet18 --images 2048

DIR holds CIFAR-10: cifar10_jpeg/{train,test}.parquet (columns image, label), or what the dataset cifar10 reads. Networks
come from --weights (state dicts of safetensors); without it a stand-in is trained first for a few epochs with FGSM from a
random start, so that part of the images survives. It is good for timing and for nothing else.

Contestants run one after the other in this process, on the clean-correct images, the official code as its authors call it
(float32 with torch's defaults, so TF32 in convolutions). What is printed are seconds, the robust images of both as float32
sees them, the verdicts that differ, and how busy the GPU was while they ran.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import attacks, threat_models
from bench.attacks.base import AttackContext, AttackResult, Samples
from bench.attacks.draws import Draws
from bench.models.architectures import building
from bench.models.wrapper import CountedModel
from bench.runner.batch_size import find_batch_size
from bench.runner.judge import exact_arithmetic
from bench.runner.worker import channels_last
from bench.suites.spec import AttackSpec

DEVICE = torch.device("cuda")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
EPS = Fraction(8, 255)
EPOCHS = {"resnet18": 8, "wide_resnet_28_10": 3}


def read(data: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images in [0, 1], shape (N, 3, 32, 32), and labels."""
    import pyarrow.parquet
    from PIL import Image

    table = pyarrow.parquet.read_table(data / "cifar10_jpeg" / f"{split}.parquet").to_pydict()

    def decoded(cell: Any) -> np.ndarray:  # Any: bytes, or the struct that datasets writes
        return np.asarray(Image.open(io.BytesIO(cell["bytes"] if isinstance(cell, dict) else cell)).convert("RGB"))

    with ThreadPoolExecutor() as pool:
        images = np.stack(list(pool.map(decoded, table["image"], chunksize=500)))
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous() / 255, torch.tensor(table["label"])


def stand_in(name: str, x: Tensor, y: Tensor, epochs: int) -> nn.Module:
    """A network trained for a few epochs with FGSM from a random start (Wong et al. 2020), in bfloat16."""
    torch.manual_seed(0)
    network = building.build(name, {}, num_classes=10).to(DEVICE, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    mean, std = (torch.tensor(value, device=DEVICE).view(1, 3, 1, 1) for value in (MEAN, STD))
    eps, size, steps = float(EPS), 256, len(x) // 256
    x, y = x.to(DEVICE), y.to(DEVICE)
    started = time.perf_counter()

    def logits(points: Tensor) -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return network(((points - mean) / std).contiguous(memory_format=torch.channels_last)).float()

    for number in range(epochs * steps):
        share = number / (epochs * steps)
        optimizer.param_groups[0]["lr"] = 0.2 * min(share / 0.3, (1 - share) / 0.7)
        rows = torch.randint(len(x), (size,), device=DEVICE)
        clean, labels = x[rows], y[rows]
        clean = torch.where(torch.rand(size, 1, 1, 1, device=DEVICE) < 0.5, clean.flip(3), clean)
        delta = torch.empty_like(clean).uniform_(-eps, eps).requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits(clean + delta), labels), delta)
        delta = (delta.detach() + 1.25 * eps * gradient.sign()).clamp(-eps, eps)
        loss = F.cross_entropy(logits((clean + delta).clamp(0, 1)), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    print(
        f"{name}: stand-in of {epochs} epochs, loss {loss.item():.3f}, {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    return network.eval()


@dataclass
class Busy:
    """How busy the GPU was: the share of time in which a kernel ran, as its driver samples it."""

    samples: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Samples inside."""
        self.samples.clear()
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(0.1):
                with contextlib.suppress(Exception):
                    self.samples.append(torch.cuda.utilization())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def __str__(self) -> str:
        return f"{np.mean(self.samples):.0f} %" if self.samples else "unknown"


def ours(
    model: CountedModel,
    samples: Samples,
    name: str,
    *,
    precision: str = "bfloat16",
    graphs: bool = True,
    fill: bool = True,
) -> AttackResult:
    """Our attack as the runner runs it."""
    attack = attacks.build(AttackSpec(name=name), "linf")
    size = find_batch_size(model, samples.x[:1])
    context = AttackContext(
        threat_models.build("linf", EPS),
        Draws(0, name),
        batch_size=size,
        precision=precision,
        graphed=graphs,
        fill=fill,
    )
    with exact_arithmetic():
        return attack.run(model, samples, context)


def official(network: nn.Module, samples: Samples, stages: Sequence[str] = ()) -> Tensor:
    """The official AutoAttack as its authors call it; or some of its stages."""
    from pyautoattack import AutoAttack

    version = "custom" if stages else "standard"
    ensemble = AutoAttack(network, norm="Linf", eps=float(EPS), seed=0, version=version, device="cuda")
    if stages:
        ensemble.attacks_to_run = list(stages)
    found: Tensor = ensemble.run_standard_evaluation(samples.x, samples.y, batch_size=512)[0]
    return found


def robust(model: CountedModel, samples: Samples, x_adv: Tensor) -> Tensor:
    """Which images stay right in float32 inside the ball, shape (N,)."""
    ball = threat_models.build("linf", EPS)
    with exact_arithmetic(), torch.no_grad():
        wrong = torch.cat([model(part).argmax(1) for part in x_adv.float().split(256)]) != samples.y
    return ~(wrong & ball.contains(x_adv, samples.x))


class Trained(NamedTuple):
    """A network, and whether its images are normalised first."""

    network: nn.Module
    normalised: bool


def compare(name: str, arguments: argparse.Namespace, x: Tensor, y: Tensor, train: Callable[[], Trained]) -> None:
    """Both contestants on one network."""
    network, normalised = train()
    mean, std = (MEAN, STD) if normalised else (None, None)
    model = CountedModel(network, num_classes=10, mean=mean, std=std).to(DEVICE)
    plain = CountedModel(building.build(name, {}, num_classes=10), num_classes=10, mean=mean, std=std).to(DEVICE)
    plain.module.load_state_dict(network.state_dict())
    x, y = x[: arguments.images].to(DEVICE), y[: arguments.images].to(DEVICE)
    channels_last(model, x[:2])
    with exact_arithmetic(), torch.no_grad():
        keep = torch.cat([model(part).argmax(1) for part in x.split(256)]) == y
    rows = keep.nonzero().flatten()
    samples = Samples(x[rows], y[rows], tuple(f"cifar10/test/{row:05d}" for row in rows.tolist()))
    print(f"{name}: {len(rows)} of {len(x)} images are classified correctly", flush=True)
    busy, found, seconds = Busy(), {}, {}
    contestants: dict[str, Callable[[], tuple[Tensor, str]]] = {}

    def add(label: str, attack: str, **how: Any) -> None:  # Any: keywords of `ours`
        def call() -> tuple[Tensor, str]:
            result = ours(model, samples, attack, **how)
            stages = ", ".join(f"{one.name} {one.seconds:.1f} s" for one in result.stages)
            model.forget_compiled()
            return result.x_adv, f" ({stages}; {float(result.forwards.mean()):.0f} forward passes an image)"

        contestants[label] = call

    add("autoattack", "autoattack")
    if arguments.more:
        add("cascade", "cascade")
        add("autoattack without graphs", "autoattack", graphs=False)
        add("autoattack, batches not filled", "autoattack", fill=False)

    def reference() -> tuple[Tensor, str]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            x_adv = official(plain, samples)
        return x_adv, f" ({'; '.join(line.strip() for line in said.getvalue().splitlines() if 'after' in line)})"

    contestants["pyautoattack"] = reference
    # The first passes of a process load kernels, whoever makes them.
    few = samples.take(torch.arange(min(16, len(samples)), device=DEVICE))
    ours(model, few, "apgd")
    with contextlib.redirect_stdout(io.StringIO()):
        official(plain, few, ["apgd-ce"])
    for label, call in contestants.items():
        if label in arguments.without:
            continue
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        started = time.perf_counter()
        with busy.watched():
            x_adv, more = call()
            torch.cuda.synchronize()
        seconds[label] = time.perf_counter() - started
        found[label] = robust(model, samples, x_adv)
        print(
            f"{name}: {label}: {seconds[label]:.1f} s, {int(found[label].sum())} robust, GPU busy {busy}, "
            f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB{more}",
            flush=True,
        )
    for label in found:
        if label != "pyautoattack" and "pyautoattack" in found:
            differ = int((found[label] != found["pyautoattack"]).sum())
            print(
                f"{name}: {label} / pyautoattack: {seconds[label] / seconds['pyautoattack']:.3f}, {differ} differ",
                flush=True,
            )


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", action="append", choices=list(EPOCHS), help="default: both")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--weights", type=Path, help="a folder of NETWORK.safetensors, for images in [0, 1]")
    parser.add_argument("--epochs", type=int, help="of a stand-in")
    parser.add_argument("--more", action="store_true", help="the cascade, and our AutoAttack without graphs, too")
    parser.add_argument("--without", action="append", default=[], help="leave a contestant out")
    arguments = parser.parse_args()
    print(json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__}), flush=True)
    x, y = read(arguments.data, "test")
    training: tuple[Tensor, Tensor] | None = None
    for name in arguments.network or list(EPOCHS):

        def train(name: str = name) -> Trained:
            nonlocal training
            path = arguments.weights / f"{name}.safetensors" if arguments.weights else None
            if path is not None and path.exists():
                import safetensors.torch

                network = building.build(name, {}, num_classes=10)
                network.load_state_dict(safetensors.torch.load_file(path))
                return Trained(network.to(DEVICE).eval(), normalised=False)
            training = training or read(arguments.data, "train")
            return Trained(stand_in(name, *training, epochs=arguments.epochs or EPOCHS[name]), normalised=True)

        compare(name, arguments, x, y, train)


if __name__ == "__main__":
    main()
