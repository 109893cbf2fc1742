"""Cells' files and directories by the hash at the end of their names, whatever stands before it."""

from __future__ import annotations

import os
from pathlib import Path


def hash_of(cell: str) -> str:
    """The part of a cell's id that tells what was evaluated; what stands before it is for people."""
    return cell.rsplit("-", 1)[-1]


class Names:
    """Finds them without reading a whole directory for every cell: a listing is kept as long as the directory is the same.

    Args:
        path: the run's directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listed: dict[str, tuple[int, dict[str, list[str]]]] = {}

    def path(self, kind: str, cell: str, suffix: str = "") -> Path | None:
        """Where a cell's file or directory lies; ``None`` where there is none.

        Args:
            kind: the directory in the run, such as samples.
            cell: id of the cell.
            suffix: of a file's name.
        """
        exact = self._path / kind / f"{cell}{suffix}"
        if exact.exists():
            return exact
        found = self.of(kind, hash_of(cell), suffix)
        return self._path / kind / found[0] if found else None

    def wrote(self, kind: str, name: str) -> None:
        """This process has put a file or a directory there: what was listed before still holds beside it."""
        if kind not in self._listed:
            return
        names = self._listed[kind][1].setdefault(hash_of(name), [])
        if name not in names:
            names.append(name)
            names.sort()
        self._listed[kind] = ((self._path / kind).stat().st_mtime_ns, self._listed[kind][1])

    def of(self, kind: str, wanted: str, suffix: str) -> list[str]:
        """The names in a directory that end with this hash and the suffix, sorted.

        Args:
            kind: the directory in the run.
            wanted: the hash.
            suffix: of a file's name.
        """
        directory = self._path / kind
        try:
            changed = directory.stat().st_mtime_ns
            if self._listed.get(kind, (0, {}))[0] != changed:
                self._listed[kind] = (changed, _by_hash(directory))
        except OSError:  # it isn't there, or is no directory: whoever writes there says so
            return []
        return self._listed[kind][1].get(f"{wanted}{suffix}", [])


def _by_hash(directory: Path) -> dict[str, list[str]]:
    """What stands behind the last hyphen: the hash and the suffix."""
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(directory)):
        found.setdefault(hash_of(name), []).append(name)
    return found
