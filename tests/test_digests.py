"""Digests of files, values, arrays and listings."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from bench import digests


def test_file_digest_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    assert digests.file_digest(path) == hashlib.sha256(content).hexdigest()


def test_file_digest_follows_a_change_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    before = digests.file_digest(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert before == hashlib.sha256(b"one").hexdigest()
    assert digests.file_digest(path) == hashlib.sha256(b"two").hexdigest()


def test_value_digest_does_not_see_the_order_of_keys() -> None:
    assert digests.value_digest({"a": 1, "b": [2]}) == digests.value_digest({"b": [2], "a": 1})
    assert digests.value_digest({"a": 1}) != digests.value_digest({"a": 2})


def test_arrays_digest_sees_type_shape_and_values() -> None:
    x = np.arange(6, dtype=np.int64)
    seen = {
        digests.arrays_digest({"x": x}),
        digests.arrays_digest({"x": x.reshape(2, 3)}),
        digests.arrays_digest({"x": x.astype(np.int32)}),
        digests.arrays_digest({"y": x}),
        digests.arrays_digest({"x": x[::-1]}),
    }
    assert len(seen) == 5
    assert digests.arrays_digest({"x": x[::2][::-1]}) == digests.arrays_digest({"x": np.array([4, 2, 0])})


def test_listing_digest_sorts() -> None:
    assert digests.listing_digest([("b", 1), ("a", 2)]) == digests.listing_digest([("a", 2), ("b", 1)])
    assert digests.listing_digest([("a", 2)]) != digests.listing_digest([("a", 3)])
