"""What the training methods may say, each with its defaults. No torch here."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from bench.suites.spec import AttackSpec, Eps
from bench.training.parameters import RecipePart, later


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


class FGSMParams(AdversarialParams):
    """Adversarial training with one step from a random start (Wong et al. 2020)."""

    name: Literal["fgsm"] = Field(description="the training method")
    alpha: Eps | None = Field(None, description="step size in [0, 1] units; 1.25 eps where it isn't given")
    noise: float = Field(1.0, ge=0, description="radius of the random start as a multiple of eps; 0 is plain FGSM")
    project: bool = Field(
        True, description="whether the point comes back into the ball; noise: 2, project: false, alpha: eps is N-FGSM"
    )
    collapse: float = Field(
        0.2,
        gt=0,
        le=1,
        description="fall of the accuracy under PGD from one epoch to the next at which the training has "
        "overfitted catastrophically and stops; 1 never stops",
    )
    gap: float = later(
        0.4,
        gt=0,
        le=1,
        description="how much less accurate than under the training's own step the model may be under PGD of the same "
        "strength, or it has overfitted catastrophically and stops; 1 never stops",
    )


class TRADESParams(AdversarialParams):
    """TRADES (Zhang et al. 2019)."""

    name: Literal["trades"] = Field(description="the training method")
    beta: float = Field(6.0, ge=0, description="weight of the robust term (1 / lambda in the paper)")
    steps: int = Field(10, ge=1, description="gradient steps of the training attack")
    alpha: Eps | None = Field(None, description="step size in [0, 1] units; 2.5 eps / steps where it isn't given")


class MARTParams(AdversarialParams):
    """MART (Wang et al. 2020)."""

    name: Literal["mart"] = Field(description="the training method")
    beta: float = Field(5.0, ge=0, description="weight of the robust term (lambda in the paper)")
    steps: int = Field(10, ge=1, description="gradient steps of the training attack")
    alpha: Eps | None = Field(None, description="step size in [0, 1] units; 2.5 eps / steps where it isn't given")


class FreeParams(AdversarialParams):
    """Free adversarial training (Shafahi et al. 2019)."""

    name: Literal["free"] = Field(description="the training method")
    replays: int = Field(
        8, ge=1, description="updates on every batch (m in the paper); epochs are passes over the data"
    )
    alpha: Eps | None = Field(None, description="step size in [0, 1] units; eps where it isn't given")


class AttackParams(AdversarialParams):
    """Adversarial training with any attack that a suite may name."""

    name: Literal["attack"] = Field(description="the training method")
    attack: AttackSpec = Field(description="the attack as in a suite, such as {name: apgd, steps: 5}")


class AWPParams(RecipePart):
    """Adversarial weight perturbation (Wu et al. 2020), which goes with every method."""

    gamma: float = Field(0.005, gt=0, description="size of the perturbation relative to each layer's weights")
    warmup: float = Field(0.0, ge=0, description="epochs before the weights are perturbed")


class NoisyParams(RecipePart):
    """What every training under Gaussian noise says."""

    std: float = Field(gt=0, description="standard deviation of the Gaussian noise in [0, 1] units")
    std_min: float | None = Field(
        None, ge=0, description="where given, each image's is drawn uniformly between std_min and std"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.std_min is not None and self.std_min > self.std:
            raise ValueError(f"std_min must not be above std: {self.std_min:g} and {self.std:g}")
        return self

    @property
    def levels(self) -> tuple[float, float]:
        """The lowest and the highest standard deviation."""
        return (self.std if self.std_min is None else self.std_min), self.std


class NoiseParams(NoisyParams):
    """Training on images with Gaussian noise (Cohen et al. 2019; Rusak et al. 2020)."""

    name: Literal["noise"] = Field(description="the training method")
    clamp: bool = Field(
        False, description="whether noisy images are clamped to [0, 1]; randomised smoothing doesn't clamp them"
    )


class DenoiseParams(NoisyParams):
    """Training of a denoiser (Vincent et al. 2008; Zhang et al. 2017)."""

    name: Literal["denoise"] = Field(description="the training method")


Method = (
    StandardParams
    | FGSMParams
    | PGDParams
    | TRADESParams
    | MARTParams
    | FreeParams
    | AttackParams
    | NoiseParams
    | DenoiseParams
)
