"""Common corruptions of a suite's images: which, how severe, and where the corrupted images come from.

Hendrycks & Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations,
arXiv:1903.12261.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator, model_validator

from bench.errors import nearest

GROUPS: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
"""The 15 corruptions by kind, in the paper's order."""
NAMES: tuple[str, ...] = tuple(name for group in GROUPS.values() for name in group)
SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)
ALL = "all"


class CorruptionSpec(BaseModel):
    """One corruption at some severities."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="one of the 15 corruptions, such as gaussian_noise")
    severities: tuple[StrictInt, ...] = Field(SEVERITIES, min_length=1, description="from 1 (weak) to 5")

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in NAMES:
            hint = nearest(value, NAMES)
            raise ValueError(f"unknown corruption {value!r}{hint} (accepted: {', '.join(NAMES)})")
        return value

    @field_validator("severities", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, int) else value

    @field_validator("severities")
    @classmethod
    def _in_order(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(one not in SEVERITIES for one in value) or len(set(value)) != len(value):
            raise ValueError(f"severities are distinct whole numbers from 1 to 5, got {list(value)}")
        return tuple(sorted(value))


class CorruptionsSpec(BaseModel):
    """Which corruptions of the suite's images are evaluated, and where the corrupted images come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[CorruptionSpec, ...] = Field(
        min_length=1, description="all, or names of corruptions; each may have severities of its own"
    )
    path: str | None = Field(
        None,
        description="directory of the published corrupted images (CIFAR-10-C, CIFAR-100-C, ImageNet-C); a library makes them "
        "from the suite's images where it isn't given",
    )
    seed: int = Field(0, ge=0, strict=True, description="of what a library makes")

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: object) -> object:
        """``all``, one name, a list, and ``severities`` for all kinds that have none of their own."""
        if isinstance(value, str | list | tuple):
            value = {"kinds": value}
        if not isinstance(value, Mapping):
            return value
        value = dict(value)
        kinds = value.get("kinds", ALL)
        kinds = [kinds] if isinstance(kinds, str | Mapping) else kinds
        if not isinstance(kinds, list | tuple):
            return value
        every = value.pop("severities", None)
        widened = [one for kind in kinds for one in (NAMES if kind == ALL else (kind,))]
        value["kinds"] = [
            _with_severities({"name": kind} if isinstance(kind, str) else kind, every) for kind in widened
        ]
        return value

    @model_validator(mode="after")
    def _sound(self) -> CorruptionsSpec:
        names = [kind.name for kind in self.kinds]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the corruption {twice} stands twice")
        if self.path is not None and self.seed:
            raise ValueError("seed is of what a library makes; the published files (path) are as they are")
        return self

    @property
    def severities(self) -> tuple[int, ...]:
        """Those that any corruption has."""
        return tuple(sorted({severity for kind in self.kinds for severity in kind.severities}))

    @property
    def shared(self) -> tuple[int, ...]:
        """Those that all corruptions have: a mean over corruptions at another would be one of other corruptions."""
        return tuple(one for one in self.severities if all(one in kind.severities for kind in self.kinds))

    @property
    def complete(self) -> bool:
        """Whether all 15 corruptions at all five severities are asked for."""
        return {kind.name for kind in self.kinds} == set(NAMES) and all(
            kind.severities == SEVERITIES for kind in self.kinds
        )


def _with_severities(kind: Any, severities: object) -> Any:  # Any: what stands in the YAML
    if severities is None or not isinstance(kind, Mapping) or "severities" in kind:
        return kind
    return {**kind, "severities": severities}
