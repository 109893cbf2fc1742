"""Cells: one combination of a suite's product each, with an identity that says what its verdicts depend on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from bench.suites.references import lasting
from bench.suites.spec import (
    Adversary,
    AttackSpec,
    DatasetSpec,
    DefenseSpec,
    ModelSpec,
    Search,
    ThreatModelSpec,
)

Role = Literal["suite", "prerequisite", "oblivious", "naive", "gradient_free", "certificate", "submitted", "transfer"]
"""Why a cell is there: the suite asks for it, or the harness because the defense rejects; another cell reads its examples; who
attacks a defended row besides; the examples of another model."""
Attacker = Adversary | Literal["transfer"]
"""What a cell's attacker knows: an adversary of the suite's, or another model alone."""
TRANSFERRED: frozenset[Role] = frozenset({"oblivious", "transfer"})
"""Roles of cells that attack nothing: they judge the examples of another cell."""


class Defended(Protocol):
    """What every kind of cell has: a model behind a defense, and where the two come from."""

    @property
    def model(self) -> ModelSpec:
        """The bare model."""
        ...

    @property
    def defense(self) -> DefenseSpec:
        """``none`` where there is no defense."""
        ...

    @property
    def defense_id(self) -> str:
        """The defense's name in tables."""
        ...

    @property
    def norm(self) -> str:
        """Which list a source of models may look in."""
        ...

    @property
    def seed(self) -> int:
        """Of the draws that score a stochastic defense."""
        ...


@dataclass(frozen=True, slots=True)
class Cell:
    """One (dataset, model, defense, threat model, attack, adversary, seed) of a suite's product.

    Attributes:
        role: why the cell is there. A ``prerequisite`` attacks the bare model with the ``strongest`` search and keeps
            every example; an ``oblivious`` cell judges the examples of its ``prerequisite`` on the defended model, a
            ``transfer`` cell those of another model's.
        attack: with its defaults filled in.
        source: of a ``transfer`` cell, the bare model that the examples were made against.
    """

    role: Role
    dataset: DatasetSpec
    model: ModelSpec
    defense: DefenseSpec
    threat_model: ThreatModelSpec
    attack: AttackSpec
    adversary: Attacker
    seed: int
    search: Search
    precision: str
    source: ModelSpec | None = None

    @property
    def transferred(self) -> bool:
        """Whether it attacks nothing, and judges the examples of another cell."""
        return self.role in TRANSFERRED

    @property
    def defense_id(self) -> str:
        """The defense's name in tables."""
        return self.defense.id or self.defense.name

    @property
    def attack_id(self) -> str:
        """The attack's name in tables."""
        return self.attack.id or self.attack.name

    @property
    def norm(self) -> str:
        """The threat model's."""
        return self.threat_model.norm

    @property
    def label(self) -> str:
        """For people, on one line."""
        defense = "" if self.defense.name == "none" else f" + {self.defense_id}"
        seed = f" seed {self.seed}" if self.seed else ""
        roles = {
            "prerequisite": " (examples for other cells)",
            "gradient_free": " (gradient-free check)",
            "certificate": " (certificate, no attack)",
            "submitted": " (submitted)",
        }
        adversary = "" if self.adversary == "adaptive" else f" {self.adversary}"
        adversary += "" if self.source is None else f" from {self.source.id}"
        attack = f"{self.attack_id}{adversary}{seed}{roles.get(self.role, '')}"
        return f"{self.model.id}{defense} | {self.threat_model.label} | {attack}"

    @property
    def slug(self) -> str:
        """The readable prefix of the id; that of what a person submitted, or of another model's examples, says so first."""
        parts = [
            *([self.role] if self.role in ("submitted", "transfer") else []),
            self.model.id,
            *([] if self.defense.name == "none" else [self.defense_id]),
            self.threat_model.slug,
            self.attack_id,
            *([] if self.source is None else ["from", self.source.id]),
            *([] if self.defense.name == "none" or self.source else [self.adversary]),
            f"s{self.seed}",
        ]
        return re.sub(r"[^A-Za-z0-9_.=-]+", "-", "-".join(parts)).lower()[:100]

    def identity(self, facts: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON values
        """All that can change a verdict, as JSON values; ids, paths, batch sizes and devices are not in it.

        Args:
            facts: what only the runner can know: digests of the weights, the architecture's code and the dataset,
                revisions of attack and defense, versions of a backend library, digests of plugins.
        """
        return {
            "dataset": {"name": self.dataset.name, "split": self.dataset.split},
            "threat_model": {"norm": self.threat_model.norm, "eps": str(self.threat_model.eps)},
            "attack": {"name": self.attack.name, "backend": self.attack.backend, "args": self.attack.args},
            "defense": defense_content(self.defense),
            "adversary": self.adversary,
            "transferred": self.transferred,
            "seed": self.seed,
            "search": self.search,
            "precision": self.precision,
            "facts": dict(facts),
        }

    def id(self, facts: Mapping[str, Any]) -> str:  # Any: JSON values
        """The readable prefix and a hash of the identity."""
        return f"{self.slug}-{digest(self.identity(facts))}"


def defense_content(defense: DefenseSpec) -> dict[str, Any]:  # Any: JSON values
    """A defense without its name in tables; what isn't set is left out, so that new keys leave old ids as they are."""
    content = defense.model_dump(mode="json", exclude={"id", "chain"})
    links = [defense_content(link) for link in defense.chain]
    whole = {"name": defense.name, "args": lasting(defense), **({"chain": links} if links else {})}
    return {**whole, **{key: value for key, value in content.items() if value is not None and key not in whole}}


def digest(value: object) -> str:
    """A short sha256 of a JSON value, keys sorted."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
