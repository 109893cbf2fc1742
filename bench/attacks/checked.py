"""What an attack may believe of its own points: what isn't finite or has left the ball is an error, never robustness."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from bench.attacks.base import AttackContext, Samples, Target
from bench.attacks.losses import answers, margin
from bench.attacks.memory import in_pieces
from bench.errors import AttackError
from bench.models.noise import mixed


def sound(values: Tensor, what: str) -> Tensor:
    """The values, which are all finite.

    Args:
        values: any shape.
        what: names them in the message.

    Raises:
        AttackError: where one is NaN or infinite.
    """
    # The sum is many times cheaper than a look at every value; it may overflow where they are finite.
    if not math.isfinite(float(values.sum())) and not bool(torch.isfinite(values).all()):
        raise AttackError(f"{what} that aren't finite on a point of the attack")
    return values


def logits_of(model: Target, x: Tensor, y: Tensor, batch_size: int, keys: Tensor | None = None) -> Tensor:
    """Logits without gradients as they count for an attacker, shape (N, K); pieces are halved when memory runs out.

    Args:
        model: the model under attack.
        x: images, shape (N, C, H, W), N at least 1.
        y: labels, shape (N,).
        batch_size: the most images of one pass.
        keys: what a stochastic model draws from, shape (N,); fresh draws where there are none.

    Raises:
        AttackError: where a logit isn't finite.
    """
    logits = sound(torch.cat(in_pieces(model, x, batch_size, keys)), "the model gave logits")
    return answers(logits, y, model.num_classes)


def margins(
    model: Target, x: Tensor, samples: Samples, context: AttackContext, *, batch_size: int, salt: Tensor | int = 0
) -> Tensor:
    """Margins of points on the real model: above 0 where misclassified and not rejected, shape (V, N).

    V is 1, or the ``verifying_draws`` of a stochastic model: neither those of the search nor those that score.

    Args:
        model: the model under attack.
        x: the points, shape (N, C, H, W), N at least 1.
        samples: where they come from.
        context: draws.
        batch_size: the most images of one pass.
        salt: makes the draws others, int64, shape (N,).
    """
    real = model.real
    if not model.stochastic:
        return margin(logits_of(real, x, samples.y, batch_size), samples.y)[None]
    keys = mixed(keys_of(samples, context, purpose="verify"), salt)
    drawn = (logits_of(real, x, samples.y, batch_size, mixed(keys, draw)) for draw in range(model.verifying_draws))
    return torch.stack([margin(logits, samples.y) for logits in drawn])


def keys_of(samples: Samples, context: AttackContext, *, purpose: str) -> Tensor:
    """Keys of a stochastic model's draws that have nothing to do with those of another purpose, shape (N,)."""
    draws = replace(context.draws, purpose=purpose)
    return draws.keys(samples.ids, stage=context.stage, restarts=[0] * len(samples), device=samples.x.device)


def share_broken(
    model: Target, x_adv: Tensor, samples: Samples, context: AttackContext, *, minimum_norm: bool
) -> Tensor:
    """The share of draws in which points are inside the threat model and misclassified, shape (N,); 0 or 1 for one that
    isn't stochastic.

    Args:
        model: the model under attack.
        x_adv: the points, shape (N, C, H, W), N at least 1.
        samples: where they come from.
        context: threat model, draws and batch size.
        minimum_norm: whether a point outside is simply no success; from other attacks it is an error.

    Raises:
        AttackError: where a point or a logit isn't finite, or a point lies outside and may not.
    """
    sound(x_adv, "the attack made points")
    inside = context.threat_model.contains(x_adv, samples.x)
    if not minimum_norm and not bool(inside.all()):
        bad = int((~inside).nonzero()[0])
        raise AttackError(
            f"the attack left the threat model: {int((~inside).sum())} points, first {samples.ids[bad]} at "
            f"{context.threat_model.norm} distance "
            f"{float(context.threat_model.distance(x_adv, samples.x)[bad]):.6g} with eps {context.threat_model.radius:.6g}"
        )
    found = margins(model, x_adv, samples, context, batch_size=context.batch_size) > 0
    return (found & inside).float().mean(0)
