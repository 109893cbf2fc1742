"""Defenses: one per file; ``TABLE`` says what there is, and what each declares, without importing torch.

A defense declares whether it is ``differentiable``, ``stochastic`` and whether it ``rejects``; the adaptive adversary
attacks it accordingly (:mod:`bench.defenses.defended`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.defenses.detector_parameters import (
    AuxiliaryHeadParams,
    FeatureSqueezingParams,
    InputStatisticsParams,
    LIDParams,
    MahalanobisParams,
)
from bench.defenses.parameters import BitDepthParams, DenoisingAutoencoderParams, GaussianBlurParams, JPEGParams
from bench.defenses.rewiring_parameters import (
    KWTAParams,
    LogitTemperatureParams,
    SmoothingParams,
    TestTimeAugmentationParams,
)
from bench.registry import Entry, defenses
from bench.suites.spec import DefenseSpec

if TYPE_CHECKING:
    from bench.defenses.base import Defense

TABLE: dict[str, Entry] = {
    "gaussian_blur": Entry(
        "bench.defenses.gaussian_blur:GaussianBlur",
        "blurs the image; differentiable",
        GaussianBlurParams,
        (),
        "Xu et al. 2018, Feature Squeezing, arXiv:1704.01155 (spatial smoothing)",
        {"kind": "purifier", "differentiable": True, "stochastic": False, "rejects": False},
    ),
    "bit_depth": Entry(
        "bench.defenses.bit_depth:BitDepth",
        "rounds every pixel to fewer bits; attacked with BPDA",
        BitDepthParams,
        (),
        "Xu et al. 2018, Feature Squeezing, arXiv:1704.01155",
        {"kind": "purifier", "differentiable": False, "stochastic": False, "rejects": False},
    ),
    "jpeg": Entry(
        "bench.defenses.jpeg:JPEG",
        "compresses with libjpeg and decodes again; attacked with BPDA",
        JPEGParams,
        (),
        "Dziugaite et al. 2016, A study of the effect of JPG compression on adversarial images, arXiv:1608.00853",
        {"kind": "purifier", "differentiable": False, "stochastic": False, "rejects": False},
    ),
    "denoising_autoencoder": Entry(
        "bench.defenses.denoising_autoencoder:DenoisingAutoencoder",
        "replaces the image by what a trained autoencoder makes of it (MNIST's ships with bench); differentiable",
        DenoisingAutoencoderParams,
        (),
        "Gu and Rigazio 2014, arXiv:1412.5068; Meng and Chen 2017, MagNet, arXiv:1705.09064 (the reformer)",
        {"kind": "purifier", "differentiable": True, "stochastic": False, "rejects": False},
    ),
    "logit_temperature": Entry(
        "bench.defenses.logit_temperature:LogitTemperature",
        "defends nothing: saturates the softmax, to show what naive attacks miss; attacked through the bare logits",
        LogitTemperatureParams,
        (),
        "Carlini and Wagner 2016, Defensive Distillation is Not Robust to Adversarial Examples, arXiv:1607.04311",
        {"kind": "rewiring", "differentiable": False, "stochastic": False, "rejects": False},
    ),
    "kwta": Entry(
        "bench.defenses.kwta:KWTA",
        "keeps each layer's largest activations only (k-winners-take-all); attacked through soft gates",
        KWTAParams,
        (),
        "Xiao et al. 2020, Enhancing Adversarial Defense by k-Winners-Take-All, arXiv:1905.10510",
        {"kind": "rewiring", "differentiable": False, "stochastic": False, "rejects": False},
    ),
    "test_time_augmentation": Entry(
        "bench.defenses.test_time_augmentation:TestTimeAugmentation",
        "asks about the image, its flip and its shifts; attacked through the mean of the probabilities",
        TestTimeAugmentationParams,
        (),
        "Perez et al. 2021, Enhancing Adversarial Robustness via Test-time Transformation Ensembling, arXiv:2107.14110",
        {"kind": "rewiring", "differentiable": False, "stochastic": False, "rejects": False},
    ),
    "smoothing": Entry(
        "bench.defenses.smoothing:Smoothing",
        "takes the class that wins under Gaussian noise, or abstains; certifies under L2; attacked through a soft mean",
        SmoothingParams,
        ("l2",),
        "Cohen et al. 2019, Certified Adversarial Robustness via Randomized Smoothing, arXiv:1902.02918",
        {"kind": "rewiring", "differentiable": False, "stochastic": True, "rejects": True},
    ),
    "feature_squeezing": Entry(
        "bench.defenses.feature_squeezing:FeatureSqueezing",
        "rejects images whose answer changes with fewer bits or a median filter; attacked with BPDA",
        FeatureSqueezingParams,
        (),
        "Xu et al. 2018, Feature Squeezing, arXiv:1704.01155",
        {"kind": "detector", "differentiable": False, "stochastic": False, "rejects": True, "calibrated": True},
    ),
    "input_statistics": Entry(
        "bench.defenses.input_statistics:InputStatistics",
        "rejects images whose histogram or spectrum isn't like that of clean ones; differentiable",
        InputStatisticsParams,
        (),
        "Grosse et al. 2017, On the (Statistical) Detection of Adversarial Examples, arXiv:1702.06280",
        {"kind": "detector", "differentiable": True, "stochastic": False, "rejects": True, "calibrated": True},
    ),
    "mahalanobis": Entry(
        "bench.defenses.mahalanobis:Mahalanobis",
        "rejects images whose features are far from every class's mean; differentiable",
        MahalanobisParams,
        (),
        "Lee et al. 2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks, "
        "arXiv:1807.03888",
        {
            "kind": "detector",
            "differentiable": True,
            "stochastic": False,
            "rejects": True,
            "calibrated": True,
            "needs_features": True,
        },
    ),
    "lid": Entry(
        "bench.defenses.lid:LID",
        "rejects images whose features have a high local intrinsic dimensionality; differentiable",
        LIDParams,
        (),
        "Ma et al. 2018, Characterizing Adversarial Subspaces Using Local Intrinsic Dimensionality, arXiv:1801.02613",
        {
            "kind": "detector",
            "differentiable": True,
            "stochastic": False,
            "rejects": True,
            "calibrated": True,
            "needs_features": True,
        },
    ),
    "auxiliary_head": Entry(
        "bench.defenses.auxiliary_head:AuxiliaryHead",
        "rejects images whose features a trained head takes for adversarial; differentiable",
        AuxiliaryHeadParams,
        (),
        "Metzen et al. 2017, On Detecting Adversarial Perturbations, arXiv:1702.04267",
        {
            "kind": "detector",
            "differentiable": True,
            "stochastic": False,
            "rejects": True,
            "calibrated": True,
            "needs_features": True,
        },
    ),
}


def build(spec: DefenseSpec) -> Defense:
    """The defense that a suite names, with its parameters.

    Raises:
        UnknownNameError: for a name that no table knows.
        pydantic.ValidationError: for parameters that it doesn't take.
    """
    entry = defenses.entry(spec.name)
    params = spec.args if entry.params is None else entry.params.model_validate(spec.args)
    defense: Defense = defenses.load(spec.name)(params)
    return defense
