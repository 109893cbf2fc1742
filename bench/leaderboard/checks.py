"""What a gate found, as data: ``bench gate --json``."""

from __future__ import annotations

from typing import Literal

from bench.leaderboard.records import Record

SCHEMA_VERSION = 1
CheckKind = Literal["accuracy", "status", "definition", "flags", "cost", "audit"]


class Check(Record):
    """One thing that was looked at."""

    threat_model: str
    """``norm:eps``; empty where it speaks of the run"""
    row: str
    """model, and the defense where there is one; empty where it speaks of the run"""
    number: str
    """``clean``, ``worst case``, or the cell: the attack, and its role and seed where it isn't the suite's own with seed 0"""
    check: CheckKind
    passed: bool
    message: str
    """what was found, in one line"""
    baseline: float | None = None
    """accuracy or cost in the baseline"""
    now: float | None = None
    bound: bool = False
    """whether ``now`` is only known to be at most that: something of the row is missing, failed or invalid"""
    lost: int | None = None
    """samples that the baseline keeps and the run loses"""
    gained: int | None = None
    p: float | None = None
    """of the one-sided exact test that the accuracy has dropped"""
    adjusted: float | None = None
    """after the correction over all tests of the gate; ``None`` where too few verdicts changed to show anything"""
    low: float | None = None
    """one-sided lower confidence bound of the change, with ``--non-inferiority``"""


class GateResult(Record):
    """All checks."""

    schema_version: int = SCHEMA_VERSION
    suite: str
    samples: int
    run: str
    baseline: str
    """when the baseline's run was"""
    margin: float
    alpha: float
    cost: str
    cost_factor: float
    non_inferiority: float | None
    tests: int
    """over how many tests the correction goes"""
    passed: bool
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    """what the run has that the baseline lacks"""

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that didn't pass."""
        return tuple(check for check in self.checks if not check.passed)


class GateError(Record):
    """Why a gate couldn't look."""

    schema_version: int = SCHEMA_VERSION
    run: str
    passed: Literal[False] = False
    error: str
