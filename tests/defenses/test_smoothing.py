"""Randomised smoothing against counts made independently, and a linear model whose radius is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import special
from scipy import stats as scipy_stats
from torch import Tensor

from bench import defenses
from bench.defenses import smoothing as module
from bench.defenses.smoothing import Smoothing
from bench.models.noise import Noise
from bench.suites.spec import DefenseSpec

SHAPE = (2, 3, 3)


def smoothing(**args: object) -> Smoothing:
    built = defenses.build(DefenseSpec(id=None, name="smoothing", args=args))
    assert isinstance(built, Smoothing)
    return built


def keys(*numbers: int) -> Noise:
    return Noise(torch.tensor(numbers, dtype=torch.int64))


class Line:
    """Class 1 where the mean pixel lies above 0.5, by a unit normal: the distance to the boundary is known."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []

    def distance(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - 0.5).sum(1) / np.sqrt(np.prod(SHAPE))

    def __call__(self, x: Tensor) -> Tensor:
        self.asked.append(x.detach())
        return torch.stack([-self.distance(x), self.distance(x)], dim=1)


def images(*distances: float) -> Tensor:
    """Images at these signed distances."""
    return torch.stack([torch.full(SHAPE, 0.5 + distance / float(np.sqrt(np.prod(SHAPE)))) for distance in distances])


def test_copies_are_noisy_with_sigma_and_leave_the_bounds() -> None:
    line = Line()
    smoothing(sigma=0.5, n=400).logits(line, images(0, 0.3), keys(1, 2))
    asked = torch.cat(line.asked)
    assert asked.shape == (800, *SHAPE)
    noise = (asked - images(0, 0.3).repeat_interleave(400, 0)) / 0.5
    assert scipy_stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    assert asked.min() < 0
    assert asked.max() > 1
    assert len(torch.unique(asked.flatten(1), dim=0)) == 800


def test_logits_are_the_votes_and_the_rejection_is_the_papers() -> None:
    line = Line()
    x = images(*np.linspace(-0.3, 0.3, 25))
    logits = smoothing(n=60, alpha=0.01).logits(line, x, keys(*range(25)))
    asked = line(torch.cat(line.asked))
    picks = asked.argmax(1).view(25, 60).numpy()
    counts = np.stack([(picks == 0).sum(1), (picks == 1).sum(1)], axis=1)
    means = special.softmax(asked.double().view(25, 60, 2).numpy(), axis=2).mean(1)
    assert logits.shape == (25, 3)
    assert np.allclose(logits[:, :2].numpy(), counts + means, atol=1e-4)
    p = np.array([scipy_stats.binomtest(int(top), 60, 0.5).pvalue for top in counts.max(1)])
    rejected = (logits.argmax(1) == 2).numpy()
    assert rejected.tolist() == (p > 0.01).tolist()
    assert 0 < rejected.sum() < 25
    margin = logits[:, 2] - logits[:, :2].amax(1)
    far = np.abs(np.log(p / 0.01)) > 0.6
    assert np.allclose(margin.numpy()[far], np.log(p / 0.01)[far], atol=1e-3)
    assert float(margin.abs().min()) > 0.4


def test_easy_images_are_predicted_and_the_boundary_abstains() -> None:
    defense = smoothing()
    logits = defense.logits(Line(), images(-0.6, 0.6, 0.9), keys(1, 2, 3))
    assert logits.argmax(1).tolist() == [0, 1, 1]
    boundary = defense.logits(Line(), images(*[0.0] * 200), keys(*range(200)))
    assert int((boundary.argmax(1) != 2).sum()) <= 3
    assert bool(torch.isfinite(boundary).all())


def test_the_certified_radius_stays_below_the_true_one() -> None:
    distances = np.concatenate([np.full(100, 0.2), np.full(100, -0.5), np.full(100, 0.02)])
    defense = smoothing(sigma=0.25, alpha=0.02, n_certify=400)
    found = defense.certify(Line(), images(*distances), keys(*range(300)))
    classes, radii = found.classes.numpy(), found.radii.numpy()
    assert (found.classes.dtype, found.radii.dtype) == (torch.int64, torch.float64)
    truth = (distances > 0).astype(int)
    certified = classes >= 0
    wrong = certified & ((classes != truth) | (radii > np.abs(distances)))
    assert wrong.sum() <= scipy_stats.binom.ppf(0.999, 300, 0.02)
    assert certified[:200].all()
    assert radii[:100].mean() > 0.15
    assert radii[100:200].mean() > 0.4
    assert (~certified[200:]).sum() > 0
    assert (radii[~certified] == 0).all()


def test_a_certificate_takes_two_lots_of_fresh_copies() -> None:
    line = Line()
    smoothing(n0=20, n_certify=50).certify(line, images(0.1), keys(7))
    asked = torch.cat(line.asked)
    assert len(torch.unique(asked.flatten(1), dim=0)) == len(asked) == 70


def test_passes_are_small_and_their_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, line = images(-0.1, 0.05, 0.3), Line()
    whole = smoothing().logits(line, x, keys(1, 2, 3))
    certified = smoothing().certify(line, x, keys(1, 2, 3))
    assert max(len(asked) for asked in line.asked) <= 1000
    small = Line()
    monkeypatch.setattr(module, "MOST_IMAGES", 7)
    assert torch.allclose(smoothing().logits(small, x, keys(1, 2, 3)), whole)
    assert torch.equal(smoothing().certify(small, x, keys(1, 2, 3)).radii, certified.radii)
    assert max(len(asked) for asked in small.asked) == 7
    monkeypatch.setattr(module, "MOST_NUMBERS", 3 * int(np.prod(SHAPE)))
    large = Line()
    smoothing().logits(large, x, keys(1, 2, 3))
    assert max(len(asked) for asked in large.asked) == 3


def test_the_attacked_mean_is_that_of_the_probabilities() -> None:
    line = Line()
    x = images(-0.2, 0.4).requires_grad_()
    logits = smoothing(attack_draws=5).surrogate_logits(line, x, keys(4, 9))
    probabilities = special.softmax(line(torch.cat(line.asked)).double().numpy(), axis=1).reshape(2, 5, 2).mean(1)
    assert np.allclose(logits[:, :2].detach().numpy(), np.log(probabilities), atol=1e-5)
    assert bool((logits[:, 2] < logits[:, :2].amin(1) - 99).all())
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    assert bool((gradient > 0).all())


def test_confident_copies_leave_a_gradient() -> None:
    x = images(0.6).requires_grad_()
    logits = smoothing().surrogate_logits(lambda z: 1000 * Line()(z), x, keys(1))
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert float(gradient.abs().min()) > 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"n": 10}, "n: 10 copies never reach alpha 0.001, even unanimous; accepted: 11 or more"),
        ({"n_certify": 9}, "n_certify: 9 copies never certify at alpha 0.001; accepted: 10 or more"),
        ({"sigma": 0}, "greater than 0"),
    ],
)
def test_parameters_that_could_only_abstain_are_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        smoothing(**args)


def test_the_fewest_copies_that_are_accepted_can_decide() -> None:
    defense = smoothing(n=11, n_certify=10, n0=1)
    assert defense.logits(Line(), images(2.0), keys(1)).argmax(1).tolist() == [1]
    assert float(defense.certify(Line(), images(2.0), keys(1)).radii) > 0
