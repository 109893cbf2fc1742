"""Devices, the precision that is fit for them, and what a run takes on them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from bench.runner.devices import peak_memory, search_precision, watch_memory
from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.suites.load import load_suite
from bench.suites.places import Places

CPU = torch.device("cpu")
SUITE = """
name: precision
dataset: {{name: mnist, samples: 40}}
threat_models: [linf:0.1]
models: [zoo:mnist_standard, zoo:mnist_pgd]
attacks: [{{name: pgd, steps: 10}}, {{name: apgd, steps: 10}}]
run: {{precision: {precision}, save_adversarial: none, shard_size: 13}}
"""


def test_what_is_asked_for_is_taken_and_auto_looks_at_the_hardware() -> None:
    assert search_precision("float32", CPU) == "float32"
    assert search_precision("bfloat16", CPU) == "bfloat16"
    assert search_precision("auto", CPU) == ("bfloat16" if torch.cpu._is_amx_tile_supported() else "float32")


def test_peak_memory_is_in_bytes_and_only_rises() -> None:
    watch_memory(CPU)
    before = peak_memory(CPU)
    assert before is not None
    assert 2**26 < before < 2**37
    block = torch.ones(2**26 + before // 4)  # more than the process has ever taken
    after = peak_memory(CPU)
    assert after is not None
    assert after - before > 2**27
    assert block.sum() > 0


def run(directory: Path, precision: str, **settings: object) -> tuple[RunSummary, pd.DataFrame]:
    path = directory / f"{precision}.yaml"
    path.write_text(SUITE.format(precision=precision))
    where = directory / precision / str(sorted(settings.items()))
    summary = run_suite(
        load_suite(path),
        RunSettings(where, device="cpu", places=Places(download=False), **settings),  # type: ignore[arg-type]
    )
    rows = pd.read_parquet(summary.directory / "samples")
    columns = ["position", "robust", "success", "adversarial_prediction", "forwards"]
    kinds = {result.cell: (result.model.id, result.attack_id) for result in summary.results}
    return summary, rows.assign(kind=rows["cell"].map(kinds))[["kind", *columns]].sort_values(
        ["kind", "position"], ignore_index=True
    )


def test_verdicts_in_bfloat16_are_those_of_float32(tmp_path: Path) -> None:
    exact, wanted = run(tmp_path, "float32")
    cheap, found = run(tmp_path, "bfloat16")
    assert {result.precision for result in exact.results} == {"float32"}
    assert {result.precision for result in cheap.results} == {"bfloat16"}
    assert all(result.cost is not None and result.cost.peak_memory for result in cheap.results)
    assert 0 < wanted["robust"].sum() < len(wanted)
    assert (found["robust"] != wanted["robust"]).sum() <= 1
    assert (found["forwards"] > 0).any()


def test_libraries_search_in_float32_whatever_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "library.yaml"
    text = SUITE.format(precision="bfloat16").replace(
        "models: [zoo:mnist_standard, zoo:mnist_pgd]", "models: [zoo:mnist_pgd]"
    )
    path.write_text(text.replace("{name: apgd, steps: 10}", "{name: square, backend: autoattack, n_queries: 5}"))
    summary = run_suite(load_suite(path), RunSettings(tmp_path, device="cpu", places=Places(download=False)))
    assert {one.attack.name: one.precision for one in summary.results} == {"pgd": "bfloat16", "square": "float32"}


def test_the_record_of_an_ensemble_names_every_precision_of_its_stages(tmp_path: Path) -> None:
    attacks = ["apgd-ce, square", "apgd-ce", "square"]
    said = ", ".join(f"{{{{name: autoattack, version: custom, attacks: [{one}], n_queries: 5}}}}" for one in attacks)
    text = SUITE.replace("zoo:mnist_standard, ", "").replace("{{name: apgd, steps: 10}}", said)
    path = tmp_path / "ensembles.yaml"
    path.write_text(text.format(precision="bfloat16"))
    summary = run_suite(load_suite(path), RunSettings(tmp_path, device="cpu", places=Places(download=False)))
    found = [(one.attack.args.get("attacks"), one.precision) for one in summary.results]
    assert found == [
        (None, "bfloat16"),
        (["apgd-ce", "square"], "bfloat16 and float32"),
        (["apgd-ce"], "bfloat16"),
        (["square"], "float32"),
    ]


def test_a_pinned_batch_gives_the_same_rows_in_every_batch_size_that_is_pinned(tmp_path: Path) -> None:
    """Shards of 13 in batches of 16: with the shape pinned, rows don't know how full their batch was."""
    _, one = run(tmp_path, "float32", batch_size=16, pin_batch=True)
    path = tmp_path / "float32.yaml"
    path.write_text(SUITE.format(precision="float32").replace("shard_size: 13", "shard_size: 40"))
    settings = RunSettings(
        tmp_path / "whole", device="cpu", batch_size=16, places=Places(download=False), pin_batch=True
    )
    summary = run_suite(load_suite(path), settings)
    rows = pd.read_parquet(summary.directory / "samples").sort_values(["cell", "position"], ignore_index=True)
    cut = pd.read_parquet(next((tmp_path / "float32").iterdir()) / "precision" / "default" / "samples")
    cut = cut.sort_values(["cell", "position"], ignore_index=True)
    columns = ["cell", "position", "robust", "adversarial_prediction", "linf", "l2", "iterations", "forwards"]
    pd.testing.assert_frame_equal(rows[columns], cut[columns])
    assert len(one) == len(rows)
