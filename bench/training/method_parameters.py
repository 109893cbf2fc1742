"""What the training methods may say, each with its defaults. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from bench.suites.spec import Eps
from bench.training.parameters import RecipePart


class StandardParams(RecipePart):
    """Training on clean images."""

    name: Literal["standard"] = Field(description="the training method")


class AdversarialParams(RecipePart):
    """What every training against an attack says."""

    name: str = Field(description="the training method")
    norm: Literal["linf", "l2"] = Field("linf", description="norm of the training attack")
    eps: Eps = Field(description="radius of the training attack in [0, 1] units, such as 8/255")
    eps_warmup: float = Field(
        0.0, ge=0, description="epochs over which eps and alpha grow linearly from 0; `strength` has other schedules"
    )


class PGDParams(AdversarialParams):
    """Adversarial training with PGD (Madry et al. 2018)."""

    name: Literal["pgd"] = Field(description="the training method")
    steps: int = Field(10, ge=1, description="gradient steps of the training attack")
    alpha: Eps | None = Field(None, description="step size in [0, 1] units; 2.5 eps / steps where it isn't given")
    random_start: bool = Field(True, description="start at a random point of the ball")


class DenoiseParams(RecipePart):
    """Training of a denoiser (Vincent et al. 2008)."""

    name: Literal["denoise"] = Field(description="the training method")
    std: float = Field(gt=0, description="standard deviation of the Gaussian noise in [0, 1] units")
    std_min: float | None = Field(
        None, ge=0, description="where given, each image's is drawn uniformly between std_min and std"
    )

    @model_validator(mode="after")
    def _in_order(self) -> DenoiseParams:
        if self.std_min is not None and self.std_min > self.std:
            raise ValueError(f"std_min must not be above std: {self.std_min:g} and {self.std:g}")
        return self

    @property
    def levels(self) -> tuple[float, float]:
        """The lowest and the highest standard deviation."""
        return (self.std if self.std_min is None else self.std_min), self.std


Method = StandardParams | PGDParams | DenoiseParams
