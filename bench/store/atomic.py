"""Writing files so that a reader, or a process killed at any moment, sees the old file or the new one, never half."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.errors import WriteError

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
_EXPLAINED = {
    errno.ENOSPC: "no space left on the device; free some and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: "the file system is read-only; choose another place with --results",
    errno.EACCES: "no permission to write there; choose another place with --results",
    errno.EPERM: "no permission to write there; choose another place with --results",
}


def explain(error: OSError, path: Path) -> WriteError:
    """A storage failure in words, with what to do; what was finished before is untouched."""
    reason = _EXPLAINED.get(error.errno or 0, error.strerror or str(error))
    return WriteError(f"{path}: can't write: {reason} (everything finished before is saved)")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns a failure of the storage inside into :class:`bench.errors.WriteError`."""
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error


def write(path: Path, fill: Callable[[Path], None]) -> None:
    """Writes a file through a temporary name beside it, flushed to disk before it gets its own.

    Args:
        path: the file; its directory is made where it is missing.
        fill: writes the whole content to the path that it is given.

    Raises:
        WriteError: where the disk is full, read-only or not writable; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fill(temporary)
            _flush(temporary)
            os.replace(temporary, path)
            _flush(path.parent)
        except BaseException:
            with suppress(OSError):  # the first failure is the one to tell of
                temporary.unlink()
            raise


def is_temporary(name: str) -> bool:
    """Whether :func:`write` gives a file this name before it is whole."""
    return bool(_TEMPORARY.fullmatch(name))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text as :func:`write` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes as :func:`write` does.

    Libraries that write files themselves have errors of their own for a full disk: let them fill a buffer instead.
    """
    write(path, lambda temporary: _fill(temporary, content))


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
