"""Who hears how an attack goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

EVERY_SECONDS = 5.0
"""A search that goes on without news says so this often."""


class Listener(Protocol):
    """Hears how an attack goes on."""

    def __call__(self, finished: int, robust: int, stage: str = "") -> None:
        """So far.

        Args:
            finished: samples that the attack is done with.
            robust: samples that it hasn't broken.
            stage: the part of an ensemble that is at work; empty for attacks of one part.
        """


def nobody(finished: int, robust: int, stage: str = "") -> None:
    """Doesn't listen."""


class Signs:
    """Signs of life while there are no news.

    Args:
        say: asks the search how far it is and tells the listener.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say, self._said = say, time.monotonic()

    def __call__(self) -> None:
        """Another step is done."""
        if time.monotonic() - self._said >= EVERY_SECONDS:
            self.say()

    def say(self) -> None:
        """There are news."""
        self._say()
        self._said = time.monotonic()
