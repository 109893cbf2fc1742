"""The command line in this process, as ``python -m bench`` runs it, and small suites to give it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.cli import main
from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.suites.load import load_suite
from bench.suites.places import Places


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]

SUITE = """\
name: small
dataset: {{name: mnist, samples: {samples}}}
threat_models: [{{norm: linf, eps: {eps}}}]
models: [{models}]
attacks: [{attacks}]
defenses: [{defenses}]
run: {{shard_size: 4, detector_steps: 20}}
{more}
"""


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Calls a verb through :func:`bench.cli.main`."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("COLUMNS", "120")

    def call(*words: object) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, words)])
        try:
            main()
            code: int | str | None = 0
        except SystemExit as end:
            code = end.code
        found = capsys.readouterr()
        return Ended(code if isinstance(code, int) else 0 if code is None else 1, found.out, found.err)

    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def suite(tmp_path: Path) -> Callable[..., Path]:
    """Writes a suite and gives its path."""

    def write(
        *,
        samples: int = 8,
        eps: str = "0.2",
        models: str = "zoo:mnist_standard",
        attacks: str = "fgsm",
        defenses: str = "none",
        more: str = "",
    ) -> Path:
        path = tmp_path / "small.yaml"
        path.write_text(
            SUITE.format(samples=samples, eps=eps, models=models, attacks=attacks, defenses=defenses, more=more)
        )
        return path

    return write


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run; not to be changed."""
    path = tmp_path_factory.mktemp("finished") / "small.yaml"
    path.write_text(
        SUITE.format(
            samples=12,
            eps="0.2",
            models="zoo:mnist_standard",
            attacks="fgsm, {name: pgd, steps: 3}",
            defenses="none, bit_depth",
            more="",
        )
    )
    places = Places(download=False)
    return run_suite(load_suite(path), RunSettings(path.parent / "results", device="cpu", places=places)).directory


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take longer than small runs, and have tests of their own."""
    monkeypatch.setattr("bench.plots.write", lambda run, outcome=None: [])
