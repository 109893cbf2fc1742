"""Ends an attack that hangs."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench.errors import AttackError


class _TimeUp(BaseException):
    """Not an Exception, so that no library swallows it."""


@contextmanager
def time_limit(seconds: float | None, who: str) -> Iterator[None]:
    """Inside, code that takes longer is interrupted where it next runs Python: a call that never returns isn't.

    Args:
        seconds: how long; ``None`` for no limit.
        who: for the message.

    Raises:
        AttackError: when the time is up.
    """
    if seconds is None:
        yield
        return
    lock, over, thread = threading.Lock(), threading.Event(), threading.get_ident()

    def end() -> None:
        with lock:
            if not over.is_set():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_TimeUp))

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    try:
        timer.start()
        try:
            yield
        finally:
            with lock:  # after this the timer interrupts nobody; what it has sent before arrives inside the outer try
                over.set()
            timer.cancel()
    except _TimeUp:
        raise AttackError(f"{who} took longer than its time limit of {seconds:.3g} s for this shard") from None
