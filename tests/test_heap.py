"""Freed memory stays with the process, and goes back when the work is done."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

LIBC = ctypes.CDLL(None) if os.name == "posix" else None
pytestmark = pytest.mark.skipif(not hasattr(LIBC, "gnu_get_libc_version"), reason="the C library isn't glibc")

MEGABYTES = """
import contextlib, sys, torch
from bench import heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 // 1_000_000

def freed():
    before = resident()
    batch = [torch.ones(10_000_000) for _ in range(5)]
    held = resident()
    del batch
    return held - resident()

with heap.kept() if sys.argv[1] == "kept" else contextlib.nullcontext():
    with heap.kept() if sys.argv[1] == "kept" else contextlib.nullcontext():
        freed()
    inside, before = freed(), resident()
print(inside, before - resident())
"""


def megabytes(how: str, **environment: str) -> tuple[int, int]:
    """What the kernel gets of a five blocks of 40 megabytes that are freed: at once, and at the end."""
    said = subprocess.run(
        [sys.executable, "-c", MEGABYTES, how],
        capture_output=True,
        text=True,
        check=True,
        env={**{name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}, **environment},
    )
    at_once, at_the_end = said.stdout.split()
    return int(at_once), int(at_the_end)


def test_freed_memory_is_used_again_and_given_back_at_the_end() -> None:
    at_once, _ = megabytes("as it is")
    assert at_once > 150
    at_once, at_the_end = megabytes("kept")
    assert at_once < 50
    assert at_the_end > 150


def test_the_user_s_own_settings_of_malloc_stay() -> None:
    assert megabytes("kept", MALLOC_MMAP_THRESHOLD_="131072")[0] > 150
