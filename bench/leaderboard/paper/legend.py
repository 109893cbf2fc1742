"""What stands below a paper's table: what its numbers and marks mean."""

from __future__ import annotations

from collections.abc import Sequence

from bench.leaderboard.paper.bibliography import Bibliography
from bench.leaderboard.paper.columns import WORST, Column, Line
from bench.leaderboard.paper.texts import cite


def legend(shown: Sequence[Column], lines: Sequence[Line], cited: Bibliography, *, intervals: bool) -> list[str]:
    """Sentences in LaTeX.

    Args:
        shown: the columns of the table.
        lines: its rows.
        cited: collects what they cite.
        intervals: whether they stand below the numbers.
    """
    names, rows = {column.name for column in shown}, [line.row for line in lines]
    texts = ["Robust accuracies are upper bounds: images that no verified adversarial example broke."]
    if intervals:
        keys = cite(cited.cite("wilson1927probable"))
        texts.append(rf"Below each number its 95\,\% interval over the sampling of images{keys}.")
    if WORST in names:
        texts.append("Worst case: per image the worst of everything that attacked the row.")
    if "adaptive" in names and "worst-case" in names:
        texts.append("Adaptive: the worst of the attacks that know the defense.")
    ranked = sum(row.rank is not None for row in rows)
    if ranked > 1:
        texts.append("Bold: the highest worst case.")
    if any(row.best and not line.top for row, line in zip(rows, lines, strict=True)):
        keys = cite(cited.cite("mcnemar1947note", "holm1979simple"))
        texts.append(rf"$\dagger$: paired tests on the same images can't tell the row from the best ones{keys}.")
    if any(not row.complete for row in rows):
        texts.append(r"$\leq$: at most that, since a cell is missing, failed or invalid; such rows are not ranked.")
    if "published" in names:
        keys = cite(cited.cite("croce2021robustbench"))
        texts.append(f"Published: clean and best known robust accuracy on RobustBench{keys}.")
    if "certified" in names:
        texts.append("Certified: a lower bound.")
    return texts
