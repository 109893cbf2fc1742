"""Attacks of libraries by the library's own names, such as ``art.HopSkipJump``: what a suite is checked against.

Nothing here imports a library. One adapter each runs them: :mod:`bench.attacks.backends.foolbox_named` and
:mod:`bench.attacks.backends.art_named`.
"""

from __future__ import annotations

from bench.attacks.libraries import art, foolbox
from bench.attacks.libraries.line import entries
from bench.registry import Entry

TABLE: dict[str, Entry] = {
    **entries("foolbox", foolbox.LINES),
    **entries("art", art.LINES),
}

REFUSED: dict[str, str] = {
    f"{library}.{name}": reason
    for library, reasons in (("foolbox", foolbox.REFUSED), ("art", art.REFUSED))
    for name, reason in reasons.items()
}
"""Attacks of the libraries that can't run here, and why."""
