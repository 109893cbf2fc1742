"""What a recipe says: one YAML file that trains one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from bench.digests import value_digest
from bench.suites.spec import DatasetSpec, Identifier
from bench.training.method_parameters import DenoiseParams, Method, StandardParams
from bench.training.parameters import Augmentation, Evaluation, Optimizer, RecipePart, Schedule

_NOT_IN_THE_WEIGHTS = ("name", "description", "test", "evaluation")
"""Parts of a recipe that can't change the weights."""


class Recipe(RecipePart):
    """One YAML file: how one model is trained, and what is measured on it."""

    name: Identifier = Field(description="name of the model, and of its files")
    description: str = Field("", description="one line for people")
    dataset: DatasetSpec = Field(description="the training images; split train where it isn't given")
    test: DatasetSpec | None = Field(
        None, description="the test images; split test of the dataset where it isn't given"
    )
    architecture: str = Field(description="a name that `bench list architectures` shows")
    architecture_args: dict[str, Any] = Field({}, description="parameters of the architecture")  # Any: its own
    method: Method = Field(
        StandardParams(name="standard"), description="the training method, such as standard, fgsm, pgd or trades"
    )
    epochs: int = Field(ge=1, description="how often every training image is seen")
    batch_size: int = Field(128, ge=1, description="images of one step")
    optimizer: Optimizer = Field(Optimizer(), description="the optimizer: adam or sgd")
    schedule: Schedule = Field(Schedule(), description="the learning rate over the training")
    augmentation: Augmentation = Field(Augmentation(), description="random changes of the training images")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the label that is spread over all classes")
    weight_average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of a running average of the weights, which is what is kept; 0 keeps the last",
    )
    seed: int = Field(0, ge=0, description="seed of everything random in the training")
    threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads; the weights depend on it in the last bits; torch's own where it isn't given",
    )
    evaluation: Evaluation = Field(Evaluation(), description="what is measured for the card")

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        value = dict(value)
        for key in ("method", "optimizer", "schedule"):
            if isinstance(value.get(key), str):
                value[key] = {"name": value[key]}
        method, evaluation = value.get("method"), value.get("evaluation", {})
        if isinstance(method, Mapping) and method.get("name") == "denoise" and isinstance(evaluation, Mapping):
            value["evaluation"] = {"attacks": (), **evaluation}  # there are no attacks on a denoiser alone
        dataset = {"name": value["dataset"]} if isinstance(value.get("dataset"), str) else value.get("dataset")
        if isinstance(dataset, Mapping):
            value["dataset"] = {"split": "train", **dataset}
        architecture = value.get("architecture")
        if isinstance(architecture, Mapping):
            value["architecture"] = architecture.get("name")
            value["architecture_args"] = {key: item for key, item in architecture.items() if key != "name"}
        return value

    @model_validator(mode="after")
    def _apart(self) -> Recipe:
        if self.dataset == self.test_images:
            raise ValueError(
                f"it would be trained on its test images: dataset and test are both {self.dataset.name}, "
                f"split {self.dataset.split}"
            )
        return self

    @model_validator(mode="after")
    def _of_its_task(self) -> Recipe:
        evaluation = self.evaluation
        if self.task == "classification" and evaluation.std is not None:
            raise ValueError(f"evaluation.std belongs to the method denoise, not to {self.method.name}")
        if self.task == "restoration" and (evaluation.threat_models or evaluation.attacks):
            raise ValueError(
                "evaluation.threat_models and evaluation.attacks are for classifiers; a denoiser is measured under "
                "noise (evaluation.std), and attacked in a suite, before a model"
            )
        if self.task == "restoration" and self.label_smoothing:
            raise ValueError("label_smoothing is for classifiers: a denoiser has no labels")
        return self

    @property
    def task(self) -> Literal["classification", "restoration"]:
        """Whether the network gives logits or images."""
        return "restoration" if isinstance(self.method, DenoiseParams) else "classification"

    @property
    def measured_std(self) -> float:
        """Standard deviation of the noise that a denoiser is measured under.

        Raises:
            TypeError: for a classifier.
        """
        if not isinstance(self.method, DenoiseParams):
            raise TypeError(f"{self.method.name} trains no denoiser")
        return self.method.std if self.evaluation.std is None else self.evaluation.std

    @property
    def test_images(self) -> DatasetSpec:
        """The images that the model is measured on."""
        if self.test is not None:
            return self.test
        return self.dataset.model_copy(update={"split": "test", "samples": None, "select": "first"})

    def digest(self) -> str:
        """The sha256 of everything that the weights depend on; name, description and evaluation are not in it."""
        said = {key: item for key, item in self.model_dump(mode="json").items() if key not in _NOT_IN_THE_WEIGHTS}
        said["dataset"].pop("path")  # the digest of the images stands for it
        return value_digest(said)
