"""Generators that a library seeds from the system: inside, from our seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np


@contextmanager
def seeded_generators(seed: int) -> Iterator[None]:
    """Inside, ``np.random.RandomState()`` and ``np.random.default_rng()`` without a seed draw the same each time.

    The global generators are :func:`bench.attacks.draws.global_seed`'s, and nobody seeds numpy's with the time.

    Args:
        seed: for the first generator; each further one draws otherwise.
    """
    state, generator, seed_global, numbers = np.random.RandomState, np.random.default_rng, np.random.seed, count()

    def here() -> np.random.SeedSequence:
        return np.random.SeedSequence([seed, next(numbers)])

    class AnyState(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, state)

    class Seeded(state, metaclass=AnyState):  # type: ignore[misc,valid-type]
        def __init__(self, given: Any = None) -> None:  # Any: as numpy takes it
            super().__init__(np.random.MT19937(here()) if given is None else given)

    def default_rng(given: Any = None) -> np.random.Generator:  # Any: as numpy takes it
        return generator(here() if given is None else given)

    np.random.RandomState, np.random.default_rng = Seeded, default_rng  # type: ignore[misc,assignment]
    np.random.seed = lambda *given, **named: None
    try:
        yield
    finally:
        np.random.RandomState, np.random.default_rng = state, generator  # type: ignore[misc]
        np.random.seed = seed_global
