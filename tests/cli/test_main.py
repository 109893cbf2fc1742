"""The command line itself: what it imports, how it ends, where it writes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bench as package
from bench.cli import app as app_module
from bench.errors import BenchError, StoreError

VERBS = (
    "run", "validate", "plan", "list", "show", "report", "explain", "compare", "gate", "history", "verify", "train", "schema",
    "doctor",
)  # fmt: skip
HEAVY = {"torch", "numpy", "pandas", "matplotlib", "pydantic", "scipy", "pyarrow", "yaml", "rich", "tabulate"}


def python(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, **more)  # type: ignore[call-overload,no-any-return]


def test_help_imports_nothing_heavy() -> None:
    """What takes the time of an import is not imported: a machine under load can't make this fail."""
    code = (
        "import sys; sys.argv = ['bench', '--help']\n"
        "from bench.cli import main\n"
        "try: main()\n"
        "finally: print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    out = python("-c", code).stdout
    help_text, _, modules = out.partition("MODULES")
    assert set(modules.split()) & HEAVY == set()
    assert "bench" in modules.split()
    for verb in VERBS:
        assert f"\n  {verb} " in help_text
    assert "130 interrupted" in " ".join(help_text.split())


@pytest.mark.slow
def test_help_answers_at_once() -> None:
    def seconds() -> float:
        started = time.perf_counter()
        assert python("-m", "bench", "--help").returncode == 0
        return time.perf_counter() - started

    assert min(seconds() for _ in range(7)) < 0.3


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(bench: object, verb: str) -> None:
    ended = bench(verb, "--help")  # type: ignore[operator]
    assert ended.code == 0
    assert f"bench {verb}" in ended.out
    assert "--help" in ended.out
    assert ended.err == ""


def test_version(bench: object) -> None:
    assert bench("--version") == (0, f"bench {package.__version__}\n", "")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["fly"], "fly"),
        (["run"], "SUITE"),
        (["run", "x.yaml", "--speed", "9"], "--speed"),
        (["run", "x.yaml", "--batch-size", "0"], "--batch-size"),
        (["list"], "KIND"),
        (["list", "attacks", "fast"], "fast"),
    ],
)
def test_a_wrong_command_line_is_the_users_mistake(bench: object, words: list[str], seen: str) -> None:
    ended = bench(*words)  # type: ignore[operator]
    assert ended.code == 2
    assert seen in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("error", "code"), [(BenchError("no such thing"), 2), (StoreError("no such run"), 2), (KeyboardInterrupt(), 130)]
)
def test_errors_end_with_one_line_and_their_code(
    bench: object, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(app_module, "app", fail)
    ended = bench("doctor")  # type: ignore[operator]
    assert ended.code == code
    assert ended.err.startswith("bench: ")
    assert ended.err.count("\n") == 1


def test_a_fault_of_bench_keeps_its_traceback() -> None:
    code = "import bench.registry as r; r.LISTED = None; import sys; sys.argv = ['bench', 'list', 'attacks']; "
    ended = python("-c", code + "from bench.cli import main; main()")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


def test_a_terminal_that_knows_ascii_only() -> None:
    code = (
        "import sys; import bench.cli.app as a; a.app = lambda: print('at most \\u2264 8/255')\n"
        "from bench.cli import main; main()"
    )
    ended = python("-c", code, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "at most ? 8/255\n", "")


def test_a_reader_that_leaves_gets_no_traceback() -> None:
    child = subprocess.Popen([sys.executable, "-m", "bench", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.read(10)
    child.stdout.close()
    err = child.stderr.read()
    child.stderr.close()
    child.wait(timeout=100)
    assert b"Traceback" not in err
    assert child.returncode != 0


def test_the_installed_command_is_the_same(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("bench")
    if not command.exists():
        pytest.skip("bench is not installed beside this Python")
    ended = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert ended.stdout == f"bench {package.__version__}\n"
