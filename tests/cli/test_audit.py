"""``bench audit`` and the audit at the end of ``bench run``: what is said, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import StoreError
from bench.runner import audit as audits

Write = Callable[..., Path]
Bench = Callable[..., Any]  # Any: how a command ended

pytestmark = pytest.mark.usefixtures("no_plots")


def go(bench: Bench, path: Path, *more: object) -> Any:  # Any: how a command ended
    return bench("run", path, "--results", path.parent / "results", "--device", "cpu", "--offline", *more)


def place(path: Path) -> Path:
    return path.parent / "results" / "small" / "default"


def test_a_run_is_audited_unless_told_otherwise(bench: Bench, suite: Write) -> None:
    path = suite(eps="0.1")
    ended = go(bench, path, "--no-audit")
    assert ended.code == 0
    assert "not audited: run `bench audit RUN`" in ended.out
    assert not (place(path) / "audit.json").exists()
    ended = go(bench, path)
    assert ended.code == 0
    assert "audit: probing row 1 of 1" in ended.err
    assert "not audited" not in ended.out
    record = json.loads((place(path) / "audit.json").read_text())
    assert record["samples"] == 8
    assert "few-samples" in {finding["rule"] for finding in record["findings"]}
    assert "8 images: a robust accuracy near 50 % is known to" in ended.out


def test_what_fires_is_told_with_advice_and_what_could_not_be_checked(bench: Bench, suite: Write) -> None:
    path = suite(eps="0.1")
    go(bench, path, "--no-audit")
    ended = bench("audit", place(path), "--device", "cpu", "--offline", "--samples", 0)
    assert ended.code == 0
    assert "warning: few-samples: linf:1/10: 8 images" in ended.out
    assert "what to do: evaluate more images" in ended.out
    assert (
        "because the probes are switched off (audit.samples: 0): single-step-stronger, success-not-growing" in ended.out
    )
    assert "says that none of these faults was seen, and nothing else" in ended.out
    assert bench("audit", place(path), "--device", "cpu", "--offline", "--samples", 0, "--strict").code == 6


def test_an_invalid_number_is_6_and_loses_its_rank(bench: Bench, suite: Write) -> None:
    path = suite(samples=40, eps="0.2", attacks="{name: pgd, steps: 2, alpha: 0.0001, random_start: false}")
    assert go(bench, path).code == 0
    ended = bench("audit", place(path), "--device", "cpu", "--offline")
    assert ended.code == 6
    assert (
        "invalid: positive-control: zoo-mnist_standard | linf:1/5" in ended.out
        or "invalid: positive-control" in ended.out
    )
    row = json.loads((place(path) / "leaderboard.json").read_text())["tables"][0]["rows"][0]
    assert row["rank"] is None
    assert row["complete"] is False
    assert "≤ " in ended.out


def test_a_failed_audit_loses_no_result(bench: Bench, suite: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **more: object) -> None:
        raise StoreError("no room for probes")

    path = suite(eps="0.1")
    monkeypatch.setattr(audits, "audit_run", fails)
    ended = go(bench, path)
    assert ended.code == 0
    assert "the audit failed: no room for probes" in ended.err
    assert (place(path) / "leaderboard.md").is_file()


def test_rules_are_listed_with_what_to_do(bench: Bench) -> None:
    ended = bench("list", "rules")
    assert ended.code == 0
    assert "large-eps: robust accuracy above chance at Linf 1/2" in ended.out
    assert ended.out.count("what to do: ") >= 26


def test_no_run_is_2(bench: Bench, tmp_path: Path) -> None:
    ended = bench("audit", tmp_path)
    assert ended.code == 2
    assert "no run.json here" in ended.err
