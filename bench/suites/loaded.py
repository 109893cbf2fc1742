"""A suite together with the file that it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.suites.sources import Sources
from bench.suites.spec import Suite


@dataclass(frozen=True, slots=True)
class LoadedSuite:
    """A suite and where it was read from.

    Attributes:
        suite: what it says.
        path: its file.
        sources: the line of every value.
        plugins: the plugin files that it names.
    """

    suite: Suite
    path: Path
    sources: Sources = field(default_factory=Sources, compare=False, repr=False)
    plugins: tuple[Path, ...] = ()
