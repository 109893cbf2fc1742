"""Peak rates of GPUs, by which measured speeds can be scaled to another one where the user asks for it."""

from __future__ import annotations

import re
from typing import NamedTuple

from bench.errors import BenchError


class Peak(NamedTuple):
    """What a vendor states: dense arithmetic in TFLOP/s, and memory in TB/s."""

    float32: float
    bfloat16: float | None
    memory: float


PEAKS = {
    "H200": Peak(67.0, 989.0, 4.8),
    "H100": Peak(67.0, 989.0, 3.35),
    "A100": Peak(19.5, 312.0, 2.04),
    "L40S": Peak(91.6, 362.0, 0.864),
    "A10": Peak(31.2, 125.0, 0.6),
    "L4": Peak(30.3, 121.0, 0.3),
    "V100": Peak(15.7, None, 0.9),
    "T4": Peak(8.1, None, 0.32),
}
"""From NVIDIA's data sheets, of the SXM form with 80 GB (V100: 16 GB) where there are several; dense, without sparsity."""


class Ratio(NamedTuple):
    """How many times longer a pass takes: by what bounds it, arithmetic or memory."""

    low: float
    high: float


def kind_of(device_name: str) -> str:
    """The short name of a GPU: that of the table, else its own without blanks.

    Args:
        device_name: as torch tells it, such as ``NVIDIA H100 80GB HBM3``.
    """
    words = re.split(r"[^A-Za-z0-9]+", device_name)
    found = next((kind for kind in PEAKS if kind in words), None)
    return found or re.sub(r"[^A-Za-z0-9.]+", "-", device_name.removeprefix("NVIDIA ")).strip("-")


def ratio(measured: str, wanted: str, precision: str) -> Ratio:
    """By how much the times of one GPU are to be multiplied for another.

    Args:
        measured: kind of the GPU that was measured.
        wanted: kind of the other one.
        precision: of the search: bfloat16, or float32 for all else.

    Raises:
        BenchError: where the table lacks one of them, or the wanted one doesn't multiply bfloat16.
    """
    for kind in (measured, wanted):
        if kind not in PEAKS:
            raise BenchError(f"--scale: no peak rates of {kind} (accepted: {', '.join(PEAKS)})")
    before, after = PEAKS[measured], PEAKS[wanted]
    rates = (before.float32, after.float32)
    if precision == "bfloat16":
        rates = (before.bfloat16 or before.float32, after.bfloat16 or after.float32)
    both = (rates[0] / rates[1], before.memory / after.memory)
    return Ratio(min(both), max(both))
