"""The command line: one file per verb; each imports what it needs when it is called.

Exit codes: 0 all cells done · 1 a fault of bench itself · 2 the user's input can't work · 3 some cells are errors ·
4 some models were unavailable (and no cell is an error) · 5 the results can't be written · 130 interrupted.
"""

from __future__ import annotations

import io
import os
import signal
import sys

from bench.cli.stopping import MESSAGE, stop


def main() -> None:
    """Runs the command line and exits."""
    signal.signal(signal.SIGTERM, stop)
    # Waiting threads that spin make small models many times slower where another process wants the cores too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that doesn't know "≤" gets a "?" for it, not a traceback.
            stream.reconfigure(errors="replace")
    try:
        _run()
    except KeyboardInterrupt:
        print(f"bench: {MESSAGE}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)


def _run() -> None:
    from bench.cli.app import app
    from bench.errors import BenchError

    try:
        app()
    except BenchError as error:
        sys.stdout.flush()
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
