"""What a run tells while it goes on: a live line in a terminal, plain lines elsewhere, and never a reason to stop."""

from __future__ import annotations

import errno
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.cli import progress as progress_module
from bench.cli.progress import Plain, make_progress
from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.suites.load import load_suite
from bench.suites.places import Places

Write = Callable[..., Path]


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.master, slave = pty.openpty()
        # Where the tests run in a shell's background they were told to ignore Ctrl-C, and so would the command be.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "bench", *words],
                stdin=slave,
                stdout=subprocess.PIPE,
                stderr=slave,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "COLUMNS": "120", "TERM": "xterm"},
            )
        finally:
            signal.signal(signal.SIGINT, before)
        os.close(slave)
        self.seen = b""
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self.master, 4096)
            except OSError:
                return
            if not piece:
                return
            self.seen += piece

    def end(self) -> tuple[int, str]:
        """Waits; exit code and what the terminal showed."""
        self.child.communicate(timeout=300)
        self.reader.join(timeout=60)
        os.close(self.master)
        return self.child.returncode, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen.decode())


def test_a_live_line_in_a_terminal(suite: Write) -> None:
    path = suite(samples=40, attacks="fgsm, {name: pgd, steps: 20}")
    terminal = Terminal("run", str(path), "--results", str(path.parent / "results"), "--device", "cpu", "--offline")
    code, seen = terminal.end()
    assert code == 0, seen
    assert "suite" in seen
    assert "/2 cells" in seen
    assert "samples/s" in seen
    assert re.search(r"mnist_standard \| Linf 0.2 \| fgsm: \d+\.\d % robust", seen)
    assert re.search(r"mnist_standard \| Linf 0.2 \| pgd-20: \d+\.\d % robust", seen)
    assert "Traceback" not in seen


def test_ctrl_c_in_a_terminal(suite: Write) -> None:
    path = suite(samples=400, attacks="{name: pgd, steps: 40, search: strongest}")
    terminal = Terminal("run", str(path), "--results", str(path.parent / "results"), "--device", "cpu", "--offline")
    until = time.monotonic() + 200
    while not list(path.parent.glob("results/*/*/samples/*/*.parquet")):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(terminal.child.pid, signal.SIGINT)
    code, seen = terminal.end()
    assert code == 130, seen
    assert "run the same command again to resume" in " ".join(seen.split())
    assert "missing" in (path.parent / "results" / "small" / "default" / "leaderboard.md").read_text()
    assert "Traceback" not in seen


def test_plain_lines_elsewhere(
    suite: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "QUIET_SECONDS", 0.0)
    path = suite(samples=12, attacks="fgsm, {name: pgd, steps: 2}")
    progress = make_progress()
    assert isinstance(progress, Plain)
    settings = RunSettings(path.parent / "results", device="cpu", places=Places(download=False))
    summary = run_suite(load_suite(path), settings, progress)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "2 cells, 0 done already; 24 sample evaluations ahead"
    shown = [float(found[1]) for line in lines if (found := re.search(r"fgsm: ([\d.]+) % robust \(", line))]
    assert shown == [round(100 * (summary.results[0].metrics["robust_accuracy"].value or 0), 1)]
    assert any(re.search(r"^\[1/2\] .* fgsm: 4 of 12 saved, [\d.]+ % robust so far$", line) for line in lines)
    assert any("samples/s, about" in line for line in lines)


def test_lines_inside_a_long_ensemble_name_its_part(
    suite: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "QUIET_SECONDS", 0.0)
    path = suite(samples=4, attacks="{name: autoattack, version: custom, attacks: [apgd-ce, square], n_queries: 9}")
    settings = RunSettings(path.parent / "results", device="cpu", places=Places(download=False))
    run_suite(load_suite(path), settings, make_progress())
    lines = capsys.readouterr().err.splitlines()
    assert any(
        re.search(r"autoattack: 0 of 4 saved, \d robust in this shard, in apgd-ce \(\d+ s\)$", line) for line in lines
    ), lines


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO])
def test_a_log_that_cannot_be_written_stops_nothing(suite: Write, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    class Full:
        def write(self, text: str) -> int:
            raise OSError(number, os.strerror(number))

        def flush(self) -> None:
            raise OSError(number, os.strerror(number))

    path = suite()
    settings = RunSettings(path.parent / "results", device="cpu", places=Places(download=False))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", Full())
        summary = run_suite(load_suite(path), settings, Plain())
    assert summary.count("done") == 1


def test_standard_output_that_is_full_or_closed(finished: Path) -> None:
    for redirection, code in ((">/dev/full", 5), (">&-", 0)):
        ended = subprocess.run(
            f"'{sys.executable}' -m bench list metrics {redirection}",
            shell=True,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert ended.returncode == code, ended.stderr
        assert "Traceback" not in ended.stderr
        assert "Exception ignored" not in ended.stderr
    ended = subprocess.run(
        f"'{sys.executable}' -m bench list wrong >&-", shell=True, capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("bench: unknown kind")
