"""Thresholds of detectors: the exact order statistic, what they promise, and the logit of rejection."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.defenses.base import Detector, Sight
from bench.defenses.calibration import Threshold, calibrate, images_needed, rejection_logit
from bench.defenses.detector_parameters import DetectorParams
from bench.errors import BenchError


class FirstPixel(Detector):
    """Scores by the first pixel; keeps what it was fitted on."""

    differentiable = True
    fitted: tuple[Sight, Tensor]

    def fit(self, sight: Sight, y: Tensor) -> None:
        self.fitted = (sight, y)

    def score(self, sight: Sight) -> Tensor:
        return sight.x[:, 0, 0, 0]


class FittedFirstPixel(FirstPixel):
    needs_fit = True


def images(values: Tensor) -> Tensor:
    return values.float()[:, None, None, None]


def logits(x: Tensor) -> Tensor:
    value = x[:, 0, 0, 0]
    return torch.stack([value * 0, value * 0 - 3, value * 0 - 1], dim=1)


def sights(x: Tensor) -> Sight:
    features = x.flatten(1) * 2
    return Sight(x, logits(x), features, logits, lambda z: (logits(z), z.flatten(1) * 2))


def threshold(values: Tensor, fpr: float, detector: Detector | None = None) -> Threshold:
    x = images(values)
    y = torch.arange(len(x))
    return calibrate(detector or FirstPixel(DetectorParams()), sights, x, y, fpr=fpr, batch_size=7)


@pytest.mark.parametrize(
    ("n", "fpr", "rank"), [(19, 0.05, 19), (20, 0.05, 20), (39, 0.05, 38), (99, 0.1, 90), (999, 0.01, 990), (9, 0.3, 7)]
)
def test_the_threshold_is_the_exact_order_statistic(n: int, fpr: float, rank: int) -> None:
    values = torch.randperm(n, generator=torch.Generator().manual_seed(n)) + 1
    found = threshold(values, fpr)
    assert found.value == rank
    assert (found.fpr, found.n) == (fpr, n)


def test_the_rate_of_false_positives_is_kept_on_average_and_not_wasted() -> None:
    """Split conformal: the mean over draws of the calibration images is 1 - rank / (n + 1)."""
    generator = np.random.default_rng(0)
    for fpr, n in ((0.05, 40), (0.1, 25)):
        rates = []
        for _ in range(500):
            found = threshold(torch.from_numpy(generator.lognormal(size=n)), fpr)
            rates.append((generator.lognormal(size=200) > found.value).mean())
        rank = int(np.ceil(round((n + 1) * (1 - fpr), 9)))
        error = np.std(rates) / np.sqrt(len(rates))
        assert np.mean(rates) <= fpr + 4 * error
        assert abs(np.mean(rates) - (1 - rank / (n + 1))) <= 4 * error


def test_fitting_takes_the_even_images_and_the_threshold_the_odd_ones() -> None:
    values = torch.arange(40).float()
    detector = FittedFirstPixel(DetectorParams())
    found = threshold(values, 0.05, detector)
    sight, y = detector.fitted
    assert sight.x.flatten().tolist() == list(range(0, 40, 2))
    assert y.tolist() == list(range(0, 40, 2))
    assert sight.features is not None
    assert torch.equal(sight.features, sight.x.flatten(1) * 2)
    assert torch.equal(sight.logits, logits(sight.x))
    assert found.n == 20
    assert found.value == 39


def test_the_fitting_sight_asks_in_batches() -> None:
    detector = FittedFirstPixel(DetectorParams())
    sizes = []

    def counted(x: Tensor) -> Sight:
        def ask(z: Tensor) -> Tensor:
            sizes.append(len(z))
            return logits(z)

        return Sight(x, logits(x), x.flatten(1), ask, lambda z: (ask(z), z.flatten(1)))

    x = images(torch.rand(50))
    calibrate(detector, counted, x, torch.zeros(50), fpr=0.05, batch_size=10)
    sight, _ = detector.fitted
    assert torch.equal(sight.ask(sight.x), logits(sight.x))
    assert sight.look is not None
    answers, features = sight.look(sight.x)
    assert torch.equal(answers, logits(sight.x))
    assert torch.equal(features, sight.x.flatten(1))
    assert sizes == [10, 10, 5, 10, 10, 5]


@pytest.mark.parametrize(
    ("detector", "fpr", "needed"),
    [(FirstPixel, 0.05, 19), (FittedFirstPixel, 0.05, 38), (FirstPixel, 0.01, 99), (FirstPixel, 0.5, 1)],
)
def test_too_few_images_are_refused_with_the_number_that_is_needed(
    detector: type[Detector], fpr: float, needed: int
) -> None:
    built = detector(DetectorParams())
    assert images_needed(built, fpr) == needed
    assert threshold(torch.rand(needed), fpr, built).value < 1
    if needed > 1:
        message = f"fpr {fpr:g} needs at least {needed} calibration images, got {needed - 1}"
        with pytest.raises(BenchError, match=message):
            threshold(torch.rand(needed - 1), fpr, built)


def test_scores_that_are_not_finite_are_refused() -> None:
    values = torch.rand(30)
    values[3], values[4] = torch.nan, torch.inf
    with pytest.raises(BenchError, match="scores of 2 of 30 clean images aren't finite"):
        threshold(values, 0.05)


def test_scale_and_gain_are_those_of_the_clean_images() -> None:
    values = torch.randn(20001, generator=torch.Generator().manual_seed(0)) * 3 + 10
    found = threshold(values, 0.05)
    low, median, high = np.quantile(values.double().numpy(), [0.25, 0.5, 0.75])
    tail = (found.value - median) / 1.6448536269514722
    assert found.scale == pytest.approx(max((high - low) / 1.349, tail))
    assert found.scale == pytest.approx(3, rel=0.05)
    assert found.gain == 1.0


def test_scores_without_a_spread_still_have_a_scale() -> None:
    mostly_zero = torch.cat([torch.zeros(90), torch.full((10,), 0.5)])
    assert threshold(mostly_zero, 0.05).scale == pytest.approx(0.5 / 1.6448536269514722)
    assert threshold(torch.full((100,), 7.0), 0.05).scale == pytest.approx(7e-6)
    assert threshold(torch.zeros(100), 0.05).scale > 0


@pytest.mark.parametrize(("value", "scale"), [(0.5, 0.1), (0.5, 1e-12), (1e4, 1e9), (0.0, 1.0)])
def test_rejection_is_the_largest_logit_exactly_above_the_threshold(value: float, scale: float) -> None:
    exact = float(torch.tensor(value))
    found = Threshold(exact, scale, 5.0, 0.05, 100)
    middle = torch.tensor([exact])
    up, down = torch.nextafter(middle, middle + 1), torch.nextafter(middle, middle - 1)
    score = torch.cat([middle, up, down, middle + 0.1, middle - 0.1, middle * 2 + 3])
    outputs = torch.randn(len(score), 10, generator=torch.Generator().manual_seed(0)) * 30
    rejection = rejection_logit(outputs, score, found)
    assert torch.isfinite(rejection).all()
    assert torch.equal(rejection > outputs.amax(1), score > exact)
    everything = torch.cat([outputs, rejection[:, None]], dim=1)
    assert torch.equal(everything.argmax(1) == 10, score > exact)


def test_rejection_has_the_gradients_of_logits_and_score() -> None:
    outputs = torch.tensor([[1.0, 4.0], [2.0, 0.0]], requires_grad=True)
    score = torch.tensor([0.7, 0.1], requires_grad=True)
    rejection = rejection_logit(outputs, score, Threshold(0.5, 0.1, 3.0, 0.05, 100))
    assert torch.allclose(rejection, torch.tensor([10.0, -10.0]))
    by_logits, by_score = torch.autograd.grad(rejection.sum(), [outputs, score])
    assert torch.equal(by_logits, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert torch.allclose(by_score, torch.tensor([30.0, 30.0]))
