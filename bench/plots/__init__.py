"""Plots: one file each, drawn from one data frame, written as PNG and PDF.

Made from the store alone, like the leaderboard. A plot that has nothing to show is not written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.plots.frames import Point
    from bench.store.outcomes import RunOutcome
    from bench.store.run_directory import RunDirectory


def write(run: RunDirectory, outcome: RunOutcome | None = None) -> list[Path]:
    """Draws all plots of a run into ``plots/``, each as PNG and PDF, in place of those of an earlier call.

    Args:
        run: the run.
        outcome: its rows, where they have been read already.

    Returns:
        The files: ``robust_accuracy``, ``clean_vs_robust``, ``accuracy_vs_eps`` where a norm has several radii,
        ``curves-<norm>`` where a minimum-norm attack spent its whole budget, ``passes-<threat model>`` where an attack
        stopped at its first success, ``clean_cost_vs_robust_gain`` where a defended row has its bare model beside it,
        ``restoration_vs_eps`` where an oblivious attack has several radii, ``certified-<norm>`` where a defense certifies,
        ``corruptions-cells`` and ``corruptions-severity`` where the suite has corruptions, and ``gallery-<threat model>``
        where examples were kept; ``transfer-<threat model>-<attack>`` where the suite asks for transfer.

    Raises:
        StoreError: where the records can't be read or the files can't be written.
    """
    from bench.plots import (
        accuracy_vs_eps,
        certified,
        clean_cost_vs_robust_gain,
        clean_vs_robust,
        corruptions,
        frames,
        gallery,
        picked,
        restoration,
        restoration_vs_eps,
        robust_accuracy,
        saving,
        transfer,
    )
    from bench.store.outcomes import read_outcomes

    outcome = outcome or read_outcomes(run)
    frame = frames.accuracy(outcome)
    with saving.style():
        figures: dict[str, Figure | None] = {
            "robust_accuracy": robust_accuracy.draw(frame),
            "clean_vs_robust": clean_vs_robust.draw(frame),
            "accuracy_vs_eps": accuracy_vs_eps.draw(frame),
        }
        figures |= _staircases(outcome, frames.points(frame))
        figures["clean_cost_vs_robust_gain"] = clean_cost_vs_robust_gain.draw(restoration.changes(outcome))
        figures["restoration_vs_eps"] = restoration_vs_eps.draw(restoration.by_eps(outcome))
        certain = certified.places(outcome)
        for norm in dict.fromkeys(certain["norm"]):
            figures[f"certified-{norm}"] = certified.draw(certain[certain["norm"] == norm])
        corrupted = corruptions.accuracies(outcome)
        figures["corruptions-cells"] = corruptions.draw_cells(corrupted)
        figures["corruptions-severity"] = corruptions.draw_severities(corrupted)
        crossed = transfer.crossed(outcome)
        for name in dict.fromkeys(crossed["name"]):
            figures[f"transfer-{name}"] = transfer.draw(crossed[crossed["name"] == name])
        for threat_model, examples in picked.pick(run, outcome).items():
            figures[f"gallery-{threat_model.slug}"] = gallery.draw(examples)
        return saving.save_all(run.path / "plots", {name: figure for name, figure in figures.items() if figure})


def _staircases(outcome: RunOutcome, points: list[Point]) -> dict[str, Figure | None]:
    """Robust accuracy against eps per norm, against passes per threat model, and success against queries."""
    from bench.plots import curves, passes, queries, staircases
    from bench.plots.panels import looks

    eps, spent = staircases.distances(outcome, points), staircases.passes(outcome, points)
    asked = staircases.queries(outcome, points)
    known = looks(points, [*eps["series"][eps["kind"] == staircases.CURVE], *spent["series"], *asked["series"]])
    figures = {f"curves-{norm}": curves.draw(eps[eps["panel"] == norm], known) for norm in dict.fromkeys(eps["panel"])}
    for threat_model in outcome.threat_models:
        own = spent[spent["panel"] == threat_model.label]
        figures[f"passes-{threat_model.slug}"] = passes.draw(own, known)
        figures[f"queries-{threat_model.slug}"] = queries.draw(asked[asked["panel"] == threat_model.label], known)
    return figures
