"""What a recipe says: one YAML file that trains one model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from bench.digests import value_digest
from bench.suites.spec import DatasetSpec, Identifier, ThreatModelSpec
from bench.training.method_parameters import AdversarialParams, AWPParams, DenoiseParams, Method, StandardParams
from bench.training.parameters import (
    Augmentation,
    Average,
    Evaluation,
    Mix,
    Optimizer,
    RecipePart,
    Schedule,
    Strength,
    Validation,
    later,
)

_NOT_IN_THE_WEIGHTS = ("name", "description", "test", "evaluation")
"""Parts of a recipe that can't change the weights."""

_MIXING = ("fgsm", "pgd", "attack", "noise")
"""Methods whose loss is the same on clean images, so that a part of each batch may stay clean."""


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
    init: str | None = later(
        None,
        min_length=1,
        description="weights that the training starts from, as in fine-tuning: `zoo:NAME`, or a file of weights of the same "
        "architecture; drawn from the seed where it isn't given",
    )
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
        description="short for `average: {name: ema, decay: ...}`; 0 keeps the last weights",
    )
    average: Average | None = later(None, description="an average of the weights, which is what is kept")
    strength: Strength | None = later(
        None, description="how the training attack grows over the first epochs; at its full strength where not given"
    )
    mix: Mix | None = later(
        None, description="clean to adversarial images of each batch, such as '3:1'; all adversarial where not given"
    )
    awp: AWPParams | None = later(None, description="adversarial weight perturbation, with any method")
    precision: Literal["float32", "bfloat16", "auto"] = later(
        "float32",
        description="of the passes of the training and its attack; auto: bfloat16 where the hardware multiplies it. "
        "What stands on the card is measured in float32",
    )
    accumulate: int = later(
        1, ge=1, description="parts that a batch is computed in, for less memory; their gradients are added up"
    )
    grad_clip: float | None = later(None, gt=0, description="largest norm of the gradient; a longer one is shortened")
    compile: bool = later(False, description="whether torch.compile makes the network faster")
    save_dtype: Literal["float32", "float16"] = later(
        "float32",
        description="of the weights in the file; float16 halves it. The card is measured with the rounded weights",
    )
    validation: Validation | None = later(
        None, description="training images that are held out to choose the best weights and to stop early"
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
        for key in ("method", "optimizer", "schedule", "average"):
            if isinstance(value.get(key), str):
                value[key] = {"name": value[key]}
        if isinstance(value.get("mix"), str):
            clean, _, adversarial = value["mix"].partition(":")
            value["mix"] = {"clean": clean, "adversarial": adversarial}
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

    @model_validator(mode="after")
    def _options_that_fit(self) -> Recipe:
        adversarial = isinstance(self.method, AdversarialParams)
        if self.average is not None and self.weight_average:
            raise ValueError("weight_average is short for average: give one of them")
        if self.strength is not None and not adversarial:
            raise ValueError(f"strength is that of a training attack; the method {self.method.name} has none")
        if self.strength is not None and isinstance(self.method, AdversarialParams) and self.method.eps_warmup:
            raise ValueError("method.eps_warmup is short for strength: give one of them")
        if self.mix is not None and self.method.name not in _MIXING:
            raise ValueError(
                f"the method {self.method.name} has its own use of clean images: mix goes with {', '.join(_MIXING)}"
            )
        if self.accumulate > 1 and self.method.name == "free":
            raise ValueError("free training needs its whole batch at once: accumulate must be 1")
        if self.validation is not None and self.validation.threat_model is not None:
            if self.task == "restoration":
                raise ValueError("validation.threat_model is for classifiers; a denoiser is chosen by its PSNR")
            if self.validation.threat_model.norm not in ("linf", "l2"):
                raise ValueError("validation.threat_model must be linf or l2")
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
    def averaging(self) -> Average | None:
        """The average that is kept, whichever way it was given."""
        if self.weight_average:
            return Average(name="ema", decay=self.weight_average)
        return self.average

    @property
    def growth(self) -> Strength | None:
        """How the training attack grows, whichever way it was given."""
        if isinstance(self.method, AdversarialParams) and self.method.eps_warmup:
            return Strength(name="linear", epochs=self.method.eps_warmup)
        return self.strength

    @property
    def validated_under(self) -> ThreatModelSpec | None:
        """The threat model of the validation; ``None`` where it is clean accuracy (or PSNR) that counts."""
        if self.validation is not None and self.validation.threat_model is not None:
            return self.validation.threat_model
        if isinstance(self.method, AdversarialParams):
            return ThreatModelSpec(norm=self.method.norm, eps=self.method.eps)
        return None

    @property
    def test_images(self) -> DatasetSpec:
        """The images that the model is measured on."""
        if self.test is not None:
            return self.test
        return self.dataset.model_copy(update={"split": "test", "samples": None, "select": "first"})

    def digest(self) -> str:
        """The sha256 of everything that the weights depend on; name, description and evaluation are not in it."""
        said = _without_later_defaults(self)
        for key in _NOT_IN_THE_WEIGHTS:
            said.pop(key, None)
        said["dataset"].pop("path")  # the digest of the images stands for it
        if self.init is not None:
            said["init"] = Path(self.init).name  # and that of the weights for their folder
        return value_digest(said)


def _without_later_defaults(part: BaseModel) -> dict[str, Any]:  # Any: JSON
    """A part as JSON without the keys that recipes got later, where they stand at their defaults."""
    said = part.model_dump(mode="json")
    for key, field in type(part).model_fields.items():
        value, extra = getattr(part, key), field.json_schema_extra
        if isinstance(extra, dict) and extra.get("later") and value == field.default:
            del said[key]
        elif isinstance(value, RecipePart):
            said[key] = _without_later_defaults(value)
    return said
