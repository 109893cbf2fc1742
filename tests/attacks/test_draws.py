"""Randomness belongs to the sample, and a library's generators are put back."""

from __future__ import annotations

import numpy as np
import torch

from bench.attacks.draws import Draws, global_seed


def test_every_part_of_the_key_matters() -> None:
    base = Draws(0, "pgd")
    numbers = {
        base.number("a"),
        base.number("b"),
        base.number("a", stage="apgd-ce"),
        base.number("a", restart=1),
        base.number("a", step=1),
        base.number("a", draw=1),
        Draws(1, "pgd").number("a"),
        Draws(0, "fgsm").number("a"),
        Draws(0, "pgd", "score").number("a"),
    }
    assert len(numbers) == 9


def test_draws_are_the_same_on_every_machine() -> None:
    assert Draws(0, "pgd").number("cifar10/test/00012") == 3300941341764604747
    assert Draws(7, "autoattack").chunk_seed(("x", "y"), stage="square") == 1945264116


def test_generators_follow_the_sample_not_its_place() -> None:
    forward = [torch.rand(3, generator=one) for one in Draws(0, "pgd").generators(["a", "b", "c"])]
    backward = [torch.rand(3, generator=one) for one in Draws(0, "pgd").generators(["c", "b", "a"])]
    assert torch.equal(forward[0], backward[2])
    assert not torch.equal(forward[0], backward[0])


def test_global_generators_are_seeded_and_put_back() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    expected = (torch.rand(2), np.random.rand(2))
    torch.manual_seed(5)
    np.random.seed(5)
    with global_seed(1):
        first = (torch.rand(2), np.random.rand(2))
    with global_seed(1):
        again = (torch.rand(2), np.random.rand(2))
    assert torch.equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert torch.equal(torch.rand(2), expected[0])
    assert np.array_equal(np.random.rand(2), expected[1])
