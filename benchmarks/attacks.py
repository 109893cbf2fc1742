"""Times our attacks against their peers on real models and images, and compares what they find.

    python benchmarks/attacks.py                       # everything (about half an hour on two cores)
    python benchmarks/attacks.py --case pgd --rounds 3

Contestants take turns in one process; what is printed are ratios of seconds, ours / peer (median and range over the
rounds; one round for the longest), and the robust images or the median distance of both. Needs the test material that
BENCH_SHARED_DATA names; the packaged network of pyautoattack is used where it is said.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench import attacks, heap, models, threat_models
from bench.attacks.base import AttackContext, Samples
from bench.attacks.draws import Draws
from bench.models.base import Setting
from bench.models.wrapper import CountedModel
from bench.runner.batch_size import find_batch_size
from bench.runner.devices import bfloat16_vectors, search_precision
from bench.runner.worker import COMPILED_BATCH, channels_last
from bench.suites.places import Places
from bench.suites.spec import AttackSpec, ModelSpec

SHARED = Path(os.environ.get("BENCH_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
D = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2471, 0.2435, 0.2616)}
S = {"mean": (0.491373, 0.482353, 0.446667), "std": (0.247059, 0.243529, 0.261569)}
I = {"mean": (0.485, 0.456, 0.406), "std": (0.225, 0.225, 0.225)}  # noqa: E741 (its name in the list of weights)
NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "resnet2b": ("resnet2b.pth", "resnet_2b", D),
    "sgd": ("cifar_sgd_8px.pth", "wong_kolter", I),
    "cnn_a_mix": ("cifar_cnn_a_mix.model", "wong_kolter", S),
    "kw": ("kw_cifar_small_8px.pth", "wong_kolter", I),
}
REFERENCES = (
    ("resnet2b", "linf", "2/255"),
    ("resnet2b", "l2", "64/255"),
    ("cnn_a_mix", "linf", "2/255"),
    ("kw", "linf", "8/255"),
    ("sgd", "linf", "8/255"),
)
"""Where the official AutoAttack's verdict on each of the 512 images is known."""
PASSES = 15
"""Of the network alone, for a median of what they take."""


class Found(NamedTuple):
    """What a contestant found."""

    robust: Tensor
    """of the clean-correct images, those left robust at eps, shape (N,)"""
    distance: float
    """median distance of the adversarial points, in the norm"""


Contestant = Callable[[], Tensor]


class Ordinary(torch.nn.Module):
    """A network behind ``(x - mean) / std``, as most scripts have it: what peers attack."""

    def __init__(self, model: CountedModel) -> None:
        super().__init__()
        self.network, self.mean, self.std = model.module, model.mean, model.std

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, K)."""
        if self.mean is not None and self.std is not None:
            x = (x - self.mean) / self.std
        logits: Tensor = self.network(x)
        return logits


class Problem:
    """A model, its clean-correct images, and a threat model."""

    def __init__(self, network: str, norm: str, eps: str, images: int, batch_size: int | None = None) -> None:
        self.network, self.plain = load(network), load(network)
        self.ordinary = Ordinary(self.plain).eval()
        data = np.load(SHARED / "cifar10" / "cifar10_test_0_511.npz")
        x = torch.from_numpy(data["x"][:images].astype(np.float32) / 255)
        channels_last(self.network, x[:2])  # as the runner does; peers get the network as it is
        self.batch_size = batch_size or find_batch_size(self.network, x[:1])
        y = torch.from_numpy(data["y"][:images].astype(np.int64))
        with torch.no_grad():
            keep = torch.cat([self.plain(part).argmax(1) for part in x.split(128)]) == y
        rows = keep.nonzero().flatten()
        self.rows = rows
        self.samples = Samples(x[rows], y[rows], tuple(f"cifar10/test/{row:05d}" for row in rows.tolist()))
        self.ball, self.norm = threat_models.build(norm, Fraction(eps)), norm
        self.passes: tuple[float, float] | None = None
        """forward and backward passes for each image, of our last attack"""
        self.stages = ""
        """seconds of its stages, for people"""

    def ours(
        self,
        name: str,
        args: dict[str, Any],
        *,
        search: str = "first_success",
        precision: str = "float32",
        compiled: bool = False,
    ) -> Tensor:
        """Our attack, through the engine; the passes of the last one are kept."""
        attack = attacks.build(AttackSpec(name=name, args=args), self.norm)
        size = min(self.batch_size, COMPILED_BATCH) if compiled else self.batch_size
        context = AttackContext(self.ball, Draws(0, name), search, size, precision=precision, compiled=compiled)
        with heap.kept():  # as a run does; peers have malloc as a process of their own would have it
            found = attack.run(self.network, self.samples, context)
        self.passes = float(found.forwards.mean()), float(found.backwards.mean())
        self.stages = ", ".join(f"{stage.name} {stage.seconds:.1f} s" for stage in found.stages)
        return found.x_adv

    def compile(self) -> None:
        """Compiles what the attacks will need, both kinds of passes, and says what that took."""
        started = time.perf_counter()
        size = min(self.batch_size, COMPILED_BATCH)
        x = self.samples.x[:1].expand(size, -1, -1, -1).clone()
        with self.network.compiled(size):
            with torch.no_grad():
                self.network(x)
            torch.autograd.grad(self.network(x.requires_grad_()).sum(), x)
        print(f"compiled in {time.perf_counter() - started:.0f} s (not part of the times below)", flush=True)

    def alone(self) -> tuple[float, float]:
        """Seconds that the network alone takes for an image: forward, and forward and backward; medians, in a run's batches.

        With the images' channels last in memory, as ours mostly go.
        """
        x = self.samples.x[: self.batch_size].contiguous(memory_format=torch.channels_last)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        with heap.kept():
            for _ in range(PASSES + 1):
                for gradients, taken in seconds.items():
                    started, here = time.perf_counter(), x.detach().requires_grad_(gradients)
                    with torch.set_grad_enabled(gradients):
                        logits = self.network(here)
                    if gradients:
                        torch.autograd.grad(logits.sum(), here)
                    taken.append(time.perf_counter() - started)
        forward, both = (statistics.median(taken[1:]) / len(x) for taken in seconds.values())
        return forward, both

    def judged(self, x_adv: Tensor) -> Found:
        """The same judge for everybody."""
        x, y = self.samples.x, self.samples.y
        with torch.no_grad():
            wrong = torch.cat([self.plain(part).argmax(1) for part in x_adv.float().split(128)]) != y
        distance = self.ball.distance(x_adv, x)
        distance = torch.where(wrong, distance, torch.full_like(distance, torch.inf))
        return Found(~(wrong & self.ball.contains(x_adv, x)), float(distance.median()))


def load(network: str) -> CountedModel:
    """A network of the test material, or pyautoattack's own ResNet-18."""
    if network == "resnet18":
        return models.load(
            ModelSpec.model_validate("zoo:pyautoattack_resnet18"), setting(), Places(), device=torch.device("cpu")
        )
    file, architecture, normalisation = NETWORKS[network]
    spec = ModelSpec(
        id=network,
        source="checkpoint",
        weights=str(SHARED / "models" / file),
        architecture=architecture,
        mean=normalisation["mean"],
        std=normalisation["std"],
    )
    return models.load(spec, setting(), Places(download=False), device=torch.device("cpu"))


def multiplies_bfloat16() -> bool:
    """Whether this CPU does, so that a search in bfloat16 can be faster."""
    cpu = torch.device("cpu")
    return search_precision("auto", cpu) == "bfloat16" or bfloat16_vectors(cpu)


def setting() -> Setting:
    """CIFAR-10 under Linf."""
    return Setting("cifar10", "linf", 10, (3, 32, 32))


def official(problem: Problem, stages: list[str] | None = None, n_iter: int = 100) -> Tensor:
    """The official AutoAttack, as its authors call it."""
    from pyautoattack import AutoAttack

    more: dict[str, Any] = {"version": "standard"} if stages is None else {"version": "custom", "attacks": stages}
    norm = {"linf": "Linf", "l2": "L2"}[problem.norm]
    ensemble = AutoAttack(problem.ordinary, norm=norm, eps=problem.ball.radius, seed=0, **more)
    if stages is not None:
        ensemble.apgd.n_restarts = 1
        ensemble.apgd.n_iter = ensemble.apgd_targeted.n_iter = n_iter
    x_adv, _ = ensemble.run_standard_evaluation(problem.samples.x, problem.samples.y, batch_size=512)
    found: Tensor = x_adv
    return found


def foolbox_attack(problem: Problem, attack: Any, eps: float | None) -> Tensor:  # Any: foolbox is untyped
    """An attack of foolbox."""
    import foolbox

    wrapped = foolbox.PyTorchModel(problem.ordinary, bounds=(0, 1))
    raw, clipped, _ = attack(wrapped, problem.samples.x, problem.samples.y, epsilons=eps)
    found: Tensor = clipped if eps is not None else raw
    return found


def art_attack(problem: Problem, make: Callable[[Any], Any]) -> Tensor:  # Any: ART is untyped
    """An attack of the Adversarial Robustness Toolbox."""
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        problem.ordinary, torch.nn.CrossEntropyLoss(), (3, 32, 32), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    return torch.from_numpy(make(classifier).generate(problem.samples.x.numpy(), problem.samples.y.numpy()))


def autoattack_robust() -> tuple[Problem, dict[str, Contestant]]:
    """AutoAttack standard where most survive."""
    problem = Problem("resnet2b", "linf", "2/255", 512)
    here: dict[str, Contestant] = {"autoattack": lambda: problem.ours("autoattack", {})}
    if multiplies_bfloat16():
        here["autoattack-bfloat16"] = lambda: problem.ours("autoattack", {}, precision="bfloat16")
    return problem, {
        **here,
        "cascade": lambda: problem.ours("cascade", {}),
        "pyautoattack": lambda: official(problem),
    }


def autoattack_broken() -> tuple[Problem, dict[str, Contestant]]:
    """AutoAttack standard on a model that breaks."""
    problem = Problem("sgd", "linf", "8/255", 512)
    return problem, {
        "autoattack": lambda: problem.ours("autoattack", {}),
        "pyautoattack": lambda: official(problem),
    }


def apgd() -> tuple[Problem, dict[str, Contestant]]:
    """APGD-CE and APGD-T, 20 steps each, on pyautoattack's ResNet-18 at an eps where part survives."""
    problem = Problem("resnet18", "linf", "1/1020", 24)

    def ours(precision: str) -> Tensor:
        first = problem.ours("apgd", {"steps": 20}, precision=precision)
        left = problem.judged(first).robust.nonzero().flatten()
        rest = Problem.__new__(Problem)
        rest.__dict__.update(problem.__dict__, samples=problem.samples.take(left))
        first[left] = rest.ours("apgd_targeted", {"steps": 20}, precision=precision)
        both = zip(problem.passes or (), rest.passes or (), strict=True)
        forwards, backwards = (one + other * len(left) / len(problem.samples) for one, other in both)
        problem.passes = forwards, backwards
        return first

    here: dict[str, Contestant] = {"apgd": lambda: ours("float32")}
    if multiplies_bfloat16():
        here["apgd-bfloat16"] = lambda: ours("bfloat16")
    return problem, {
        **here,
        "pyautoattack": lambda: official(problem, ["apgd-ce", "apgd-t"], 20),
    }


def pgd(network: str, eps: str) -> tuple[Problem, dict[str, Contestant]]:
    """PGD-40 with the same step size."""
    import foolbox
    from art.attacks.evasion import ProjectedGradientDescentPyTorch

    problem = Problem(network, "linf", eps, 512)
    radius, alpha = problem.ball.radius, 2.5 * problem.ball.radius / 40
    return problem, {
        "pgd": lambda: problem.ours("pgd", {"steps": 40, "alpha": alpha}),
        "pgd-compiled": lambda: problem.ours("pgd", {"steps": 40, "alpha": alpha}, compiled=True),
        "foolbox": lambda: foolbox_attack(problem, foolbox.attacks.LinfPGD(abs_stepsize=alpha, steps=40), radius),
        "art": lambda: art_attack(
            problem,
            lambda classifier: ProjectedGradientDescentPyTorch(
                classifier,
                eps=radius,
                eps_step=alpha,
                max_iter=40,
                num_random_init=1,
                batch_size=problem.batch_size,
                verbose=False,
            ),
        ),
    }


def precision(network: str) -> tuple[Problem, dict[str, Contestant]]:
    """PGD-20 in bfloat16 against float32, whether or not the hardware multiplies bfloat16."""
    problem = Problem(network, "linf", "2/255", 512)
    return problem, {
        "bfloat16": lambda: problem.ours("pgd", {"steps": 20}, precision="bfloat16"),
        "float32": lambda: problem.ours("pgd", {"steps": 20}),
    }


def carlini_wagner() -> tuple[Problem, dict[str, Contestant]]:
    """C&W L2, 9 binary search steps of 100 iterations."""
    import foolbox
    from art.attacks.evasion import CarliniL2Method

    problem = Problem("resnet2b", "l2", "1", 96)
    return problem, {
        "cw": lambda: problem.ours("cw", {"steps": 100}, search="strongest"),
        "foolbox": lambda: foolbox_attack(
            problem,
            foolbox.attacks.L2CarliniWagnerAttack(
                binary_search_steps=9, steps=100, stepsize=0.01, confidence=0, initial_const=0.001, abort_early=True
            ),
            None,
        ),
        "art": lambda: art_attack(
            problem,
            lambda classifier: CarliniL2Method(
                classifier, binary_search_steps=9, max_iter=100, learning_rate=0.01, batch_size=96, verbose=False
            ),
        ),
    }


def fmn_linf() -> tuple[Problem, dict[str, Contestant]]:
    """FMN under Linf at the same passes."""
    import foolbox

    problem = Problem("resnet2b", "linf", "1", 256)
    return problem, {
        "fmn": lambda: problem.ours("fmn", {"steps": 100}, search="strongest"),
        "foolbox": lambda: foolbox_attack(problem, foolbox.attacks.LInfFMNAttack(steps=100), None),
    }


def ddn() -> tuple[Problem, dict[str, Contestant]]:
    """DDN under L2 at the same passes."""
    import foolbox

    problem = Problem("resnet2b", "l2", "10", 256)
    return problem, {
        "ddn": lambda: problem.ours("ddn", {"steps": 100}, search="strongest"),
        "foolbox": lambda: foolbox_attack(problem, foolbox.attacks.DDNAttack(steps=100), None),
    }


CASES: dict[str, Callable[[], tuple[Problem, dict[str, Contestant]]]] = {
    "autoattack-robust": autoattack_robust,
    "autoattack-broken": autoattack_broken,
    "apgd-resnet18": apgd,
    "pgd-robust": lambda: pgd("resnet2b", "2/255"),
    "pgd-broken": lambda: pgd("sgd", "8/255"),
    "bfloat16-robust": lambda: precision("resnet2b"),
    "bfloat16-broken": lambda: precision("sgd"),
    "cw-l2": carlini_wagner,
    "fmn-linf": fmn_linf,
    "ddn-l2": ddn,
}
ONCE = ("autoattack-robust",)


def compare(name: str, rounds: int, without: list[str]) -> None:
    """Runs one case and prints a line for each of our entries against each peer."""
    problem, everybody = CASES[name]()
    contestants = {one: call for one, call in everybody.items() if one not in without}
    peers = [one for one in contestants if one in ("pyautoattack", "foolbox", "art", "float32")]
    seconds: dict[str, list[float]] = {one: [] for one in contestants}
    found: dict[str, Found] = {}
    spent: dict[str, str] = {}
    passes: dict[str, tuple[float, float]] = {}
    alone: list[tuple[float, float]] = []
    if any(one.endswith("-compiled") for one in contestants):
        problem.compile()
    for _ in range(1 if name in ONCE else rounds):
        alone.append(problem.alone())
        for one, call in contestants.items():
            started, problem.passes = time.perf_counter(), None
            with contextlib.redirect_stdout(io.StringIO()):
                x_adv = call()
            seconds[one].append(time.perf_counter() - started)
            if problem.passes is not None:
                passes[one] = problem.passes
                spent[one] = f", {problem.passes[0]:.0f} forward and {problem.passes[1]:.0f} backward passes an image"
                spent[one] += f" ({problem.stages})" if problem.stages else ""
            found[one] = problem.judged(x_adv)
    for one in contestants:
        result = found[one]
        print(
            f"{name}: {one}: {statistics.median(seconds[one]):.1f} s, {int(result.robust.sum())} of "
            f"{len(problem.samples)} clean-correct images robust, median distance {result.distance:.4g}{spent.get(one, '')}"
        )
    for one in contestants:
        for peer in peers:
            if one in peers:
                continue
            ratios = [a / b for a, b in zip(seconds[one], seconds[peer], strict=True)]
            differ = int((found[one].robust != found[peer].robust).sum())
            print(
                f"{name}: {one} / {peer}: {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f}), "
                f"{differ} verdicts differ",
                flush=True,
            )
    forward, both = (statistics.median(times) for times in zip(*alone, strict=True))
    for one, (forwards, backwards) in passes.items():
        if one.endswith(("-bfloat16", "-compiled")) or one in peers:
            continue
        floor = len(problem.samples) * (backwards * both + max(forwards - backwards, 0) * forward)
        shares = ", ".join(f"{floor / statistics.median(seconds[peer]):.2f} of {peer}" for peer in peers)
        print(f"{name}: the network alone, for the passes of {one}: {floor:.1f} s ({shares})", flush=True)


def verdicts() -> None:
    """What our ensembles leave robust where the official verdicts are known, image by image."""
    for network, norm, eps in REFERENCES:
        problem = Problem(network, norm, eps, 512)
        stem = NETWORKS[network][0].rsplit(".", 1)[0]
        official = np.load(SHARED / "reference" / f"{stem}_{norm}_{eps.replace('/', '-')}.npz")["robust"]
        for name in ("autoattack", "cascade"):
            started, robust = time.perf_counter(), np.zeros(512, dtype=bool)
            robust[problem.rows.numpy()] = problem.judged(problem.ours(name, {})).robust.numpy()
            forwards, backwards = problem.passes or (0.0, 0.0)
            print(
                f"verdicts: {network} {norm} {eps}: {name} {int(robust.sum())} robust of 512, official {int(official.sum())}, "
                f"{int((robust != official).sum())} differ, {forwards:.0f} forward and {backwards:.0f} backward passes for "
                f"each of {len(problem.samples)} images, {time.perf_counter() - started:.0f} s",
                flush=True,
            )


MEMORY = {"plain": "", "apgd": "apgd", "pgd": "pgd", "fab_targeted": "fab_targeted"}


def peak(what: str) -> None:
    """Prints the peak memory of one way of using the ResNet-18 at batch size 64, beyond that of the loaded model."""
    problem = Problem("resnet18", "linf", "1/1020", 128, batch_size=64)
    x, y = problem.samples.x[:64], problem.samples.y[:64]
    with torch.no_grad():
        problem.plain(x[:1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if what == "plain":
        for _ in range(3):
            here = x.clone().requires_grad_()
            torch.autograd.grad(torch.nn.functional.cross_entropy(problem.ordinary(here), y), here)
    else:
        problem.samples = problem.samples.take(torch.arange(64))
        problem.ours(MEMORY[what], {"steps": 3}, search="strongest")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def memory() -> None:
    """Peak memory of our attacks over that of a plain forward and backward pass, each in a process of its own."""
    kib = {}
    for what in MEMORY:
        command = [sys.executable, __file__, "--peak", what]
        kib[what] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    for what in list(MEMORY)[1:]:
        print(
            f"memory: {what} / plain forward and backward: {kib[what] / kib['plain']:.2f} ({kib['plain'] / 1024:.0f} MiB)"
        )


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", default="", help="only the cases whose name starts with this text")
    parser.add_argument("--without", action="append", default=[], help="leave a contestant out, such as art")
    parser.add_argument("--peak", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        peak(arguments.peak)
        return
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    for name in CASES:
        if name.startswith(arguments.case):
            compare(name, arguments.rounds, arguments.without)
    for name, call in {"memory": memory, "verdicts": verdicts}.items():
        if name.startswith(arguments.case):
            call()


if __name__ == "__main__":
    main()
