"""The report of a run: one HTML page that holds everything and asks the network for nothing.

Made from the store alone, like the tables and the plots, whose numbers and words it shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.store.outcomes import RunOutcome
    from bench.store.run_directory import RunDirectory

FILE = "report.html"


def write(run: RunDirectory, outcome: RunOutcome | None = None) -> list[Path]:
    """Writes ``report.html`` into the run's directory, in place of an older one.

    The same records give the same bytes.

    Args:
        run: the run.
        outcome: its rows, where they have been read already.

    Returns:
        The file.

    Raises:
        StoreError: where the records can't be read or the file can't be written.
    """
    from bench.report.page import page
    from bench.store.atomic import write_text
    from bench.store.outcomes import read_outcomes

    path = run.path / FILE
    write_text(path, page(run, outcome or read_outcomes(run)))
    return [path]
