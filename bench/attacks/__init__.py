"""Attacks: one per file, named as in YAML; ``TABLE`` says what there is without importing torch.

An attack searches an adversarial example inside a threat model; whether it found one, the harness decides
(:mod:`bench.runner.judge`). Our own run on :mod:`bench.attacks.engine`, those of libraries through
:mod:`bench.attacks.backends`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.attacks import libraries
from bench.attacks.parameters import (
    AdamPGDParams,
    APGDParams,
    AutoAttackParams,
    BIMParams,
    CascadeParams,
    CWParams,
    DDNParams,
    DeepFoolParams,
    FABParams,
    FGSMParams,
    FMNParams,
    MALTParams,
    MIFGSMParams,
    PGDParams,
    SquareParams,
    TargetedAPGDParams,
    TargetedFABParams,
)
from bench.registry import Entry, attacks
from bench.suites.spec import AttackSpec

if TYPE_CHECKING:
    from bench.attacks.base import Attack

_OURS = {"kind": "white-box", "backend": "bench", "backends": ("bench",)}
_AUTOATTACK = (
    "Croce & Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free "
    "Attacks, arXiv:2003.01690"
)
_APGD = (
    f"{_AUTOATTACK}; under L1 Croce & Hein 2021, Mind the box: l1-APGD for sparse adversarial attacks on image "
    "classifiers, arXiv:2103.01208"
)
_FAB = (
    "Croce & Hein 2020, Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, arXiv:1907.02044"
)

TABLE: dict[str, Entry] = {
    "fgsm": Entry(
        "bench.attacks.fgsm:FGSM",
        "one step along the sign of the gradient",
        FGSMParams,
        ("linf", "l2"),
        "Goodfellow et al. 2015, Explaining and Harnessing Adversarial Examples, arXiv:1412.6572",
        {
            "kind": "white-box",
            "backend": "bench",
            "backends": ("bench", "foolbox", "art"),
            "backend_takes": {library: {"loss": ("ce",), "alpha": (None,)} for library in ("foolbox", "art")},
        },
    ),
    "pgd": Entry(
        "bench.attacks.pgd:PGD",
        "projected gradient descent from random starts",
        PGDParams,
        ("linf", "l2"),
        "Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv:1706.06083",
        {
            "kind": "white-box",
            "backend": "bench",
            "backends": ("bench", "foolbox", "art"),
            "backend_takes": {library: {"loss": ("ce",), "step_rule": ("constant",)} for library in ("foolbox", "art")},
        },
    ),
    "bim": Entry(
        "bench.attacks.bim:BIM",
        "the basic iterative method: projected gradient ascent from the clean image",
        BIMParams,
        ("linf", "l2"),
        "Kurakin et al. 2017, Adversarial Examples in the Physical World, arXiv:1607.02533",
        _OURS,
    ),
    "mi_fgsm": Entry(
        "bench.attacks.mi_fgsm:MIFGSM",
        "BIM with momentum",
        MIFGSMParams,
        ("linf", "l2"),
        "Dong et al. 2018, Boosting Adversarial Attacks with Momentum, arXiv:1710.06081",
        _OURS,
    ),
    "adam_pgd": Entry(
        "bench.attacks.adam_pgd:AdamPGD",
        "PGD with Adam's steps, which gets past some detectors that signed steps don't",
        AdamPGDParams,
        ("linf",),
        "Uesato et al. 2018, Adversarial Risk and the Dangers of Evaluating Against Weak Attacks, arXiv:1802.05666",
        _OURS,
    ),
    "cw": Entry(
        "bench.attacks.cw:CW",
        "Carlini-Wagner: the paper's minimum-norm attack under L2, PGD on the margin loss under Linf",
        CWParams,
        ("linf", "l2"),
        "Carlini & Wagner 2017, Towards Evaluating the Robustness of Neural Networks, arXiv:1608.04644",
        {
            "kind": "white-box",
            "minimum_norm": ("l2",),
            "backend": "bench",
            "backends": ("bench", "foolbox", "art"),
            "backend_norms": {"foolbox": ("l2",), "art": ("l2",)},
            "backend_takes": {"foolbox": {"line_search": (6,)}, "art": {"line_search": (6,), "abort_early": (True,)}},
            "parameter_norms": {
                "restarts": ("linf",),
                "alpha": ("linf",),
                "binary_search_steps": ("l2",),
                "stepsize": ("l2",),
                "confidence": ("l2",),
                "initial_const": ("l2",),
                "abort_early": ("l2",),
                "line_search": ("l2",),
            },
        },
    ),
    "ddn": Entry(
        "bench.attacks.ddn:DDN",
        "decoupled direction and norm: minimum norm",
        DDNParams,
        ("l2",),
        "Rony et al. 2019, Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial Attacks and "
        "Defenses, arXiv:1811.09600",
        {**_OURS, "minimum_norm": True},
    ),
    "fmn": Entry(
        "bench.attacks.fmn:FMN",
        "fast minimum-norm attack",
        FMNParams,
        ("linf", "l2", "l1"),
        "Pintor et al. 2021, Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints, arXiv:2102.12827",
        {**_OURS, "minimum_norm": True},
    ),
    "deepfool": Entry(
        "bench.attacks.deepfool:DeepFool",
        "steps to the nearest linearised boundary: minimum norm",
        DeepFoolParams,
        ("linf", "l2"),
        "Moosavi-Dezfooli et al. 2016, DeepFool: a simple and accurate method to fool deep neural networks, "
        "arXiv:1511.04599",
        {**_OURS, "minimum_norm": True},
    ),
    "apgd": Entry(
        "bench.attacks.apgd:APGD",
        "Auto-PGD: momentum, and a step size that adapts to the loss",
        APGDParams,
        ("linf", "l2", "l1"),
        _APGD,
        {**_OURS, "parameter_norms": {"rho": ("linf", "l2")}},
    ),
    "apgd_targeted": Entry(
        "bench.attacks.apgd:TargetedAPGD",
        "Auto-PGD towards one class after the other",
        TargetedAPGDParams,
        ("linf", "l2", "l1"),
        _APGD,
        {**_OURS, "parameter_norms": {"rho": ("linf", "l2")}},
    ),
    "malt": Entry(
        "bench.attacks.malt:MALT",
        "targeted Auto-PGD, its targets chosen as if the model were linear",
        MALTParams,
        ("linf", "l2"),
        "Melamed et al. 2024, MALT Powers Up Adversarial Attacks, arXiv:2407.02240",
        _OURS,
    ),
    "fab": Entry(
        "bench.attacks.fab:FAB",
        "fast adaptive boundary attack: minimum norm, one gradient a class in each step",
        FABParams,
        ("linf", "l2", "l1"),
        _FAB,
        {**_OURS, "minimum_norm": True},
    ),
    "fab_targeted": Entry(
        "bench.attacks.fab:TargetedFAB",
        "fast adaptive boundary attack towards one class after the other: minimum norm",
        TargetedFABParams,
        ("linf", "l2", "l1"),
        _FAB,
        {**_OURS, "minimum_norm": True},
    ),
    "autoattack": Entry(
        "bench.attacks.autoattack:AutoAttack",
        "the parameter-free ensemble of APGD, FAB and Square",
        AutoAttackParams,
        ("linf", "l2", "l1"),
        _AUTOATTACK,
        {
            "kind": "ensemble",
            "backend": "bench",
            "backends": ("bench", "autoattack"),
            "backend_norms": {"autoattack": ("linf", "l2")},
            "backend_min_classes": {"autoattack": 4},
            "needs_min_classes": ("apgd-dlr", "apgd-t"),
        },
    ),
    "cascade": Entry(
        "bench.attacks.cascade:Cascade",
        "a faster ensemble: APGD on the margin, MALT, FAB and Square in fewer passes than AutoAttack",
        CascadeParams,
        ("linf", "l2"),
        "after Croce & Hein 2020, arXiv:2003.01690, and Melamed et al. 2024, arXiv:2407.02240",
        {**_OURS, "kind": "ensemble"},
    ),
    "square": Entry(
        "bench.attacks.square:Square",
        "random search with square-shaped changes; needs no gradient",
        SquareParams,
        ("linf", "l2", "l1"),
        "Andriushchenko et al. 2020, Square Attack: a query-efficient black-box adversarial attack via random search, "
        "arXiv:1912.00049",
        {
            "kind": "score",
            "backend": "bench",
            "backends": ("bench", "autoattack"),
            "backend_norms": {"autoattack": ("linf", "l2")},
            "reusable": False,
        },
    ),
    **libraries.TABLE,
}

REFUSED = libraries.REFUSED


def build(spec: AttackSpec, norm: str) -> Attack:
    """The attack that a suite names, with its parameters, for one norm.

    Raises:
        UnknownNameError: for a name that no table knows.
        pydantic.ValidationError: for parameters that it doesn't take.
    """
    entry = attacks.entry(spec.name)
    params = spec.args if entry.params is None else entry.params.model_validate(spec.args)
    attack: Attack = attacks.load(spec.name).create(params, norm=norm, backend=spec.backend)
    return attack
