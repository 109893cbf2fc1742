"""Numbers as they stand in sentences."""

from __future__ import annotations

from bench.leaderboard.grid import percent
from bench.store.records import Estimate


def shown(estimate: Estimate | None) -> str:
    """A share in %, with its interval."""
    if estimate is None or estimate.value is None:
        return "unknown"
    text = f"{percent(estimate.value)} %"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({percent(estimate.low)}–{percent(estimate.high)})"
