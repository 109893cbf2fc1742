"""The leaderboard: per threat model a table of (model, defense), ranked by the worst case per sample.

Made from the store alone: no torch, no model, no data.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from bench.store.outcomes import RunOutcome
    from bench.store.run_directory import RunDirectory


def write(run: RunDirectory, outcome: RunOutcome | None = None) -> list[Path]:
    """Writes ``leaderboard.md``, ``.csv``, ``.json`` and ``.tex`` into the run's directory.

    Beside them ``curves.csv`` where a minimum-norm attack spent its whole budget (``search: strongest``), ``queries.csv``
    where black-box attacks count their queries, ``agreement.csv`` where attacks have a ``group``, ``certified.csv`` where a
    defense certifies, ``corruptions.csv`` and ``transfer.csv`` where the suite asks for them; else older ones are removed.

    Args:
        run: the run.
        outcome: its rows, where they have been read already.

    Returns:
        The files.

    Raises:
        StoreError: where the records can't be read or the files can't be written.
    """
    from bench.leaderboard import agreement, certified, corruption_frame, curves, queries, transfer
    from bench.leaderboard.frame import frame
    from bench.leaderboard.latex import latex
    from bench.leaderboard.markdown import markdown
    from bench.leaderboard.table import make
    from bench.store.atomic import write_text
    from bench.store.outcomes import read_outcomes

    outcome = outcome or read_outcomes(run)
    board = make(run, outcome)
    contents = {
        "md": markdown(board),
        "csv": frame(board).to_csv(index=False),
        "json": board.model_dump_json(indent=1) + "\n",
        "tex": latex(board),
    }
    paths = {kind: run.path / f"leaderboard.{kind}" for kind in contents}
    for kind, content in contents.items():
        write_text(paths[kind], content)
    frames = {"curves": curves.frame(outcome), "certified": certified.frame(outcome)}
    frames["queries"] = queries.frame(outcome)
    frames["agreement"] = agreement.frame(outcome)
    frames["corruptions"] = corruption_frame.frame(outcome)
    frames["transfer"] = transfer.frame(board.transfers)
    more = [path for name, lines in frames.items() for path in _write_lines(run.path / f"{name}.csv", lines)]
    return [*paths.values(), *more]


def _write_lines(path: Path, lines: pd.DataFrame) -> list[Path]:
    from bench.store.atomic import explained, write_text

    if lines.empty:
        with explained(path):
            path.unlink(missing_ok=True)
        return []
    write_text(path, lines.to_csv(index=False))
    return [path]


def text(run: RunDirectory, width: int = 120, outcome: RunOutcome | None = None) -> str:
    """The leaderboard for a terminal, as plain text.

    Args:
        run: the run.
        width: columns of the terminal; intervals are left out until the table fits, numbers never.
        outcome: its rows, where they have been read already.

    Raises:
        StoreError: where the records can't be read.
    """
    from bench.leaderboard.table import make
    from bench.leaderboard.terminal import plain

    return plain(make(run, outcome), width)


def saved_text(run: RunDirectory, width: int = 120) -> str:
    """The same of ``leaderboard.json``, which must have been written by this version.

    Args:
        run: the run.
        width: columns of the terminal.

    Raises:
        OSError: where the file can't be read.
        ValidationError: where it is no leaderboard.
    """
    from bench.leaderboard.records import Leaderboard
    from bench.leaderboard.terminal import plain

    written = (run.path / "leaderboard.json").read_text(encoding="utf-8")
    return plain(Leaderboard.model_validate_json(written), width)
