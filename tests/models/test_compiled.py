"""Compiled networks: the same verdicts, and the network as it is wherever compiled code can't be had or believed."""

from __future__ import annotations

import gc
import logging
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from bench.models.compiled import StaticNetwork
from bench.models.wrapper import CountedModel
from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.suites.load import load_suite
from bench.suites.places import Places

needs_a_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs")
X = torch.rand(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def small() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))


@needs_a_compiler
def test_passes_of_about_its_size_are_compiled_and_counted_as_they_are() -> None:
    model = CountedModel(small(), num_classes=5, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    expected = [model(part) for part in (X, X[:8], X[:3])]
    model.passes.reset()
    with model.compiled(10):
        for part, wanted in zip((X, X[:8], X[:3]), expected, strict=True):
            assert torch.allclose(model(part), wanted, atol=1e-5)
            points = part.clone().requires_grad_()
            logits = model(points)
            gradients = [torch.autograd.grad(logits[:, k].sum(), points, retain_graph=k < 4)[0] for k in range(5)]
            plain = part.clone().requires_grad_()
            again = model.module((plain - model.mean) / model.std)
            for k, gradient in enumerate(gradients):
                same = torch.autograd.grad(again[:, k].sum(), plain, retain_graph=k < 4)[0]
                assert torch.allclose(gradient, same, atol=1e-5)
    assert model.passes.snapshot() == (2 * 21, 5 * 21)
    assert model._static is not None
    assert model._static.failure == ""
    assert torch.equal(model(X), expected[0])


@needs_a_compiler
def test_it_is_let_go() -> None:
    model = CountedModel(small(), num_classes=5)
    with model.compiled(10):
        model(X)
    model.forget_compiled()
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("compiled", "words"),
    [
        (lambda network: lambda x: network(x) + 1, "differs from the network by"),
        (lambda network: lambda x: network(x) * float("nan"), "differs from the network by nan"),
        (lambda network: lambda x: network(x.detach()) + 0 * network(x), "differs from the network by"),
        (lambda network: lambda x: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["other logits", "NaN", "other gradients", "raises"],
)
def test_what_cannot_be_believed_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    compiled: Callable[[Any], Any],
    words: str,
) -> None:
    monkeypatch.setattr(torch, "compile", lambda network, **_: compiled(network))
    network = small()
    static = StaticNetwork(network, 10)
    with caplog.at_level(logging.WARNING):
        points = X.clone().requires_grad_()
        assert torch.equal(static(points), network(points))
    assert words in static.failure
    assert [words in record.getMessage() for record in caplog.records] == [True]
    assert torch.equal(static(X), network(X))


def test_exhausted_memory_is_no_fault_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory (pretended)")

    monkeypatch.setattr(torch, "compile", lambda network, **_: exhausted)
    static = StaticNetwork(small(), 10)
    with pytest.raises(torch.OutOfMemoryError):
        static(X)
    assert static.failure == ""


SUITE = """
name: compiled
dataset: {name: mnist, samples: 60}
threat_models: [linf:0.1]
models: [zoo:mnist_standard]
attacks: [{name: pgd, steps: 5}, {name: square, n_queries: 40}, {name: fgsm, backend: foolbox}]
run: {shard_size: 30, save_adversarial: none}
"""


@needs_a_compiler
def test_a_run_says_so_and_finds_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE)

    def run(name: str, *, compile: bool) -> tuple[RunSummary, pd.DataFrame]:
        settings = RunSettings(
            tmp_path / name, device="cpu", batch_size=30, places=Places(download=False), compile=compile
        )
        summary = run_suite(load_suite(path), settings)
        rows = pd.read_parquet(summary.directory / "samples").sort_values(["cell", "position"], ignore_index=True)
        return summary, rows

    plain, expected = run("plain", compile=False)
    with caplog.at_level(logging.WARNING):
        fast, found = run("fast", compile=True)
    assert not [record for record in caplog.records if "compiled" in record.getMessage()]
    assert [one.provenance["environment"]["compiled"] for one in plain.results] == [False] * 3
    assert [one.provenance["environment"]["compiled"] for one in fast.results] == [True] * 3
    assert 0 < expected["robust"].sum() < len(expected)
    assert (found["robust"] == expected["robust"]).mean() > 0.995
    assert found["clean_margin"].equals(expected["clean_margin"])  # the judge never sees the compiled model
