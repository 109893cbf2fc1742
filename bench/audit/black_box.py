"""Attacks without gradients that do better than those with: the surest sign of masked gradients."""

from __future__ import annotations

from collections.abc import Iterable

from bench.audit.evidence import CannotCheck, Comparison, RowEvidence, compared
from bench.audit.rule import Found
from bench.stats import BoolArray
from bench.store.audit import Severity
from bench.store.cell_outcome import CellOutcome, unbroken

NAMED = 3
"""Up to so many models are named in a finding; more are counted."""
REAL = 3
"""Images that noise has to break where the attacks break none."""


def gradient_free(row: RowEvidence) -> Iterable[Found]:
    """Square, in the suite's own cells and as a probe, against all white-box attacks together."""
    by_gradient = row.by_gradient
    own = (
        list(_beats(row, _broken(row.black_box), by_gradient, "the gradient-free attack (Square)"))
        if row.black_box
        else []
    )
    yield from own
    try:
        probe = row.broken("gradient-free")
    except CannotCheck:
        if not row.black_box:
            raise
        return
    if not own or row.refuted(probe):
        yield from _probed(row, probe, "a gradient-free probe (Square)")


def transfer(row: RowEvidence) -> Iterable[Found]:
    """Examples of the bare model, and of the suite's other models, against all white-box attacks together."""
    oblivious = row.done("oblivious")
    if oblivious:
        yield from _beats(row, _broken(oblivious), row.by_gradient, "examples made against the bare model")
    crossed = row.done("transfer")
    if crossed:
        models = list(dict.fromkeys(cell.source for cell in crossed))
        whom = " and ".join(models) if len(models) <= NAMED else f"{len(models)} other models"
        yield from _beats(row, _broken(crossed), row.by_gradient, f"examples made against {whom}")
    names = [name for name in (row.probes.probes if row.probes is not None else ()) if name.startswith("transfer:")]
    if not names and not oblivious and not crossed:
        raise CannotCheck(row.lacking or "there is no other model in the suite, and no bare model behind a defense")
    reason = None
    for name in names:
        try:
            broken = row.broken(name)
        except CannotCheck as error:
            reason = error
            continue
        yield from _probed(row, broken, f"examples made against {name.partition(':')[2]}")
    if reason is not None:
        raise reason


def noise(row: RowEvidence) -> Iterable[Found]:
    """Random points of the ball against all white-box attacks together."""
    broken = row.broken("noise")
    more = list(_probed(row, broken, "random noise"))
    yield from more
    if not more and int(broken.sum()) >= REAL and not row.by_gradient.any():
        text = (
            f"random noise breaks {int(broken.sum())} images of the subset, and the white-box attacks break none at all"
        )
        yield Found("warning", text, (), {"noise": int(broken.sum())})


def _probed(row: RowEvidence, broken: BoolArray, what: str) -> Iterable[Found]:
    more = compared(broken, row.on_subset(row.by_gradient))
    if more.greater:
        severity: Severity = "invalid" if row.refuted(broken) else "warning"
        yield Found(severity, _text(what, more, "of the subset "), (), _numbers(more))


def _beats(row: RowEvidence, broken: BoolArray, by_gradient: BoolArray, what: str) -> Iterable[Found]:
    more = compared(broken, by_gradient)
    if more.greater:
        yield Found("warning", _text(what, more, ""), (), _numbers(more))


def _text(what: str, more: Comparison, where: str) -> str:
    return (
        f"{what} broke more images {where}than all white-box attacks together: {more.only_first} that they don't, against "
        f"{more.only_second} (p = {more.p:.2g}, paired); the gradients are masked"
    )


def _broken(cells: tuple[CellOutcome, ...]) -> BoolArray:
    broken: BoolArray = cells[0].clean_correct & ~unbroken(cells)
    return broken


def _numbers(more: Comparison) -> dict[str, float]:
    return {"p": float(more.p), "more": more.only_first, "less": more.only_second, "share": float(more.share)}
