"""Which images of a dataset are taken: the first n, n at random, or n stratified by class.

Every way is nested: the first 100 of a selection of 200 are the selection of 100, so that asking for more samples
attacks only the new ones.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.errors import DatasetError


def select(
    labels: npt.NDArray[np.int64],
    *,
    samples: int | None,
    how: Literal["first", "random", "stratified"],
    seed: int = 0,
    name: str = "the dataset",
) -> npt.NDArray[np.int64]:
    """Positions of the selected images, in the order of the selection.

    Args:
        labels: labels of all images, shape (N,).
        samples: how many; all where it is ``None``.
        how: ``first``; ``random``: a prefix of one permutation; ``stratified``: one image of each class in turn, along
            one permutation, so that the counts of two classes differ by at most one while both have images left.
        seed: of the permutation.
        name: of the dataset, for messages.

    Raises:
        DatasetError: if there are fewer images.
    """
    if samples is not None and samples > len(labels):
        raise DatasetError(
            f"{name}: samples: {samples} asked for, there are {len(labels)} (accepted: 1 to {len(labels)})"
        )
    order = np.arange(len(labels), dtype=np.int64)
    if how != "first":
        order = permutation(len(labels), seed)
    if how == "stratified":
        order = order[np.lexsort((np.arange(len(order)), _rank_in_class(labels[order])))]
    return order[:samples]


def permutation(count: int, seed: int) -> npt.NDArray[np.int64]:
    """A permutation of 0..count - 1 that stays the same in every version of NumPy.

    ``RandomState`` is the legacy generator whose stream NumPy has frozen (NEP 19); ``default_rng``'s may change.
    """
    return np.random.RandomState(seed).permutation(count).astype(np.int64)


def _rank_in_class(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many images of the same class come before each one."""
    ranks = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = np.arange(len(members))
    return ranks
