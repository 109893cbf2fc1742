"""Who attacked a defense, and whether the attacks work at all."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bench.audit.evidence import CannotCheck, NotMeant, RowEvidence, compared
from bench.audit.rule import Found
from bench.store.records import CellResult
from bench.suites.declared import declared

BREAKABLE = 10
"""Samples that the linear control must have at the least."""
MOST = 0.9
"""Share of them that an attack has to break."""
HARDLY = 0.10
"""Share of the bare model's clean-correct images below which an attack does next to nothing."""


def without_bpda(row: RowEvidence) -> Iterable[Found]:
    """Defenses that aren't differentiable, and nobody who replaces their gradient."""
    result = _defended(row)
    if declared(result.defense).differentiable:
        raise NotMeant
    if not row.white_box:  # an attack without gradients replaces none
        yield Found("warning", "the defense isn't differentiable, and no attack with BPDA is finished on it")
    elif any(link.surrogate == "exact" for link in result.defense.links):
        text = "surrogate: exact takes the gradient of a defense that has none to speak of: that is no BPDA"
        yield Found("warning", text, tuple(cell.id for cell in row.white_box))


def only_blind(row: RowEvidence) -> Iterable[Found]:
    """Defended rows without an attack by anybody who knows the defense, though the suite has such an adversary."""
    _defended(row)
    flags = (flag.rule for cell in row.row.cells if cell.result is not None for flag in cell.result.flags)
    if "no-adaptive-attack" not in flags and not any(map(row.done, ("suite", "gradient_free", "submitted"))):
        yield Found("warning", "no attack by anybody who knows the defense is finished on it")


def not_joint(row: RowEvidence) -> Iterable[Found]:
    """Detectors that nobody attacked together with the classifier."""
    result = _defended(row)
    if not declared(result.defense).rejects:
        raise NotMeant
    if not row.done("suite"):
        yield Found(
            "warning", "no attack on the detector and the classifier together is finished: it was hardly attacked"
        )


def control(row: RowEvidence) -> Iterable[Found]:
    """Attacks that fail on a linear model whose breakable images are known."""
    controls = row.probed.controls
    tried, failed = 0, []
    for name, result in controls.items():
        if result.failed:
            failed.append((name, f"it raised on a linear model: {result.failed}", 0))
            continue
        breakable = np.array(result.details.get("breakable", []), dtype=bool)
        if breakable.sum() < BREAKABLE:
            continue
        tried += 1
        broken = int((np.array(result.broken, dtype=bool) & breakable).sum())
        if broken < MOST * breakable.sum():
            failed.append((name, f"{broken} of {int(breakable.sum())} images of a linear model", broken))
    if not tried and not failed:
        raise CannotCheck(
            "too few images of the linear control are breakable at this radius, or there is no white-box attack"
        )
    for name, what, broken in failed:
        cells = tuple(cell.id for cell in row.white_box if cell.attack == name)
        text = (
            f"{name} fails its positive control: it breaks {what} that are known to be breakable in this ball"
            if not what.startswith("it raised")
            else f"{name} fails its positive control: {what}"
        )
        every = tried == len(controls) == len(failed)  # what raises on another model may have its reasons
        yield Found("invalid" if every else "warning", text, cells, {"broken": broken})


def fails_undefended(row: RowEvidence) -> Iterable[Found]:
    """Attacks that hardly harm the bare model, behind whose defense they then show nothing."""
    _defended(row)
    bare = row.bare
    if bare is None:
        raise CannotCheck("the bare model isn't in the suite (defenses: [none, ...])")
    broken, correct = bare.by_gradient, int(bare.row.clean_correct.sum())
    if not correct or broken.sum() >= HARDLY * correct:
        return
    if compared(bare.on_subset(broken), bare.broken("noise")).greater:
        return
    text = (
        f"the same attacks break {int(broken.sum())} of {correct} images of the undefended model, no more than noise does: at "
        "this radius they can't show what the defense is worth"
    )
    works = int((bare.correct & ~bare.broken("large-eps")).sum()) <= HARDLY * bare.correct.sum()
    yield Found("info" if works else "warning", text, (), {"broken": int(broken.sum()), "correct": correct})


def _defended(row: RowEvidence) -> CellResult:
    if row.row.bare:
        raise NotMeant
    results = [cell.result for cell in row.row.cells if cell.result is not None and cell.result.defense.name != "none"]
    if not results:
        raise CannotCheck("no cell of the row is finished")
    return results[0]
