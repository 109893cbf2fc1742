from __future__ import annotations

import torch

from bench.training.seeds import Seeds


def test_every_place_has_draws_of_its_own_that_repeat() -> None:
    numbers = {
        Seeds(seed).number(purpose, epoch=epoch, step=step)
        for seed in range(3)
        for purpose in ("order", "method", "augment")
        for epoch in range(5)
        for step in range(5)
    }
    assert len(numbers) == 3 * 3 * 5 * 5
    assert all(0 <= number < 2**63 for number in numbers)
    first, again = (torch.rand(4, generator=Seeds(1).generator("order", epoch=2)) for _ in range(2))
    assert torch.equal(first, again)


def test_the_draws_are_those_of_every_other_version() -> None:
    # Another number would change the weights of every recipe.
    assert Seeds(0).number("weights") == 8222090390957168552
