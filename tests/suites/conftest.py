"""Tables of names that don't change under these tests, and suites made from text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from bench import registry
from bench.registry import Entry

GOOD = """\
name: demo
dataset: {name: cifar10, samples: 100}
threat_models:
  - {norm: linf, eps: 8/255}
models:
  - zoo:small
attacks:
  - fgsm
  - {name: pgd, steps: 20}
"""


class _Params(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PGDParams(_Params):
    steps: int = Field(10, ge=1, description="gradient steps")
    restarts: int = Field(1, ge=1)
    alpha: float | None = Field(None, gt=0, description="step size")
    loss: Literal["ce", "margin"] = "ce"
    random_start: bool = True


class FGSMParams(_Params):
    loss: Literal["ce", "margin"] = "ce"


class EnsembleParams(_Params):
    stages: tuple[Literal["a", "b"], ...] = ("a", "b")


class SquareParams(_Params):
    n_queries: int = Field(5000, ge=1)


class JPEGParams(_Params):
    quality: int = Field(75, ge=1, le=100)


class SourceParams(_Params):
    dataset: str | None = None


class ImageParams(_Params):
    layout: Literal["auto", "nchw"] = "auto"


BOTH = ("linf", "l2")
FEW = {"backends": ("fast", "slow"), "backend_min_classes": {"slow": 4}, "needs_min_classes": ("a",)}
TABLES: dict[str, dict[str, Entry]] = {
    "attacks": {
        "fgsm": Entry(
            "x:y", "one step", FGSMParams, BOTH, facts={"backend": "bench", "backends": ("bench", "foolbox")}
        ),
        "pgd": Entry("x:y", "steps", PGDParams, BOTH, facts={"backend": "bench", "backends": ("bench", "foolbox")}),
        "deepfool": Entry("x:y", "an attack for L2 only", None, ("l2",)),
        "ensemble": Entry("x:y", "stages", EnsembleParams, BOTH, facts=FEW),
        "cw": Entry(
            "x:y",
            "two attacks in one",
            PGDParams,
            BOTH,
            facts={
                "backend": "auto",
                "backends": ("auto", "foolbox"),
                "backend_norms": {"foolbox": ("l2",)},
                "backend_takes": {"foolbox": {"loss": ("ce",), "alpha": (None,)}},
                "parameter_norms": {"restarts": ("linf",)},
            },
        ),
        "square": Entry("x:y", "queries", SquareParams, BOTH, facts={"backend": "lib", "reusable": False}),
    },
    "defenses": {
        "jpeg": Entry("x:y", "compresses", JPEGParams, facts={"stochastic": False, "rejects": False}),
        "blur": Entry("x:y", "blurs", None),
        "smoothing": Entry("x:y", "noise", None, facts={"stochastic": True}),
        "detector": Entry("x:y", "abstains", None, facts={"kind": "detector", "rejects": True}),
    },
    "datasets": {
        "cifar10": Entry(
            "x:y",
            "images",
            ImageParams,
            facts={"num_classes": 10, "shape": (3, 32, 32), "sources": ("torchvision", "samples"), "splits": ("test",)},
        ),
        "two": Entry("x:y", "two classes", None, facts={"num_classes": 2}),
        "npz": Entry("x:y", "any file", None, facts={"needs": ("path",)}),
    },
    "metrics": {"clean_accuracy": Entry("x:y", "clean"), "robust_accuracy": Entry("x:y", "robust")},
    "models": {
        "zoo": Entry(
            "x:y",
            "ours",
            facts={
                "needs": ("name",),
                "takes": ("name", "mean", "std", "sha256"),
                "models": {
                    "small": {"num_classes": 10, "shape": (3, 32, 32)},
                    "hundred": {"num_classes": 100},
                    "grey": {"num_classes": 10, "shape": (1, 28, 28)},
                },
            },
        ),
        "robustbench": Entry("x:y", "theirs", SourceParams, facts={"needs": ("name",)}),
        "timm": Entry("x:y", "theirs", facts={"needs": ("name",)}),
        "checkpoint": Entry("x:y", "a file", facts={"needs": ("weights", "architecture")}),
    },
    "architectures": {"resnet18": Entry("x:y", "a network"), "cnn": Entry("x:y", "a network")},
}


@pytest.fixture(autouse=True)
def tables(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the tables above in the place of the real ones, except where a test is marked ``real_tables``."""
    if "real_tables" in request.fixturenames:
        return
    for name, table in TABLES.items():
        monkeypatch.setattr(registry.ALL[name], "_table", dict(table))


@pytest.fixture
def real_tables() -> None:
    """Leaves the real tables where they are."""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a suite: the good one with replacements, or any text."""

    def write(text: str = GOOD, *, file: str = "suite.yaml", **replaced: str) -> Path:
        for section, new in replaced.items():
            text = replace(text, section, new)
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def replace(text: str, section: str, new: str) -> str:
    """The text with one top-level section replaced, or added at the end."""
    lines, kept, inside, done = text.splitlines(), [], False, False
    for line in lines:
        if line.startswith(f"{section}:"):
            inside, done = True, True
            kept.append(f"{section}: {new}" if new else "")
        elif not (inside and line.startswith((" ", "-"))):
            inside = False
            kept.append(line)
    return "\n".join([line for line in kept if line] + ([] if done else [f"{section}: {new}"])) + "\n"
