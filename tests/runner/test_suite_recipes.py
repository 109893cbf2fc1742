"""Models of a suite that are recipes: trained where their weights are missing, real trainings of a second."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.attacks.listener import nobody
from bench.digests import file_digest
from bench.errors import Interrupted, SuiteError
from bench.runner.events import Silent
from bench.runner.executors import luggage
from bench.runner.executors.on_node import NodeEvaluator
from bench.runner.options import RunSettings
from bench.runner.preflight import preflight
from bench.runner.run import RunSummary, run_suite
from bench.runner.shards import Shard, ShardOutcome
from bench.suites.load import load_suite
from bench.suites.places import Places
from bench.training.suite_recipes import FOLDER, train_all
from bench.training.train import train

RECIPE = """\
name: tiny
dataset: {name: mnist, samples: 128, select: stratified}
test: {name: mnist, samples: 20}
architecture: {name: mnist_cnn, channels: [4, 8], hidden: 16}
method: standard
epochs: 2
batch_size: 32
optimizer: {name: adam, lr: 0.01}
threads: 1
evaluation: {samples: 0}
"""
MODELS = "recipe:recipes/tiny.yaml, zoo:mnist_standard"


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    @property
    def trainings(self) -> int:
        return sum(": training " in text for text in self.said)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipes" / "tiny.yaml"
    path.parent.mkdir()
    path.write_text(RECIPE)
    return path


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    return RunSettings(tmp_path / "results", device="cpu", places=Places(model_dir=tmp_path / "models", download=False))


def run(path: Path, settings: RunSettings, notes: Notes | None = None) -> RunSummary:
    return run_suite(load_suite(path), settings, notes or Notes())


def weights(settings: RunSettings) -> list[Path]:
    return sorted((settings.places.model_dir / FOLDER).glob("tiny-*/tiny.safetensors"))


def test_it_is_trained_once_and_anew_when_the_recipe_changes(
    recipe: Path, suite: Callable[..., Path], settings: RunSettings
) -> None:
    path, notes = suite(models=MODELS, attacks="fgsm"), Notes()
    first = run(path, settings, notes)
    assert notes.trainings == 1
    assert any(text.startswith("tiny: epoch 2/2  loss ") for text in notes.said)
    (there,) = weights(settings)
    ours, zoo = first.results
    assert (ours.status, ours.model.id, ours.model.source) == ("done", "tiny", "trained")
    assert ours.provenance["weights"] == file_digest(there)
    assert ours.provenance["recipe"] == train(recipe, output=there.parent.parent / "again").card.recipe_sha256  # type: ignore[union-attr]
    assert zoo.provenance["recipe"] != ours.provenance["recipe"]

    again = Notes()
    assert [one.cell for one in run(path, settings, again).results] == [ours.cell, zoo.cell]
    assert again.trainings == 0

    recipe.write_text(RECIPE.replace("epochs: 2", "epochs: 1") + "description: a comment changes nothing, epochs do\n")
    changed = run(path, settings, again)
    assert again.trainings == 1
    assert changed.results[0].provenance["weights"] != ours.provenance["weights"]
    assert changed.results[1].cell == zoo.cell
    assert len(weights(settings)) == 2


def test_a_training_that_was_cut_goes_on(recipe: Path, suite: Callable[..., Path], settings: RunSettings) -> None:
    path = suite(models=MODELS, attacks="fgsm")
    (untrained,) = preflight(load_suite(path), settings.places).untrained
    with pytest.raises(Interrupted):
        train(recipe, output=untrained.weights.parent, device="cpu", time_budget=0.0)
    assert "goes on with the recipe" in untrained.text
    summary = run(path, settings)
    whole = train(recipe, output=settings.results, device="cpu")
    assert whole is not None
    assert summary.results[0].provenance["weights"] == whole.card.weights_sha256
    assert '"resumed": 1' in untrained.weights.with_suffix(".json").read_text()


def test_a_training_that_fails_stops_only_its_own_cells(
    recipe: Path, suite: Callable[..., Path], settings: RunSettings
) -> None:
    path = suite(models=MODELS, attacks="fgsm", defenses="none, {name: ensemble, members: [recipe:recipes/tiny.yaml]}")
    recipe.write_text(RECIPE.replace("lr: 0.01", "lr: 1.0e+30"))
    summary = run(path, settings)
    status = {(one.model.id, one.defense.name): one.status for one in summary.results if one.role == "suite"}
    assert status["mnist_standard", "none"] == "done"
    assert {status[key] for key in status if key != ("mnist_standard", "none")} == {"error"}
    assert "the training failed: tiny: the loss is" in summary.results[0].reason


def test_a_network_for_other_images_is_not_trained(
    recipe: Path, suite: Callable[..., Path], settings: RunSettings
) -> None:
    path, notes = suite(models="recipe:recipes/tiny.yaml", attacks="fgsm"), Notes()
    path.write_text(path.read_text().replace("name: mnist,", "name: cifar10, source: samples,"))
    (failed,) = run(path, settings, notes).results
    assert failed.status == "error"
    assert "mnist_cnn doesn't take images of shape (3, 32, 32)" in failed.reason
    assert notes.trainings == 0


def test_what_is_wrong_with_a_recipe_has_its_own_line(
    recipe: Path, suite: Callable[..., Path], settings: RunSettings
) -> None:
    recipe.write_text(RECIPE.replace("method: standard", "method: {name: pgd, eps: 0.1, stepps: 3}"))
    denoiser = recipe.with_name("denoiser.yaml")
    denoiser.write_text(
        "name: d\ndataset: mnist\narchitecture: denoising_autoencoder\nmethod: {name: denoise, std: 0.3}\nepochs: 1\n"
    )
    path = suite(models=f"{MODELS}, recipe:recipes/gone.yaml, recipe:recipes/denoiser.yaml", attacks="fgms")
    with pytest.raises(SuiteError) as caught:
        preflight(load_suite(path), settings.places)
    found = {(Path(one.file).name, one.line, one.key) for one in caught.value.problems}
    assert found == {
        ("small.yaml", 6, "models.2.recipe"),
        ("small.yaml", 6, "models.3.recipe"),
        ("small.yaml", 7, "attacks.0.name"),
        ("tiny.yaml", 5, "method.stepps"),
    }


def test_what_bench_train_left_in_the_model_directory_is_taken(
    recipe: Path, suite: Callable[..., Path], settings: RunSettings
) -> None:
    usual = train(recipe, output=settings.places.model_dir, device="cpu")
    path, notes = suite(models=MODELS, attacks="fgsm"), Notes()
    assert usual is not None
    assert run(path, settings, notes).results[0].provenance["weights"] == usual.card.weights_sha256
    assert notes.trainings == 0
    recipe.write_text(RECIPE.replace("epochs: 2", "epochs: 1"))
    assert preflight(load_suite(path), settings.places).untrained[0].weights != usual.weights


def test_other_files_of_training_images_are_other_weights(
    recipe: Path, suite: Callable[..., Path], settings: RunSettings
) -> None:
    images = recipe.with_name("train.npz")
    recipe.write_text(
        RECIPE.replace("{name: mnist, samples: 128, select: stratified}", f"{{name: mnist, path: {images}}}")
    )
    loaded = load_suite(suite(models=MODELS))

    def directory(content: bytes) -> Path:
        images.write_bytes(content)
        return preflight(loaded, settings.places).untrained[0].weights.parent

    assert directory(b"some") == directory(b"some")
    assert directory(b"some") != directory(b"other")


def test_other_weights_to_start_from_are_other_weights(
    recipe: Path, suite: Callable[..., Path], settings: RunSettings
) -> None:
    start = recipe.with_name("start.safetensors")
    recipe.write_text(RECIPE + "init: start.safetensors\n")
    loaded = load_suite(suite(models=MODELS))

    def directory() -> Path:
        return preflight(loaded, settings.places).untrained[0].weights.parent

    absent = directory()
    start.write_bytes(b"some")
    assert directory() == directory() != absent
    start.write_bytes(b"others")
    assert directory() != absent
    untrained = preflight(loaded, settings.places).untrained
    failed = train_all(untrained, device="cpu", places=settings.places, note=lambda text: None)
    assert "start.safetensors: not a safetensors file" in str(failed[str(untrained[0].weights)])


def test_a_second_process_waits_for_the_first(recipe: Path, suite: Callable[..., Path], settings: RunSettings) -> None:
    plan, said = preflight(load_suite(suite(models=MODELS)), settings.places), list[str]()
    directory = plan.untrained[0].weights.parent
    directory.mkdir(parents=True)
    lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    found: list[object] = []
    other = threading.Thread(
        target=lambda: found.append(train_all(plan.untrained, device="cpu", places=settings.places, note=said.append))
    )
    other.start()
    while not said:
        time.sleep(0.01)
    train(recipe, output=directory, device="cpu")
    os.close(lock)
    other.join()
    assert found == [{}]
    assert said == [f"tiny: waiting for another process that trains {recipe}"]


def test_weights_travel_with_their_card(
    recipe: Path, suite: Callable[..., Path], settings: RunSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    loaded = load_suite(suite(models=MODELS, attacks="fgsm"))
    here = run_suite(loaded, settings).results[0]
    plan = preflight(loaded, settings.places)
    packed = luggage.pack(plan, settings, (), lambda value: value)
    (there,) = weights(settings)
    for path in there.parent.iterdir():
        path.unlink()
    node = packed.open(lambda value: value)
    assert isinstance(node, NodeEvaluator)
    planned = plan.cells[0]
    outcome = node(Shard(planned.cell, planned.id, 0, tuple(range(20)), "none"), nobody)
    assert isinstance(outcome, ShardOutcome)
    assert sum(record.robust for record in outcome.records) == 20 * here.metrics["robust_accuracy"].value  # type: ignore[operator]
