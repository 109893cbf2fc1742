"""Where and with what a run was made."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import bench
from bench.digests import file_digest
from bench.runner.devices import describe

_DISTRIBUTIONS = (
    "robustness-bench",
    "torch",
    "torchvision",
    "robustbench",
    "pyautoattack",
    "foolbox",
    "adversarial-robustness-toolbox",
    "timm",
    "numpy",
    "pandas",
    "pyarrow",
    "pillow",
)


@lru_cache(maxsize=64)
def version(distribution: str) -> str:
    """The installed version of a distribution, or ``missing``; what a process has imported stays, so it is asked once."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


def versions() -> dict[str, str]:
    """The installed versions of the packages that numbers depend on."""
    return {name: version(name) for name in _DISTRIBUTIONS}


@lru_cache(maxsize=1)
def code_digest() -> str:
    """The sha256 of all of bench's Python files, as they were when a process first asked."""
    root = Path(bench.__file__).parent
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(f"{path.relative_to(root)} {file_digest(path)}\n".encode())
    return state.hexdigest()


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment(device: torch.device) -> dict[str, Any]:  # Any: JSON values
    """Versions, device, threads and the git commit of the working directory."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": describe(device),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "versions": versions(),
        "git_commit": _git_commit(),
    }


def command() -> str:
    """The command line of this process."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    return " ".join([program, *sys.argv[1:]]).strip()


def _git_commit() -> str | None:
    """The commit, and ``-dirty`` where something isn't committed; ``None`` outside a repository and before its first commit."""
    command = ["git", "status", "--porcelain=v2", "--branch"]
    try:
        status = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    lines = status.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if commit == "(initial)":
        return None
    return commit + ("-dirty" if any(not line.startswith("#") for line in lines) else "")
