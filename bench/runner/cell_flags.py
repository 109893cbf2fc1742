"""What a reader of a finished cell must know: the same words in the record of a run and in what is evaluated in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from bench.store.parts import ShardReport
from bench.store.records import Flag
from bench.suites.added import ADAM
from bench.suites.cells import Cell
from bench.suites.declared import declared
from bench.suites.spec import Suite

if TYPE_CHECKING:
    import pandas as pd

FAR = 0.001
"""A clean accuracy this improbable under the declared one is flagged."""
CONVERGED = 0.2
"""A mean cosine below this between the gradients of two halves of the draws is flagged."""
SQUARE = "square"
"""The stage of an ensemble that needs no gradient."""
SQUARE_TOLERANCE = 0.002
"""AutoAttack's own check: Square breaking more than this share of the samples puts the white-box stages in doubt."""
SIGNIFICANT = 0.01
"""Level of the sign test that a warning needs besides."""
CARLINI = "Carlini et al. 2019, arXiv:1902.06705"
UESATO = "Uesato et al. 2018, arXiv:1802.05666"


def cell_flags(suite: Suite, cell: Cell, rows: pd.DataFrame, reports: Sequence[ShardReport]) -> tuple[Flag, ...]:
    """All flags of a cell, each once.

    Args:
        suite: says who attacks.
        cell: one of its cells.
        rows: the samples' records, with the columns of :class:`bench.store.records.SampleRecord`.
        reports: what its shards cost and flagged.
    """
    found = [flag for report in reports for flag in report.flags]
    found += _declared_accuracy(cell, rows)
    found += weak_adversary(suite, cell)
    found += _zero_gradients(cell, reports)
    found += _silent(cell, reports)
    found += _square(rows, reports)
    found += _not_found(cell, rows)
    found += _draws(cell, reports)
    return tuple(dict.fromkeys(found))


def weak_adversary(suite: Suite, cell: Cell) -> list[Flag]:
    """Flags of a defended cell whose row lacks an adversary; none for the bare model."""
    if cell.defense.name == "none":
        return []
    source = "Tramer et al. 2020, arXiv:2002.08347"
    if "adaptive" not in suite.adversaries:
        who = " and ".join(
            f"{'an' if one == 'oblivious' else 'a'} {one}" for one in sorted(suite.adversaries, reverse=True)
        )
        text = f"only {who} adversary: nobody who knows the defense has attacked it"
        return [Flag(rule="no-adaptive-attack", severity="warning", message=text, source=source)]
    found = []
    if suite.run.gradient_free_queries == 0:
        text = "the gradient-free attack is switched off (run.gradient_free_queries: 0): masked gradients would go unnoticed"
        found.append(Flag(rule="no-gradient-free-attack", severity="warning", message=text, source=source))
    if suite.run.detector_steps == 0 and _signs_alone(suite, cell):
        text = f"{ADAM} is switched off (run.detector_steps: 0): detectors on pixels know the signed steps of other attacks"
        found.append(Flag(rule="no-detector-attack", severity="warning", message=text, source=UESATO))
    return found


def _signs_alone(suite: Suite, cell: Cell) -> bool:
    """Whether a defense that rejects under Linf meets no attack of the suite with steps of unequal size."""
    rejects = cell.norm == "linf" and declared(cell.defense).rejects
    return rejects and not any(attack.name == ADAM for attack in suite.attacks)


def _zero_gradients(cell: Cell, reports: Sequence[ShardReport]) -> list[Flag]:
    """Samples that a gradient attack could not move, because every gradient was exactly zero.

    Where that is all that is left, the attack attacked nothing, and its number says nothing; of a naive attack nobody
    expects more.
    """
    stuck, unbroken = sum(report.zero_gradient for report in reports), sum(report.unbroken for report in reports)
    if not stuck:
        return []
    text = (
        f"{stuck} of {unbroken} unbroken samples have a zero gradient at every point of the attack, which never moved: "
        "masked gradients, not robustness"
    )
    source = f"{CARLINI}; Athalye et al. 2018, arXiv:1802.00420"
    severity: Literal["info", "warning", "invalid"] = "invalid" if stuck == unbroken else "warning"
    if cell.role == "naive":
        severity = "info"
    return [Flag(rule="zero-gradient", severity=severity, message=text, source=source)]


def _silent(cell: Cell, reports: Sequence[ShardReport]) -> list[Flag]:
    """Samples that the attack had broken before it returned something else; of a naive attack nobody expects more."""
    silent, unbroken = sum(report.silent for report in reports), sum(report.unbroken for report in reports)
    if not silent:
        return []
    points = 100 * silent / sum(report.samples for report in reports)
    text = (
        f"{silent} of {unbroken} unbroken samples had an adversarial point during the attack, and the attack returned another "
        f"one: its number is too high by up to {points:.1f} points"
    )
    severity: Literal["info", "warning"] = "info" if cell.role == "naive" else "warning"
    source = "Pintor et al. 2022, arXiv:2106.09947"
    return [Flag(rule="silent-success", severity=severity, message=text, source=source)]


def _square(rows: pd.DataFrame, reports: Sequence[ShardReport]) -> list[Flag]:
    """AutoAttack's own check of an ensemble's Square stage: what it breaks, the gradients should have broken.

    One or two images are luck: it is a warning where a sign test says so, seven images at the level 0.01.
    """
    names = list(dict.fromkeys(stage.name for report in reports for stage in report.stages))
    broken = int((rows["success"].astype(bool) & (rows["stage"] == SQUARE)).sum())
    if SQUARE not in names[1:] or broken <= SQUARE_TOLERANCE * len(rows):
        return []
    text = f"Square, which needs no gradient, broke {broken} samples that the white-box stages left: "
    source = "AutoAttack's own checks, Croce & Hein 2020, arXiv:2003.01690"
    if 0.5**broken < SIGNIFICANT:
        return [
            Flag(
                rule="autoattack-square",
                severity="warning",
                message=text + "the gradients may be masked",
                source=source,
            )
        ]
    return [Flag(rule="autoattack-square", severity="info", message=text + "so few can be luck", source=source)]


def _draws(cell: Cell, reports: Sequence[ShardReport]) -> list[Flag]:
    """Whether the gradients of a stochastic defense have converged over its draws, where they were averaged at all."""
    source = "Athalye et al. 2018, arXiv:1707.07397"
    known = [(report.eot_agreement, report.samples) for report in reports if report.eot_agreement is not None]
    if not known and cell.adversary == "adaptive" and declared(cell.defense).stochastic and _took_gradients(reports):
        text = (
            "every gradient is that of a single draw (a library's attack, one of a plugin, or eot_iter: 1): no EOT, so the "
            "attack doesn't know the defense"
        )
        return [Flag(rule="no-eot", severity="warning", message=text, source=source)]
    if not known:
        return []
    agreement = sum(value * count for value, count in known) / sum(count for _, count in known)
    text = f"EOT over {cell.defense.eot_iter} draws: the gradients of its two halves agree to {agreement:.2f} (cosine)"
    if agreement < CONVERGED:
        text += ": far from converged, more draws (eot_iter) may well find more"
        return [Flag(rule="eot-convergence", severity="warning", message=text, source=source)]
    return [Flag(rule="eot-convergence", severity="info", message=text, source=source)]


def _took_gradients(reports: Sequence[ShardReport]) -> bool:
    return any(report.backwards for report in reports)


def _not_found(cell: Cell, rows: pd.DataFrame) -> list[Flag]:
    """Samples that a minimum-norm attack with its whole budget didn't break at any distance.

    There are images of other classes at some distance: what wasn't found is the attack's failure, not robustness.
    """
    if cell.search != "strongest":  # what stopped early looked for no distance
        return []
    lost = int((rows["clean_correct"] & (rows["minimal_distance"] == math.inf)).sum())
    if not lost:
        return []
    text = (
        f"the attack broke {lost} of {int(rows['clean_correct'].sum())} clean-correct samples at no distance at all: it "
        "failed there, which is no robustness"
    )
    return [Flag(rule="no-distance-found", severity="warning", message=text, source=CARLINI)]


def _declared_accuracy(cell: Cell, rows: pd.DataFrame) -> list[Flag]:
    """A clean accuracy far from what the suite declares for the bare model."""
    declared = cell.model.clean_accuracy
    if declared is None or cell.defense.name != "none":
        return []
    from scipy.stats import binomtest  # slow to import

    correct, n = int(rows["clean_correct"].sum()), len(rows)
    if float(binomtest(correct, n, declared / 100).pvalue) >= FAR:
        return []
    text = f"clean accuracy {100 * correct / n:.1f} % is far from the declared {declared:g} %: other weights or preprocessing?"
    return [Flag(rule="clean-accuracy", severity="warning", message=text, source=CARLINI)]
