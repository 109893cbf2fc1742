"""How OpenMP's threads wait for their next piece of work, which decides how fast small models are on CPUs.

Threads that sleep at once take twice as long on idle cores, and threads that spin for long take many times as long on cores
that others use, too (docs/performance.md). So they spin briefly, and not at all where others are seen at work.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

SPIN = 10000
"""Turns of libgomp's waiting loop: tens of microseconds, the pause between two layers."""
BUSY = 0.25
"""Others at work for each core, from which on cores are taken to be shared."""
_LOOKS, _PAUSE = 10, 0.01
"""Up to a tenth of a second, so that what ends by then isn't taken for a neighbour."""


def choose_waiting() -> None:
    """Sets ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY`` for this process, unless one of them is set; before torch is imported."""
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return
    enough = BUSY * cores()
    if others_at_work(enough) >= enough:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    else:
        os.environ["GOMP_SPINCOUNT"] = str(SPIN)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def others_at_work(enough: float) -> float:
    """Other threads on this machine that want a core, the fewest of several looks.

    Args:
        enough: how many matter: the first look that sees fewer is the last.

    Returns:
        Their number, or the load of the last minute where nobody counts them.
    """
    seen = []
    for look in range(_LOOKS):
        if look:
            time.sleep(_PAUSE)
        with suppress(OSError, ValueError, IndexError), open("/proc/loadavg", encoding="ascii") as file:
            seen.append(int(file.read().split()[3].partition("/")[0]) - 1)  # this one wants a core, too
        if not seen or seen[-1] < enough:
            break
    if seen:
        return min(seen)
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
