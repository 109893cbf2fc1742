"""A run for a paper: LaTeX tables, the references they cite, and a reproducibility appendix, from the store alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.leaderboard.paper.styles import Choices
    from bench.store.outcomes import RunOutcome
    from bench.store.run_directory import RunDirectory


def contents(
    run: RunDirectory,
    choices: Choices,
    outcome: RunOutcome | None = None,
    figures: Sequence[tuple[str, str]] = (),
) -> Mapping[str, str]:
    """The texts by the names of their files.

    Args:
        run: the run.
        choices: how the tables look.
        outcome: its rows, where they have been read already.
        figures: files of figures beside them, and what each shows.

    Returns:
        ``table-<threat model>.tex`` for each, ``appendix.tex`` and ``.md``, ``references.bib``, and ``tables.tex``, which
        holds them all.

    Raises:
        BenchError: for choices that can't work, and where the records can't be read.
    """
    from bench.leaderboard.paper import appendix, sections
    from bench.leaderboard.paper.bibliography import Bibliography
    from bench.leaderboard.paper.document import document
    from bench.leaderboard.paper.tables import tables
    from bench.leaderboard.table import make
    from bench.store.outcomes import read_outcomes

    choices.check()
    outcome = outcome or read_outcomes(run)
    board, cited = make(run, outcome), Bibliography()
    drawn = tables(outcome, board, choices, cited)
    told = appendix.sections(outcome, board, cited)
    name = f"{board.suite}, run {board.run}"
    return {
        **{f"table-{slug}.tex": text for slug, text in drawn.items()},
        "appendix.tex": sections.latex(appendix.TITLE, told, f"{name}: made by bench paper"),
        "appendix.md": sections.markdown(appendix.TITLE, told),
        "references.bib": cited.text(),
        "tables.tex": document(name, [f"table-{slug}" for slug in drawn], figures),
    }


def write(directory: Path, texts: Mapping[str, str]) -> list[Path]:
    """Writes them, and removes tables of an earlier call that are not there any more.

    Raises:
        StoreError: where a file can't be written.
    """
    from bench.store.atomic import explained, write_text

    paths = [directory / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    for older in directory.glob("table-*.tex"):
        if older not in paths:
            with explained(older):
                older.unlink()
    return paths
