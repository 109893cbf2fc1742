"""The detectors' scores against independent computations, their gradients, and what they tell apart on real digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from scipy import ndimage, special
from scipy.spatial import distance
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf
from torch import Tensor, nn

from bench import datasets, defenses, models
from bench.defenses import TABLE
from bench.defenses.auxiliary_head import bim
from bench.defenses.base import Detector, Sight
from bench.defenses.calibration import calibrate
from bench.defenses.detector_parameters import DetectorParams
from bench.defenses.features import Features
from bench.defenses.input_statistics import high_frequency_share, histogram, spectral_entropy
from bench.defenses.mahalanobis import ledoit_wolf
from bench.errors import BenchError
from bench.models.base import Setting
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec, DefenseSpec, ModelSpec

DETECTORS: list[tuple[str, dict[str, Any]]] = [
    ("feature_squeezing", {"bits": 1}),
    ("feature_squeezing", {"bits": 3, "kernel": 3, "non_local_means": 0.2}),
    ("input_statistics", {"kind": "pixel_distribution"}),
    ("input_statistics", {"kind": "spectral_entropy"}),
    ("input_statistics", {"kind": "high_frequency"}),
    ("mahalanobis", {}),
    ("lid", {"k": 10}),
    ("auxiliary_head", {"epochs": 30, "eps": 0.1}),
]
EVERY = pytest.mark.parametrize(("name", "args"), DETECTORS)


def detector(name: str, **args: object) -> Detector:
    built = defenses.build(DefenseSpec(id=None, name=name, args=args))
    assert isinstance(built, Detector)
    return built


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(192, 12), nn.Softplus(), nn.Linear(12, 4)).requires_grad_(False)
    for parameter in layers.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return layers.eval()


@pytest.fixture(scope="module")
def sights(network: nn.Module) -> Callable[[Tensor], Sight]:
    features = Features(network, network, torch.zeros(1, 3, 8, 8))
    return lambda x: Sight(x, *features.look(x), network, features.look)


@pytest.fixture
def x() -> Tensor:
    return random(6, 3, 8, 8)


def fitted(name: str, args: dict[str, Any], sights: Callable[[Tensor], Sight], count: int = 60) -> Detector:
    found = detector(name, **args)
    with torch.no_grad():
        found.fit(sights(random(count, 3, 8, 8, seed=1)), torch.arange(count) % 4)
    return found


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("bits", [1, 5])
def test_feature_squeezing_is_the_largest_l1_distance(
    x: Tensor, sights: Callable[[Tensor], Sight], network: nn.Module, kernel: int, bits: int
) -> None:
    score = detector("feature_squeezing", bits=bits, kernel=kernel).score(sights(x))
    levels = 2**bits - 1
    squeezed = [
        np.rint(x.numpy() * levels) / levels,
        ndimage.median_filter(x.numpy(), size=(1, 1, kernel, kernel), mode="reflect"),
    ]
    answers = [
        special.softmax(network(torch.from_numpy(images).float()).numpy(), axis=1) for images in [x.numpy(), *squeezed]
    ]
    expected = np.max([np.abs(answers[0] - answer).sum(1) for answer in answers[1:]], axis=0)
    assert np.allclose(score.numpy(), expected, atol=1e-6)


def test_non_local_means_is_one_more_squeezer(x: Tensor, sights: Callable[[Tensor], Sight]) -> None:
    without = detector("feature_squeezing", bits=7).score(sights(x))
    with_it = detector("feature_squeezing", bits=7, non_local_means=1.0).score(sights(x))
    assert bool((with_it >= without).all())
    assert bool((with_it > without).any())


@pytest.mark.parametrize("args", [{"bits": 1}, {"bits": 2, "non_local_means": 0.3}])
def test_the_surrogate_of_feature_squeezing_has_the_real_values_and_more_gradient(
    x: Tensor, sights: Callable[[Tensor], Sight], args: dict[str, Any]
) -> None:
    found = detector("feature_squeezing", **args)
    gradients = []
    for score in (found.score, found.surrogate_score):
        point = x.clone().requires_grad_()
        value = score(sights(point))
        assert torch.equal(value, found.score(sights(x)))
        gradients.append(torch.autograd.grad(value.sum(), point)[0])
    assert not torch.equal(*gradients)


def test_the_surrogate_goes_straight_through_the_rounding() -> None:
    """Where only the rounded image is asked, the gradient is that of the question at the rounded image."""
    x = torch.full((1, 1, 4, 4), 0.4, requires_grad=True)  # a median changes nothing
    ask = lambda z: torch.stack([5 * z.flatten(1).mean(1), z.flatten(1).mean(1) * 0], dim=1)  # noqa: E731
    sight = Sight(x, ask(x).detach(), None, ask)
    found = detector("feature_squeezing", bits=1)
    (gradient,) = torch.autograd.grad(found.surrogate_score(sight).sum(), x)
    rounded = torch.zeros(1, 1, 4, 4, requires_grad=True)
    distance_there = (sight.logits.softmax(1) - ask(rounded).softmax(1)).abs().sum()
    (expected,) = torch.autograd.grad(distance_there, rounded)
    assert torch.allclose(gradient, expected)
    assert bool(gradient.all())


def test_the_histogram_of_centres_is_the_plain_one() -> None:
    values = torch.randint(0, 8, (3, 2, 5, 5), generator=torch.Generator().manual_seed(0))
    shares = histogram(values / 7, 8)
    expected = np.stack([np.bincount(image.flatten().numpy(), minlength=8) / 50 for image in values])
    assert np.allclose(shares.numpy(), expected, atol=1e-6)


def test_values_between_centres_count_for_both() -> None:
    x = random(2, 3, 8, 8).double()
    centres = np.linspace(0, 1, 6)
    closeness = np.clip(1 - 5 * np.abs(x.flatten(1).numpy()[:, :, None] - centres), 0, None)
    assert np.allclose(histogram(x, 6).numpy(), closeness.mean(1))
    ends = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    assert torch.allclose(histogram(ends, 3), torch.tensor([[0.5, 0.0, 0.5]]))
    assert torch.autograd.gradcheck(lambda z: histogram(z, 6), x.requires_grad_())


def test_pixel_distribution_is_the_chi_squared_distance(x: Tensor, sights: Callable[[Tensor], Sight]) -> None:
    found = fitted("input_statistics", {"bins": 8}, sights)
    clean = histogram(random(60, 3, 8, 8, seed=1), 8).numpy().mean(0)
    shares = histogram(x, 8).numpy()
    expected = ((shares - clean) ** 2 / (shares + clean)).sum(1)
    assert np.allclose(found.score(sights(x)).numpy(), expected, atol=1e-6)


def spectrum(x: Tensor) -> np.ndarray[Any, Any]:
    pixels = x.double().numpy()
    return np.abs(np.fft.fft2(pixels - pixels.mean((2, 3), keepdims=True))) ** 2


def test_spectral_entropy_is_that_of_numpys_spectrum(x: Tensor, sights: Callable[[Tensor], Sight]) -> None:
    shares = spectrum(x).reshape(6, -1)
    shares = shares / shares.sum(1, keepdims=True)
    expected = special.entr(shares).sum(1) / np.log(shares.shape[1])
    assert np.allclose(spectral_entropy(x).numpy(), expected, atol=1e-5)
    found = fitted("input_statistics", {"kind": "spectral_entropy"}, sights)
    clean = spectral_entropy(random(60, 3, 8, 8, seed=1)).sort().values[29]
    assert np.allclose(found.score(sights(x)).numpy(), np.abs(expected - float(clean)), atol=1e-5)


@pytest.mark.parametrize("radius", [0.3, 0.9])
def test_high_frequency_is_a_share_of_numpys_spectrum(x: Tensor, radius: float) -> None:
    frequencies = np.hypot(np.fft.fftfreq(8)[:, None], np.fft.fftfreq(8)[None]) / 0.5
    power = spectrum(x)
    expected = (power * (frequencies > radius)).sum((1, 2, 3)) / power.sum((1, 2, 3))
    assert np.allclose(high_frequency_share(x, radius).numpy(), expected, atol=1e-5)
    assert not detector("input_statistics", kind="high_frequency").needs_fit
    assert detector("input_statistics").needs_fit


def test_an_image_of_one_colour_has_finite_statistics_and_gradients() -> None:
    flat = torch.full((2, 1, 6, 6), 0.5, requires_grad=True)
    for statistic in (spectral_entropy(flat), high_frequency_share(flat, 0.5)):
        assert torch.equal(statistic, torch.zeros(2))
        (gradient,) = torch.autograd.grad(statistic.sum(), flat)
        assert torch.isfinite(gradient).all()


def clusters(count: int, dimension: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, count)
    shape = np.random.default_rng(9).normal(size=(dimension, dimension))
    features = generator.normal(size=(count, dimension)) @ shape + 4 * np.eye(3, dimension)[y]
    return torch.from_numpy(features).float(), torch.from_numpy(y)


def seen(features: Tensor) -> Sight:
    return Sight(features[:, :, None, None], features[:, :2], features, lambda z: z.flatten(1)[:, :2])


@pytest.mark.parametrize(("shrinkage", "count"), [(0.0, 200), (0.3, 200), (None, 200), (None, 8), (0.0, 8)])
def test_mahalanobis_is_scipys_distance_to_the_nearest_mean(shrinkage: float | None, count: int) -> None:
    features, y = clusters(count, 12, seed=0)
    found = detector("mahalanobis", shrinkage=shrinkage)
    found.fit(seen(features), y)
    new, _ = clusters(20, 12, seed=1)
    known, labels = features.double().numpy(), y.numpy()
    means = np.stack([known[labels == label].mean(0) for label in np.unique(labels)])
    residuals = known - means[np.searchsorted(np.unique(labels), labels)]
    covariance = residuals.T @ residuals / count
    if shrinkage is None:
        covariance, _ = sklearn_ledoit_wolf(residuals, assume_centered=True)
    else:
        covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 12 * np.eye(12)
    inverse = np.linalg.pinv(covariance, hermitian=True)
    expected = distance.cdist(new.double().numpy(), means, "mahalanobis", VI=inverse).min(1) ** 2
    assert np.allclose(found.score(seen(new)).numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("count", [5, 50, 5000])
def test_ledoit_wolf_is_sklearns(count: int) -> None:
    features, _ = clusters(count, 12, seed=2)
    residuals = features.double() - features.double().mean(0)
    _, expected = sklearn_ledoit_wolf(residuals.numpy(), assume_centered=True)
    assert ledoit_wolf(residuals) == pytest.approx(expected)


def test_mahalanobis_leaves_out_classes_without_images() -> None:
    features, y = clusters(60, 5, seed=3)
    found, shifted = detector("mahalanobis"), detector("mahalanobis")
    found.fit(seen(features), y)
    shifted.fit(seen(features), y * 7)
    assert torch.equal(found.score(seen(features)), shifted.score(seen(features)))


def test_mahalanobis_refuses_what_has_no_covariance() -> None:
    with pytest.raises(BenchError, match="two different calibration images of a class"):
        detector("mahalanobis").fit(seen(random(3, 5)), torch.arange(3))


def test_lid_is_the_formula_of_the_paper() -> None:
    references, new = random(50, 6).double(), random(9, 6, seed=1).double()
    found = detector("lid", k=7)
    found.fit(seen(references.float()), torch.zeros(50))
    nearest = np.sort(distance.cdist(new.float().double(), references.float().double()), axis=1)[:, :7]
    expected = -1 / np.mean(np.log(nearest / nearest[:, -1:]), axis=1)
    assert np.allclose(found.score(seen(new.float())).numpy(), expected, rtol=1e-4)


def test_lid_finds_the_dimensionality_of_a_plane() -> None:
    """2,000 points of a 3-dimensional plane in 10 dimensions."""
    plane = random(3, 10, seed=5)
    found = detector("lid", k=100)
    found.fit(seen((random(2000, 3) - 0.5) @ plane), torch.zeros(2000))
    estimates = found.score(seen((random(200, 3, seed=1) - 0.5) * 0.4 @ plane))
    assert float(estimates.mean()) == pytest.approx(3, abs=0.25)


def test_lid_is_finite_on_a_reference_and_among_copies() -> None:
    references = torch.cat([random(30, 4), torch.ones(10, 4)])
    found = detector("lid", k=8)
    found.fit(seen(references), torch.zeros(40))
    point = torch.cat([references[:3], torch.ones(1, 4), torch.full((1, 4), 2.0)]).requires_grad_()
    score = found.score(seen(point))
    assert torch.isfinite(score).all()
    assert bool((score > 0).all())
    (gradient,) = torch.autograd.grad(score.sum(), point)
    assert torch.isfinite(gradient).all()


def test_lid_refuses_fewer_references_than_neighbours() -> None:
    with pytest.raises(BenchError, match="k 20 needs as many clean images to compare with, got 19"):
        detector("lid").fit(seen(random(19, 4)), torch.zeros(19))


@pytest.mark.parametrize("steps", [1, 4])
def test_the_examples_of_the_auxiliary_head_stay_in_the_ball_and_raise_the_loss(
    x: Tensor, network: nn.Module, steps: int
) -> None:
    y = network(x).argmax(1)
    with torch.no_grad():  # as when a detector is calibrated
        x_adv = bim(network, x, y, eps=0.1, steps=steps)
    assert float((x_adv - x).abs().max()) <= 0.1 + 1e-6
    assert float(x_adv.min()) >= 0
    assert float(x_adv.max()) <= 1
    losses = [F.cross_entropy(network(images), y, reduction="none") for images in (x, x_adv)]
    assert bool((losses[1] > losses[0]).all())


def test_the_auxiliary_head_depends_on_its_seed_alone(x: Tensor, sights: Callable[[Tensor], Sight]) -> None:
    scores = []
    for noise, seed in ((0, 0), (1, 0), (0, 1)):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        found = fitted("auxiliary_head", {"epochs": 20, "seed": seed}, sights)
        assert torch.equal(torch.get_rng_state(), before)
        scores.append(found.score(sights(x)))
    assert torch.equal(scores[0], scores[1])
    assert not torch.allclose(scores[0], scores[2])


def test_the_auxiliary_head_learns_what_it_was_shown(sights: Callable[[Tensor], Sight], network: nn.Module) -> None:
    x, y = random(60, 3, 8, 8, seed=1), torch.arange(60) % 4
    found = detector("auxiliary_head", eps=0.1, epochs=300)
    with torch.no_grad():
        found.fit(sights(x), y)
        clean = found.score(sights(x))
        adversarial = found.score(sights(bim(network, x, y, eps=0.1, steps=5)))
    assert float((clean < 0).float().mean()) > 0.9
    assert float((adversarial > 0).float().mean()) > 0.9


@EVERY
def test_every_image_is_scored_on_its_own(
    x: Tensor, sights: Callable[[Tensor], Sight], name: str, args: dict[str, Any]
) -> None:
    found = fitted(name, args, sights)
    together = found.score(sights(x))
    alone = torch.cat([found.score(sights(image)) for image in x.split(1)])
    assert together.shape == (6,)
    assert together.dtype == torch.float32
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-6)


@EVERY
def test_gradients_are_finite_and_there(
    x: Tensor, sights: Callable[[Tensor], Sight], name: str, args: dict[str, Any]
) -> None:
    found = fitted(name, args, sights)
    point = x.clone().requires_grad_()
    score = found.surrogate_score(sights(point))
    assert torch.equal(score, found.score(sights(x)))
    (gradient,) = torch.autograd.grad(score.sum(), point)
    assert torch.isfinite(gradient).all()
    assert bool((gradient.flatten(1).abs().sum(1) > 0).all()), "of every image"


@pytest.mark.parametrize(("name", "args"), [line for line in DETECTORS if TABLE[line[0]].facts["differentiable"]])
def test_exact_gradients_are_those_of_finite_differences(
    x: Tensor, sights: Callable[[Tensor], Sight], name: str, args: dict[str, Any]
) -> None:
    found = fitted(name, args, sights)
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(found.score(sights(point)).sum(), point)
    direction = gradient.sign()
    step = 1e-3
    ahead, behind = (found.score(sights(x + sign * step * direction)).sum() for sign in (1, -1))
    slope = float((gradient * direction).sum())
    assert float(ahead - behind) / (2 * step) == pytest.approx(slope, rel=0.05)


@EVERY
def test_nothing_is_scored_before_it_is_fitted(
    x: Tensor, sights: Callable[[Tensor], Sight], name: str, args: dict[str, Any]
) -> None:
    found = detector(name, **args)
    if found.needs_fit:
        with pytest.raises(BenchError, match=r"must be fitted"):
            found.score(sights(x))
    else:
        assert torch.isfinite(found.score(sights(x))).all()


@EVERY
def test_the_table_says_what_the_class_declares(name: str, args: dict[str, Any]) -> None:
    found, facts = detector(name, **args), TABLE[name].facts
    assert facts["kind"] == "detector"
    assert facts["calibrated"] is True
    assert facts.get("needs_features", False) == found.needs_features
    for fact in ("differentiable", "stochastic", "rejects"):
        assert facts[fact] == getattr(found, fact)
    assert isinstance(found.params, DetectorParams)
    assert found.params.fpr == 0.05


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("lid", {"fpr": 0}),
        ("lid", {"fpr": 1}),
        ("lid", {"k": 1}),
        ("mahalanobis", {"shrinkage": 1.1}),
        ("feature_squeezing", {"kernel": 4}),
        ("input_statistics", {"radius": 1.0}),
        ("auxiliary_head", {"eps": "0/255"}),
        ("auxiliary_head", {"eps": 2}),
    ],
)
def test_parameters_that_cannot_work_are_refused(name: str, args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        detector(name, **args)


def test_a_radius_may_be_a_fraction() -> None:
    assert detector("auxiliary_head", eps="16/255").params.eps == 16 / 255


@pytest.fixture(scope="module")
def digits() -> tuple[Callable[[Tensor], Sight], Tensor, Tensor, Tensor]:
    """What there is to see of the zoo's standard model; 500 clean test digits, and PGD examples of the last 200."""
    places = Places(download=False)
    spec = ModelSpec(id="standard", source="zoo", name="mnist_standard")
    model = models.load(spec, Setting("mnist", "linf", 10, (1, 28, 28)), places, device="cpu")
    data = datasets.load(DatasetSpec(name="mnist", samples=500), places)
    x, y = torch.from_numpy(data.images).float() / 255, torch.from_numpy(data.labels)
    clean, labels, eps = x[300:], y[300:], 0.2
    x_adv = (clean + eps * (2 * random(*clean.shape) - 1)).clamp(0, 1)
    for _ in range(20):
        point = x_adv.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(point), labels, reduction="sum"), point)
        x_adv = (x_adv + 0.025 * gradient.sign()).clamp(clean - eps, clean + eps).clamp(0, 1)
    assert float((model(x_adv).argmax(1) == labels).float().mean()) < 0.05
    features = Features(model, model, x[:1])
    return lambda z: Sight(z, *features.look(z), model, features.look), x, y, x_adv


@pytest.mark.parametrize(
    ("name", "args", "least"),
    [
        ("feature_squeezing", {"bits": 1}, 0.95),
        ("feature_squeezing", {}, 0.6),
        ("input_statistics", {"kind": "pixel_distribution"}, 0.99),
        ("input_statistics", {"kind": "spectral_entropy"}, 0.5),
        ("input_statistics", {"kind": "high_frequency"}, 0.6),
        ("mahalanobis", {}, 0.7),
        ("lid", {}, 0.75),
        ("auxiliary_head", {}, 0.8),
        ("auxiliary_head", {"eps": 0.2}, 0.95),
    ],
)
def test_detectors_tell_pgd_from_clean_digits(
    digits: tuple[Callable[[Tensor], Sight], Tensor, Tensor, Tensor], name: str, args: dict[str, Any], least: float
) -> None:
    sights, x, y, x_adv = digits
    found = detector(name, **args)
    threshold = calibrate(found, sights, x[:300], y[:300], fpr=0.05, batch_size=100)
    with torch.no_grad():
        clean, adversarial = found.score(sights(x[300:])), found.score(sights(x_adv))
    above = adversarial[:, None] > clean
    auc = float((above.float() + 0.5 * (adversarial[:, None] == clean).float()).mean())
    assert auc > least
    assert float((clean > threshold.value).float().mean()) <= 0.12
