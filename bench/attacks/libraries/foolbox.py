"""foolbox's attacks (Rauber et al. 2020, Foolbox Native, JOSS 5(53), 2607)."""

from __future__ import annotations

from dataclasses import replace

from bench.attacks.libraries.line import Line

OWNED = ("distance", "constraint", "tensorboard", "channel_axis")
"""Parameters that the harness sets: the norm, no TensorBoard, where the channels are."""

_GOODFELLOW = "Goodfellow et al. 2015, arXiv:1412.6572"
_KURAKIN = "Kurakin et al. 2017, arXiv:1607.02533"
_MADRY = "Madry et al. 2018, arXiv:1706.06083"
_DONG = "Dong et al. 2018, arXiv:1710.06081"
_FOOLBOX = (
    "Rauber et al. 2020, Foolbox Native: Fast adversarial attacks to benchmark the robustness of machine learning models in "
    "PyTorch, TensorFlow, and JAX, JOSS 5(53), 2607"
)
_CLIPPING_AWARE = "Rauber & Bethge 2020, arXiv:2007.07677"
_BRENDEL_BETHGE = "Brendel et al. 2019, arXiv:1907.01003"
_FMN = "Pintor et al. 2021, arXiv:2102.12827"
_DEEPFOOL = "Moosavi-Dezfooli et al. 2016, arXiv:1511.04599"
_NEWTON_FOOL = (
    "Jang et al. 2017, Objective Metrics and Gradient Descent Algorithms for Adversarial Examples in Machine Learning, "
    "ACSAC"
)
_ANY = ("linf", "l2", "l1")


def _each(norms: str, end: str, summary: str, paper: str, **facts: object) -> list[Line]:
    """One attack a norm, the norm first in its name."""
    spelt = {"linf": "Linf", "l2": "L2", "l1": "L1"}
    return [Line(f"{spelt[norm]}{end}", summary, (norm,), paper=paper, **facts) for norm in norms.split()]  # type: ignore[arg-type]


_NATIVE: list[Line] = [
    *_each("linf l2 l1", "FastGradientAttack", "one step along the gradient of the cross-entropy", _GOODFELLOW),
    *_each("linf l2 l1", "BasicIterativeAttack", "gradient steps from the clean image, projected", _KURAKIN),
    *_each("linf l2 l1", "ProjectedGradientDescentAttack", "projected gradient steps from a random start", _MADRY),
    *_each("linf l2 l1", "MomentumIterativeFastGradientMethod", "projected gradient steps with momentum", _DONG),
    *_each("linf l2 l1", "AdamBasicIterativeAttack", "Adam's steps from the clean image, projected", _FOOLBOX),
    *_each("linf l2 l1", "AdamProjectedGradientDescentAttack", "Adam's steps from a random start, projected", _FOOLBOX),
    Line(
        "SparseL1DescentAttack",
        "L1 steps along the largest entries of the gradient",
        ("l1",),
        paper="Tramèr & Boneh 2019, arXiv:1904.13000",
    ),
    Line(
        "VirtualAdversarialAttack",
        "power iterations on the divergence from the clean prediction",
        ("l2",),
        paper="Miyato et al. 2016, arXiv:1507.00677",
    ),
    # minimum norm, white-box
    *_each("linf l2", "DeepFoolAttack", "steps to the nearest linearised boundary", _DEEPFOOL, minimum_norm=True),
    Line(
        "DDNAttack",
        "decoupled direction and norm",
        ("l2",),
        minimum_norm=True,
        paper="Rony et al. 2019, arXiv:1811.09600",
    ),
    Line(
        "L2CarliniWagnerAttack",
        "Adam on distance and margin, with a search for their balance",
        ("l2",),
        minimum_norm=True,
        paper="Carlini & Wagner 2017, arXiv:1608.04644",
    ),
    Line(
        "EADAttack",
        "elastic-net attack: sparse, Carlini-Wagner's loss",
        ("l1",),
        minimum_norm=True,
        paper="Chen et al. 2018, arXiv:1709.04114",
    ),
    Line(
        "NewtonFoolAttack",
        "Newton's steps on the label's probability",
        ("l2",),
        minimum_norm=True,
        paper=_NEWTON_FOOL,
    ),
    Line("LInfFMNAttack", "fast minimum-norm attack", ("linf",), minimum_norm=True, paper=_FMN),
    Line("L2FMNAttack", "fast minimum-norm attack", ("l2",), minimum_norm=True, paper=_FMN),
    Line("L1FMNAttack", "fast minimum-norm attack", ("l1",), minimum_norm=True, paper=_FMN),
    *(
        Line(
            f"{norm}BrendelBethgeAttack",
            "follows the boundary from an adversarial point to the nearest one",
            (key,),
            minimum_norm=True,
            paper=_BRENDEL_BETHGE,
            needs="numba",
        )
        for norm, key in (("Linfinity", "linf"), ("L2", "l2"), ("L1", "l1"))
    ),
    # decisions only
    Line(
        "BoundaryAttack",
        "a random walk along the boundary",
        ("l2",),
        "decision",
        True,
        "Brendel et al. 2018, arXiv:1712.04248",
    ),
    Line(
        "HopSkipJumpAttack",
        "estimates the boundary's normal from decisions",
        ("linf", "l2"),
        "decision",
        True,
        "Chen et al. 2020, arXiv:1904.02144",
    ),
    Line(
        "PointwiseAttack",
        "puts pixels of an adversarial point back, one after the other",
        _ANY,
        "decision",
        True,
        "Schott et al. 2019, arXiv:1805.09190",
    ),
    Line("SaltAndPepperNoiseAttack", "more and more salt and pepper", ("l2", "l1"), "decision", True, _FOOLBOX),
    Line("LinearSearchBlendedUniformNoiseAttack", "blends in uniform noise", _ANY, "decision", True, _FOOLBOX),
    Line("LinearSearchContrastReductionAttack", "takes contrast away step by step", _ANY, "decision", True, _FOOLBOX),
    Line("BinarySearchContrastReductionAttack", "takes contrast away, by bisection", _ANY, "decision", True, _FOOLBOX),
    Line("GaussianBlurAttack", "blurs more and more", _ANY, "decision", True, _FOOLBOX),
    Line("InversionAttack", "the negative image", _ANY, "decision", True, "Hosseini et al. 2017, arXiv:1703.06857"),
    Line("DatasetAttack", "the nearest of the other images of another class", _ANY, "decision", True, _FOOLBOX),
    Line("L2ContrastReductionAttack", "takes away as much contrast as eps allows", ("l2",), "decision", paper=_FOOLBOX),
    *_each("l2", "AdditiveGaussianNoiseAttack", "one draw of Gaussian noise", _FOOLBOX, kind="decision"),
    *_each("linf l2", "AdditiveUniformNoiseAttack", "one draw of uniform noise", _FOOLBOX, kind="decision"),
    *_each(
        "l2",
        "ClippingAwareAdditiveGaussianNoiseAttack",
        "one draw of Gaussian noise, at eps after clipping",
        _CLIPPING_AWARE,
        kind="decision",
    ),
    *_each(
        "l2",
        "ClippingAwareAdditiveUniformNoiseAttack",
        "one draw of uniform noise, at eps after clipping",
        _CLIPPING_AWARE,
        kind="decision",
    ),
    *_each("l2", "RepeatedAdditiveGaussianNoiseAttack", "draws of Gaussian noise", _FOOLBOX, kind="decision"),
    *_each("linf l2", "RepeatedAdditiveUniformNoiseAttack", "draws of uniform noise", _FOOLBOX, kind="decision"),
    *_each(
        "l2",
        "ClippingAwareRepeatedAdditiveGaussianNoiseAttack",
        "draws of Gaussian noise, at eps after clipping",
        _CLIPPING_AWARE,
        kind="decision",
    ),
    *_each(
        "l2",
        "ClippingAwareRepeatedAdditiveUniformNoiseAttack",
        "draws of uniform noise, at eps after clipping",
        _CLIPPING_AWARE,
        kind="decision",
    ),
]

_ALIASES = {
    "FGSM": "LinfFastGradientAttack",
    "FGM": "L2FastGradientAttack",
    "PGD": "LinfProjectedGradientDescentAttack",
    "LinfPGD": "LinfProjectedGradientDescentAttack",
    "L2PGD": "L2ProjectedGradientDescentAttack",
    "L1PGD": "L1ProjectedGradientDescentAttack",
    "MIFGSM": "LinfMomentumIterativeFastGradientMethod",
    "AdamPGD": "LinfAdamProjectedGradientDescentAttack",
    "LinfAdamPGD": "LinfAdamProjectedGradientDescentAttack",
    "L2AdamPGD": "L2AdamProjectedGradientDescentAttack",
    "L1AdamPGD": "L1AdamProjectedGradientDescentAttack",
}

LINES: tuple[Line, ...] = (
    *_NATIVE,
    *(
        replace(next(line for line in _NATIVE if line.name == native), name=alias, alias=native)
        for alias, native in _ALIASES.items()
    ),
)

_L0 = "it works under L0, which is no threat model here"
_UNBOUNDED = "it moves and turns the image: no norm bounds that"

REFUSED: dict[str, str] = {
    "L0BrendelBethgeAttack": _L0,
    "L0FMNAttack": _L0,
    "SpatialAttack": _UNBOUNDED,
    "GenAttack": "it looks for a target class; the suite's attacks are untargeted",
    "BinarizationRefinementAttack": "it refines another attack's points on binary images",
}
