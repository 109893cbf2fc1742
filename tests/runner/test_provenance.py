"""The commit that a run's record names."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

from bench.runner.provenance import environment


def git(*words: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *names, *words], capture_output=True, text=True, check=True).stdout.strip()


def commit() -> object:
    return environment(torch.device("cpu"))["git_commit"]


def test_the_commit_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert commit() is None
    git("init", "-q")
    assert commit() is None
    Path("a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "one")
    head = git("rev-parse", "HEAD")
    assert commit() == head
    Path("b").write_text("2")
    assert commit() == f"{head}-dirty"
    Path("b").unlink()
    Path("a").write_text("3")
    assert commit() == f"{head}-dirty"
    git("commit", "-qam", "two")
    assert commit() == git("rev-parse", "HEAD") != head


def test_no_git_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() is None


def test_versions_are_those_installed() -> None:
    assert environment(torch.device("cpu"))["versions"]["torch"] == metadata.version("torch")
