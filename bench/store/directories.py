"""Whole directories: copied by links, and put in each other's place so that a reader sees the old one or the new one."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.store.atomic import explained, write

_CURRENT, _EXCHANGE = -100, 2
"""``AT_FDCWD`` and ``RENAME_EXCHANGE`` of Linux."""


def copy_file(source: Path, target: Path) -> None:
    """Copies a file's content, flushed to disk before it gets its name.

    Raises:
        WriteError: where it can't be written or read.
    """
    write(target, lambda temporary: _content(source, temporary))


def _content(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def link_tree(source: Path, target: Path, *, without: Callable[[str], bool]) -> None:
    """Copies a directory by hard links, or by content where the file system has none.

    Links are safe where every file is replaced as a whole, as :mod:`bench.store.atomic` does.

    Args:
        source: the directory; nothing in it is changed.
        target: the copy, which isn't there yet.
        without: names of files that are left out.

    Raises:
        WriteError: where it can't be written.
    """
    with explained(target):
        for folder, _, names in os.walk(source):
            here = target / Path(folder).relative_to(source)
            here.mkdir(parents=True, exist_ok=True)
            for name in names:
                if without(name):
                    continue
                try:
                    os.link(Path(folder) / name, here / name, follow_symlinks=False)
                except OSError:
                    copy_file(Path(folder) / name, here / name)


def replace_directory(new: Path, old: Path) -> None:
    """Puts a directory in another's place, at once where the system can; the other one is gone afterwards.

    Where it can't, the old one is moved to :func:`aside` first: killed between the two moves, :func:`recover` puts it back.

    Args:
        new: the directory, beside the old one.
        old: its place; it need not exist.

    Raises:
        WriteError: where the file system refuses.
    """
    with explained(old):
        if not old.exists():
            os.rename(new, old)
        elif exchanged(new, old):
            shutil.rmtree(new, ignore_errors=True)
        else:
            os.rename(old, aside(old))
            os.rename(new, old)
            shutil.rmtree(aside(old), ignore_errors=True)


def aside(path: Path) -> Path:
    """Where the old directory waits while a new one is put in its place."""
    return path.with_name(f".{path.name}.before")


def recover(path: Path) -> None:
    """Puts back what a process that was killed between two moves left aside.

    Raises:
        WriteError: where the file system refuses.
    """
    left = aside(path)
    if not left.exists():
        return
    with explained(path):
        if path.exists():
            shutil.rmtree(left, ignore_errors=True)
        else:
            os.rename(left, path)


def exchanged(one: Path, other: Path) -> bool:
    """Lets two directories change places at once; false where the system or the file system can't."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None, use_errno=True)
        return bool(library.renameat2(_CURRENT, os.fsencode(one), _CURRENT, os.fsencode(other), _EXCHANGE) == 0)
    return False
