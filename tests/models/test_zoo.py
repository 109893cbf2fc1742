"""The zoo: every card's weights are there, have the card's digest, and classify real images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench import datasets, load_suite, models
from bench.errors import ModelError, SuiteError, UnknownNameError
from bench.models.base import Setting
from bench.models.zoo import cards
from bench.suites.check import check
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec, ModelSpec

CIFAR10 = Setting("cifar10", "linf", 10, (3, 32, 32))
PLACES = Places(download=False)


@pytest.mark.parametrize("name", sorted(cards.of("classification")))
def test_every_model_of_the_zoo(name: str) -> None:
    card = cards.cards()[name]
    assert card.name == name
    dataset = "mnist" if card.input_shape == (1, 28, 28) else "cifar10"
    setting = Setting(dataset, "linf", card.num_classes, card.input_shape)
    model = models.load(ModelSpec(id="m", source="zoo", name=name), setting, PLACES, device="cpu")
    source = None if dataset == "mnist" else "samples"
    data = datasets.load(DatasetSpec(name=dataset, source=source), PLACES)
    batch = data.batch(range(len(data)))
    model.check(batch.x[:2])
    with torch.no_grad():
        accuracy = float((model(batch.x).argmax(1) == batch.y).float().mean())
    measured = json.loads((cards.FOLDER / f"{name}.json").read_text()).get("clean_accuracy")
    if measured is None or dataset == "mnist":
        assert accuracy > 0.9
    if measured is not None:  # on the card's own digits, or on 20 other images
        assert accuracy == pytest.approx(measured["value"], abs=0.002 if dataset == "mnist" else 0.3)
    located = models.locate(ModelSpec(id="m", source="zoo", name=name), setting, PLACES)
    assert located.weights_digest == card.weights_sha256


def test_pyautoattacks_resnet_takes_images_without_normalisation(shared: Path) -> None:
    spec = DatasetSpec(name="cifar10", path=str(shared / "cifar10/cifar10_test_0_511.npz"))
    batch = datasets.load(spec, PLACES).batch(range(128))
    zoo = ModelSpec(id="m", source="zoo", name="pyautoattack_resnet18")
    model = models.load(zoo, CIFAR10, PLACES, device="cpu")
    with torch.no_grad():
        correct = sum(
            int((model(x).argmax(1) == y).sum()) for x, y in zip(batch.x.split(64), batch.y.split(64), strict=True)
        )
    assert correct == 122


def test_names_and_settings_are_checked() -> None:
    with pytest.raises(UnknownNameError, match="did you mean pyautoattack_resnet18"):
        models.locate(ModelSpec(id="m", source="zoo", name="pyautoattack_resnet"), CIFAR10, PLACES)
    zoo = ModelSpec(id="m", source="zoo", name="pyautoattack_resnet18")
    with pytest.raises(ModelError, match=r"is for images of shape \(3, 32, 32\) and 10 classes; mnist has shape"):
        models.locate(zoo, Setting("mnist", "linf", 10, (1, 28, 28)), PLACES)
    with pytest.raises(ModelError, match="mean: zoo doesn't use it"):
        models.locate(zoo.model_copy(update={"mean": (0.5,), "std": (0.5,)}), CIFAR10, PLACES)


def test_denoisers_are_no_classifiers() -> None:
    assert sorted(cards.of("restoration")) == ["mnist_denoiser"]
    assert "mnist_denoiser" not in models.TABLE["zoo"].facts["models"]
    zoo = ModelSpec(id="m", source="zoo", name="mnist_denoiser")
    with pytest.raises(ModelError, match="is a denoiser: it gives images, not logits; use it as a defense"):
        models.locate(zoo, Setting("mnist", "linf", 10, (1, 28, 28)), PLACES)
    with pytest.raises(UnknownNameError) as caught:
        models.locate(zoo.model_copy(update={"name": "mnist_denoser"}), CIFAR10, PLACES)
    assert "mnist_denoiser" not in caught.value.known


def test_a_classifier_s_card_says_its_classes_and_a_denoiser_s_says_none() -> None:
    said = json.loads((cards.FOLDER / "mnist_denoiser.json").read_text())
    for wrong in ({"num_classes": 10}, {"task": "classification"}):
        with pytest.raises(ValueError, match="num_classes stands on the card of a classifier"):
            cards.Card.model_validate({**said, **wrong})


def test_a_suite_refuses_a_denoiser_as_a_model(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "name: a\ndataset: mnist\nthreat_models: ['linf:0.1']\nmodels: [zoo:mnist_denoiser]\nattacks: [fgsm]\n"
    )
    with pytest.raises(
        SuiteError, match=r"zoo:mnist_denoiser is a denoiser.*use it as a defense.*accepted: .*mnist_standard"
    ):
        check(load_suite(path))


def test_weights_that_changed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = cards.cards()["pyautoattack_resnet18"]
    (tmp_path / "w.pt").write_bytes(card.path.read_bytes() + b"\0")
    changed = card.model_copy(update={"weights": "w.pt"})
    monkeypatch.setattr(cards, "FOLDER", tmp_path)
    monkeypatch.setattr("bench.models.zoo.source.cards", lambda: {"pyautoattack_resnet18": changed})
    with pytest.raises(ModelError, match=f"it must be {card.weights_sha256}"):
        models.locate(ModelSpec(id="m", source="zoo", name="pyautoattack_resnet18"), CIFAR10, PLACES)


def test_a_suite_is_checked_against_the_cards() -> None:
    listed = models.TABLE["zoo"].facts["models"]
    assert listed["pyautoattack_resnet18"]["num_classes"] == 10
    assert listed["pyautoattack_resnet18"]["shape"] == (3, 32, 32)
