"""A file is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import WriteError
from bench.store.atomic import write, write_bytes, write_text


def test_writes_whole_files_and_their_directories(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    write_text(path, "größer ≤ 8/255\n")
    assert path.read_text(encoding="utf-8") == "größer ≤ 8/255\n"
    write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [other.name for other in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ValueError("a bug"), KeyboardInterrupt()])
def test_a_failure_half_way_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise error

    with pytest.raises(WriteError if isinstance(error, OSError) else type(error)):
        write(path, half)
    assert path.read_text() == "old"
    assert [other.name for other in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free some and run the same command again"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "choose another place with --results"),
        (errno.EACCES, "choose another place with --results"),
        (errno.EPERM, "no permission"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_failures_say_what_to_do(tmp_path: Path, number: int, words: str) -> None:
    def fail(temporary: Path) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(WriteError, match="everything finished before is saved") as found:
        write(tmp_path / "file", fail)
    assert str(found.value).startswith(str(tmp_path / "file"))
    assert words in str(found.value)
    assert found.value.exit_code == 5


@pytest.mark.parametrize("step", ["mkdir", "fsync", "replace"])
def test_a_failure_to_clean_up_doesnt_hide_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*words: object, **more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, step, fail)
    monkeypatch.setattr(os, "unlink", fail)
    with pytest.raises(WriteError, match="read-only"):
        write_text(tmp_path / "new" / "file", "text")


def test_flushed_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a machine that loses power may keep the name and lose the content."""
    calls: list[str] = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("fsync"), real_sync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), real_replace(a, b)))
    write_text(tmp_path / "file", "text")
    assert calls == ["fsync", "replace", "fsync"]


def test_killed_while_writing(tmp_path: Path) -> None:
    """A writer is killed again and again: a reader sees a whole file each time."""
    code = (
        "import sys; from pathlib import Path; from bench.store.atomic import write_bytes\n"
        "path, number = Path(sys.argv[1]), 0\n"
        "while True:\n"
        "    number += 1\n"
        "    write_bytes(path, str(number % 10).encode() * 2_000_000)\n"
    )
    path = tmp_path / "file"
    for round_ in range(4):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)])
        until = time.monotonic() + 60
        before = path.stat().st_mtime_ns if path.exists() else 0
        while not path.exists() or path.stat().st_mtime_ns == before:
            assert time.monotonic() < until
        time.sleep(0.013 * round_)
        child.kill()
        child.wait()
        content = path.read_bytes()
        assert len(content) == 2_000_000
        assert len(set(content)) == 1
