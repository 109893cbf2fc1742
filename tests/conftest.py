"""What every test may use: the real test material where it is present, quiet threads, no network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_MARKED = "shared_data"


def shared_data() -> Path | None:
    """The directory of real images and weights, or None."""
    place = Path(os.environ.get("BENCH_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    return place if (place / "models").is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of real images and weights; skips the test where there is none."""
    place = shared_data()
    if place is None:
        pytest.skip("no test material: set BENCH_SHARED_DATA to a directory that has models/ and cifar10/")
    return place


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test that uses the real material."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(_MARKED)
