"""The parameters of each source of models, written under ``args`` in a suite. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Parameters(BaseModel):
    """Base of the parameters: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RobustbenchParameters(Parameters):
    """RobustBench's models."""

    dataset: Literal["cifar10", "cifar100", "imagenet"] | None = Field(
        None, description="RobustBench's list that the model stands in; the suite's dataset where it isn't given"
    )
