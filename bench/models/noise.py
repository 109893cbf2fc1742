"""Randomness of a random model: what a sample draws depends on its key, never on the batch that it shares."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

MOST_DRAWS = 1 << 20
"""Numbers of one call for one sample."""


class Noise:
    """Random numbers for the samples of one pass; every call gives fresh ones.

    The same keys give the same numbers in the same order of calls, in every batch and on every device.

    Args:
        keys: one for each of the N samples, int64, on the device where the numbers are wanted.
    """

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys
        self._call = 0

    def __len__(self) -> int:
        return len(self.keys)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), float32, shape (N, *shape); fewer than 2 ** 20 numbers for each sample."""
        self._call += 1
        count = math.prod(shape)
        if count >= MOST_DRAWS:
            raise ValueError(f"at most {MOST_DRAWS - 1} numbers a call for each sample, got {count}")
        calls = torch.full_like(self.keys, self._call)
        return uniform(self.keys, calls, count).view(len(self.keys), *shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, float32, shape (N, *shape) (Box & Muller 1958)."""
        radius = (-2 * torch.log1p(-self.uniform(*shape))).sqrt()
        return radius * torch.cos(2 * math.pi * self.uniform(*shape))

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Uniform integers from ``low`` to ``high - 1``, int64, shape (N, *shape)."""
        span = high - low
        return low + (self.uniform(*shape).double() * span).long().clamp_max(span - 1)

    def seeds(self) -> Tensor:
        """A seed in [0, 2 ** 31) for each sample, for generators of libraries, int64, shape (N,)."""
        self._call += 1
        return mixed(self.keys, self._call << 32) & 0x7FFFFFFF

    def repeated(self, times: int) -> Noise:
        """For N * times samples, each ``times`` in a row as :meth:`Tensor.repeat_interleave` lays them, all different."""
        self._call += 1
        keys = self.keys.repeat_interleave(times)
        draws = torch.arange(times, device=keys.device).repeat(len(self.keys))
        return Noise(mixed(keys, draws + (self._call << 32)))


def uniform(keys: Tensor, steps: Tensor, count: int) -> Tensor:
    """Uniform numbers in [0, 1) for samples at different steps: the same on every device, in every batch.

    A counter-based generator: the finaliser of SplitMix64 (Steele et al. 2014, Fast splittable pseudorandom number
    generators) over (key, step, number of the draw).

    Args:
        keys: one for each sample, shape (N,), int64.
        steps: the step of each sample, shape (N,), int64.
        count: numbers for each sample, below 2 ** 20.

    Returns:
        Shape (N, count), float32.
    """
    draws = torch.arange(count, dtype=torch.int64, device=keys.device)
    counter = keys[:, None] + _GOLDEN * ((steps[:, None] << 20) + draws + 1)
    return ((_shifted(_finalised(counter), 40)) & 0xFFFFFF).float() / (1 << 24)


def mixed(keys: Tensor, numbers: Tensor | int) -> Tensor:
    """New keys from keys and numbers, shape (N,), int64: other numbers give unrelated keys."""
    if isinstance(numbers, int):
        return _finalised(keys + _signed(_GOLDEN * (numbers + 1) % (1 << 64)))
    return _finalised(keys + _GOLDEN * (numbers + 1))


def _finalised(counter: Tensor) -> Tensor:
    mixed = (counter ^ _shifted(counter, 30)) * _FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * _SECOND
    return mixed ^ _shifted(mixed, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """``bits >> by`` with zeros shifted in."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


_GOLDEN, _FIRST, _SECOND = (_signed(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


_seed_numpy = np.random.seed
"""numpy's own: while a library searches, nobody else may seed it (:mod:`bench.attacks.backends.library_draws`)."""


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seeds the global generators of torch, numpy and Python, for libraries; puts them back afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    state, python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        _seed_numpy(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)
            random.setstate(python)


def reseed(seed: int) -> None:
    """Inside :func:`global_seed`: seeds the generators of torch on the CPU, numpy and Python again, where it is done often."""
    torch.default_generator.manual_seed(seed)
    _seed_numpy(seed)
    random.seed(seed)
