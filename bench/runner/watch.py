"""Watches the points that an attack tries: an adversarial one that it doesn't return is a success that got lost.

Pintor et al. 2022, Indicators of Attack Failure, arXiv:2106.09947, call it a silent success.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C import _functorch

from bench import registry
from bench.attacks.base import Attack, Samples
from bench.attacks.losses import answers, margin
from bench.runner.carried import Judged
from bench.runner.judge import Verdict
from bench.suites.cells import Cell
from bench.threat_models.base import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, ThreatModel

_P = {"linf": math.inf, "l2": 2.0, "l1": 1.0, "l0": 0.0}
_ORDERS = 8
"""Sizes of a pass whose order is remembered."""


class Tried(NamedTuple):
    """Adversarial points that an attack has asked the model about, one for each of some samples."""

    rows: Tensor
    """which samples of the shard, shape (R,), int64, on the CPU"""
    points: Tensor
    """shape (R, C, H, W)"""

    @classmethod
    def nothing(cls, x: Tensor) -> Tried:
        """No point of any of the samples."""
        return cls(torch.zeros(0, dtype=torch.int64), x[:0])

    def lost(self, robust: Tensor, verdict: Verdict, judged: Judged) -> int:
        """How many of the robust samples had an adversarial point, by the judge's word, that wasn't the one returned.

        Args:
            robust: which samples of the shard nothing broke, shape (N,), bool, on the CPU.
            verdict: of the points that the attack returned.
            judged: the judge.
        """
        apart = (self.points - verdict.x_adv[self.rows.to(verdict.x_adv.device)]).flatten(1).abs().amax(1)
        left = robust[self.rows] & (apart > ABSOLUTE_TOLERANCE).cpu()
        if not left.any():
            return 0
        return int(judged(self.points[left.to(self.points.device)], self.rows[left]).prediction.fooled.sum())


def believes_itself(cell: Cell, attack: Attack) -> bool:
    """Whether a cell's attack decides alone which of its points it returns; our own have each success verified.

    Args:
        cell: says what attacks.
        attack: the same.
    """
    if cell.role == "certificate":
        return False
    return attack.chunked or registry.attacks.entry(cell.attack.name).origin != "bench"


@contextmanager
def watching(model: Any, samples: Samples, threat_model: ThreatModel) -> Iterator[Watch]:  # Any: a defended model
    """Inside, the passes of an attack through the model are looked at; nothing about the model or its passes changes.

    The attack gets the model itself, so that whatever it asks of it is there. What goes around the model's own call
    (``model.forward``, the network inside) isn't seen.

    Args:
        model: as the adversary sees it.
        samples: what is attacked; the attack must have got other tensors, because it may write into its own.
        threat_model: what the attack is allowed.
    """
    watch = Watch(model, samples, threat_model)

    # A function, which a copy of the model shares: of an object there would be a copy, too.
    def after(module: object, args: tuple[Any, ...], kwargs: Mapping[str, Any], logits: object) -> None:
        watch.look(args[0] if args else kwargs.get("x"), logits)

    eyes = {id(one): one for one in (model, model.real)}.values()
    handles = [one.register_forward_hook(after, with_kwargs=True) for one in eyes]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


class Watch:
    """Keeps, for each sample, an adversarial point inside the threat model that the model was asked about.

    It is the first one; of a stochastic model, or where the attacker's forward pass isn't the real one, the one of the
    highest margin, because the first is most often the luck of a draw. What is kept is a claim, which the judge verifies.

    A row of a pass belongs to the sample that was in its place in the last pass of that size (at first: the samples in
    their order) as long as it lies in that one's ball, and to the nearest sample otherwise.

    Args:
        model: as the adversary sees it.
        samples: M of them, with tensors of their own.
        threat_model: what the attack is allowed.
    """

    def __init__(self, model: Any, samples: Samples, threat_model: ThreatModel) -> None:  # Any: as above
        self._x, self._y, self._threat_model = samples.x, samples.y, threat_model
        self._classes: int = model.num_classes
        self._claims = bool(model.stochastic or model.approximate)
        self._reach = threat_model.radius * (1 + RELATIVE_TOLERANCE) + ABSOLUTE_TOLERANCE
        self._in_order = torch.arange(len(samples), device=samples.x.device)
        self._orders = {len(samples): self._in_order}
        self._wanted = torch.ones(len(samples), dtype=torch.bool, device=samples.x.device)
        self._best = torch.zeros(len(samples), device=samples.x.device)
        """the margin of what was kept"""
        self._points: Tensor | None = None
        self._free: Tensor | None = None
        self._left = len(samples)

    @property
    def tried(self) -> Tried:
        """What was kept; rows count the samples that were given."""
        if self._points is None:
            return Tried.nothing(self._x)
        rows = (self._best > 0).nonzero().flatten()
        return Tried(rows.cpu(), self._points[rows])

    def look(self, x: object, logits: object) -> None:
        """Looks at one pass.

        Args:
            x: its images, shape (B, C, H, W).
            logits: shape (B, K), or (B, K + 1) where the model may reject; anything else is left alone.
        """
        if not self._left or not isinstance(x, Tensor) or not isinstance(logits, Tensor):
            return
        if x.shape[1:] != self._x.shape[1:] or not len(x) or logits.dim() != 2 or len(logits) != len(x):
            return
        if _functorch.peek_interpreter_stack() is not None:  # inside torch.func nothing can be kept
            return
        with torch.inference_mode(False), torch.no_grad():
            self._look(x.detach().to(self._x), logits.detach().to(self._x))

    def _look(self, x: Tensor, logits: Tensor) -> None:
        places = self._orders.get(len(x))
        if places is None:
            places = self._nearest(x, 2.0)
        distance = self._distance(x, places)
        if not float(distance.amax()) <= self._reach:
            places, distance = self._placed(x, places, distance)
        if len(self._orders) >= _ORDERS and len(x) not in self._orders:
            del self._orders[next(iter(self._orders))]
        self._orders[len(x)] = places
        # Few passes get any further, so that this must be cheap.
        predicted, whole = logits.argmax(1), places is self._in_order
        fooled = (predicted != (self._y if whole else self._y[places])) & (distance <= self._reach)
        fooled &= self._wanted if whole else self._wanted[places]
        if bool(fooled.any()):
            rows = fooled.nonzero().flatten()
            self._keep(x[rows], logits[rows], places[rows])

    def _placed(self, x: Tensor, places: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Rows in nobody's ball find their sample: the nearest in L2, which is cheap, else the nearest in the norm."""
        if self._free is None:
            self._free = self._free_of_others()
        for p in dict.fromkeys((2.0, _P[self._threat_model.norm])):
            lost = ~(distance <= self._reach) & ~(distance < self._free[places])
            rows = lost.nonzero().flatten()
            if not len(rows):
                break
            places, distance = places.clone(), distance.clone()
            places[rows] = self._nearest(x[rows], p)
            distance[rows] = self._distance(x[rows], places[rows])
        return places, distance

    def _free_of_others(self) -> Tensor:
        """How near to each sample a row certainly lies in no other one's ball, by the triangle inequality, shape (M,)."""
        flat = self._x.flatten(1)
        mode = "donot_use_mm_for_euclid_dist"  # the fast way is off by a hundredth
        apart = torch.cdist(flat, flat, p=_P[self._threat_model.norm], compute_mode=mode)
        return apart.fill_diagonal_(math.inf).amin(1) * (1 - RELATIVE_TOLERANCE) - self._reach

    def _distance(self, x: Tensor, places: Tensor) -> Tensor:
        return self._threat_model.distance(x, self._x if places is self._in_order else self._x[places])

    def _nearest(self, x: Tensor, p: float) -> Tensor:
        return torch.cdist(x.flatten(1), self._x.flatten(1), p=p).argmin(1)

    def _keep(self, x: Tensor, logits: Tensor, places: Tensor) -> None:
        y = self._y[places]
        margins = margin(answers(logits, y, self._classes), y)
        rows = ((margins > self._best[places]) & self._threat_model.contains(x, self._x[places])).nonzero().flatten()
        rows = rows[margins[rows].argsort()]
        # One row for each sample, that of the highest margin: of two writes to one place either might win.
        chosen = dict(zip(places[rows].tolist(), rows.tolist(), strict=True))
        if not chosen:
            return
        here, rows = (torch.tensor(list(one), device=x.device) for one in (chosen.keys(), chosen.values()))
        if self._points is None:
            self._points = torch.empty_like(self._x)
        self._points[here], self._best[here] = x[rows], margins[rows]
        if not self._claims:
            self._wanted[here] = False
            self._left -= len(chosen)
