"""Defenses of libraries by the library's own names, such as ``art.SpatialSmoothing``: what a suite is checked against.

Nothing here imports a library; the adapters are in :mod:`bench.defenses.backends`.
"""

from __future__ import annotations

from bench.defenses.libraries import art
from bench.registry import Entry

TABLE: dict[str, Entry] = {f"art.{name}": entry for name, entry in art.ENTRIES.items()}

REFUSED: dict[str, str] = {f"art.{name}": reason for name, reason in art.REFUSED.items()}
"""Defenses of the libraries that can't run here, and why."""
