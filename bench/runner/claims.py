"""Holds an attack to its word: a success that it claims and the judge doesn't find is an error, never robustness."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attacks.base import AttackResult, Samples, Target
from bench.attacks.engine import HAIRLINE
from bench.attacks.losses import answers, margin
from bench.attacks.memory import in_pieces
from bench.errors import AttackError
from bench.runner.judge import Verdict
from bench.threat_models.base import ThreatModel

_NAMED = 3
"""Samples that a message names; more are counted."""


def keep_its_word(
    model: Target,
    samples: Samples,
    found: AttackResult,
    verdict: Verdict,
    correct: Tensor,
    *,
    threat_model: ThreatModel,
    batch_size: int,
) -> None:
    """Refuses claims that the judge denies.

    What rounding may have decided is no lie: the point as it was returned and the judged one are asked about once more, and one
    whose margin lies within the hairline of zero is let through. A claim beyond eps (of a minimum-norm attack) is none at eps.

    Args:
        model: the real defended model; not a stochastic one, whose draws may differ.
        samples: N of them.
        found: the attack's word and its points.
        verdict: the judge's.
        correct: which samples are correct without an attack, shape (N,), bool, on the CPU.
        threat_model: what the attack was allowed.
        batch_size: the most images of one pass.

    Raises:
        AttackError: where the attack claims to have broken a sample that it left alone or that isn't broken.
    """
    if found.claimed is None:
        return
    inside = threat_model.contains(found.x_adv.to(samples.x), samples.x).cpu()
    rows = (found.claimed & correct & ~verdict.prediction.fooled & inside).nonzero().flatten()
    if not len(rows):
        return
    here = rows.to(samples.x.device)
    points, y = found.x_adv[here].to(samples.x), samples.y[here]
    best = torch.maximum(
        *(_relative_margin(model, x, y, batch_size) for x in (points.clamp(*threat_model.bounds), verdict.x_adv[here]))
    )
    false = (best < -HAIRLINE).nonzero().flatten()
    if not len(false):
        return
    still = (points == samples.x[here]).flatten(1).all(1).cpu()
    what = [
        f"{samples.ids[int(rows[row])]} ({_what(bool(still[row]), bool(verdict.prediction.rejected[rows[row]]))})"
        for row in false[:_NAMED].tolist()
    ]
    more = f" and {len(false) - _NAMED} more" if len(false) > _NAMED else ""
    raise AttackError(
        f"the attack claims to have broken {len(false)} of {int(found.claimed.sum())} samples that it didn't break: "
        f"{', '.join(what)}{more}"
    )


def _relative_margin(model: Target, x: Tensor, y: Tensor, batch_size: int) -> Tensor:
    """Margins in units of the largest logit (at least 1), shape (N,), on the CPU: above 0 where misclassified and accepted."""
    with torch.no_grad():
        logits = answers(torch.cat(in_pieces(model, x, batch_size, None)).float(), y, model.num_classes)
    return (margin(logits, y) / logits.abs().amax(1).clamp_min(1.0)).cpu()


def _what(still: bool, rejected: bool) -> str:
    if still:
        return "the clean image, untouched"
    return "rejected" if rejected else "classified right"
