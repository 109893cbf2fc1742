from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from bench import threat_models
from bench.training.draws import BatchDraws
from bench.training.start import random_start

CPU = torch.device("cpu")


def draws(count: int, first: int = 0, batch: int | None = None) -> BatchDraws:
    return BatchDraws(torch.Generator().manual_seed(5), batch or count, first, count, CPU)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_a_part_of_a_batch_gets_the_numbers_that_it_has_in_the_whole(kind: str) -> None:
    whole = getattr(draws(7), kind)(3, 2)
    assert whole.shape == (7, 3, 2)
    assert torch.equal(getattr(draws(3, 2, 7), kind)(3, 2), whole[2:5])
    assert torch.equal(getattr(draws(5, 1, 7).of(2, 2), kind)(3, 2), whole[3:5])


def test_linf_starts_are_those_of_the_threat_model() -> None:
    ball, x = threat_models.build("linf", Fraction(1, 10)), torch.rand(6, 3, 5, 5)
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(random_start(ball, x, draws(6)), ball.random_start(x, [generator] * 6))


def test_l2_starts_are_uniform_in_the_ball() -> None:
    ball, x = threat_models.build("l2", Fraction(1, 4)), torch.full((4000, 1, 1, 2), 0.5)
    start = random_start(ball, x, draws(4000))
    assert ball.contains(start, x).all()
    # In two dimensions the share within half the radius is a quarter.
    assert float((ball.distance(start, x) < 0.125).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert start.mean(0).flatten().tolist() == pytest.approx([0.5, 0.5], abs=0.01)


def test_other_norms_are_refused() -> None:
    with pytest.raises(ValueError, match="under l1"):
        random_start(threat_models.build("l1", Fraction(1)), torch.zeros(1, 1, 2, 2), draws(1))
