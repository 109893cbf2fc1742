"""Defenses: one per file; ``TABLE`` says what there is, and what each declares, without importing torch.

A defense declares whether it is ``differentiable``, ``stochastic`` and whether it ``rejects``; the adaptive adversary
attacks it accordingly (:mod:`bench.defenses.defended`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.defenses import libraries
from bench.defenses.detector_parameters import (
    AuxiliaryHeadParams,
    FeatureSqueezingParams,
    InputStatisticsParams,
    LIDParams,
    MahalanobisParams,
)
from bench.defenses.parameters import (
    BilateralBlurParams,
    BitDepthParams,
    DenoisingAutoencoderParams,
    DnCNNParams,
    GaussianBlurParams,
    GradientKillerParams,
    JPEGParams,
    MedianBlurParams,
    NonLocalMeansParams,
    PixelDeflectionParams,
    RandomNoiseParams,
    RandomResizePadParams,
    TotalVariationParams,
    WaveletParams,
)
from bench.defenses.rewiring_parameters import (
    EnsembleParams,
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
        "compresses with libjpeg and decodes again; attacked with BPDA through a differentiable codec",
        JPEGParams,
        (),
        "Dziugaite et al. 2016, A study of the effect of JPG compression on adversarial images, arXiv:1608.00853",
        {"kind": "purifier", "differentiable": False, "stochastic": False, "rejects": False},
    ),
    "median_blur": Entry(
        "bench.defenses.median_blur:MedianBlur",
        "replaces every pixel by the median of its window; differentiable",
        MedianBlurParams,
        (),
        "Xu et al. 2018, Feature Squeezing, arXiv:1704.01155 (spatial smoothing)",
        {"kind": "purifier", "differentiable": True, "stochastic": False, "rejects": False},
    ),
    "bilateral_blur": Entry(
        "bench.defenses.bilateral_blur:BilateralBlur",
        "averages every pixel with those near it that look like it; differentiable",
        BilateralBlurParams,
        (),
        "Tomasi and Manduchi 1998, Bilateral filtering for gray and color images",
        {"kind": "purifier", "differentiable": True, "stochastic": False, "rejects": False},
    ),
    "total_variation": Entry(
        "bench.defenses.total_variation:TotalVariation",
        "minimises the total variation (Chambolle); attacked with BPDA through the same iteration in torch",
        TotalVariationParams,
        (),
        "Guo et al. 2018, Countering Adversarial Images using Input Transformations, arXiv:1711.00117",
        {"kind": "purifier", "differentiable": False, "stochastic": False, "rejects": False},
    ),
    "non_local_means": Entry(
        "bench.defenses.non_local_means:NonLocalMeans",
        "averages pixels whose surroundings are alike; attacked with BPDA through the same sums in torch",
        NonLocalMeansParams,
        (),
        "Xu et al. 2018, Feature Squeezing, arXiv:1704.01155 (non-local smoothing)",
        {"kind": "purifier", "differentiable": False, "stochastic": False, "rejects": False},
    ),
    "wavelet": Entry(
        "bench.defenses.wavelet:Wavelet",
        "shrinks wavelet coefficients (BayesShrink); attacked with BPDA through the same transform in torch",
        WaveletParams,
        (),
        "Prakash et al. 2018, Deflecting Adversarial Attacks with Pixel Deflection, arXiv:1801.08926",
        {"kind": "purifier", "differentiable": False, "stochastic": False, "rejects": False},
    ),
    "dncnn": Entry(
        "bench.defenses.dncnn:DnCNN",
        "takes off the noise that a denoising network sees; differentiable",
        DnCNNParams,
        (),
        "Zhang et al. 2017, Beyond a Gaussian Denoiser, arXiv:1608.03981",
        {"kind": "purifier", "differentiable": True, "stochastic": False, "rejects": False, "files": ("weights",)},
    ),
    "denoising_autoencoder": Entry(
        "bench.defenses.denoising_autoencoder:DenoisingAutoencoder",
        "replaces the image by what a trained autoencoder makes of it (MNIST's ships with bench); differentiable",
        DenoisingAutoencoderParams,
        (),
        "Gu and Rigazio 2014, arXiv:1412.5068; Meng and Chen 2017, MagNet, arXiv:1705.09064 (the reformer)",
        {"kind": "purifier", "differentiable": True, "stochastic": False, "rejects": False, "files": ("weights",)},
    ),
    "random_noise": Entry(
        "bench.defenses.random_noise:RandomNoise",
        "adds fresh Gaussian noise to every pixel; differentiable",
        RandomNoiseParams,
        (),
        "Liu et al. 2018, Towards Robust Neural Networks via Random Self-ensemble, arXiv:1712.00673",
        {"kind": "purifier", "differentiable": True, "stochastic": True, "rejects": False},
    ),
    "random_resize_pad": Entry(
        "bench.defenses.random_resize_pad:RandomResizePad",
        "shrinks the image to a random size and pads it at a random place; differentiable",
        RandomResizePadParams,
        (),
        "Xie et al. 2018, Mitigating Adversarial Effects Through Randomization, arXiv:1711.01991",
        {"kind": "purifier", "differentiable": True, "stochastic": True, "rejects": False},
    ),
    "pixel_deflection": Entry(
        "bench.defenses.pixel_deflection:PixelDeflection",
        "replaces random pixels by pixels near them, without the activation map; differentiable",
        PixelDeflectionParams,
        (),
        "Prakash et al. 2018, Deflecting Adversarial Attacks with Pixel Deflection, arXiv:1801.08926",
        {"kind": "purifier", "differentiable": True, "stochastic": True, "rejects": False},
    ),
    "gradient_killer": Entry(
        "bench.defenses.gradient_killer:GradientKiller",
        "defends nothing: loses the gradient only, to show what naive attacks miss; attacked with BPDA",
        GradientKillerParams,
        (),
        "Athalye et al. 2018, Obfuscated Gradients Give a False Sense of Security, arXiv:1802.00420",
        {"kind": "purifier", "differentiable": False, "stochastic": False, "rejects": False},
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
    "ensemble": Entry(
        "bench.defenses.ensemble:Ensemble",
        "asks other models beside the row's own; the means are attacked as they are, a vote through the mean probability",
        EnsembleParams,
        (),
        "Strauss et al. 2017, arXiv:1709.03423; He et al. 2017, Ensembles of Weak Defenses are not Strong, arXiv:1706.04701",
        {
            "kind": "rewiring",
            "differentiable": False,
            "stochastic": False,
            "rejects": False,
            "takes_models": ("members",),
        },
    ),
    "smoothing": Entry(
        "bench.defenses.smoothing:Smoothing",
        "takes the class that wins under Gaussian noise, or abstains; certifies under L2; attacked through a soft mean",
        SmoothingParams,
        ("l2",),
        "Cohen et al. 2019, Certified Adversarial Robustness via Randomized Smoothing, arXiv:1902.02918",
        {
            "kind": "rewiring",
            "differentiable": False,
            "stochastic": True,
            "rejects": True,
            "certifies": True,
            "eot_iter": 2,
            "scoring_draws": 5,
        },
    ),
    **libraries.TABLE,
}

REFUSED = libraries.REFUSED


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
