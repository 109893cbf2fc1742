"""Ctrl-C and a polite kill: both end a command with exit code 130, without a traceback."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from types import FrameType

P = ParamSpec("P")
R = TypeVar("R")

MESSAGE = "stopped; run the same command again to resume"


def stop(number: int, frame: FrameType | None) -> None:
    """A handler of SIGTERM that does what Ctrl-C does."""
    raise KeyboardInterrupt


def stoppable(verb: Callable[P, R]) -> Callable[P, R]:
    """A verb that ends with :class:`bench.errors.Interrupted`, so that no library decides what Ctrl-C means."""

    @functools.wraps(verb)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from bench.errors import Interrupted

        try:
            return verb(*args, **kwargs)
        except KeyboardInterrupt as error:
            raise Interrupted(MESSAGE) from error

    return wrapped
