"""How often attacks break a sample at the edge of what they can, ours and the official code.

    python benchmarks/edge.py [--model NAME …] [--norm NORM …] [--stage STAGE …] [--images N] [--repeats N]

Verdicts on a test set hardly tell two good attacks apart: they differ on the few images that are broken from some random
starts and not from others. So the same image is attacked many times, at an eps at which ours breaks it about every second time,
with draws of its own each time. A line for each image and stage, and a sum with its z-score: the difference of the counts (ours
less the official code's) over its standard error, where |z| below 2 is what chance gives. Digits of MNIST on the networks that
ship, or a network of the test material that BENCH_SHARED_DATA names (resnet2b, cnn_a_mix, kw, sgd) on CIFAR-10. One restart;
under L1 the three radii of the standard version.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
from collections import defaultdict
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from attacks import NETWORKS, Problem
from torch import Tensor

from bench import attacks, datasets, models, threat_models
from bench.attacks.base import AttackContext, Samples
from bench.attacks.draws import Draws
from bench.models.base import Setting
from bench.models.wrapper import CountedModel
from bench.suites.places import Places
from bench.suites.spec import AttackSpec, DatasetSpec, ModelSpec
from bench.threat_models.base import ThreatModel

STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "apgd-ce": ("apgd", {}),
    "apgd-dlr": ("apgd", {"loss": "dlr"}),
    "apgd-t": ("apgd_targeted", {}),
}
LARGEST = {"linf": "1", "l2": "60", "l1": "3072"}
"""An eps of each norm that reaches every image."""
OFFICIAL = {"linf": "Linf", "l2": "L2", "l1": "L1"}
TRIAL = 40
"""Repeats with which the edge is looked for."""
BETWEEN = (0.2, 0.8)
"""Shares between which an eps counts as the edge."""


class Counts(NamedTuple):
    """Successes of both, and the repeats of each."""

    ours: int
    official: int
    repeats: int

    @property
    def z(self) -> float:
        """The difference over its standard error; 0 where neither tells anything."""
        share = (self.ours + self.official) / (2 * self.repeats)
        error = math.sqrt(2 * self.repeats * share * (1 - share))
        return (self.ours - self.official) / error if error else 0.0


def repeated(samples: Samples, row: int, repeats: int, name: str) -> Samples:
    """One image many times, each time with draws of its own."""
    ids = tuple(f"{samples.ids[row]}/{name}/{number}" for number in range(repeats))
    return Samples(samples.x[row].repeat(repeats, 1, 1, 1), samples.y[row].repeat(repeats), ids)


def broken(model: CountedModel, samples: Samples, x_adv: Tensor, ball: ThreatModel) -> int:
    """How many are, judged alike for everybody."""
    with torch.no_grad():
        wrong = model(x_adv).argmax(1) != samples.y
    return int((wrong & ball.contains(x_adv, samples.x)).sum())


def ours(model: CountedModel, samples: Samples, ball: ThreatModel, stage: str) -> int:
    """Successes of our attack."""
    name, args = STAGES[stage]
    attack = attacks.build(AttackSpec(name=name, args=args), ball.norm)
    found = attack.run(model, samples, AttackContext(ball, Draws(0, name), "first_success", len(samples)))
    return broken(model, samples, found.x_adv, ball)


def official(model: CountedModel, samples: Samples, ball: ThreatModel, stage: str, seed: int) -> int:
    """Successes of the official code."""
    from pyautoattack import AutoAttack

    ensemble = AutoAttack(
        model, norm=OFFICIAL[ball.norm], eps=ball.radius, seed=seed, version="custom", attacks=[stage], device="cpu"
    )
    for part in (ensemble.apgd, ensemble.apgd_targeted):
        part.n_restarts, part.use_largereps = 1, ball.norm == "l1"
    with contextlib.redirect_stdout(io.StringIO()):
        x_adv, _ = ensemble.run_standard_evaluation(samples.x, samples.y, batch_size=len(samples))
    return broken(model, samples, x_adv, ball)


def edge(model: CountedModel, samples: Samples, row: int, norm: str, stage: str, start: float) -> ThreatModel | None:
    """An eps at which ours breaks an image about every second time; ``None`` where chance has no part in it."""
    low, high, trial = 0.5 * start, 2 * start, repeated(samples, row, TRIAL, "trial")
    for _ in range(12):
        middle = math.sqrt(low * high)
        ball = threat_models.build(norm, Fraction(middle).limit_denominator(10**6))
        share = ours(model, trial, ball, stage) / TRIAL
        if BETWEEN[0] < share < BETWEEN[1]:
            return ball
        low, high = (low, middle) if share > 0.5 else (middle, high)
    return None


def smallest(model: CountedModel, samples: Samples, norm: str) -> Tensor:
    """The smallest distances that FMN finds, shape (N,)."""
    ball = threat_models.build(norm, Fraction(LARGEST[norm]))
    attack = attacks.build(AttackSpec(name="fmn", args={}), norm)
    found = attack.run(model, samples, AttackContext(ball, Draws(0, "fmn"), "strongest", len(samples)))
    return ball.distance(found.x_adv, samples.x)


def problem(name: str, count: int) -> tuple[CountedModel, Samples]:
    """A network, and the first test images that it classifies correctly."""
    if name in NETWORKS:
        known = Problem(name, "linf", "1/255", 4 * count)
        return known.network, known.samples.take(torch.arange(min(count, len(known.samples))))
    setting = Setting("mnist", "linf", 10, (1, 28, 28))
    model = models.load(ModelSpec.model_validate(f"zoo:{name}"), setting, Places(), device=torch.device("cpu"))
    batch = datasets.load(DatasetSpec.model_validate("mnist"), Places()).batch(range(4 * count))
    with torch.no_grad():
        rows = (model(batch.x).argmax(1) == batch.y).nonzero().flatten()[:count]
    return model, Samples(batch.x[rows], batch.y[rows], tuple(f"mnist/test/{row}" for row in rows.tolist()))


def main() -> None:
    """Prints the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", nargs="+", default=["mnist_pgd", "mnist_fgsm", "mnist_standard"])
    parser.add_argument("--norm", nargs="+", default=list(OFFICIAL), choices=list(OFFICIAL))
    parser.add_argument("--stage", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=200)
    arguments = parser.parse_args()
    sums: dict[tuple[str, str], list[Counts]] = defaultdict(list)
    for name in arguments.model:
        model, samples = problem(name, arguments.images)
        for norm in arguments.norm:
            starts = smallest(model, samples, norm).tolist()
            for stage in arguments.stage:
                for row, start in enumerate(starts):
                    ball = edge(model, samples, row, norm, stage, start)
                    if ball is None:
                        continue
                    fresh = repeated(samples, row, arguments.repeats, "fresh")
                    theirs = official(model, fresh, ball, stage, row)
                    counts = Counts(ours(model, fresh, ball, stage), theirs, len(fresh))
                    sums[norm, stage].append(counts)
                    print(
                        f"{name} {samples.ids[row]} {norm} {ball.radius:.4g} {stage}: ours {counts.ours}, official "
                        f"{counts.official} of {counts.repeats} (z {counts.z:+.1f})",
                        flush=True,
                    )
    for (norm, stage), found in sums.items():
        total = math.fsum(counts.z for counts in found) / math.sqrt(len(found))
        print(
            f"{norm} {stage}: {len(found)} images, ours {sum(counts.ours for counts in found)}, official "
            f"{sum(counts.official for counts in found)} of {sum(counts.repeats for counts in found)} (z {total:+.1f})"
        )


if __name__ == "__main__":
    main()
