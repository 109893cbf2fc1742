"""The harness's own overhead over calling an attack directly, in one process, alternating.

    python benchmarks/overhead.py [--samples 512] [--rounds 5] [--case pgd]

Both sides attack the same real images with the same library call and the same seed; the harness also judges, records and
saves. The ratio is harness / direct, per round; the median counts. The goal is below 1.03.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import torch

from bench import threat_models
from bench.attacks.autoattack import AutoAttack
from bench.attacks.base import AttackContext, Samples
from bench.attacks.draws import Draws
from bench.attacks.parameters import AutoAttackParams, PGDParams
from bench.attacks.pgd import PGD
from bench.cli.progress import Plain
from bench.runner.judge import exact_arithmetic
from bench.runner.options import RunSettings
from bench.runner.preflight import preflight
from bench.runner.run import run_suite
from bench.runner.worker import Worker
from bench.suites.load import load_suite

SUITE = """
name: overhead
dataset: {{name: mnist, samples: {samples}}}
threat_models: [{{norm: linf, eps: {eps}}}]
models: [zoo:mnist_pgd]
attacks: [{attack}]
run: {{save_adversarial: successes}}
"""
CASES = {
    "pgd-40 strongest": ("{name: pgd, steps: 40}", "strongest", PGD(PGDParams(steps=40))),
    "autoattack custom [apgd-ce, square]": (
        "{name: autoattack, version: custom, attacks: [apgd-ce, square], n_queries: 1000}",
        "first_success",
        AutoAttack(AutoAttackParams(version="custom", attacks=("apgd-ce", "square"), n_queries=1000)),
    ),
}


def harness(text: str, search: str, directory: Path) -> float:
    """Seconds of a whole run: loading, attacking, judging, recording, saving."""
    path = directory / "suite.yaml"
    path.write_text(text)
    loaded = load_suite(path, overrides=[f"run.search={search}"])
    started = time.perf_counter()
    run_suite(loaded, RunSettings(results=directory / "results", device="cpu"), Plain())
    return time.perf_counter() - started


def direct(text: str, search: str, attack: PGD | AutoAttack, directory: Path, eps: str) -> float:
    """Seconds of loading the same things and calling the attack on the clean-correct images of each shard."""
    path = directory / "suite.yaml"
    path.write_text(text)
    loaded = load_suite(path)
    started = time.perf_counter()
    settings = RunSettings(device="cpu")
    plan = preflight(loaded, settings.places)
    worker = Worker(plan.dataset, settings.places, torch.device("cpu"))
    target = worker.target(plan.cells[0].cell)
    draws = Draws(0, plan.cells[0].cell.attack.name)
    context = AttackContext(threat_models.build("linf", Fraction(eps)), draws, search, worker.batch_size)
    with exact_arithmetic():
        for start in range(0, len(plan.dataset), plan.suite.run.shard_size):
            places = range(start, min(start + plan.suite.run.shard_size, len(plan.dataset)))
            x, y = plan.dataset.batch(places)
            if search == "first_success":
                with torch.no_grad():
                    keep = (target(x).argmax(1) == y).nonzero().flatten()
            else:
                keep = torch.arange(len(x))
            ids = tuple(plan.dataset.sample_ids[places[index]] for index in keep.tolist())
            attack.run(target, Samples(x[keep], y[keep], ids), context)
    return time.perf_counter() - started


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--eps", default="0.2")
    parser.add_argument("--case", default="", help="only the cases whose name holds this text")
    arguments = parser.parse_args()
    for name, (attack_text, search, attack) in CASES.items():
        if arguments.case not in name:
            continue
        text = SUITE.format(samples=arguments.samples, eps=arguments.eps, attack=attack_text)
        ratios, seconds = [], []
        for number in range(arguments.rounds + 1):
            with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
                ours = harness(text, search, Path(one))
                theirs = direct(text, search, attack, Path(two), arguments.eps)
            if number:
                ratios.append(ours / theirs)
                seconds.append(theirs)
        spread = f"{min(ratios):.3f}-{max(ratios):.3f}"
        print(
            f"{name}: harness / direct {statistics.median(ratios):.3f} ({spread}); direct {statistics.median(seconds):.2f} s"
        )


if __name__ == "__main__":
    main()
