"""The same suite on a CUDA device and on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.suites.load import load_suite
from bench.suites.places import Places

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")


def rows(path: Path, device: str, precision: str = "float32") -> pd.DataFrame:
    settings = RunSettings(path.parent / "results", device, device=device, places=Places(download=False))
    summary = run_suite(load_suite(path, overrides=[f"run.precision={precision}"]), settings)
    assert {result.status for result in summary.results} == {"done"}, [result.reason for result in summary.results]
    return pd.read_parquet(summary.directory / "samples").sort_values(["cell", "position"], ignore_index=True)


def test_verdicts_agree_with_the_cpu(suite: Callable[..., Path]) -> None:
    attacks = "fgsm, {name: pgd, steps: 10, restarts: 2}, {name: cw, steps: 10}"
    path = suite(samples=500, eps="0.15", attacks=attacks, defenses="none, {name: jpeg}", shard_size=250)
    cpu, cuda = rows(path, "cpu"), rows(path, "cuda")
    assert cpu["cell"].equals(cuda["cell"])
    assert (cpu["success"] == cuda["success"]).mean() >= 0.995
    assert np.allclose(cpu["clean_margin"], cuda["clean_margin"], atol=1e-3)


def test_bfloat16_leaves_as_many_robust(suite: Callable[..., Path]) -> None:
    attacks = "{name: pgd, steps: 20}, {name: apgd, steps: 20}, {name: fab, steps: 5}, {name: square, n_queries: 300}"
    path = suite(samples=500, eps="0.12", attacks=attacks, shard_size=500)
    exact, cheap = rows(path, "cuda"), rows(path, "cuda", "bfloat16")
    one, other = (found.groupby("cell")["robust"].sum().to_numpy() for found in (exact, cheap))
    assert (one > 0).any()
    assert np.abs(one - other).max() <= 2, (one, other)


def test_libraries_run_on_the_device(suite: Callable[..., Path]) -> None:
    attacks = "autoattack, {name: pgd, id: fb, backend: foolbox}, {name: pgd, id: art, backend: art, steps: 10}"
    found = rows(suite(samples=32, eps="0.1", attacks=attacks), "cuda")
    assert found[found["clean_correct"]]["forwards"].min() >= 1


def test_tf32_is_off_in_verdicts(suite: Callable[..., Path]) -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        path = suite(samples=200, attacks="fgsm")
        cpu, cuda = rows(path, "cpu"), rows(path, "cuda")
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    assert np.abs(cpu["clean_margin"] - cuda["clean_margin"]).max() < 1e-3


def test_a_run_on_graphs_gives_the_same_verdicts(suite: Callable[..., Path]) -> None:
    attacks = "{name: pgd, steps: 20}, {name: apgd_targeted, steps: 10}, {name: square, n_queries: 200}, {name: fab, steps: 5}"
    path = suite(samples=300, eps="0.15", attacks=attacks, shard_size=150)

    def rows(name: str, *, graphs: bool) -> pd.DataFrame:
        settings = RunSettings(
            path.parent / name, device="cuda", batch_size=64, places=Places(download=False), graphs=graphs
        )
        summary = run_suite(load_suite(path), settings)
        assert {result.status for result in summary.results} == {"done"}
        return pd.read_parquet(summary.directory / "samples").sort_values(["cell", "position"], ignore_index=True)

    plain, fast = rows("plain", graphs=False), rows("fast", graphs=True)
    assert 0 < plain["robust"].sum() < len(plain)
    assert (plain["robust"] == fast["robust"]).mean() >= 0.995
    assert np.array_equal(plain["clean_margin"], fast["clean_margin"])
