"""The exceptions of bench, in one tree.

::

    BenchError
    ├── SuiteError            a suite or recipe that can't work: all its problems, each with file, line and key
    ├── UnknownNameError      a name that no table knows; carries the nearest known ones
    ├── PluginError           a plugin that may not run, or that doesn't do what it says
    ├── DatasetError          images or labels that are missing, damaged or of the wrong shape or range
    │   └── DatasetUnavailable   images that can't be had here (no network, no such file)
    ├── ModelError            a model that can't be loaded, or whose outputs aren't logits of the right shape
    │   ├── ModelUnavailable  weights that can't be had here (no network, no such file)
    │   └── UnsafeWeights     weights that would have to be unpickled
    ├── AttackError           an attack that broke its contract (left the ball, returned NaN)
    ├── SubmissionError       examples that a person made, which can't be judged as they are
    ├── MergeError            runs that can't be joined: another suite, other images, other code, or contradicting records
    ├── MetricError           a metric that raised, or returned what isn't a finite estimate
    ├── StoreError            a run directory that can't be read or written
    │   ├── SchemaError       records written by a newer bench
    │   └── WriteError        a full or read-only disk: the run stops, what was finished is saved
    ├── ConsentError          work that needs an explicit yes (large files)
    └── Interrupted           the user stopped the run; what was finished is saved

The command line catches ``BenchError`` once and exits with its ``exit_code``. :func:`out_of_memory` tells a full memory from
every other failure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class BenchError(Exception):
    """Base of everything that bench raises on purpose; the message says what to do."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file: where it stands, what it is, what would be accepted."""

    message: str
    file: str = ""
    line: int | None = None
    key: str = ""
    accepted: str = ""

    def __str__(self) -> str:
        place = self.file + (f":{self.line}" if self.line is not None else "")
        head = ": ".join(part for part in (place, self.key) if part)
        text = f"{head}: {self.message}" if head else self.message
        return f"{text} (accepted: {self.accepted})" if self.accepted else text


class SuiteError(BenchError):
    """A suite or recipe that can't work.

    Args:
        problems: everything that is wrong, in the order of the file.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnknownNameError(BenchError):
    """A name that no table knows."""

    def __init__(self, kind: str, name: str, nearest: Sequence[str], known: Sequence[str], why: str = "") -> None:
        self.kind, self.name, self.nearest, self.known = kind, name, tuple(nearest), tuple(known)
        hint = did_you_mean(nearest)
        if why:
            super().__init__(f"the {kind} {name} can't be used here: {why}")
        else:
            super().__init__(f"unknown {kind} {name!r}{hint} (known: {', '.join(known)})")


class PluginError(BenchError):
    """A plugin that may not run, or that doesn't do what it says."""


class DatasetError(BenchError):
    """Images or labels that are missing, damaged, or of the wrong shape or range."""


class DatasetUnavailable(DatasetError):  # noqa: N818
    """Images that can't be had here: no network, no such file."""


class ModelError(BenchError):
    """A model that can't be loaded, or whose outputs aren't logits of the right shape."""


class ModelUnavailable(ModelError):  # noqa: N818 (the status of a cell is "unavailable")
    """Weights that can't be had here: no network, no such file."""


class UnsafeWeights(ModelError):  # noqa: N818
    """Weights that would have to be unpickled, which can run any code."""


class AttackError(BenchError):
    """An attack that broke its contract: it left the ball, or returned NaN."""


class SubmissionError(BenchError):
    """Examples that a person made, which can't be judged as they are."""


class MergeError(BenchError):
    """Runs that can't be joined: another suite, other images or code, or records that contradict each other."""


class MetricError(BenchError):
    """A metric that raised, or returned what isn't a finite estimate."""


class StoreError(BenchError):
    """A run directory that can't be read or written."""


class SchemaError(StoreError):
    """Records that a newer bench wrote."""


class WriteError(StoreError):
    """The results can't be written; what was finished before is saved."""

    exit_code = 5


class ConsentError(BenchError):
    """Work that needs an explicit yes."""


class Interrupted(BenchError):  # noqa: N818
    """The user stopped the run; what was finished is saved."""

    exit_code = 130


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device or the machine has no memory left: torch's by its name or its words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )


def did_you_mean(names: Sequence[str]) -> str:
    """``"; did you mean pgd or apgd?"``, or nothing where there are no names."""
    return f"; did you mean {' or '.join(names)}?" if names else ""


def nearest(name: str, known: Iterable[str], *, most: int = 2) -> str:
    """:func:`did_you_mean` of the known names that are most like this one, at most so many."""
    return did_you_mean(difflib.get_close_matches(name, list(known), n=most))
