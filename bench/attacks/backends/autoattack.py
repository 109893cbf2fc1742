"""The reference AutoAttack (pyautoattack, the official code), stage by stage.

The harness drives the stages itself: a sample goes on to the next stage until one breaks it, and what broke it is judged
on a fresh float32 prediction inside the ball, not by the attack.

Croce & Hein 2020, arXiv:2003.01690.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from bench.attacks.backends.chunk import Found, counted
from bench.attacks.backends.joint import joint_model
from bench.attacks.base import Attack, AttackContext, AttackResult, Samples, Target
from bench.attacks.checked import share_broken
from bench.attacks.ensemble import STAGES
from bench.attacks.losses import cross_entropy
from bench.attacks.parameters import AutoAttackParams, SquareParams
from bench.errors import AttackError
from bench.store.parts import StageCost
from bench.store.records import Flag

NORMS = {"linf": "Linf", "l2": "L2"}
MINIMUM_NORM = ("fab", "fab-t")
"""Stages whose points may lie beyond eps."""
TARGETED_DLR_CLASSES = 4
"""The targeted DLR loss divides by a difference of the third and fourth largest logits."""


class _Loaded(NamedTuple):
    """The library's ensemble, set up for one model and one threat model."""

    ensemble: Any  # Any: pyautoattack has no annotations
    log: list[str]


class ReferenceAutoAttack(Attack):
    """AutoAttack standard, plus, rand or custom through pyautoattack."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    library: ClassVar[tuple[str, ...]] = ("pyautoattack",)
    chunked: ClassVar[bool] = True
    joint: ClassVar[bool] = True
    params: AutoAttackParams

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages, in order."""
        if self.params.version != "custom":
            return STAGES[self.params.version]
        return tuple(self.params.attacks or ())

    def run(self, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
        """Runs the stages on what the earlier ones left robust; see :class:`bench.attacks.base.Attack`."""
        result = AttackResult.untouched(samples)
        robust = torch.ones(len(samples), dtype=torch.bool, device=samples.x.device)
        stages: list[StageCost] = []
        with _collected_log() as log:
            for stage in self.stages:
                alive = robust.nonzero().flatten()
                if not len(alive):
                    break
                context.report(len(samples) - len(alive), len(alive), stage)
                started = time.perf_counter()
                broken = self._run_stage(stage, model, samples, alive, context, result, log)
                robust[broken] = False
                seconds = time.perf_counter() - started
                stages.append(StageCost(name=stage, attacked=len(alive), broken=len(broken), seconds=seconds))
                context.report(len(samples) - int(robust.sum()), int(robust.sum()), stage)
            if context.search == "strongest" and len(samples):
                self._strengthen(model, samples, context, result, log)
        result.iterations.fill_(-1)
        result.stages = tuple(stages)
        result.flags = _flags(log)
        return result

    def _run_stage(
        self,
        stage: str,
        model: Target,
        samples: Samples,
        alive: Tensor,
        context: AttackContext,
        result: AttackResult,
        log: list[str],
    ) -> Tensor:
        """Runs one stage on the samples that are left, and says which of them it broke."""
        chosen = samples.take(alive)
        seed = context.draws.chunk_seed(samples.ids, stage=stage)
        seen = joint_model(model, chosen)
        ensemble = self._ensemble(seen, context, seed, log)
        found = counted(model, chosen, seed, lambda: claims(perturb(ensemble, stage, chosen), chosen))
        cpu = alive.cpu()
        result.forwards[cpu] += found.forwards
        result.backwards[cpu] += found.backwards
        broken = share_broken(model, found.x_adv, chosen, context, minimum_norm=stage in MINIMUM_NORM) > 0.5
        places = alive[broken]
        assert found.claimed is not None
        told = found.claimed.to(alive.device)
        result.x_adv[alive[told]] = found.x_adv[told]
        if result.claimed is None:
            result.claimed = torch.zeros(len(samples), dtype=torch.bool)
        result.claimed[alive[told].cpu()] = True
        for place in places.tolist():
            result.stage[place] = stage
        return places

    def _strengthen(
        self, model: Target, samples: Samples, context: AttackContext, result: AttackResult, log: list[str]
    ) -> None:
        """Full budget: APGD-CE's point of highest loss takes the place of a weaker one, never of a success by a failure."""
        seed = context.draws.chunk_seed(samples.ids, stage="strongest")
        seen = joint_model(model, samples)
        ensemble = self._ensemble(seen, context, seed, log)
        ensemble.apgd.loss = "ce"

        def search() -> Found:
            with torch.no_grad():
                points: Tensor = ensemble.apgd.perturb(samples.x.clone(), samples.y.clone(), best_loss=True)
            return Found(points)

        found = counted(model, samples, seed, search)
        result.forwards += found.forwards
        result.backwards += found.backwards
        with torch.no_grad():
            higher = cross_entropy(seen(found.x_adv), samples.y) > cross_entropy(seen(result.x_adv), samples.y)
        was, now = (
            share_broken(model, x_adv, samples, context, minimum_norm=False) > 0.5
            for x_adv in (result.x_adv, found.x_adv)
        )
        better = (now & ~was) | ((now == was) & higher)
        result.x_adv[better] = found.x_adv[better]
        if result.claimed is not None:
            result.claimed[better.cpu()] = now[better].cpu()

    def _ensemble(
        self, model: Target, context: AttackContext, seed: int, log: list[str]
    ) -> Any:  # Any: untyped library
        if model.num_classes < TARGETED_DLR_CLASSES and {"apgd-t", "apgd-dlr"} & set(self.stages):
            raise AttackError(
                f"autoattack: its DLR losses need at least {TARGETED_DLR_CLASSES} classes, the model has "
                f"{model.num_classes}; use backend: bench, or version custom with attacks: [apgd-ce, fab, square]"
            )
        from pyautoattack import AutoAttack

        version = "standard" if self.params.version == "custom" else self.params.version
        ensemble = AutoAttack(
            model,
            norm=NORMS[context.threat_model.norm],
            eps=context.threat_model.radius,
            seed=seed,
            version=version,
            device=str(_device(model)),
        )
        targets = min(9, model.num_classes - 1)
        ensemble.apgd_targeted.n_target_classes = ensemble.fab.n_target_classes = targets
        ensemble.square.n_queries = self.params.n_queries
        if self.params.eot_iter is not None:
            ensemble.apgd.eot_iter = ensemble.apgd_targeted.eot_iter = self.params.eot_iter
        return ensemble

    def passes(self, num_classes: int) -> tuple[float, float]:
        """Each stage at its budget."""
        targets, eot = min(9, num_classes - 1), self.params.eot_iter or (20 if self.params.version == "rand" else 1)
        restarts = 5 if self.params.version == "plus" else 1
        costs = {
            "apgd-ce": (101 * eot * restarts, 101 * eot * restarts),
            "apgd-dlr": (101 * eot * restarts, 101 * eot * restarts),
            "apgd-t": (101 * eot * targets, 101 * eot * targets),
            "fab": (200 * restarts, 100 * restarts * num_classes),
            "fab-t": (200 * targets, 100 * targets),
            "square": (self.params.n_queries, 0),
        }
        chosen = [costs[stage] for stage in self.stages]
        return float(sum(cost[0] for cost in chosen)), float(sum(cost[1] for cost in chosen))


def perturb(ensemble: Any, stage: str, samples: Samples) -> Tensor:  # Any: untyped library
    """One stage of the library's ensemble, set as its own evaluation sets it.

    Args:
        ensemble: a ``pyautoattack.AutoAttack``.
        stage: one of apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square.
        samples: what is attacked.

    Returns:
        The points that it leaves, shape (N, C, H, W); the clean image where it found nothing.
    """
    attack: Callable[[Tensor, Tensor], Tensor]
    if stage in ("apgd-ce", "apgd-dlr"):
        ensemble.apgd.loss = stage.removeprefix("apgd-")
        attack = ensemble.apgd.perturb
    elif stage in ("fab", "fab-t"):
        ensemble.fab.targeted = stage == "fab-t"
        if stage == "fab-t":
            ensemble.fab.n_restarts = 1
        attack = ensemble.fab.perturb
    else:
        attack = {"apgd-t": ensemble.apgd_targeted, "square": ensemble.square}[stage].perturb
    with torch.no_grad():
        return attack(samples.x.clone(), samples.y.clone())


def claims(x_adv: Tensor, samples: Samples) -> Found:
    """What the official code returns: it changes an image only where it saw it change its class inside the ball.

    Args:
        x_adv: from ``perturb``, shape (N, C, H, W).
        samples: what was attacked.
    """
    return Found(x_adv, (x_adv != samples.x).flatten(1).any(1))


class ReferenceSquare(Attack):
    """The Square attack of pyautoattack; score-based, no gradients."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    library: ClassVar[tuple[str, ...]] = ("pyautoattack",)
    chunked: ClassVar[bool] = True
    joint: ClassVar[bool] = True
    params: SquareParams

    def run(self, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
        """Attacks every sample of the chunk; see :class:`bench.attacks.base.Attack`."""
        result = AttackResult.untouched(samples)
        if not len(samples):
            return result
        seed, seen = context.draws.chunk_seed(samples.ids), joint_model(model, samples)

        def search() -> Found:
            from pyautoattack.square import SquareAttack

            attack = SquareAttack(
                seen,
                p_init=self.params.p_init,
                n_queries=self.params.n_queries,
                eps=context.threat_model.radius,
                norm=NORMS[context.threat_model.norm],
                n_restarts=self.params.restarts,
                seed=seed,
                verbose=False,
                device=_device(seen),
                resc_schedule=self.params.rescale_schedule,
            )
            with torch.no_grad():
                points: Tensor = attack.perturb(samples.x.clone(), samples.y.clone())
            return claims(points, samples)

        found = counted(model, samples, seed, search)
        result.x_adv, result.claimed = found.x_adv, found.claimed
        result.iterations.fill_(-1)
        result.forwards.fill_(found.forwards)
        result.backwards.fill_(found.backwards)
        return result

    def passes(self, num_classes: int) -> tuple[float, float]:
        """Its queries."""
        return float(self.params.n_queries * self.params.restarts), 0.0


def _device(model: Any) -> torch.device:  # Any: a module; the wrapper's class stands below
    parameter = next(iter(model.parameters()), None)
    return torch.device("cpu") if parameter is None else parameter.device


class _Collector(logging.Handler):
    def __init__(self, log: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.append(record.getMessage())


@contextmanager
def _collected_log() -> Iterator[list[str]]:
    """What the library warns of, which becomes flags."""
    logger = logging.getLogger("auto-attack")
    log: list[str] = []
    handler, propagate, level = _Collector(log), logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    try:
        yield log
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)


def _flags(log: list[str]) -> tuple[Flag, ...]:
    source = "AutoAttack's own checks, Croce & Hein 2020, arXiv:2003.01690"
    messages = [message.split(" See ")[0] for message in dict.fromkeys(log)]
    return tuple(Flag(rule="autoattack-check", severity="warning", message=text, source=source) for text in messages)
