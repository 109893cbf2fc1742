"""Corruption cells: one (model, defense) on the images under one corruption at one severity, no attacker involved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.suites.cells import defense_content, digest
from bench.suites.combine import kept
from bench.suites.corruptions import CorruptionsSpec
from bench.suites.naming import resolve
from bench.suites.spec import DatasetSpec, DefenseSpec, ModelSpec, Suite

LIST = "corruptions"
"""RobustBench's list that a model is looked for in where the suite has no threat model to tell."""


@dataclass(frozen=True, slots=True)
class CorruptionCell:
    """One (dataset, model, defense, corruption, severity).

    Attributes:
        corruption: name of the corruption.
        severity: from 1 to 5.
        source: the suite's word on where the corrupted images come from.
        seed: of the draws that score a stochastic defense.
        norm: of the suite's first threat model, or ``corruptions``: the list that a source of models may look in.
    """

    dataset: DatasetSpec
    model: ModelSpec
    defense: DefenseSpec
    corruption: str
    severity: int
    source: CorruptionsSpec
    seed: int
    norm: str

    @property
    def defense_id(self) -> str:
        """The defense's name in tables."""
        return self.defense.id or self.defense.name

    @property
    def label(self) -> str:
        """For people, on one line."""
        defense = "" if self.defense.name == "none" else f" + {self.defense_id}"
        return f"{self.model.id}{defense} | {self.corruption} {self.severity}"

    @property
    def slug(self) -> str:
        """The readable prefix of the id."""
        defense = [] if self.defense.name == "none" else [self.defense_id]
        parts = [self.model.id, *defense, self.corruption, str(self.severity)]
        return re.sub(r"[^A-Za-z0-9_.=-]+", "-", "-".join(parts)).lower()[:100]

    def identity(self, facts: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON values
        """All that can change a verdict, as JSON values.

        Args:
            facts: what only the runner can know: digests of the weights, the dataset and the published files, versions of
                the library that makes the images.
        """
        return {
            "dataset": {"name": self.dataset.name, "split": self.dataset.split},
            "defense": defense_content(self.defense),
            "corruption": {"name": self.corruption, "severity": self.severity},
            "seed": self.seed,
            "facts": dict(facts),
        }

    def id(self, facts: Mapping[str, Any]) -> str:  # Any: JSON values
        """The readable prefix and a hash of the identity."""
        return f"{self.slug}-{digest(self.identity(facts))}"


def expand_corruptions(suite: Suite) -> tuple[CorruptionCell, ...]:
    """The corruption cells of a suite: models and defenses in its order, the bare model first; none without corruptions.

    A row to which ``include`` and ``exclude`` leave no attack has none here either.

    Args:
        suite: one that :func:`bench.suites.check.check` has found right.
    """
    source = suite.corruptions
    if source is None:
        return ()
    suite = resolve(suite)
    norm = suite.threat_models[0].norm if suite.threat_models else LIST
    return tuple(
        CorruptionCell(suite.dataset, model, defense, kind.name, severity, source, suite.run.seeds[0], norm)
        for model, defense in _rows(suite)
        for kind in source.kinds
        for severity in kind.severities
    )


def _rows(suite: Suite) -> list[tuple[ModelSpec, DefenseSpec]]:
    """Models and defenses that meet, the bare model first."""
    defenses = sorted(suite.defenses, key=lambda one: one.name != "none")
    pairs = [(model, defense) for model in suite.models for defense in defenses]
    if not suite.attacks:
        return pairs
    met = {(one.model.id, one.defense.id) for one in kept(suite)}
    return [(model, defense) for model, defense in pairs if (model.id, defense.id) in met]
