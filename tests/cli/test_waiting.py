"""How OpenMP's threads wait: briefly on idle cores, asleep on shared ones, as the user says wherever the user says it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import waiting

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # puts back what there was, and what the test sets
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("others", "cores", "expected"),
    [
        (0, 2, (None, "10000")),
        (1, 2, ("PASSIVE", None)),
        (1, 64, (None, "10000")),
        (16, 64, ("PASSIVE", None)),
        (1.2, 4, ("PASSIVE", None)),
    ],
)
@pytest.mark.usefixtures("unset")
def test_others_at_work_decide(
    monkeypatch: pytest.MonkeyPatch, others: float, cores: int, expected: tuple[str | None, str | None]
) -> None:
    monkeypatch.setattr(waiting, "others_at_work", lambda enough: others)
    monkeypatch.setattr(waiting, "cores", lambda: cores)
    waiting.choose_waiting()
    assert tuple(os.environ.get(name) for name in NAMES) == expected


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_sets_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "5")
    waiting.choose_waiting()
    assert [os.environ.get(one) for one in NAMES if one != name] == [None]
    assert os.environ[name] == "5"


@pytest.mark.skipif(not Path("/proc/loadavg").exists(), reason="nobody counts what is at work here")
def test_a_busy_process_is_seen() -> None:
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        try:
            assert waiting.others_at_work(1) >= 1
        finally:
            busy.kill()
    assert waiting.cores() >= 1


def test_where_nobody_counts_the_load_of_a_minute_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("builtins.open", lambda *_, **__: (tmp_path / "nothing").read_bytes())
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    assert waiting.others_at_work(1) == 1.5
