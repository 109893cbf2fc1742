"""The judge: whether a point is an adversarial example. The harness decides, never the attack.

The point is measured as the attack returned it, then projected, then predicted again in float32 by the real defended
model, with TF32 and autocast off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from bench.attacks.base import Target
from bench.attacks.losses import margin
from bench.attacks.memory import in_pieces
from bench.errors import AttackError
from bench.models.noise import mixed
from bench.threat_models.base import ThreatModel


class Prediction(NamedTuple):
    """What a model says of some images: all of shape (N,), on the CPU."""

    predicted: Tensor
    """int64"""
    margin: Tensor
    """logit of the label minus the best other, float32: below 0 where misclassified"""
    confidence: Tensor
    """softmax probability of the predicted class, float32"""
    right: Tensor
    """share of the draws in which the label is predicted and accepted, float64; 0 or 1 for one that isn't stochastic"""
    wrong: Tensor
    """share of the draws in which another class is predicted and accepted, float64; the rest are rejected"""
    even: Tensor
    """``wrong`` by the draws of even number alone, float64"""
    odd: Tensor
    """``wrong`` by the draws of odd number alone, float64"""
    rejection_margin: Tensor
    """how far the rejection lies above the largest logit, float32: above 0 where rejected; NaN without a detector"""

    @property
    def correct(self) -> Tensor:
        """Whether most draws give the label and accept, shape (N,), bool."""
        return self.right > 0.5

    @property
    def fooled(self) -> Tensor:
        """Whether most draws give another class and accept: what a success is, shape (N,), bool."""
        return self.wrong > 0.5

    @property
    def accepted(self) -> Tensor:
        """Share of the draws that accept, shape (N,)."""
        return self.right + self.wrong

    @property
    def rejected(self) -> Tensor:
        """Whether at least half of the draws reject, shape (N,), bool."""
        return 1 - self.right - self.wrong > 0.5 - 1e-9


class Scoring(NamedTuple):
    """The draws that score images of a stochastic model; no attack has seen them."""

    keys: Tensor
    """one for each image, shape (N,), int64, on the model's device"""
    draws: int

    def take(self, rows: Tensor) -> Scoring:
        """Those of some images."""
        return Scoring(self.keys[rows.to(self.keys.device)], self.draws)


class Verdict(NamedTuple):
    """What the judge found."""

    x_adv: Tensor
    """the points that were judged, shape (N, C, H, W)"""
    prediction: Prediction
    raw_distance: Tensor
    """distance of the returned points in the threat model's norm, shape (N,), on the CPU"""
    minimal_distance: Tensor
    """distance of the verified misclassified points of a minimum-norm attack, beyond eps too, shape (N,), float64, on the
    CPU: 0 where the clean image is misclassified, infinity where nothing was found, NaN where nobody looked"""


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Float32 as it stands: TF32 and autocast off, deterministic convolutions; what was set before is put back."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark)
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, False, True, False
    try:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before


def predict(model: Target, x: Tensor, y: Tensor, batch_size: int, scoring: Scoring | None = None) -> Prediction:
    """Float32 predictions of the real model; the batch is halved when memory runs out.

    Of a stochastic model the class that most draws give, and the means of margins and confidences.

    Args:
        model: images to logits.
        x: shape (N, C, H, W).
        y: labels, shape (N,).
        batch_size: the most images of one pass.
        scoring: the draws of a stochastic model; a single pass where there are none.

    Raises:
        AttackError: where a logit isn't finite, or there are more or fewer than K for each image.
    """
    if not len(x):
        empty = torch.zeros(0)
        none = empty.double()
        return Prediction(empty.long(), empty, empty, none, none, none, none, empty)
    if scoring is None:
        return _read(_values(model, x, batch_size, None), y, model)
    passes = [
        _read(_values(model, x, batch_size, mixed(scoring.keys, draw)), y, model) for draw in range(scoring.draws)
    ]
    votes = torch.zeros(len(x), model.num_classes)
    for one in passes:
        votes.scatter_add_(1, one.predicted[:, None], torch.ones(len(x), 1))
    means = [torch.stack(columns).mean(0) for columns in list(zip(*passes, strict=True))[1:]]
    found = Prediction(votes.argmax(1), *means)
    even, odd = (torch.stack([one.wrong for one in passes[half::2] or passes]).mean(0) for half in (0, 1))
    return found._replace(even=even, odd=odd)


def _values(model: Target, x: Tensor, batch_size: int, keys: Tensor | None) -> Tensor:
    """Logits in float32, shape (N, K), or (N, K + 1) where the model may reject."""
    values = torch.cat(in_pieces(model, x, batch_size, keys)).float()
    columns = model.num_classes + int(model.rejects)
    if values.shape != (len(x), columns):
        raise AttackError(f"the model gave logits of shape {tuple(values.shape)} for {len(x)} images, K = {columns}")
    if not torch.isfinite(values).all():
        place = int((~torch.isfinite(values).all(1)).nonzero()[0])
        raise AttackError(f"the model gave logits that aren't finite (image {place} of this shard)")
    return values


def _read(values: Tensor, y: Tensor, model: Target) -> Prediction:
    """What one pass says."""
    classes = values[:, : model.num_classes]
    below = -margin(classes, y).cpu()
    classes = classes.cpu().double()
    predicted = classes.argmax(1)
    confidence = classes.softmax(1).gather(1, predicted[:, None]).squeeze(1).float()
    above = torch.full((len(values),), math.nan)
    if model.rejects:
        above = (values[:, -1] - values[:, : model.num_classes].amax(1)).cpu()
    right, accepted = predicted == y.cpu(), ~(above > 0)
    wrong = (~right & accepted).double()
    return Prediction(predicted, below, confidence, (right & accepted).double(), wrong, wrong, wrong, above)


def judge(
    model: Target,
    x: Tensor,
    y: Tensor,
    x_raw: Tensor,
    *,
    threat_model: ThreatModel,
    minimum_norm: bool,
    batch_size: int,
    sample_ids: tuple[str, ...],
    clean_correct: Tensor | None = None,
    scoring: Scoring | None = None,
) -> Verdict:
    """Measures, projects and predicts again.

    Args:
        model: the real defended model.
        x: clean images, shape (N, C, H, W).
        y: labels, shape (N,).
        x_raw: what the attack returned.
        threat_model: what it was allowed.
        minimum_norm: whether a point beyond eps is simply no success; from other attacks it is an error.
        batch_size: the most images of one pass.
        sample_ids: for messages.
        clean_correct: which samples are correct without an attack, shape (N,), on the CPU; with it, the points of a
            minimum-norm attack that lie beyond eps are predicted too.
        scoring: the draws of a stochastic model.

    Raises:
        AttackError: where a point has the wrong shape, isn't finite, left the bounds, or left the ball of a fixed-eps
            attack.
    """
    _refuse_what_is_no_image(x, x_raw, sample_ids)
    x_raw = x_raw.to(x.dtype)
    raw_distance = threat_model.distance(x_raw, x)
    inside = threat_model.contains(x_raw, x)
    clipped_inside = threat_model.contains(x_raw.clamp(*threat_model.bounds), x)
    outside = ~inside if not minimum_norm else ~inside & clipped_inside
    if outside.any():
        bad = int(outside.nonzero()[0])
        raise AttackError(
            f"the attack left the threat model: {int(outside.sum())} points, first {sample_ids[bad]} at "
            f"{threat_model.norm} distance {float(raw_distance[bad]):.6g} with eps {threat_model.radius:.6g}, pixels "
            f"{float(x_raw[bad].min()):.6g} to {float(x_raw[bad].max()):.6g}"
        )
    judged = torch.where(inside.view(-1, *[1] * (x.dim() - 1)), threat_model.project(x_raw, x), x)
    if not threat_model.contains(judged, x).all():
        raise AttackError(
            "a projected point lies outside the threat model: this is a fault of the harness, please report it"
        )
    prediction = predict(model, judged, y, batch_size, scoring)
    minimal = torch.full((len(x),), math.nan, dtype=torch.float64)
    if minimum_norm and clean_correct is not None:
        broken = prediction.fooled
        within = threat_model.distance(judged, x).double().cpu().clamp(max=threat_model.radius)
        minimal = torch.where(broken, within, math.inf).where(clean_correct, 0.0)
        rows = (~broken & clean_correct).nonzero().flatten()
        minimal[rows] = _beyond(model, x, y, x_raw, judged, rows, threat_model, batch_size, scoring)
    return Verdict(judged, prediction, raw_distance.float().cpu(), minimal)


def _refuse_what_is_no_image(x: Tensor, x_raw: Tensor, sample_ids: tuple[str, ...]) -> None:
    if x_raw.shape != x.shape:
        raise AttackError(f"the attack returned shape {tuple(x_raw.shape)} for images of shape {tuple(x.shape)}")
    finite = torch.isfinite(x_raw.flatten(1)).all(1)
    if not finite.all():
        bad = int((~finite).nonzero()[0])
        raise AttackError(
            f"the attack returned NaN or infinity ({int((~finite).sum())} points, first {sample_ids[bad]})"
        )


def _beyond(
    model: Target,
    x: Tensor,
    y: Tensor,
    x_raw: Tensor,
    judged: Tensor,
    rows: Tensor,
    threat_model: ThreatModel,
    batch_size: int,
    scoring: Scoring | None,
) -> Tensor:
    """How far the returned points lie that are misclassified, but not inside the threat model, shape (len(rows),).

    They are clipped to the bounds first. What the judge didn't break at eps lies beyond eps here, whatever rounding says.
    """
    here = rows.to(x.device)
    points = x_raw[here].clamp(*threat_model.bounds)
    moved = (points != judged[here]).flatten(1).any(1)
    here, points = here[moved], points[moved]
    found = predict(model, points, y[here], batch_size, scoring.take(here) if scoring is not None else None).fooled
    distance = threat_model.distance(points, x[here]).double().cpu()
    result = torch.full((len(rows),), math.inf, dtype=torch.float64)
    result[moved.cpu()] = distance.clamp(min=math.nextafter(threat_model.radius, math.inf)).where(found, math.inf)
    return result
