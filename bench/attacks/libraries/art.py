"""Attacks of the adversarial-robustness-toolbox on image classifiers (Nicolae et al. 2018, arXiv:1807.01069)."""

from __future__ import annotations

from bench.attacks.libraries.line import Line

OWNED = (
    "eps",
    "norm",
    "targeted",
    "batch_size",
    "verbose",
    "summary_writer",
    "attacks",
    "estimator_orig",
    "parallel_pool_size",
    "minimal",
    "adv_criterion",
    "loss",
    "mask",
    "attacker_params",
)
"""Parameters that the harness sets: the threat model, no targets, batches as large as the shard, silence."""

_ANY = ("linf", "l2", "l1")
_MADRY = "Madry et al. 2018, arXiv:1706.06083"
_APGD = "Croce & Hein 2020, arXiv:2003.01690"
_CARLINI = "Carlini & Wagner 2017, arXiv:1608.04644"
_ACG = "Yamamura et al. 2022, arXiv:2206.09628"
_NEWTON_FOOL = (
    "Jang et al. 2017, Objective Metrics and Gradient Descent Algorithms for Adversarial Examples in Machine Learning, "
    "ACSAC"
)
_STEP = (("eps_step", 1 / 3),)
"""ART's defaults are eps_step 0.1 for eps 0.3."""

LINES: tuple[Line, ...] = (
    Line(
        "FastGradientMethod",
        "one step along the gradient of the cross-entropy",
        _ANY,
        paper="Goodfellow et al. 2015, arXiv:1412.6572",
        scaled=_STEP,
    ),
    Line(
        "BasicIterativeMethod",
        "gradient steps from the clean image, projected",
        ("linf",),
        paper="Kurakin et al. 2017, arXiv:1607.02533",
        scaled=_STEP,
    ),
    Line(
        "MomentumIterativeMethod",
        "projected gradient steps with momentum",
        _ANY,
        paper="Dong et al. 2018, arXiv:1710.06081",
        scaled=_STEP,
    ),
    Line("ProjectedGradientDescent", "projected gradient steps", _ANY, paper=_MADRY, scaled=_STEP),
    Line(
        "ProjectedGradientDescentNumpy", "projected gradient steps, computed by numpy", _ANY, paper=_MADRY, scaled=_STEP
    ),
    Line(
        "ProjectedGradientDescentPyTorch",
        "projected gradient steps, computed by torch",
        _ANY,
        paper=_MADRY,
        scaled=_STEP,
    ),
    Line("AutoProjectedGradientDescent", "Auto-PGD", _ANY, paper=_APGD, scaled=_STEP),
    Line("AutoConjugateGradient", "Auto-PGD along conjugate gradients", _ANY, paper=_ACG, scaled=_STEP),
    Line(
        "RescalingAutoConjugateGradient",
        "Auto-PGD along rescaled conjugate gradients",
        _ANY,
        paper="Yamamura et al. 2024, arXiv:2408.03972",
        scaled=_STEP,
    ),
    Line(
        "AutoAttack",
        "ART's own ensemble of Auto-PGD, DeepFool and Square",
        _ANY,
        paper=_APGD,
        scaled=_STEP,
        needs="multiprocess",
    ),
    Line(
        "UniversalPerturbation",
        "one perturbation for all images of a shard",
        ("linf", "l2"),
        paper="Moosavi-Dezfooli et al. 2017, arXiv:1610.08401",
    ),
    Line(
        "VirtualAdversarialMethod",
        "power iterations on the divergence from the clean prediction, by finite differences",
        ("l2",),
        "score",
        paper="Miyato et al. 2016, arXiv:1507.00677",
        probabilities=True,
    ),
    # minimum norm, white-box
    Line(
        "DeepFool",
        "steps to the nearest linearised boundary",
        ("l2",),
        minimum_norm=True,
        paper="Moosavi-Dezfooli et al. 2016, arXiv:1511.04599",
    ),
    Line(
        "NewtonFool",
        "Newton's steps on the label's probability",
        ("l2",),
        minimum_norm=True,
        paper=_NEWTON_FOOL,
        probabilities=True,
    ),
    Line(
        "CarliniL2Method",
        "gradient descent on distance and margin, with a search for their balance",
        ("l2",),
        minimum_norm=True,
        paper=_CARLINI,
    ),
    Line(
        "CarliniLInfMethod",
        "Carlini-Wagner for the largest change of a pixel",
        ("linf",),
        minimum_norm=True,
        paper=_CARLINI,
    ),
    Line(
        "ElasticNet",
        "elastic-net attack: sparse, Carlini-Wagner's loss",
        ("l1",),
        minimum_norm=True,
        paper="Chen et al. 2018, arXiv:1709.04114",
    ),
    Line(
        "BrendelBethgeAttack",
        "follows the boundary from an adversarial point to the nearest one",
        _ANY,
        minimum_norm=True,
        paper="Brendel et al. 2019, arXiv:1907.01003",
        needs="numba",
    ),
    # scores
    Line(
        "SquareAttack",
        "random search with square-shaped changes",
        ("linf", "l2"),
        "score",
        paper="Andriushchenko et al. 2020, arXiv:1912.00049",
    ),
    Line(
        "ZooAttack",
        "Carlini-Wagner with gradients from finite differences",
        ("l2",),
        "score",
        True,
        "Chen et al. 2017, arXiv:1708.03999",
        single=True,
        probabilities=True,
    ),
    Line(
        "SimBA",
        "random steps along pixels or frequencies",
        ("l2",),
        "score",
        True,
        "Guo et al. 2019, arXiv:1905.07121",
        single=True,
        probabilities=True,
    ),
    Line(
        "ThresholdAttack",
        "evolution of images inside a growing Linf ball",
        ("linf",),
        "score",
        True,
        "Kotyan & Vargas 2022, arXiv:1906.06026",
        single=True,
        needs="cma",
    ),
    # decisions only
    Line(
        "HopSkipJump",
        "estimates the boundary's normal from decisions",
        ("linf", "l2"),
        "decision",
        True,
        "Chen et al. 2020, arXiv:1904.02144",
        single=True,
    ),
    Line(
        "BoundaryAttack",
        "a random walk along the boundary",
        ("l2",),
        "decision",
        True,
        "Brendel et al. 2018, arXiv:1712.04248",
        single=True,
    ),
    Line(
        "SignOPTAttack",
        "the sign of the distance's derivative, from decisions",
        ("l2",),
        "decision",
        True,
        "Cheng et al. 2020, arXiv:1909.10773",
        single=True,
    ),
)

_L0 = "it works under L0, which is no threat model here"
_PATCH = "it puts a patch on the image: no norm bounds that"
_SEMANTIC = "it changes colours or shapes: no norm bounds that"
_TARGET = "it looks for a target class; the suite's attacks are untargeted"
_DETECTOR = "it attacks object detectors or trackers, not classifiers"
_SPEECH = "it attacks speech recognisers, not images"
_VIDEO = "it attacks video, not images"
_TENSORFLOW = "it needs TensorFlow"
_GUIDE = "it needs guide images to imitate"
_TABLES = "it attacks rows of a table, not images"

REFUSED: dict[str, str] = {
    "AdversarialPatch": _PATCH,
    "AdversarialPatchNumpy": _PATCH,
    "AdversarialPatchPyTorch": _PATCH,
    "AdversarialPatchTensorFlowV2": _PATCH,
    "AdversarialTexturePyTorch": _DETECTOR,
    "CarliniL0Method": _L0,
    "CarliniWagnerASR": _SPEECH,
    "CompositeAdversarialAttackPyTorch": _SEMANTIC,
    "DPatch": _DETECTOR,
    "DecisionTreeAttack": "it attacks decision trees, not networks",
    "FeatureAdversariesNumpy": _GUIDE,
    "FeatureAdversariesPyTorch": _GUIDE,
    "FeatureAdversariesTensorFlowV2": _GUIDE,
    "FrameSaliencyAttack": _VIDEO,
    "GRAPHITEBlackbox": _TARGET,
    "GRAPHITEWhiteboxPyTorch": _TARGET,
    "GeoDA": "it needs a numpy below 2 in the release 1.20.1",
    "HighConfidenceLowUncertainty": "it attacks Gaussian processes, not networks",
    "ImperceptibleASR": _SPEECH,
    "ImperceptibleASRPyTorch": _SPEECH,
    "LaserAttack": "it adds a beam of light: no norm bounds that",
    "LowProFool": _TABLES,
    "MalwareGDTensorFlow": _TENSORFLOW,
    "OverTheAirFlickeringPyTorch": _VIDEO,
    "OverloadPyTorch": _DETECTOR,
    "PixelAttack": _L0,
    "ProjectedGradientDescentTensorFlowV2": _TENSORFLOW,
    "RobustDPatch": _DETECTOR,
    "SNAL": _DETECTOR,
    "SaliencyMapMethod": _L0,
    "ShadowAttack": _SEMANTIC,
    "SpatialTransformation": "it moves and turns the image: no norm bounds that",
    "TargetedUniversalPerturbation": _TARGET,
    "Wasserstein": "its ball is one of transport, which is no threat model here",
}
