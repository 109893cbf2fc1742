"""Selections: what is taken, and that every way is nested."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.datasets.selection import permutation, select
from bench.errors import DatasetError

LABELS = np.repeat(np.arange(10), 50)
label_lists = st.lists(st.integers(0, 4), min_size=1, max_size=60)
ways = st.sampled_from(["first", "random", "stratified"])


def test_first_takes_the_first() -> None:
    assert select(LABELS, samples=4, how="first").tolist() == [0, 1, 2, 3]


def test_random_is_a_known_permutation() -> None:
    assert permutation(10, 0).tolist() == [2, 8, 4, 9, 1, 6, 7, 3, 0, 5]
    assert select(LABELS, samples=3, how="random", seed=7).tolist() == permutation(500, 7)[:3].tolist()


def test_seeds_differ() -> None:
    a, b = (select(LABELS, samples=50, how="random", seed=seed) for seed in (0, 1))
    assert set(a.tolist()) != set(b.tolist())


def test_stratified_is_balanced_at_every_multiple_of_the_classes() -> None:
    chosen = select(LABELS, samples=200, how="stratified", seed=3)
    for n in range(10, 201, 10):
        assert np.bincount(LABELS[chosen[:n]]).tolist() == [n // 10] * 10


def test_stratified_goes_on_when_a_class_is_spent() -> None:
    labels = np.array([0, 0, 0, 0, 1])
    chosen = select(labels, samples=5, how="stratified", seed=0)
    assert sorted(chosen.tolist()) == [0, 1, 2, 3, 4]
    assert sorted(labels[chosen[:2]].tolist()) == [0, 1]


@given(label_lists, ways, st.integers(0, 5), st.data())
def test_every_way_is_nested_and_takes_each_image_once(
    labels: list[int], how: str, seed: int, data: st.DataObject
) -> None:
    y = np.array(labels, dtype=np.int64)
    everything = select(y, samples=None, how=how, seed=seed)  # type: ignore[arg-type]
    n = data.draw(st.integers(1, len(y)))
    assert sorted(everything.tolist()) == list(range(len(y)))
    assert select(y, samples=n, how=how, seed=seed).tolist() == everything[:n].tolist()  # type: ignore[arg-type]


@given(label_lists, st.integers(0, 5))
def test_stratified_counts_differ_by_at_most_one_while_classes_last(labels: list[int], seed: int) -> None:
    y = np.array(labels, dtype=np.int64)
    chosen = select(y, samples=None, how="stratified", seed=seed)
    sizes = np.bincount(y, minlength=5)
    for n in range(1, len(y) + 1):
        counts = np.bincount(y[chosen[:n]], minlength=5)
        unspent = counts[counts < sizes]
        if len(unspent):
            assert counts.max() - unspent.min() <= 1


def test_too_many_samples_name_both_numbers() -> None:
    with pytest.raises(DatasetError, match="501 asked for, there are 500"):
        select(LABELS, samples=501, how="random", name="cifar10")
