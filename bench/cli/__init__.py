"""The command line: one file per verb; each imports what it needs when it is called.

Exit codes: 0 all cells done · 1 a fault of bench itself · 2 the user's input can't work · 3 some cells are errors ·
4 some models were unavailable (and no cell is an error) · 5 the results can't be written · 6 verification or audit failed ·
7 the gate failed · 130 interrupted.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import sys
from contextlib import suppress

from bench.cli.stopping import MESSAGE, stop
from bench.cli.waiting import choose_waiting

_OBJECTS = 10_000
"""New objects between two looks for garbage: records and tables are many objects, and nearly none of them are garbage."""


def main() -> None:
    """Runs the command line and exits."""
    signal.signal(signal.SIGTERM, stop)
    choose_waiting()
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
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
        _silence()
        sys.exit(141)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _silence()
        print(f"bench: standard output can't be written: {error.strerror}; what was computed is saved", file=sys.stderr)
        sys.exit(5)


def _run() -> None:
    from bench.cli.app import app
    from bench.errors import BenchError

    try:
        app()
    except BenchError as error:
        _flush()
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    finally:
        _flush()


def _flush() -> None:
    """Says now, not at exit, that standard output can't be written; there is none where it was closed."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _silence() -> None:
    """What is still waiting to be written can't be: without this, Python would complain about it at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
