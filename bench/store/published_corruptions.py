"""The numbers that RobustBench has published for its models under common corruptions.

``published_corruptions.csv`` holds facts of the 48 entries of RobustBench 1.1.1's corruption leaderboards (MIT licence, Croce
et al. 2021, arXiv:2010.09670), from ``model_info/<dataset>/corruptions/<entry>.json``: ``clean`` and ``corruptions`` are
``clean_acc`` and ``corruptions_acc`` in %, ``mce`` is ``corruptions_mce`` in %, which only ImageNet's entries have. A test
compares every line with the source.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class PublishedCorruptions:
    """One entry of a corruption leaderboard; in %.

    Attributes:
        corruptions: mean accuracy over 15 corruptions at five severities (CIFAR-10-C, CIFAR-100-C, ImageNet-C).
        mce: mean corruption error relative to AlexNet's; ``None`` where there is none.
    """

    dataset: str
    entry: str
    clean: float
    corruptions: float
    mce: float | None
    architecture: str
    venue: str
    link: str


@cache
def corruption_table() -> dict[tuple[str, str], PublishedCorruptions]:
    """All entries by dataset and name."""
    text = resources.files("bench.store").joinpath("published_corruptions.csv").read_text(encoding="utf-8")
    return {(line["dataset"], line["entry"]): _entry(line) for line in csv.DictReader(text.splitlines())}


def _entry(line: dict[str, str]) -> PublishedCorruptions:
    return PublishedCorruptions(
        line["dataset"],
        line["entry"],
        float(line["clean"]),
        float(line["corruptions"]),
        float(line["mce"]) if line["mce"] else None,
        line["architecture"],
        line["venue"],
        line["link"],
    )
