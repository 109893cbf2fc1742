"""Attacks: one per file, named as in YAML; ``TABLE`` says what there is without importing torch.

An attack searches an adversarial example inside a threat model; whether it found one, the harness decides
(:mod:`bench.runner.judge`). Our own run on :mod:`bench.attacks.engine`, those of libraries through
:mod:`bench.attacks.backends`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.attacks.parameters import AutoAttackParams, CWParams, FGSMParams, PGDParams, SquareParams
from bench.registry import Entry, attacks
from bench.suites.spec import AttackSpec

if TYPE_CHECKING:
    from bench.attacks.base import Attack

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
    "cw": Entry(
        "bench.attacks.cw:CW",
        "Carlini-Wagner: the paper's minimum-norm attack under L2, PGD on the margin loss under Linf",
        CWParams,
        ("linf", "l2"),
        "Carlini & Wagner 2017, Towards Evaluating the Robustness of Neural Networks, arXiv:1608.04644",
        {
            "kind": "white-box",
            "backend": "auto",
            "backends": ("auto", "foolbox", "art"),
            "backend_norms": {"foolbox": ("l2",), "art": ("l2",)},
            "parameter_norms": {
                "restarts": ("linf",),
                "alpha": ("linf",),
                "binary_search_steps": ("l2",),
                "stepsize": ("l2",),
                "confidence": ("l2",),
                "initial_const": ("l2",),
            },
        },
    ),
    "autoattack": Entry(
        "bench.attacks.autoattack:AutoAttack",
        "the parameter-free ensemble of APGD, FAB and Square",
        AutoAttackParams,
        ("linf", "l2"),
        "Croce & Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free "
        "Attacks, arXiv:2003.01690",
        {"kind": "ensemble", "backend": "autoattack", "backends": ("autoattack",), "min_classes": 4},
    ),
    "square": Entry(
        "bench.attacks.square:Square",
        "random search with square-shaped changes; needs no gradient",
        SquareParams,
        ("linf", "l2"),
        "Andriushchenko et al. 2020, Square Attack: a query-efficient black-box adversarial attack via random search, "
        "arXiv:1912.00049",
        {"kind": "score", "backend": "autoattack", "backends": ("autoattack",), "reusable": False},
    ),
}


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
