"""Gradients that lead an attack astray, and outputs that hide them."""

from __future__ import annotations

from collections.abc import Iterable

from bench.audit.evidence import CannotCheck, RowEvidence
from bench.audit.rule import Found
from bench.store.probes import Gradients
from bench.suites.declared import declared

SOME = 0.10
"""Share of the clean-correct samples from which a fault of the gradients is worth a warning."""
MOST = 0.50
SHATTERED = 0.30
"""Median cosine between the gradients of neighbours below which they say nothing of each other."""
WRONG_SLOPE = 0.50
"""Median relative error of a gradient's own prediction above which it isn't the function's."""


def masked(row: RowEvidence) -> Iterable[Found]:
    """Missing, zero and vanishing gradients in the probes."""
    seen = _gradients(row)
    if seen.missing > 0:
        text = (
            f"no finite gradient reaches the image on {_share(seen.missing, seen)}: gradient attacks can't work there"
        )
        yield Found("invalid" if seen.missing >= MOST else "warning", text, (), {"share": seen.missing})
    if seen.zero >= SOME:
        text = (
            f"the gradient of the margin is exactly zero on {_share(seen.zero, seen)}: masked gradients, not robustness"
        )
        yield Found("invalid" if seen.zero >= MOST else "warning", text, (), {"share": seen.zero})
    if seen.vanishing >= SOME:
        text = (
            f"the gradient all but vanishes on {_share(seen.vanishing, seen)}: taken as linear, the whole ball would "
            "change the margin by less than a thousandth of it"
        )
        yield Found("invalid" if seen.vanishing >= MOST else "warning", text, (), {"share": seen.vanishing})


def saturated(row: RowEvidence) -> Iterable[Found]:
    """Logits so large that the cross-entropy has no gradient left."""
    seen = _gradients(row)
    if seen.zero_loss >= SOME:
        text = (
            f"the cross-entropy has a gradient of exactly zero on {_share(seen.zero_loss, seen)}, where the margin "
            "still has one: the logits are saturated, and attacks on the cross-entropy stand still"
        )
        yield Found("warning", text, (), {"share": seen.zero_loss})


def rough(row: RowEvidence) -> Iterable[Found]:
    """Gradients that say nothing of the next point, or nothing of the function."""
    seen = _gradients(row)
    if seen.noise_cosine is None and seen.slope_error is None:
        raise CannotCheck("there are no gradients to look at")
    if seen.noise_cosine is not None and seen.noise_cosine < SHATTERED:
        text = (
            "the loss is rough: the gradients at a point and a hundredth of eps beside it agree to "
            f"{seen.noise_cosine:.2f} only (median cosine)"
        )
        yield Found("warning", text, (), {"cosine": seen.noise_cosine})
    # Of a defense that says so itself, everybody knows: BPDA is there for it.
    known = any(not declared(cell.result.defense).differentiable for cell in row.row.cells if cell.result is not None)
    if seen.slope_error is not None and seen.slope_error > WRONG_SLOPE and not known:
        text = (
            "the gradient isn't that of the model: of a tiny step along it, it is wrong by "
            f"{100 * seen.slope_error:.0f} % (median); something in the forward pass isn't differentiated (rounding, "
            "a detached part, a straight-through estimator)"
        )
        yield Found("warning", text, (), {"error": seen.slope_error})


def _gradients(row: RowEvidence) -> Gradients:
    seen = row.probed.gradients
    if seen is None:
        raise CannotCheck(row.probed.failed or "no sample of the subset is right when clean")
    return seen


def _share(share: float, seen: Gradients) -> str:
    return f"{round(share * seen.samples)} of {seen.samples} images"
