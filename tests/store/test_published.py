"""The packaged table says what RobustBench published."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from importlib import resources
from pathlib import Path

import pytest

from bench.store.published import lookup, other_radius, table
from bench.store.published_corruptions import corruption_table


def test_every_entry_is_that_of_the_source(shared: Path) -> None:
    sources = {
        (path.parts[-3], path.parts[-2].lower(), path.stem): json.loads(path.read_text())
        for path in (shared / "robustbench" / "model_info").glob("*/*/*.json")
    }
    sources = {key: value for key, value in sources.items() if "autoattack_acc" in value}
    assert set(table()) == set(sources)
    assert len(sources) == 188
    for key, source in sources.items():
        entry = table()[key]
        known = [float(source["autoattack_acc"])] + ([float(source["external"])] if source.get("external") else [])
        assert entry.clean == float(source["clean_acc"]), key
        assert entry.autoattack == known[0], key
        assert entry.robust == min(known), key
        assert (entry.external is None) == (len(known) == 1), key
        assert entry.eps == source["eps"], key
        assert entry.unreliable == bool(source.get("unreliable")), key
        assert (entry.architecture, entry.link) == (source["architecture"], source["link"]), key


def test_every_corruption_entry_is_that_of_the_source(shared: Path) -> None:
    sources = {
        (path.parts[-3], path.stem): json.loads(path.read_text())
        for path in (shared / "robustbench" / "model_info").glob("*/corruptions/*.json")
    }
    assert set(corruption_table()) == set(sources)
    assert len(sources) == 48
    for key, source in sources.items():
        entry = corruption_table()[key]
        mce = source.get("corruptions_mce")
        assert (entry.clean, entry.corruptions) == (float(source["clean_acc"]), float(source["corruptions_acc"])), key
        assert entry.mce == (float(mce) if mce else None), key
        assert (entry.architecture, entry.link) == (source["architecture"], source["link"]), key


def test_the_best_known_column_is_the_lower_one() -> None:
    text = resources.files("bench.store").joinpath("published.csv").read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        assert float(line["best_known"]) == min(float(line[key] or "inf") for key in ("autoattack", "external"))
        assert "<" not in line["venue"]


def test_known_entries() -> None:
    wong = lookup("cifar10", "Linf", "Wong2020Fast", Fraction(8, 255))
    assert wong is not None
    assert (wong.clean, wong.robust, wong.venue) == (83.34, 43.21, "ICLR 2020")
    xiao = lookup("cifar10", "linf", "Xiao2020Enhancing", Fraction(8, 255))
    assert xiao is not None
    assert (xiao.autoattack, xiao.external, xiao.robust, xiao.unreliable) == (18.5, 7.4, 7.4, True)


@pytest.mark.parametrize(
    ("entry", "eps", "found"),
    [
        ("Wong2020Fast", Fraction(8, 255), True),
        ("Wong2020Fast", Fraction(4, 255), False),
        ("Wong2020Fast", Fraction("0.031"), False),
        ("Zhang2019Theoretically", Fraction(8, 255), True),
        ("Zhang2019Theoretically", Fraction("0.031"), True),
        ("Zhang2019Theoretically", Fraction("0.03"), False),
        ("Nobody2030Nothing", Fraction(8, 255), False),
    ],
)
def test_only_the_same_radius_matches(entry: str, eps: Fraction, *, found: bool) -> None:
    assert (lookup("cifar10", "Linf", entry, eps) is not None) == found


def test_a_radius_written_as_0_031_is_said() -> None:
    trades = lookup("cifar10", "Linf", "Zhang2019Theoretically", Fraction(8, 255))
    assert trades is not None
    assert other_radius(trades, Fraction(8, 255)) == "the published numbers are for eps 0.031, these for 8/255"
    assert other_radius(trades, Fraction("0.031")) == ""


def test_the_same_entry_in_another_list_is_another_model() -> None:
    assert lookup("imagenet", "Linf", "Wong2020Fast", Fraction(4, 255)).robust == 26.24  # type: ignore[union-attr]
    assert lookup("cifar10", "L2", "Wong2020Fast", Fraction(1, 2)) is None
