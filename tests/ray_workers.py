"""Ray's workers as processes, to be killed or frozen by tests."""

from __future__ import annotations

import subprocess


def workers(of: int) -> list[int]:
    """Processes of workers that descend from a process, by what Ray calls them: never those of a neighbour's cluster."""
    shown = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in shown.splitlines()[1:]]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}

    def descends(pid: int) -> bool:
        while pid in parents and pid > 1:
            pid = parents[pid]
            if pid == of:
                return True
        return False

    return [int(pid) for pid, _, args in rows if args.startswith("ray::Remote") and descends(int(pid))]
