"""Attacks that were too weak: more of the same, or less, finds more."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise

import numpy as np

from bench.audit.evidence import ALPHA, CannotCheck, Comparison, RowEvidence, compared, kind
from bench.audit.rule import Found
from bench.stats import BoolArray, binomial_greater
from bench.store.audit import Severity
from bench.store.cell_outcome import CellOutcome
from bench.suites.declared import declared
from bench.suites.spec import format_eps

FAR_BELOW = 0.05
"""A worst case this far below the strongest single attack is no small thing."""
SINGLE = ("fgsm",)
"""Attacks of a single step."""


def single_step_stronger(row: RowEvidence) -> Iterable[Found]:
    """FGSM against the strongest attack of several steps."""
    single = row.broken("single-step")
    many = _many_steps(row)
    if many is None:
        name, broken = "the probe with more steps", row.broken("more-steps")
    else:
        name, broken = many.attack, row.on_subset(many.clean_correct & ~many.robust)
    more = compared(single, broken)
    if more.greater:
        text = f"one step (FGSM) breaks more than many ({name}): {_of(more)}; multi-step attacks are led astray"
        yield Found(_severity(row, single), text, (), _numbers(more))


def only_single_step(row: RowEvidence) -> Iterable[Found]:
    """Rows that nothing but FGSM attacked with gradients, or nothing at all."""
    if not row.white_box:
        if not row.done("suite"):
            raise CannotCheck("no white-box attack is finished")
        yield Found("warning", "no attack of the suite took gradients: whoever has the model's weights does better")
        return
    if all(_single(cell) for cell in row.white_box):
        text = "only attacks of a single step took gradients: they say next to nothing of an attacker who takes several"
        yield Found("warning", text)


def grows(row: RowEvidence) -> Iterable[Found]:
    """Success against eps: half, once, twice, and at a radius where nothing can stand."""
    steps = [("growth:1/2", "half eps"), ("growth:1", "eps"), ("growth:2", "twice eps")]
    for (small, less), (large, more) in pairwise(steps):
        lost = compared(row.broken(small), row.broken(large))
        if lost.greater:
            text = f"a larger radius breaks fewer images: {more} fewer than {less}, {_of(lost)}"
            yield Found("warning", text, (), _numbers(lost))
    flat = row.broken("growth:1/2")
    left = int((row.correct & ~row.broken("growth:2")).sum())
    grown = compared(row.broken("growth:2"), flat)
    if row.broken("large-eps").sum() <= flat.sum() and left and not grown.greater:
        size = format_eps(Fraction(row.probe("large-eps").eps))
        text = f"success does not grow with eps: no more images are broken at {size} than at half the suite's eps"
        yield Found("warning", text, (), {"half": int(flat.sum()), "large": int(row.broken("large-eps").sum())})


def stands_at_large_eps(row: RowEvidence) -> Iterable[Found]:
    """Images that survive the row's own attack where a grey image lies inside every ball."""
    probe = row.probe("large-eps")
    if any(declared(cell.result.defense).rejects for cell in row.row.cells if cell.result is not None):
        raise CannotCheck("the defense may rightly reject a grey image, so that images may stand at any radius")
    left, n, most = int((row.correct & ~row.broken("large-eps")).sum()), len(row.correct), row.commonest
    if binomial_greater(left, n, most) >= ALPHA:
        return
    name = probe.attack.id or probe.attack.name if probe.attack is not None else row.probed.strongest
    text = (
        f"{name} leaves {100 * left / n:.0f} % right at {row.row.threat_model.norm} {format_eps(Fraction(probe.eps))}, where a "
        f"grey image lies inside every ball, whose one answer is right of {100 * most:.0f} % at most: the attack fails, the "
        "model is not robust"
    )
    yield Found("invalid", text, (), {"left": left, "n": n, "commonest": most})


def more_steps(row: RowEvidence) -> Iterable[Found]:
    """More steps than the row's strongest attack took."""
    yield from _more(row, "more-steps", "more steps")


def more_restarts(row: RowEvidence) -> Iterable[Found]:
    """More restarts than the row's strongest attack took."""
    yield from _more(row, "more-restarts", "more restarts")


def _more(row: RowEvidence, name: str, words: str) -> Iterable[Found]:
    probe, broken = row.probe(name), row.broken(name)
    worst = row.on_subset(row.worst)
    more = compared(broken | worst, worst)
    if more.greater:
        args = (
            {} if probe.attack is None else {k: v for k, v in probe.attack.args.items() if k in ("steps", "restarts")}
        )
        how = ", ".join(f"{key} {value}" for key, value in args.items())
        attack = "" if probe.attack is None else f" ({probe.attack.id or probe.attack.name}: {how})"
        text = (
            f"{words}{attack} break {more.only_first} of {int((row.correct & ~worst).sum())} images of the subset that the row "
            "calls robust: its attacks have not converged"
        )
        yield Found(_severity(row, broken), text, (), _numbers(more))


def robust_above_clean(row: RowEvidence) -> Iterable[Found]:
    """Robust accuracies above the clean one, which no attack can leave."""
    for cell in row.row.cells:
        known = cell.known
        if cell.role == "certificate" or not known.any():
            continue
        robust, clean = float(cell.correctness[known].sum()), float(cell.clean_correctness[known].sum())
        impossible = int((cell.robust & ~cell.clean_correct & known).sum())
        if impossible or robust > clean + 1e-6:
            text = (
                f"robust accuracy ({100 * robust / known.sum():.1f} %) above clean accuracy "
                f"({100 * clean / known.sum():.1f} %): the records contradict themselves"
            )
            yield Found("invalid", text, (cell.id,), {"impossible": impossible})


def far_below(row: RowEvidence) -> Iterable[Found]:
    """A worst case that no single attack comes near: each of them fails where others don't."""
    cells = [cell for cell in row.row.attacked if cell.status == "done" and cell.role != "prerequisite"]
    if len(cells) < 2:
        raise CannotCheck("fewer than two attacks are finished")
    best = min(cells, key=lambda cell: cell.correctness.sum())
    more = compared(row.worst, best.clean_correct & ~best.robust)
    if more.greater and more.share >= FAR_BELOW:
        text = (
            f"the worst case lies {100 * more.share:.1f} points below the strongest single attack ({best.attack}): "
            "every attack fails on images that another breaks, so there are probably more that all fail on"
        )
        yield Found("warning", text, (), _numbers(more))


def _severity(row: RowEvidence, broken: BoolArray) -> Severity:
    return "invalid" if row.refuted(broken) else "warning"


def _many_steps(row: RowEvidence) -> CellOutcome | None:
    found = [cell for cell in row.white_box if not _single(cell)]
    return min(found, key=lambda cell: cell.correctness.sum(), default=None)


def _single(cell: CellOutcome) -> bool:
    if cell.result is None or kind(cell) == "ensemble":
        return False
    return cell.result.attack.name in SINGLE or cell.result.attack.args.get("steps") == 1


def _of(more: Comparison) -> str:
    return f"{more.only_first} images against {more.only_second} (p = {more.p:.2g}, paired)"


def _numbers(more: Comparison) -> dict[str, float]:
    return {
        "p": float(more.p),
        "more": more.only_first,
        "less": more.only_second,
        "share": float(np.round(more.share, 6)),
    }
