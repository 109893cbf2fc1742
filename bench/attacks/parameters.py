"""The parameters of every attack: names as in the papers, defaults in this one place, no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Stage = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]


class AttackParams(BaseModel):
    """Base of the attacks' parameters: immutable, unknown ones refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FGSMParams(AttackParams):
    """Parameters of the fast gradient sign method."""

    random_start: bool = Field(False, description="start at a random point of the ball (Wong et al. 2020)")
    loss: Literal["ce", "margin"] = Field("ce", description="cross-entropy, or the margin of the logits")
    alpha: float | None = Field(None, gt=0, description="step size in [0, 1] units; eps where it isn't given")


class PGDParams(AttackParams):
    """Parameters of projected gradient descent."""

    steps: int = Field(20, ge=1, description="gradient steps of each restart")
    restarts: int = Field(1, ge=1, description="independent starts")
    alpha: float | None = Field(
        None, gt=0, description="step size in [0, 1] units; 2.5 eps / steps where it isn't given"
    )
    step_rule: Literal["constant", "cosine"] = Field("constant", description="how the step size falls over the steps")
    loss: Literal["ce", "margin"] = Field("ce", description="cross-entropy, or the margin of the logits")
    random_start: bool = Field(True, description="start at a random point of the ball")


class CWParams(AttackParams):
    """Parameters of Carlini-Wagner: under Linf, PGD on the margin loss; under L2, the paper's attack."""

    steps: int = Field(100, ge=1, description="gradient steps (under L2: of each binary search step)")
    restarts: int = Field(1, ge=1, description="independent starts (Linf only)")
    alpha: float | None = Field(
        None, gt=0, description="step size in [0, 1] units; 2.5 eps / steps by default (Linf only)"
    )
    binary_search_steps: int = Field(9, ge=1, description="steps of the search for the constant c (L2 only)")
    stepsize: float = Field(0.01, gt=0, description="step size of Adam (L2 only)")
    confidence: float = Field(0.0, ge=0, description="kappa: the margin that a success must reach (L2 only)")
    initial_const: float = Field(0.001, gt=0, description="first value of c (L2 only)")


class AutoAttackParams(AttackParams):
    """Parameters of AutoAttack."""

    version: Literal["standard", "plus", "rand", "custom"] = Field("standard", description="which ensemble")
    attacks: tuple[Stage, ...] | None = Field(None, min_length=1, description="the stages of version custom, in order")
    n_queries: int = Field(5000, ge=1, description="queries of the Square stage")
    eot_iter: int | None = Field(None, ge=1, description="gradients averaged by APGD; 20 in version rand, else 1")

    @model_validator(mode="after")
    def _stages_of_custom(self) -> Self:
        if self.version == "custom" and self.attacks is None:
            raise ValueError("version custom needs attacks, such as attacks: [apgd-ce, square]")
        if self.version != "custom" and self.attacks is not None:
            raise ValueError(f"attacks goes with version custom; version {self.version} has its own stages")
        return self


class SquareParams(AttackParams):
    """Parameters of the Square attack."""

    n_queries: int = Field(5000, ge=1, description="queries for each sample")
    p_init: float = Field(0.8, gt=0, le=1, description="share of pixels changed by the first squares")
    restarts: int = Field(1, ge=1, description="independent starts")
