"""The parameters of every attack: names as in the papers, defaults in this one place, no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Stage = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]
_LINE_SEARCH = "forward passes that shorten each perturbation along its own line in the end; 0 for none"


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


class BIMParams(AttackParams):
    """Parameters of the basic iterative method."""

    steps: int = Field(10, ge=1, description="gradient steps")
    alpha: float | None = Field(
        None, gt=0, description="step size in [0, 1] units; 1.25 eps / steps where it isn't given"
    )


class MIFGSMParams(AttackParams):
    """Parameters of the momentum iterative fast gradient sign method."""

    steps: int = Field(10, ge=1, description="gradient steps (the paper's T)")
    alpha: float | None = Field(None, gt=0, description="step size in [0, 1] units; eps / steps where it isn't given")
    mu: float = Field(1.0, ge=0, description="decay of the momentum; 0 for none")


class AdamPGDParams(AttackParams):
    """Parameters of PGD with Adam's steps."""

    steps: int = Field(100, ge=1, description="gradient steps of each start")
    restarts: int = Field(1, ge=1, description="independent starts; the first is the clean image")
    rate: float = Field(0.25, gt=0, le=1, description="the first step's size as a share of eps (the learning rate)")
    loss: Literal["ce", "margin"] = Field("margin", description="the margin of the logits, or cross-entropy")


class _AutoPGDParams(AttackParams):
    """What both forms of Auto-PGD take."""

    steps: int = Field(100, ge=1, description="gradient steps of each run (the paper's N_iter)")
    restarts: int = Field(1, ge=1, description="independent starts, of each target where there are targets")
    rho: float = Field(
        0.75, gt=0, le=1, description="share of rising steps below which the step size is halved (not under L1)"
    )
    eot_iter: int = Field(1, ge=1, description="gradients averaged at every point, for random models")


class APGDParams(_AutoPGDParams):
    """Parameters of Auto-PGD."""

    loss: Literal["ce", "dlr", "margin"] = Field(
        "ce", description="cross-entropy, difference of logits ratio, or the margin of the logits"
    )


class TargetedAPGDParams(_AutoPGDParams):
    """Parameters of targeted Auto-PGD."""

    n_target_classes: int = Field(9, ge=1, description="targets: the classes of largest clean logits after the label's")
    loss: Literal["dlr", "margin"] = Field("dlr", description="targeted difference of logits ratio, or its numerator")


class MALTParams(TargetedAPGDParams):
    """Parameters of MALT."""

    candidates: int = Field(100, ge=1, description="classes of largest clean logits among which targets are chosen")


class FABParams(AttackParams):
    """Parameters of the fast adaptive boundary attack."""

    steps: int = Field(100, ge=1, description="iterations of each restart (the paper's N_iter)")
    restarts: int = Field(1, ge=1, description="starts: the first at the clean image, the others random")
    alpha_max: float = Field(0.1, ge=0, le=1, description="largest weight of the projection of the clean image")
    eta: float = Field(1.05, ge=1, description="overshoot beyond the linearised boundary")
    beta: float = Field(0.9, gt=0, lt=1, description="backward step towards the clean image after a success")


class TargetedFABParams(FABParams):
    """Parameters of the targeted fast adaptive boundary attack."""

    n_target_classes: int = Field(9, ge=1, description="targets: the classes of largest clean logits after the label's")


class DDNParams(AttackParams):
    """Parameters of DDN."""

    steps: int = Field(100, ge=1, description="gradient steps (the paper's K)")
    init_eps: float = Field(1.0, gt=0, description="first radius of the sphere in [0, 1] units (the paper's epsilon_0)")
    gamma: float = Field(0.05, gt=0, lt=1, description="share by which the radius changes after every step")
    loss: Literal["ce", "margin"] = Field("ce", description="cross-entropy, or the margin of the logits")
    line_search: int = Field(6, ge=0, description=_LINE_SEARCH)


class FMNParams(AttackParams):
    """Parameters of FMN."""

    steps: int = Field(100, ge=1, description="gradient steps (the paper's K)")
    alpha_init: float = Field(1.0, gt=0, description="first step size: L2 length in [0, 1] units")
    alpha_final: float | None = Field(None, gt=0, description="last step size; alpha_init / 100 where it isn't given")
    gamma_init: float = Field(0.05, gt=0, lt=1, description="first share by which the radius changes")
    gamma_final: float = Field(0.001, gt=0, lt=1, description="last share by which the radius changes")
    line_search: int = Field(6, ge=0, description=_LINE_SEARCH)


class DeepFoolParams(AttackParams):
    """Parameters of DeepFool."""

    steps: int = Field(50, ge=1, description="the most steps to a linearised boundary")
    overshoot: float = Field(0.02, ge=0, description="share by which the perturbation is lengthened (the paper's eta)")
    candidates: int = Field(
        10, ge=2, description="classes of largest clean logits that are linearised, the label's too"
    )
    line_search: int = Field(6, ge=0, description=_LINE_SEARCH)


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
    abort_early: bool = Field(True, description="end a search for c whose loss no longer falls (L2 only)")
    line_search: int = Field(6, ge=0, description=f"{_LINE_SEARCH} (L2 only)")


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


class CascadeParams(AttackParams):
    """Parameters of the cascade."""

    steps: int = Field(50, ge=1, description="gradient steps of each run of APGD and FAB")
    n_target_classes: int = Field(9, ge=1, description="targets of the targeted stages")
    n_queries: int = Field(1000, ge=1, description="queries of the Square stage")


class SquareParams(AttackParams):
    """Parameters of the Square attack."""

    n_queries: int = Field(5000, ge=1, description="queries for each sample and restart")
    rescale_schedule: bool = Field(
        True, description="fit the paper's schedule for 10,000 queries to n_queries; AutoAttack doesn't"
    )
    p_init: float = Field(0.8, gt=0, le=1, description="share of pixels changed by the first squares")
    restarts: int = Field(1, ge=1, description="independent starts")
