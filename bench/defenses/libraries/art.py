"""Defenses of the adversarial-robustness-toolbox that wrap an image classifier (Nicolae et al. 2018, arXiv:1807.01069)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from bench.defenses.libraries import art_parameters as own
from bench.registry import Entry

_SQUEEZING = "Xu et al. 2018, Feature Squeezing, arXiv:1704.01155"
_CUTOUT = (
    "DeVries and Taylor 2017, Improved Regularization of Convolutional Neural Networks with Cutout, arXiv:1708.04552"
)
_EXTRACTION = "Tramèr et al. 2016, Stealing Machine Learning Models via Prediction APIs, arXiv:1609.02943"


def _entry(  # Any: free facts
    where: str, name: str, summary: str, params: type[BaseModel], paper: str, **facts: Any
) -> tuple[str, Entry]:
    """A name and its line of the table; what it doesn't say of itself is no."""
    kind = {"preprocessors": "purifier", "postprocessors": "rewiring"}.get(where, "detector")
    said = {"kind": kind, "library": "art", "differentiable": False, "stochastic": False, "rejects": kind == "detector"}
    if kind == "detector":
        said["calibrated"] = True
    return name, Entry(f"bench.defenses.backends.art_{where}:{name}", summary, params, (), paper, {**said, **facts})


_LINES = (
    _entry(
        "preprocessors",
        "FeatureSqueezing",
        "rounds every pixel to fewer bits; attacked with BPDA",
        own.FeatureSqueezingParams,
        _SQUEEZING,
    ),
    _entry(
        "preprocessors",
        "SpatialSmoothing",
        "replaces every pixel by the median of its window; attacked with BPDA",
        own.SpatialSmoothingParams,
        f"{_SQUEEZING} (spatial smoothing)",
    ),
    _entry(
        "preprocessors",
        "SpatialSmoothingPyTorch",
        "the median of the window, computed by torch with another border; differentiable",
        own.SpatialSmoothingParams,
        f"{_SQUEEZING} (spatial smoothing)",
        differentiable=True,
    ),
    _entry(
        "preprocessors",
        "JpegCompression",
        "cuts pixels off to 8 bits, compresses with libjpeg and decodes again; attacked with BPDA",
        own.JpegCompressionParams,
        "Das et al. 2017, Keeping the Bad Guys Out, arXiv:1705.02900; Dziugaite et al. 2016, arXiv:1608.00853",
    ),
    _entry(
        "preprocessors",
        "TotalVarMin",
        "matches a random share of the pixels with little total variation; attacked with BPDA; slow",
        own.TotalVarMinParams,
        "Guo et al. 2018, Countering Adversarial Images using Input Transformations, arXiv:1711.00117",
        stochastic=True,
        eot_iter=2,
        scoring_draws=5,
    ),
    _entry(
        "preprocessors",
        "GaussianAugmentation",
        "adds fresh Gaussian noise to every pixel of what is predicted; attacked with BPDA",
        own.GaussianAugmentationParams,
        "Zantedeschi et al. 2017, Efficient Defenses Against Adversarial Attacks, arXiv:1707.06728",
        stochastic=True,
    ),
    _entry(
        "preprocessors",
        "Cutout",
        "blackens a square at a random place of what is predicted; attacked with BPDA",
        own.CutoutParams,
        _CUTOUT,
        stochastic=True,
    ),
    _entry(
        "preprocessors",
        "CutoutPyTorch",
        "blackens a square at a random place, computed by torch; differentiable",
        own.CutoutParams,
        _CUTOUT,
        differentiable=True,
        stochastic=True,
    ),
    _entry(
        "postprocessors",
        "ClassLabels",
        "answers the class alone; defends nothing: attacked through the bare logits",
        own.ClassLabelsParams,
        _EXTRACTION,
    ),
    _entry(
        "postprocessors",
        "GaussianNoise",
        "adds fresh Gaussian noise to the probabilities; attacked through the bare logits",
        own.GaussianNoiseParams,
        "",
        stochastic=True,
        eot_iter=2,
    ),
    _entry(
        "postprocessors",
        "HighConfidence",
        "rejects images none of whose classes is probable enough; attacked through the same decision on the bare logits",
        own.HighConfidenceParams,
        _EXTRACTION,
        rejects=True,
    ),
    _entry(
        "postprocessors",
        "ReverseSigmoid",
        "takes a sigmoid of their log-odds off the probabilities; attacked through the bare logits",
        own.ReverseSigmoidParams,
        "Lee et al. 2018, Defending Against Machine Learning Model Stealing Attacks Using Deceptive Perturbations, "
        "arXiv:1806.00054",
    ),
    _entry(
        "postprocessors",
        "Rounded",
        "rounds the probabilities; attacked through the bare logits",
        own.RoundedParams,
        _EXTRACTION,
    ),
    _entry(
        "detectors",
        "BinaryInputDetector",
        "rejects images that a trained network takes for adversarial; differentiable",
        own.TrainedDetectorParams,
        "Gong et al. 2017, Adversarial and Clean Data Are Not Twins, arXiv:1704.04960",
        differentiable=True,
    ),
    _entry(
        "detectors",
        "BinaryActivationDetector",
        "rejects images whose features a trained network takes for adversarial; differentiable",
        own.TrainedDetectorParams,
        "Metzen et al. 2017, On Detecting Adversarial Perturbations, arXiv:1702.04267",
        differentiable=True,
        needs_features=True,
    ),
    _entry(
        "detectors",
        "SubsetScanningDetector",
        "rejects images with too many unusually large features; attacked through the features' standard scores",
        own.SubsetScanningDetectorParams,
        "Speakman et al. 2018, Subset Scanning Over Neural Network Activations, arXiv:1810.08676",
        needs_features=True,
    ),
)
ENTRIES: dict[str, Entry] = dict(_LINES)

_MIXES = "it mixes images of a batch and their labels, for training"
_TENSORFLOW = "it needs TensorFlow; art.CutoutPyTorch and art.SpatialSmoothingPyTorch are the same in torch"
_SOUND = "it is for sound, not for images"
_VIDEO = "it is for video, not for images"
_TRAINS = "it trains a network instead of wrapping one; bench train has methods of its own"
_POISON = "it looks for poisoned training data, not for adversarial examples"

REFUSED: dict[str, str] = {
    "ActivationDefence": _POISON,
    "AdversarialTrainer": _TRAINS,
    "AdversarialTrainerAWP": _TRAINS,
    "AdversarialTrainerAWPPyTorch": _TRAINS,
    "AdversarialTrainerCertifiedIBPPyTorch": _TRAINS,
    "AdversarialTrainerCertifiedPytorch": _TRAINS,
    "AdversarialTrainerFBF": _TRAINS,
    "AdversarialTrainerFBFPyTorch": _TRAINS,
    "AdversarialTrainerMadryPGD": _TRAINS,
    "AdversarialTrainerOAAT": _TRAINS,
    "AdversarialTrainerOAATPyTorch": _TRAINS,
    "AdversarialTrainerTRADES": _TRAINS,
    "AdversarialTrainerTRADESPyTorch": _TRAINS,
    "BeyondDetectorPyTorch": "it needs a second network, trained by self-supervision",
    "ClusteringAnalyzer": _POISON,
    "CutMix": _MIXES,
    "CutMixPyTorch": _MIXES,
    "CutMixTensorFlowV2": _MIXES,
    "CutoutTensorFlowV2": _TENSORFLOW,
    "DPInstaHideTrainer": _TRAINS,
    "DefensiveDistillation": _TRAINS,
    "GroundTruthEvaluator": _POISON,
    "LabelSmoothing": "it changes the labels, for training",
    "Mixup": _MIXES,
    "MixupPyTorch": _MIXES,
    "MixupTensorFlowV2": _MIXES,
    "Mp3Compression": _SOUND,
    "Mp3CompressionPyTorch": _SOUND,
    "NeuralCleanse": _POISON,
    "PixelDefend": "it needs a PixelCNN that was trained on the dataset",
    "ProvenanceDefense": _POISON,
    "RONIDefense": _POISON,
    "Resample": _SOUND,
    "STRIP": _POISON,
    "SpatialSmoothingTensorFlowV2": _TENSORFLOW,
    "SpectralSignatureDefense": _POISON,
    "ThermometerEncoding": "it multiplies the channels: the network behind it must be trained on that",
    "VideoCompression": _VIDEO,
    "VideoCompressionPyTorch": _VIDEO,
}
