"""Whole runs of small suites on real digits with the zoo's real model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench import datasets
from bench.errors import ConsentError, Interrupted, PluginError, StoreError
from bench.registry import ALL
from bench.runner import run as run_module
from bench.runner.events import Silent
from bench.runner.executors import attempt as attempt_module
from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.load import load_suite
from bench.suites.places import Places

Write = Callable[..., Path]


def settings(path: Path, **more: object) -> RunSettings:
    return RunSettings(results=path.parent / "results", device="cpu", places=Places(download=False), **more)  # type: ignore[arg-type]


def run(path: Path, *overrides: str, **more: object) -> RunSummary:
    return run_suite(load_suite(path, overrides=overrides), settings(path, **more))


def rows(summary: RunSummary) -> pd.DataFrame:
    frame = pd.read_parquet(summary.directory / "samples")
    return frame.sort_values(["cell", "position"], ignore_index=True)


def test_a_run_leaves_every_record(suite: Write) -> None:
    summary = run(suite(samples=20, shard_size=8))
    assert [result.status for result in summary.results] == ["done", "done"]
    frame = rows(summary)
    assert len(frame) == 40
    assert set(frame["cell"]) == {result.cell for result in summary.results}
    images = datasets.load(summary.results[0].dataset, Places(download=False))
    assert frame["sample_id"].tolist() == [*images.sample_ids, *images.sample_ids]
    assert frame["label"].tolist() == [*images.labels, *images.labels]
    assert frame["sample_digest"].tolist()[:20] == [images.sample_digest(index) for index in range(20)]
    fgsm = frame[frame["cell"] == summary.results[0].cell]
    result = summary.results[0]
    assert result.metrics["clean_accuracy"].value == fgsm["clean_correct"].mean()
    assert result.metrics["robust_accuracy"].value == fgsm["robust"].mean()
    assert (fgsm["robust"] == (fgsm["clean_correct"] & ~fgsm["success"])).all()
    assert (fgsm["success"] == (fgsm["clean_correct"] & (fgsm["adversarial_prediction"] != fgsm["label"]))).all()
    assert (fgsm["linf"] <= 0.2 + 1e-6).all()
    assert ((fgsm["adversarial_margin"] < 0) == (fgsm["adversarial_prediction"] != fgsm["label"])).all()
    assert result.cost is not None
    assert result.cost.forwards == fgsm["forwards"].sum()
    assert sorted(path.name for path in summary.directory.glob("samples/*/*")) == sorted(
        2 * [f"part-{index:05d}.parquet" for index in range(3)]
    )


def test_a_record_says_what_its_id_is_made_of_and_seals_its_files(suite: Write) -> None:
    summary = run(suite(eps="[0.1, 0.2]", attacks="fgsm"), "run.precision=float32")
    small, large = (result.provenance for result in summary.results)
    directory = RunDirectory(summary.directory)
    for result in summary.results:
        assert result.provenance["parts"] == directory.seals(result.cell)
        assert result.provenance["precision"] == "float32"
    assert small["facts"]["weights"] == small["weights"]
    assert "smaller_eps" not in small["facts"]
    assert large["facts"] == {**small["facts"], "smaller_eps": hash_of(summary.results[0].cell)}


def test_saved_examples_are_the_successes_and_break_the_model_again(suite: Write) -> None:
    from bench import models
    from bench.models.base import Setting

    summary = run(suite(samples=20, eps="0.3"))
    directory = RunDirectory(summary.directory)
    result = summary.results[1]
    frame = directory.read_samples(result.cell)
    examples = directory.read_examples(result.cell)
    assert list(examples.sample_ids) == frame[frame["success"]]["sample_id"].tolist()
    assert len(examples.sample_ids) > 5
    spec = result.model
    model = models.load(
        spec, Setting("mnist", "linf", 10, (1, 28, 28)), Places(download=False), device=torch.device("cpu")
    )
    with torch.no_grad():
        predicted = model(torch.from_numpy(examples.images)).argmax(1).tolist()
    assert predicted == frame[frame["success"]]["adversarial_prediction"].tolist()
    images = datasets.load(result.dataset, Places(download=False))
    places = [images.sample_ids.index(sample) for sample in examples.sample_ids]
    clean = images.batch(np.array(places)).x.numpy()
    assert np.abs(examples.images - clean).max() <= 0.3 + 1e-6


@pytest.mark.parametrize(("save", "count"), [("none", 0), ("all", 20)])
def test_save_adversarial(suite: Write, save: str, count: int) -> None:
    summary = run(suite(samples=20), f"run.save_adversarial={save}")
    examples = RunDirectory(summary.directory).read_examples(summary.results[0].cell)
    assert len(examples.sample_ids) == count


def test_a_second_run_computes_nothing(suite: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = suite()
    first = run(path)
    before = {file: file.stat().st_mtime_ns for file in first.directory.rglob("*") if file.is_file()}

    def never(*args: object) -> None:
        raise AssertionError("nothing is left to evaluate")

    monkeypatch.setattr(attempt_module, "evaluate", never)
    second = run(path)
    assert [result.status for result in second.results] == ["done", "done"]
    after = {file: file.stat().st_mtime_ns for file in second.directory.rglob("*") if file.is_file()}
    changed = {file.name for file in before if before[file] != after[file]}
    assert changed <= {"run.json", "clean.safetensors", ".lock"}


def test_more_samples_attack_only_the_new_ones(suite: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = suite(samples=20)
    run(path)
    seen: list[int] = []
    real = attempt_module.evaluate

    def counting(worker: object, shard: object, report: object) -> object:
        seen.append(len(shard.members))  # type: ignore[attr-defined]
        return real(worker, shard, report)  # type: ignore[arg-type]

    monkeypatch.setattr(attempt_module, "evaluate", counting)
    more = run(path, "dataset.samples=30")
    assert sum(seen) == 2 * 10
    assert [result.metrics["clean_accuracy"].n for result in more.results] == [30, 30]
    fresh = run(path, "dataset.samples=30", run="fresh")
    assert rows(more).equals(rows(fresh))
    fewer = run(path, "dataset.samples=10")
    assert [result.metrics["clean_accuracy"].n for result in fewer.results] == [10, 10]
    assert len(rows(fewer)) == 60


def test_another_batch_size_or_shard_size_gives_the_same_verdicts(suite: Write) -> None:
    path = suite(samples=30, attacks="{name: pgd, steps: 5, restarts: 2}")
    one = rows(run(path, run="one", batch_size=4))
    two = rows(run(path, "run.shard_size=30", run="two", batch_size=64))
    assert one["cell"].equals(two["cell"])
    assert (one["success"] == two["success"]).mean() >= 0.995
    assert np.allclose(one["linf"], two["linf"], atol=1e-6)


def test_seeds_are_cells_of_their_own(suite: Write) -> None:
    summary = run(suite(attacks="{name: pgd, steps: 2}", more="seeds: [0, 1]"))
    assert [result.seed for result in summary.results] == [0, 1]
    assert len({result.cell for result in summary.results}) == 2


def test_changing_a_parameter_makes_a_new_cell_and_keeps_the_old(suite: Write) -> None:
    path = suite(attacks="{name: pgd, steps: 2}")
    first = run(path)
    second = run(path, "attacks.pgd.steps=3")
    assert first.results[0].cell != second.results[0].cell
    assert RunDirectory(first.directory).read_run().cells == (second.results[0].cell,)
    assert RunDirectory(first.directory).read_cell(first.results[0].cell) is not None


def test_renaming_a_model_loses_nothing(suite: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = suite()
    run(path)
    monkeypatch.setattr(attempt_module, "evaluate", None)
    renamed = run(path, "models.mnist_standard.id=another")
    assert [result.status for result in renamed.results] == ["done", "done"]
    assert [result.model.id for result in RunDirectory(renamed.directory).read_cells()] == ["another", "another"]


PLUGIN = """
import torch
from torch import nn

from bench.attacks.base import Attack, AttackResult


class Returns(Attack):
    norms = ("linf", "l2")

    def change(self, model, samples, context):
        return samples.x

    def run(self, model, samples, context):
        result = AttackResult.untouched(samples)
        result.x_adv = self.change(model, samples, context)
        return result

    def passes(self, num_classes):
        return 1.0, 1.0


class Leaves(Returns):
    def change(self, model, samples, context):
        return (samples.x + 2 * context.threat_model.radius).clamp(0, 1)


class GivesNan(Returns):
    def change(self, model, samples, context):
        return samples.x * float("nan")


class Raises(Returns):
    def change(self, model, samples, context):
        raise RuntimeError("step 7 of the plugin")


class Short(Returns):
    def change(self, model, samples, context):
        return samples.x[:-1]


class Claims(Returns):
    kind = "white-box"

    def change(self, model, samples, context):
        for _ in range(3):
            model(samples.x)
        result = super().run
        return samples.x

    def run(self, model, samples, context):
        result = super().run(model, samples, context)
        result.forwards += 3
        return result


class NanModel(nn.Module):
    def forward(self, x):
        return torch.full((len(x), 10), float("nan"))


class Wide(nn.Module):
    def forward(self, x):
        return torch.zeros(len(x), 7)


class Soft(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(784, 10)

    def forward(self, x):
        return self.linear(x.flatten(1)).softmax(1)


def crashing():
    raise FileNotFoundError("no weights here")


ATTACKS = {"leaves": Leaves, "nan": GivesNan, "raises": Raises, "short": Short, "claims": Claims, "clean": Returns}
MODELS = {"nan_model": NanModel, "wide": Wide, "soft": Soft, "crashing": crashing}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    yield "plugins: [plugin.py]"
    for registry in ALL.values():
        registry.remove(str(tmp_path / "plugin.py"))


def allowed(path: Path) -> RunSummary:
    places = Places(download=False, allow_plugins=True)
    return run_suite(load_suite(path), RunSettings(path.parent / "results", device="cpu", places=places))


def test_plugins_run_only_where_allowed(suite: Write, plugin: str) -> None:
    path = suite(attacks="fgsm, clean", more=plugin)
    with pytest.raises(PluginError, match="--allow-plugins"):
        run(path)


def test_broken_attacks_are_errors_and_the_others_go_on(suite: Write, plugin: str) -> None:
    summary = allowed(suite(attacks="leaves, nan, raises, short, claims, clean, fgsm", more=plugin))
    found = {result.attack_id: result for result in summary.results}
    expected = {
        "leaves": "left the threat model",
        "nan": "NaN or infinity",
        "raises": "RuntimeError: step 7 of the plugin",
        "short": "returned shape",
    }
    for name, reason in expected.items():
        assert found[name].status == "error"
        assert reason in found[name].reason
        assert "Traceback" in found[name].traceback
        assert found[name].metrics == {}
        assert RunDirectory(summary.directory).read_samples(found[name].cell).empty
    assert found["fgsm"].status == "done"
    assert [flag.rule for flag in found["claims"].flags] == ["no-backward-pass"]
    assert found["claims"].flags[0].severity == "invalid"
    again = allowed(suite(attacks="leaves, nan, raises, short, claims, clean, fgsm", more=plugin))
    assert [result.status for result in again.results].count("error") == 4


def test_broken_models_are_errors_and_the_others_go_on(suite: Write, plugin: str) -> None:
    summary = allowed(
        suite(
            models="{source: nan_model}, {source: wide}, {source: soft}, {source: crashing}, zoo:mnist_standard",
            more=plugin,
        )
    )
    found = {result.model.id: result for result in summary.results}
    assert found["nan_model"].status == "error"
    assert "finite" in found["nan_model"].reason
    assert found["wide"].status == "error"
    assert "7 logits" in found["wide"].reason
    assert "10" in found["wide"].reason
    assert found["crashing"].status == "error"
    assert found["soft"].status == "done"
    assert "probabilities" in [flag.rule for flag in found["soft"].flags]
    assert found["mnist_standard"].status == "done"


def test_a_missing_model_is_unavailable(suite: Write, tmp_path: Path) -> None:
    models = "zoo:mnist_standard, {id: gone, source: checkpoint, architecture: mnist_cnn, weights: gone.pt}"
    summary = run(suite(models=models, attacks="fgsm"))
    assert [result.status for result in summary.results] == ["done", "unavailable"]
    assert "gone.pt" in summary.results[1].reason
    assert summary.results[1].metrics == {}


def test_a_damaged_part_is_an_error_that_names_the_file(suite: Write) -> None:
    path = suite()
    first = run(path)
    part = next((first.directory / "samples" / first.results[0].cell).glob("part-00001*"))
    part.write_bytes(part.read_bytes()[:100])
    second = run(path)
    assert [result.status for result in second.results] == ["error", "done"]
    assert part.name in second.results[0].reason
    part.unlink()
    third = run(path)
    assert [result.status for result in third.results] == ["done", "done"]
    assert rows(third).equals(rows(run(path, run="fresh")))


def test_two_processes_do_not_share_a_run(suite: Write) -> None:
    path = suite()
    directory = RunDirectory(settings(path).directory("small"))
    with directory.locked(), pytest.raises(StoreError, match="another bench process"):
        run(path)


def test_large_examples_need_consent(suite: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "CONSENT_BYTES", 1000)
    path = suite(samples=20)
    with pytest.raises(ConsentError, match="--yes"):
        run(path)
    assert not (path.parent / "results").exists()
    assert run(path, yes=True).count("done") == 2
    assert run(path, "run.save_adversarial=none", run="other").count("done") == 2


def test_interruption_saves_and_resumes(suite: Write) -> None:
    class Stops(Silent):
        def shard_done(self, samples: int, robust: int) -> None:
            raise KeyboardInterrupt

    path = suite()
    with pytest.raises(Interrupted, match="is saved in"):
        run_suite(load_suite(path), settings(path), Stops())
    directory = RunDirectory(settings(path).directory("small"))
    assert directory.read_run().finished is None
    assert len(pd.read_parquet(directory.path / "samples")) == 8
    summary = run(path)
    assert summary.count("done") == 2
    assert rows(summary).equals(rows(run(path, run="fresh")))


def test_an_oblivious_adversary_reuses_the_bare_models_examples(suite: Write) -> None:
    summary = run(suite(samples=24, defenses="none, {name: gaussian_blur}", attacks="{name: pgd, steps: 5}"))
    roles = [result.role for result in summary.results]
    assert sorted(roles) == ["gradient_free", "oblivious", "prerequisite", "suite", "suite"]
    found = {(result.role, result.defense.name): result for result in summary.results}
    directory = RunDirectory(summary.directory)
    examples = directory.read_examples(found["prerequisite", "none"].cell)
    assert len(examples.sample_ids) == 24
    oblivious = directory.read_samples(found["oblivious", "gaussian_blur"].cell)
    assert oblivious["forwards"].sum() == 0
    source = directory.read_samples(found["prerequisite", "none"].cell)
    assert np.allclose(oblivious["linf"], source["linf"], atol=1e-6)
    adaptive = directory.read_samples(found["suite", "gaussian_blur"].cell)
    assert (adaptive["clean_prediction"] == oblivious["clean_prediction"]).all()


def test_a_failed_prerequisite_fails_what_reads_it(suite: Write, plugin: str) -> None:
    summary = allowed(suite(attacks="nan", defenses="none, {name: gaussian_blur}", more=plugin))
    found = {
        result.role: result for result in summary.results if result.defense.name != "none" or result.role != "suite"
    }
    assert found["prerequisite"].status == "error"
    assert found["oblivious"].status == "error"
    assert "examples of the bare model are missing" in found["oblivious"].reason


def test_autoattack_records_its_stages(suite: Write) -> None:
    attack = "{name: autoattack, version: custom, attacks: [apgd-ce, square], n_queries: 50}"
    summary = run(suite(samples=16, eps="0.1", attacks=attack))
    result = summary.results[0]
    frame = rows(summary)
    assert [stage.name for stage in result.stages] == ["apgd-ce", "square"]
    assert result.stages[0].attacked == frame["clean_correct"].sum()
    assert sum(stage.broken for stage in result.stages) == frame["success"].sum()
    assert result.stages[-1].robust_accuracy == frame["robust"].mean()
    assert set(frame[frame["success"]]["stage"]) <= {"apgd-ce", "square"}
    assert (frame[~frame["success"]]["stage"] == "").all()
