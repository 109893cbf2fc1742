"""Which device a run uses."""

from __future__ import annotations

import sys
from typing import Any

import torch

from bench.errors import BenchError


def choose(name: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` means here.

    Raises:
        BenchError: for another name, or a device that this machine doesn't have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BenchError(f"--device {name}: not a device (accepted: auto, cpu, cuda, cuda:N, mps)") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise BenchError(f"--device {name}: this machine has {count} CUDA devices (accepted: auto, cpu)")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise BenchError("--device mps: this machine has none (accepted: auto, cpu)")
    elif device.type != "cpu":
        raise BenchError(f"--device {name}: not supported (accepted: auto, cpu, cuda, cuda:N, mps)")
    return device


def search_precision(asked: str, device: torch.device) -> str:
    """What ``precision`` means on a device: ``auto`` is bfloat16 where the hardware multiplies it, else float32.

    Args:
        asked: auto, float32 or bfloat16.
        device: where the model runs.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        capable = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        capable = device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())
    return "bfloat16" if capable else "float32"


def bfloat16_vectors(device: torch.device) -> bool:
    """Whether it is a CPU that multiplies bfloat16 in vectors (AVX512-BF16): up to twice as fast as float32, on large networks.

    ``auto`` asks for more than that where a search is meant, see :func:`search_precision`.
    """
    supported: Any = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)  # Any: torch doesn't declare it; since 2.7
    return device.type == "cpu" and bool(supported())


def describe(device: torch.device) -> str:
    """For people and provenance: ``cpu (2 threads)`` or the name of the GPU."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({torch.get_num_threads()} threads)"
    return str(device)


def watch_memory(device: torch.device) -> None:
    """Starts the reading of :func:`peak_memory` anew where that can be done: on a GPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Bytes: on a GPU the most that tensors took at once, on a CPU the most that this process has taken so far.

    ``None`` where the system doesn't tell.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
