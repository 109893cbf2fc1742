"""What an attack may believe of its own points: what isn't finite or has left the ball is an error, never robustness."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.attacks.base import AttackContext, Samples
from bench.attacks.memory import in_pieces
from bench.errors import AttackError


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


def logits_of(model: Callable[[Tensor], Tensor], x: Tensor, batch_size: int) -> Tensor:
    """Logits without gradients, shape (N, K); pieces of the batch are halved when memory runs out.

    Args:
        model: images to logits.
        x: images, shape (N, C, H, W), N at least 1.
        batch_size: the most images of one pass.

    Raises:
        AttackError: where a logit isn't finite.
    """
    return sound(torch.cat(in_pieces(model, x, batch_size)), "the model gave logits")


def succeeded(
    model: Callable[[Tensor], Tensor], x_adv: Tensor, samples: Samples, context: AttackContext, *, minimum_norm: bool
) -> Tensor:
    """Which points are inside the threat model and misclassified, shape (N,).

    Args:
        model: images to logits.
        x_adv: the points, shape (N, C, H, W), N at least 1.
        samples: where they come from.
        context: threat model and batch size.
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
    return inside & (logits_of(model, x_adv, context.batch_size).argmax(1) != samples.y)
