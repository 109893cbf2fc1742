"""The numbers that RobustBench has published for its models.

``published.csv`` holds facts of the 188 entries of RobustBench 1.1.1 (MIT licence, Croce et al. 2021, arXiv:2010.09670)
that have an AutoAttack number. It was made from ``model_info/<dataset>/<threat model>/<entry>.json``: the columns
``clean``, ``autoattack`` and ``external`` are ``clean_acc``, ``autoattack_acc`` and ``external`` in % as written there;
``best_known`` is the lower of the last two (``external`` is what a stronger attack left); ``unreliable`` is "yes" where
RobustBench marks the number so. Line breaks in ``venue`` became spaces. Nothing else was changed, and a test compares
every line with the source.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources

from bench.suites.spec import format_eps, parse_eps

_WRITTEN_AS_0_031 = Fraction(8, 255)


@dataclass(frozen=True, slots=True)
class Published:
    """One entry of RobustBench's leaderboard; accuracies in %.

    Attributes:
        eps: the radius as the entry writes it, such as ``8/255`` or ``0.031``.
        external: robust accuracy under a stronger attack than AutoAttack, where one was found.
        unreliable: whether RobustBench marks the AutoAttack number as unreliable.
    """

    dataset: str
    threat_model: str
    entry: str
    eps: str
    clean: float
    autoattack: float
    external: float | None
    architecture: str
    venue: str
    unreliable: bool
    link: str

    @property
    def robust(self) -> float:
        """The best known robust accuracy in %: the lower of AutoAttack's and the external one."""
        return self.autoattack if self.external is None else min(self.autoattack, self.external)


def lookup(dataset: str, threat_model: str, entry: str, eps: Fraction) -> Published | None:
    """The published numbers of an entry at a radius, or ``None`` where there are none.

    An entry matches if its radius is exactly ``eps``, or if it writes ``0.031`` and ``eps`` is exactly 8/255: six
    entries of the CIFAR-10 Linf list were evaluated at that slightly smaller radius. No other radius is near enough.

    Args:
        dataset: RobustBench's name, such as ``cifar10``.
        threat_model: RobustBench's name, ``Linf`` or ``L2``.
        entry: name of the entry, such as ``Wong2020Fast``.
        eps: radius in [0, 1] units.
    """
    found = table().get((dataset.lower(), threat_model.lower(), entry))
    if found is None:
        return None
    near = found.eps == "0.031" and eps == _WRITTEN_AS_0_031
    return found if near or parse_eps(found.eps) == eps else None


def other_radius(found: Published, eps: Fraction) -> str:
    """What to say where the published radius is not exactly the one evaluated here; empty where it is."""
    if parse_eps(found.eps) == eps:
        return ""
    return f"the published numbers are for eps {found.eps}, these for {format_eps(eps)}"


@cache
def table() -> dict[tuple[str, str, str], Published]:
    """All entries by (dataset, threat model, entry), the first two in lower case."""
    text = resources.files("bench.store").joinpath("published.csv").read_text(encoding="utf-8")
    entries = [_entry(line) for line in csv.DictReader(text.splitlines())]
    return {(entry.dataset.lower(), entry.threat_model.lower(), entry.entry): entry for entry in entries}


def _entry(line: dict[str, str]) -> Published:
    return Published(
        line["dataset"],
        line["threat_model"],
        line["entry"],
        line["eps"],
        float(line["clean"]),
        float(line["autoattack"]),
        float(line["external"]) if line["external"] else None,
        line["architecture"],
        line["venue"],
        line["unreliable"] == "yes",
        line["link"],
    )
