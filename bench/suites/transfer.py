"""Examples of one model, tried on the others: which a suite asks for.

Papernot et al. 2016, Transferability in Machine Learning, arXiv:1605.07277.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

ALL = "all"
EVERY = ("*",)


class TransferSpec(BaseModel):
    """Which examples are tried on which rows: ids or patterns (``*``); what isn't named is not restricted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[str, ...] = Field(EVERY, min_length=1, description="ids of the models whose examples are tried")
    targets: tuple[str, ...] = Field(EVERY, min_length=1, description="ids of the models that they are tried on")
    defenses: tuple[str, ...] = Field(
        EVERY, min_length=1, description="ids of the targets' defenses; none is the bare model. The sources have none"
    )
    attacks: tuple[str, ...] = Field(EVERY, min_length=1, description="ids of the attacks that make the examples")
    threat_models: tuple[str, ...] = Field(
        EVERY, min_length=1, description="threat models, such as linf:8/255 or linf:*"
    )

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: object) -> object:
        """``all`` is a selection that restricts nothing."""
        if value == ALL:
            return {}
        if not isinstance(value, Mapping | TransferSpec):
            raise ValueError(f"neither {ALL} nor a selection, got {value!r}")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


def from_boolean(value: Mapping[str, Any]) -> dict[str, Any]:  # Any: what stands in the YAML
    """A suite with ``transfer: true`` as ``all``, and with ``false`` as nothing."""
    asked = value.get("transfer")
    return {**value, "transfer": ALL if asked else None} if isinstance(asked, bool) else dict(value)
