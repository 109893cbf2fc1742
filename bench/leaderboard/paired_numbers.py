"""Numbers of two runs on the images that both have: pairs by digest, differences, tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.errors import StoreError
from bench.leaderboard.comparison import Entry, Kind
from bench.metrics import estimates
from bench.stats import paired, paired_interval
from bench.store.cell_outcome import FloatArray
from bench.store.outcomes import RunOutcome
from bench.store.records import Estimate

IntArray = npt.NDArray[np.int64]


class Shared(NamedTuple):
    """Where the images that both runs have stand in each, in the order of the first."""

    a: IntArray
    b: IntArray
    ids: tuple[str, ...]


def shared_images(one: RunOutcome, other: RunOutcome) -> Shared:
    """Pairs by digest; an image that is there several times pairs with its like in order."""
    places = _occurrences(other.sample_digests)
    both = [(at, places[key]) for key, at in _occurrences(one.sample_digests).items() if key in places]
    if not both:
        raise StoreError(
            f"other samples: none of the {len(one.sample_ids):,} images of A is among the {len(other.sample_ids):,} of B"
        )
    a, b = (np.array(side, dtype=np.int64) for side in zip(*both, strict=True))
    return Shared(a, b, tuple(one.sample_ids[at] for at in a))


def _occurrences(digests: Sequence[str]) -> dict[tuple[str, int], int]:
    seen: dict[str, int] = {}
    found = {}
    for at, digest in enumerate(digests):
        if digest:
            found[digest, seen.get(digest, 0)] = at
            seen[digest] = seen.get(digest, 0) + 1
    return found


def entry_of(
    name: str,
    kind: Kind,
    a: FloatArray | None,
    b: FloatArray | None,
    shared: Shared,
    *,
    reason: str = "",
    bounds: tuple[bool, bool] = (False, False),
    unknown: bool = False,
) -> Entry:
    """Both numbers, and what the pairs say where nothing speaks against it.

    Args:
        name: of the number.
        kind: what it is.
        a: of A's images that both have, in [0, 1], shape (M,); ``None`` where there is no number.
        b: the same of B.
        shared: these images.
        reason: why they aren't compared; empty where they are.
        bounds: whether each is only known to be at most that.
        unknown: whether neither number is shown.
    """
    shown = Entry(
        name=name,
        kind=kind,
        a=None if unknown or a is None else _number(a, bounds[0]),
        b=None if unknown or b is None else _number(b, bounds[1]),
        a_bound=bounds[0],
        b_bound=bounds[1],
        reason=reason,
    )
    if reason or a is None or b is None:
        return shown
    interval = paired_interval(b, a)
    return shown.model_copy(
        update={
            "difference": float((b - a).mean()),
            "low": interval.low,
            "high": interval.high,
            "p": paired(b, a),
            "lost": tuple(shared.ids[at] for at in np.flatnonzero(b < a)),
            "gained": tuple(shared.ids[at] for at in np.flatnonzero(b > a)),
        }
    )


def _number(outcomes: FloatArray, bound: bool) -> Estimate:
    found = estimates.share(outcomes)
    return Estimate(value=found.value, n=found.n) if bound else found
