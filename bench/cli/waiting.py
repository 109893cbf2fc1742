"""How OpenMP's threads wait for their next piece of work, which decides how fast small models are on CPUs.

Threads that sleep at once take twice as long on idle cores, and threads that spin for long take many times as long on cores
that others use, too (docs/performance.md). So they spin briefly, and not at all where others are seen at work.
"""

from __future__ import annotations

import os

from bench.runner.neighbours import BUSY, cores, others_at_work

SPIN = 10000
"""Turns of libgomp's waiting loop: tens of microseconds, the pause between two layers."""


def choose_waiting() -> None:
    """Sets ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY`` for this process, unless one of them is set; before torch is imported."""
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return
    enough = BUSY * cores()
    if others_at_work(enough) >= enough:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    else:
        os.environ["GOMP_SPINCOUNT"] = str(SPIN)
