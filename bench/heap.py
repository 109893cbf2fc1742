"""Freed memory that stays with the process for the next batch.

glibc gives large blocks back to the kernel as soon as they are free, and every batch then pays for new pages. Here they stay
until the work is done. The blocks' contents, and so every number, are the same.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Of malloc.h, for mallopt(3)."""
_KEPT = {_MMAP_THRESHOLD: 64 << 20, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 64 << 20}
"""Larger blocks come and go as ever: among them, pieces that nothing fits into would add up."""
_USUAL = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20, _TOP_PAD: 128 << 10}
"""As glibc adjusts them itself in a process that frees large blocks."""
_depth = 0


@contextmanager
def kept() -> Iterator[None]:
    """Freed memory stays with the process inside, and goes back to the kernel at the end; may be nested.

    Nothing happens where the C library isn't glibc, or where the user's environment tunes its malloc (``MALLOC_*``,
    ``GLIBC_TUNABLES``).
    """
    global _depth
    if _depth == 0:
        keep()
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            _give_back()


def keep() -> None:
    """As :func:`kept`, for the rest of the process."""
    _set(_KEPT)


def _give_back() -> None:
    libc = _libc()
    if libc is not None:
        _set(_USUAL)
        libc.malloc_trim(0)


def _set(limits: dict[int, int]) -> None:
    libc = _libc()
    if libc is not None:
        for name, value in limits.items():
            libc.mallopt(name, value)  # refused by older versions where it is too large: then it stays as it is


@cache
def _libc() -> ctypes.CDLL | None:
    """The C library where it is glibc and the user leaves its malloc to us."""
    if any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    try:
        libc = ctypes.CDLL(None)
        known = hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")
    except (OSError, TypeError):  # no shared libraries, or Windows
        return None
    return libc if known else None
