"""ART's defenses by their own names: what the tables say of them is so, and they compute what ART computes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bench import defenses, registry
from bench._imports import prepare_torchvision
from bench.defenses import libraries
from bench.defenses.backends.art_detectors import SubsetScanningDetector
from bench.defenses.base import Defense, Detector, Purifier, RandomPurifier, Rewiring, Sight
from bench.defenses.defended import DefendedModel
from bench.defenses.feature_squeezing import median
from bench.defenses.features import Features
from bench.defenses.libraries.art_parameters import OWNED
from bench.errors import BenchError, UnknownNameError
from bench.models.noise import Noise
from bench.models.wrapper import CountedModel
from bench.suites.spec import DefenseSpec

NAMES = list(libraries.TABLE)
RANDOM = ["art.TotalVarMin", "art.GaussianAugmentation", "art.Cutout", "art.CutoutPyTorch"]
PLAIN = ["art.FeatureSqueezing", "art.SpatialSmoothing", "art.SpatialSmoothingPyTorch", "art.JpegCompression"]
POST = ["art.ClassLabels", "art.GaussianNoise", "art.HighConfidence", "art.ReverseSigmoid", "art.Rounded"]
DETECTORS = ["art.BinaryInputDetector", "art.BinaryActivationDetector", "art.SubsetScanningDetector"]
OURS = {"fpr", "lr", "seed", "eps", "steps"}
"""Parameters of what ART leaves to its caller."""


def defense(name: str, **args: Any) -> Defense:
    usual = {"length": 6} if "Cutout" in name else {"bit_depth": 3} if name == "art.FeatureSqueezing" else {}
    return defenses.build(DefenseSpec(id=None, name=name, args={**usual, **args}))


def purifier(name: str, **args: Any) -> Purifier:
    built = defense(name, **args)
    assert isinstance(built, Purifier)
    return built


def art(module: str, name: str) -> Any:
    prepare_torchvision()
    from art.defences import detector, postprocessor, preprocessor
    from art.defences.detector import evasion

    assert detector is not None
    return getattr({"pre": preprocessor, "post": postprocessor, "evasion": evasion}[module], name)


def keyed(*keys: int) -> Noise:
    return Noise(torch.tensor(keys, dtype=torch.int64))


@pytest.fixture
def x() -> Tensor:
    return torch.rand(4, 3, 16, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(210, 20))
    return layers.append(nn.Softplus()).append(nn.Linear(20, 5)).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def sights(network: nn.Module) -> Callable[[Tensor], Sight]:
    features = Features(network, network, torch.zeros(1, 3, 16, 12))
    return lambda images: Sight(images, *features.look(images), network, features.look)


# -- the tables --------------------------------------------------------------------------------------------------------


def test_every_defense_of_art_is_listed_or_refused_with_a_reason() -> None:
    prepare_torchvision()
    from art.defences import detector, postprocessor, preprocessor, trainer, transformer
    from art.defences.detector import evasion, poison
    from art.defences.transformer import evasion as transforming
    from art.defences.transformer import poisoning

    modules = (preprocessor, postprocessor, detector, evasion, poison, trainer, transformer, transforming, poisoning)
    kinds = {f"art.{name}": kind for module in modules for name, kind in vars(module).items() if inspect.isclass(kind)}
    there = {name for name, kind in kinds.items() if not inspect.isabstract(kind) and "art.defences" in kind.__module__}
    named = set(libraries.TABLE) | set(libraries.REFUSED)
    assert there <= named <= set(kinds)
    assert not set(libraries.TABLE) & set(libraries.REFUSED)


@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_and_defaults_are_arts(name: str) -> None:
    entry = registry.defenses.entry(name)
    assert entry.params is not None
    ours = {
        key: inspect.Parameter.empty if field.is_required() else field.default
        for key, field in entry.params.model_fields.items()
        if key not in OURS
    }
    module = {"purifier": "pre", "rewiring": "post"}.get(entry.facts["kind"], "evasion")
    kind = art(module, name.removeprefix("art."))
    theirs = dict(inspect.signature(kind).parameters)
    if name.startswith("art.Binary"):
        theirs = {
            key: one for key, one in inspect.signature(kind.fit).parameters.items() if key not in ("self", "kwargs")
        }
    given = {"x", "y", "classifier", "detector", "bgd_data", "layer"}
    assert {key: one.default for key, one in theirs.items() if key not in {*OWNED, *given}} == ours


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_what_the_class_declares(name: str) -> None:
    entry, built = registry.defenses.entry(name), defense(name)
    assert type(built).__name__ == name.removeprefix("art.")
    said = {key: value for key, value in entry.facts.items() if key not in ("eot_iter", "scoring_draws", "library")}
    declared = {key: getattr(built, key) for key in ("kind", "differentiable", "stochastic", "rejects")}
    if isinstance(built, Detector):
        declared["calibrated"] = True
        declared.update({"needs_features": True} if built.needs_features else {})
    assert said == declared
    assert built.library[0] == "adversarial-robustness-toolbox"
    assert built.stochastic == (name in [*RANDOM, "art.GaussianNoise"])


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("art.SpatialSmoothing", {"window_size": 0}),
        ("art.SpatialSmoothing", {"channels_first": True}),
        ("art.FeatureSqueezing", {"bit_depth": 65}),
        ("art.JpegCompression", {"quality": 101}),
        ("art.TotalVarMin", {"prob": 1.5}),
        ("art.TotalVarMin", {"solver": "BFGS"}),
        ("art.GaussianAugmentation", {"augmentation": True}),
        ("art.Cutout", {"length": 1}),
        ("art.Rounded", {"decimals": 0}),
        ("art.HighConfidence", {"cutoff": 0}),
        ("art.BinaryInputDetector", {"eps": 2}),
        ("art.SubsetScanningDetector", {"scoring_function": "Fisher"}),
    ],
)
def test_what_art_would_not_take_is_refused_before(name: str, args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(args))):
        defense(name, **args)


def test_a_refused_name_says_why() -> None:
    with pytest.raises(UnknownNameError, match=r"the defense art\.PixelDefend can't be used here: it needs a PixelCNN"):
        registry.defenses.entry("art.PixelDefend")
    with pytest.raises(UnknownNameError, match=r"did you mean art\.JpegCompression") as caught:
        registry.defenses.entry("art.JPEGCompression")
    assert all(name.startswith("art.") for name in caught.value.known)


# -- the preprocessors -------------------------------------------------------------------------------------------------


class _Float32(nn.Module):
    """ART 1.20.1's FeatureSqueezing makes float64 of its images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()


@pytest.mark.parametrize("name", PLAIN)
def test_logits_and_gradients_are_those_of_arts_own_classifier(name: str, x: Tensor, network: nn.Module) -> None:
    from art.estimators.classification import PyTorchClassifier

    kind = art("pre", name.removeprefix("art."))
    args = {"bit_depth": 3} if name == "art.FeatureSqueezing" else {"channels_first": True}
    theirs = PyTorchClassifier(
        nn.Sequential(_Float32(), network),
        nn.CrossEntropyLoss(reduction="sum"),
        (3, 16, 12),
        5,
        preprocessing_defences=kind(clip_values=(0.0, 1.0), **args),
        device_type="cpu",
    )
    y = torch.tensor([0, 3, 1, 4])
    defended = DefendedModel(CountedModel(network, num_classes=5), defense(name)).seen_by("adaptive")
    point = x.clone().requires_grad_()
    logits = defended(point)
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, y, reduction="sum"), point)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert np.allclose(logits.detach().numpy(), theirs.predict(x.numpy()), atol=1e-6)
        expected = theirs.loss_gradient(x.numpy(), np.eye(5, dtype=np.float32)[y.numpy()])
    assert np.abs(expected).max() > 1e-3
    assert np.allclose(gradient.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("name", [*PLAIN, *RANDOM])
def test_arts_estimate_is_the_identity_where_the_table_says_bpda(name: str) -> None:
    prepare_torchvision()
    from art.defences.preprocessor.preprocessor import Preprocessor

    same = art("pre", name.removeprefix("art.")).estimate_gradient is Preprocessor.estimate_gradient
    assert same == (not registry.defenses.entry(name).facts["differentiable"])


@pytest.mark.parametrize("name", [*PLAIN, *RANDOM])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_images_keep_their_shape_and_bounds(name: str, channels: int, x: Tensor) -> None:
    x = x[:, :channels]
    before = x.clone()
    found = purifier(name).purified(x, keyed(1, 2, 3, 4))
    assert torch.equal(x, before)
    assert (found.shape, found.dtype) == (x.shape, torch.float32)
    assert bool(((found >= 0) & (found <= 1)).all())
    assert not torch.equal(found, x)
    assert purifier(name).purified(x[:0], keyed()).shape == x[:0].shape


@pytest.mark.parametrize("name", [*PLAIN, *RANDOM])
def test_an_image_is_purified_alike_in_any_company(name: str, x: Tensor) -> None:
    built = purifier(name)
    together = built.purified(x, keyed(5, 6, 7, 8))
    assert torch.equal(built.purified(x[[2, 0]], keyed(7, 5)), together[[2, 0]])
    assert torch.equal(built.purified(x[3:], keyed(8)), together[3:])


@pytest.mark.parametrize("name", RANDOM)
def test_draws_are_fresh_and_no_generator_is_left_changed(name: str, x: Tensor) -> None:
    built = purifier(name)
    assert isinstance(built, RandomPurifier)
    same = x[:1].expand(8, -1, -1, -1)
    state, torchs = np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]
    found = built.purified(same, Noise(torch.arange(8)))
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), torchs)
    assert len({tuple(one.flatten().tolist()) for one in found}) >= 7
    noise = Noise(torch.arange(8))
    assert not torch.equal(built.purified(same, noise), built.purified(same, noise)), "two of them in a chain"


def test_feature_squeezing_is_bit_depth(x: Tensor) -> None:
    for bits in (1, 3, 7):
        ours = defenses.build(DefenseSpec(id=None, name="bit_depth", args={"bits": bits}))
        assert isinstance(ours, Purifier)
        theirs = purifier("art.FeatureSqueezing", bit_depth=bits).purify(x)
        assert torch.allclose(theirs, ours.purify(x), atol=1e-6)


@pytest.mark.parametrize("width", [2, 3])
def test_spatial_smoothing_is_the_median_of_feature_squeezing_and_but_for_the_border_median_blur(
    x: Tensor, width: int
) -> None:
    theirs = purifier("art.SpatialSmoothing", window_size=width).purify(x)
    assert torch.equal(theirs, median(x, width))
    if width == 3:
        for name, args in (("median_blur", {}), ("art.SpatialSmoothingPyTorch", {})):
            other = purifier(name, **args).purify(x)
            assert torch.equal(other[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1])
            assert not torch.equal(other, theirs)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_compression_is_jpeg_of_pixels_that_are_cut_off(x: Tensor, channels: int) -> None:
    bytes_ = (x[:, :channels] * 255).floor()
    ours = purifier("jpeg", quality=60).purify(bytes_ / 255)
    theirs = purifier("art.JpegCompression", quality=60)
    assert torch.allclose(theirs.purify((bytes_ + 0.25) / 255), ours, atol=1e-6)
    assert torch.allclose(theirs.purify(((bytes_ + 0.75) / 255).clamp_max(1)), ours, atol=1e-6)


def test_beyond_1_a_byte_does_not_start_again_at_0() -> None:
    white = torch.ones(1, 1, 8, 8)
    assert torch.equal(purifier("art.JpegCompression").purify(white * 1.01), white)


def test_total_variation_looks_at_one_channel_after_the_other(x: Tensor) -> None:
    """Where ART gets the channels first, it takes columns for channels."""
    built = purifier("art.TotalVarMin", prob=1.0)
    together = built.purified(x[:1], keyed(3))
    for channel in range(3):
        alone = built.purified(x[:1, channel : channel + 1], keyed(9))
        assert torch.allclose(together[:, channel], alone[:, 0], atol=1e-6), "nothing is drawn where prob is 1"


def test_gaussian_augmentation_adds_what_it_says() -> None:
    x = torch.full((40, 3, 16, 16), 0.5)
    added = purifier("art.GaussianAugmentation", sigma=0.1).purified(x, Noise(torch.arange(40))) - x
    assert float(added.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(added.mean())) < 0.003


@pytest.mark.parametrize("name", ["art.Cutout", "art.CutoutPyTorch"])
def test_cutout_blackens_one_square(name: str) -> None:
    cut = purifier(name, length=4).purified(torch.ones(30, 3, 20, 20), Noise(torch.arange(30))) == 0
    assert torch.equal(cut[:, 0], cut[:, 2])
    areas = cut[:, 0].flatten(1).sum(1)
    assert int(areas.max()) == 16
    assert int(areas.min()) >= 4


def test_bpda_breaks_what_has_no_gradient(x: Tensor, network: nn.Module) -> None:
    bare = CountedModel(network, num_classes=5)
    for surrogate, zero in ((None, False), ("identity", False), ("exact", True), (purifier("median_blur"), False)):
        defended = DefendedModel(bare, defense("art.FeatureSqueezing"), (surrogate,)).seen_by("adaptive")
        point = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(defended(point)[:, 0].sum(), point)
        assert bool((gradient == 0).all()) == zero


# -- the postprocessors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POST)
def test_the_answers_are_arts_image_by_image(name: str, x: Tensor, network: nn.Module) -> None:
    built = defense(name)
    assert isinstance(built, Rewiring)
    probabilities = network(x).softmax(1).numpy()
    logits = built.logits(network, x, keyed(1, 2, 3, 4))
    if name != "art.GaussianNoise":
        theirs = art("post", name.removeprefix("art."))()
        expected = np.concatenate([theirs(row[None]) for row in probabilities])
        assert np.allclose(logits[:, :5].exp().numpy(), expected, atol=1e-6)
        assert np.array_equal(logits[:, :5].argmax(1), expected.argmax(1))
    assert bool(torch.isfinite(logits).all())
    assert torch.equal(built.logits(network, x[2:3], keyed(3)), logits[2:3])
    assert built.logits(network, x[:0], keyed()).shape == (0, logits.shape[1])


def test_class_labels_of_a_batch_are_why_art_gets_one_image_at_a_time() -> None:
    """Fails where ART has mended it."""
    labels = art("post", "ClassLabels")()(np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]]))
    assert labels.sum() == 4


def test_what_no_class_is_sure_of_is_rejected() -> None:
    logits = torch.tensor([[0.91, 0.05, 0.04], [0.5, 0.3, 0.2], [0.2, 0.6, 0.2]]).log()
    built = defense("art.HighConfidence", cutoff=0.55)
    assert isinstance(built, Rewiring)
    for how in (built.logits, built.surrogate_logits):
        found = how(lambda _: logits, torch.zeros(3, 1, 2, 2), keyed(1, 2, 3))
        assert found.argmax(1).tolist() == [0, 3, 1]


def test_noise_on_the_answer_is_drawn_for_each_image() -> None:
    built = defense("art.GaussianNoise", scale=0.1)
    assert isinstance(built, Rewiring)
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(50, 3)
    found = built.logits(lambda _: logits, torch.zeros(50, 1, 2, 2), Noise(torch.arange(50)))
    assert len(torch.unique(found[:, 0])) > 40
    assert torch.equal(found, built.logits(lambda _: logits, torch.zeros(50, 1, 2, 2), Noise(torch.arange(50))))


def test_an_answer_of_nothing_but_noise_below_0_is_no_nan() -> None:
    built = defense("art.GaussianNoise", scale=100.0)
    assert isinstance(built, Rewiring)
    found = built.logits(lambda x: torch.zeros(len(x), 2), torch.zeros(64, 1, 2, 2), Noise(torch.arange(64)))
    assert bool(torch.isfinite(found).all())
    assert bool((found[:, 0] == found[:, 1]).any())


# -- the detectors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_fitted_alike_again_and_scores_images_alike_in_any_company(
    name: str, x: Tensor, sights: Callable[[Tensor], Sight]
) -> None:
    clean = torch.rand(60, 3, 16, 12, generator=torch.Generator().manual_seed(1))
    args: dict[str, Any] = {} if "Subset" in name else {"nb_epochs": 3, "eps": "0.2"}
    built, again = defense(name, **args), defense(name, **args)
    assert isinstance(built, Detector)
    assert isinstance(again, Detector)
    with pytest.raises(BenchError, match=rf"{name}: must be fitted"):
        built.score(sights(x))
    with torch.no_grad():
        built.fit(sights(clean), torch.arange(60) % 5)
        torch.manual_seed(99)
        again.fit(sights(clean), torch.arange(60) % 5)
        scores = built.score(sights(x))
        assert (scores.shape, scores.dtype) == ((4,), torch.float32)
        assert torch.equal(scores, again.score(sights(x)))
        assert torch.allclose(built.score(sights(x[1:2])), scores[1:2], atol=1e-5)
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(built.surrogate_score(sights(point)).sum(), point)
    assert bool((gradient.flatten(1).norm(dim=1) > 1e-6).all())


@pytest.mark.parametrize("name", DETECTORS[:2])
def test_a_trained_detector_tells_what_it_learned_apart(name: str, sights: Callable[[Tensor], Sight]) -> None:
    """Images of one grey, which the attack's steps make uneven."""
    images = torch.rand(80, 1, 1, 1, generator=torch.Generator().manual_seed(1)).expand(80, 3, 16, 12)
    built = defense(name, eps="0.2", nb_epochs=40)
    assert isinstance(built, Detector)
    with torch.no_grad():
        built.fit(sights(images[:40]), sights(images[:40]).logits.argmax(1))
        clean, uneven = built.score(sights(images[40:])), built.score(sights(_attacked(images[40:], sights)))
    assert float((uneven[:, None] > clean).float().mean()) > 0.9


def _attacked(images: Tensor, sights: Callable[[Tensor], Sight]) -> Tensor:
    from bench.defenses.auxiliary_head import bim

    sight = sights(images)
    return bim(sight.ask, images, sight.logits.argmax(1), eps=0.2, steps=5)


@pytest.mark.parametrize("how", ["BerkJones", "HigherCriticism", "KolmarovSmirnov"])
def test_subset_scanning_is_arts(how: str, x: Tensor, sights: Callable[[Tensor], Sight]) -> None:
    clean, features = sights(torch.rand(50, 3, 16, 12)).features, sights(x).features
    assert clean is not None
    assert features is not None

    class Given:
        layer_names = ("features",)

        def get_activations(self, x: Any, *_: Any) -> Any:
            return x

    theirs = art("evasion", "SubsetScanningDetector")(Given(), clean.numpy(), "features", how, verbose=False)
    expected, _ = theirs.detect(features.numpy())
    built = defense("art.SubsetScanningDetector", scoring_function=how)
    assert isinstance(built, SubsetScanningDetector)
    built.fit(Sight(clean, clean, clean, lambda x: x), torch.zeros(50))
    assert np.allclose(built.score(sights(x)).numpy(), expected["scores"], rtol=1e-6)
    assert np.array_equal(built.p_values(features).numpy(), theirs._calculate_pvalue_ranges(features.numpy())[:, :, 1])


def test_an_image_below_all_medians_is_not_suspicious() -> None:
    clean = torch.rand(30, 4) + 1
    built = defense("art.SubsetScanningDetector")
    assert isinstance(built, Detector)
    built.fit(Sight(clean, clean, clean, lambda x: x), torch.zeros(30))
    low = torch.zeros(1, 4)
    assert float(built.score(Sight(low, low, low, lambda x: x))) == 0
