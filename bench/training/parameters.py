"""What each part of a recipe may say, defaults in this one place; the methods have their own. No torch here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from bench.suites.spec import AttackSpec, ThreatModelSpec


class RecipePart(BaseModel):
    """Base of everything that a recipe says: immutable, unknown keys refused, booleans only where they are meant."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _booleans_where_meant(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic would read true as 1."""
        wanted = cls.model_fields[str(info.field_name)].annotation is bool
        if isinstance(value, bool) and not wanted:
            raise ValueError(f"{str(value).lower()} is not wanted here")
        return value


def later(default: Any, *, description: str, **limits: Any) -> Any:  # Any: as pydantic's own Field
    """A key that recipes got later: at its default it isn't in the digest, so that older digests stay what they are."""
    return Field(default, description=description, json_schema_extra={"later": True}, **limits)


class Optimizer(RecipePart):
    """The optimizer and its peak learning rate."""

    name: Literal["sgd", "adam"] = Field(
        "adam", description="sgd (with momentum), or adam (with decoupled weight decay)"
    )
    lr: float = Field(0.001, gt=0, description="the highest learning rate of the schedule")
    momentum: float | None = Field(None, ge=0, lt=1, description="momentum of sgd; 0.9 where it isn't given")
    weight_decay: float = Field(0.0, ge=0, description="weight decay")
    nesterov: bool = later(False, description="Nesterov's momentum, for sgd (Sutskever et al. 2013)")

    @model_validator(mode="after")
    def _momentum_of_sgd(self) -> Optimizer:
        if self.name != "sgd" and self.momentum is not None:
            raise ValueError(f"momentum belongs to sgd, not to {self.name}")
        if self.nesterov and (self.name != "sgd" or self.momentum == 0):
            raise ValueError("nesterov belongs to sgd with momentum")
        return self


class Schedule(RecipePart):
    """How the learning rate goes over the training."""

    name: Literal["cosine", "onecycle", "constant", "step", "cyclic"] = Field(
        "cosine",
        description="cosine to 0; onecycle: up and down in straight lines; cyclic: that, `cycles` times (Smith 2017); "
        "step: times gamma at each of the milestones; or constant",
    )
    warmup: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of the training (cyclic: of each cycle) in which it rises from 0; 0.3 for onecycle, 0.5 for "
        "cyclic, else 0",
    )
    milestones: tuple[float, ...] = later((), description="of step: epochs done when it falls, such as [75, 90]")
    gamma: float = later(0.1, gt=0, lt=1, description="of step: what it is multiplied with at a milestone")
    cycles: int = later(1, ge=1, description="of cyclic: how often it rises and falls")

    @model_validator(mode="after")
    def _of_its_name(self) -> Schedule:
        if self.name == "step" and (not self.milestones or list(self.milestones) != sorted(set(self.milestones))):
            raise ValueError("step needs milestones that grow, such as [75, 90]")
        for key, owner in (("milestones", "step"), ("gamma", "step"), ("cycles", "cyclic")):
            if self.name != owner and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} belongs to {owner}, not to {self.name}")
        return self


class Strength(RecipePart):
    """How the training attack grows: the share of its eps and alpha, from `start` to 1."""

    name: Literal["linear", "cosine", "step"] = Field(
        "linear", description="a straight line, half a cosine, or `steps` equal levels (a curriculum)"
    )
    epochs: float = Field(gt=0, description="epochs after which the attack has its full strength")
    start: float = Field(0.0, ge=0, lt=1, description="share at the start")
    steps: int | None = Field(None, ge=2, description="of step: levels, the last of which is the full strength; 4")

    @model_validator(mode="after")
    def _of_its_name(self) -> Strength:
        if self.name != "step" and self.steps is not None:
            raise ValueError(f"steps belongs to step, not to {self.name}")
        return self


class Average(RecipePart):
    """An average of the weights, which is what is kept."""

    name: Literal["ema", "swa"] = Field(
        description="ema: a running average that forgets; swa: the mean of the weights after each epoch (Izmailov et al. "
        "2018), with the statistics of batch norm taken anew"
    )
    decay: float | None = Field(None, gt=0, lt=1, description="of ema: what is kept at each update; 0.999")
    start: float | None = Field(None, ge=0, description="of swa: epochs before the first that counts; 3/4 of them all")

    @model_validator(mode="after")
    def _of_its_name(self) -> Average:
        for key, owner in (("decay", "ema"), ("start", "swa")):
            if getattr(self, key) is not None and self.name != owner:
                raise ValueError(f"{key} belongs to {owner}, not to {self.name}")
        return self


class Mix(RecipePart):
    """Clean and adversarial images of each batch, such as `3:1`."""

    clean: int = Field(ge=0, description="parts of each batch that stay clean")
    adversarial: int = Field(ge=1, description="parts that are attacked")

    @property
    def attacked(self) -> float:
        """The share of each batch that is attacked."""
        return self.adversarial / (self.clean + self.adversarial)


class Validation(RecipePart):
    """Images held out of the training ones, on which the best weights are chosen; never the test images."""

    samples: int = Field(500, ge=20, description="training images that are held out, drawn from the seed")
    every: int = Field(1, ge=1, description="epochs between two looks")
    patience: int | None = Field(
        None, ge=1, description="looks without a better one after which the training stops; never where it isn't given"
    )
    steps: int = Field(10, ge=1, description="steps of PGD")
    threat_model: ThreatModelSpec | None = Field(
        None, description="such as linf:8/255; the training attack's where it isn't given"
    )


class Augmentation(RecipePart):
    """Random changes of the training images, drawn anew in every epoch."""

    shift: int = Field(
        0, ge=0, description="largest shift in pixels, along both axes: a random crop with this much padding"
    )
    rotation: float = Field(0.0, ge=0, le=180, description="largest rotation in degrees")
    scale: float = Field(0.0, ge=0, lt=1, description="largest change of size: 0.1 is 0.9 to 1.1")
    hflip: bool = Field(False, description="mirror half of the images")
    cutout: int = later(
        0, ge=0, description="side in pixels of a black square, anywhere in the image (DeVries & Taylor 2017)"
    )


class Evaluation(RecipePart):
    """What is measured on the test images when the training is done, for the card."""

    threat_models: tuple[ThreatModelSpec, ...] = Field((), description="norms and radii, such as linf:0.3")
    attacks: tuple[AttackSpec, ...] = Field(
        (AttackSpec(name="pgd", args={"steps": 40}), AttackSpec(name="autoattack")),
        description="the attacks that are run under each of them, as in a suite",
    )
    std: float | None = Field(
        None,
        gt=0,
        description="of a denoiser: standard deviation of the noise it is measured under; the method's where not given",
    )
    every: int = Field(1, ge=1, description="epochs between two measurements during the training")
    samples: int = Field(200, ge=0, description="test images of a measurement during the training; 0 for none")
