"""``bench train``: train a model from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe's YAML file.", metavar="RECIPE")],
    overrides: options.Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Directory of weights and checkpoints (default: runs/<recipe>).", metavar="DIR"),
    ] = None,
    device: options.Device = "auto",
    restart: Annotated[bool, typer.Option("--restart", help="Start anew instead of resuming.")] = False,
    data_dir: options.DataDir = None,
) -> None:
    """Train a model from a recipe, or resume it; writes weights (safetensors) and a card with measured accuracies."""
