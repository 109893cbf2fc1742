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
        Path, typer.Option("--output", help="Directory of weights, card and checkpoint.", metavar="DIR")
    ] = Path("models"),
    device: options.Device = "auto",
    restart: Annotated[bool, typer.Option("--restart", help="Start anew instead of resuming.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard's event files beside the weights.")
    ] = False,
    data_dir: options.DataDir = None,
) -> None:
    """Train a model from a recipe; writes weights (safetensors) and a card with what was measured.

    A training that was stopped or killed goes on where it was when it is started again, to the same weights.
    """
    import sys

    from bench.errors import Interrupted
    from bench.training.train import Progress
    from bench.training.train import train as run_training

    def tell(line: Progress) -> None:
        print(line.text, file=sys.stderr, flush=True)

    places = options.places(None, data_dir, False, None, False)
    try:
        result = run_training(
            recipe,
            overrides=overrides or [],
            output=output,
            device=device,
            resume=not restart,
            progress=tell,
            places=places,
            tensorboard=tensorboard,
        )
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"stopped; run the same command again to go on from the last checkpoint in {output}"
        ) from error
    if result is None:  # another process of torch's launcher writes
        return
    print(f"{result.weights}: weights")
    print(f"{result.card_path}: card")
