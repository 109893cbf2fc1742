"""Where a path that a suite names lies."""

from __future__ import annotations

import os
from pathlib import Path


def absolute(value: str, directory: Path) -> str:
    """The path relative to the file that names it, else to the working directory; as it is where neither exists."""
    for start in (directory, Path()):
        candidate = os.path.join(start, os.path.expanduser(value))
        if value and os.path.exists(candidate):
            return os.path.abspath(candidate)
    return value
