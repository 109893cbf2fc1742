"""Whether other processes use this machine's cores. No torch: it is asked before torch is there."""

from __future__ import annotations

import os
import time
from contextlib import suppress

BUSY = 0.25
"""Others at work for each core, from which on cores are taken to be shared."""
_LOOKS, _PAUSE = 10, 0.01
"""Up to a tenth of a second, so that what ends by then isn't taken for a neighbour."""


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
