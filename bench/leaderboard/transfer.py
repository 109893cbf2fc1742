"""The examples of each model on every other: the matrices of the leaderboard, and the lines of ``transfer.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.leaderboard.records import TransferMatrix, TransferSquare
from bench.metrics import estimates
from bench.store.cell_outcome import least_correct
from bench.store.crossings import Matrix, Square, matrices
from bench.store.outcomes import RunOutcome

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = ("success", "transfer_rate", "robust_accuracy")
COLUMNS = (
    "norm", "eps", "attack", "source", "model", "defense", "status",
    *(f"{name}{part}" for name in _NUMBERS for part in ("", ":low", ":high", ":n")), "reason",
)  # fmt: skip


def transfers(outcome: RunOutcome) -> tuple[TransferMatrix, ...]:
    """The matrices of a run; none where its suite asks for no transfer."""
    return tuple(_matrix(found) for found in matrices(outcome))


def _matrix(found: Matrix) -> TransferMatrix:
    ball, squares = found.threat_model, dict[str, dict[str, TransferSquare]]()
    for (source, target), square in found.squares.items():
        squares.setdefault(source, {})[target] = _square(square)
    return TransferMatrix(
        threat_model=ball.label,
        norm=ball.norm,
        eps=str(ball.eps),
        attack=found.attack,
        sources=found.sources,
        targets=tuple(row.label for row in found.targets),
        squares=squares,
    )


def _square(square: Square) -> TransferSquare:
    found = TransferSquare(
        source=square.source,
        model=square.row.model,
        defense=square.row.defense,
        own=square.own,
        status=square.status,
        reason=" ".join(square.reason.split()),
    )
    if square.status != "done":
        return found
    return found.model_copy(
        update={
            "robust": estimates.share(least_correct(square.cells)),
            "success": estimates.proportion(square.broken[square.right]),
            "rate": None if square.own else estimates.proportion(square.carried[square.fooled]),
        }
    )


def frame(found: Sequence[TransferMatrix]) -> pd.DataFrame:
    """One line per threat model, attack, source and row; numbers are shares in [0, 1] with Wilson's 95 % interval.

    ``success:n`` counts the images that the row has right when clean, ``transfer_rate:n`` those that both models have right and
    whose example fools the source, ``robust_accuracy:n`` all. A number that can't be shown is empty.

    Args:
        found: the matrices.
    """
    import pandas as pd

    lines = []
    for matrix in found:
        for square in (square for own in matrix.squares.values() for square in own.values()):
            estimate = (square.success, square.rate, square.robust)
            numbers = [
                number
                for one in estimate
                for number in ((None,) * 4 if one is None else (one.value, one.low, one.high, one.n))
            ]
            place = (matrix.norm, matrix.eps, matrix.attack, square.source, square.model, square.defense, square.status)
            lines.append((*place, *numbers, square.reason))
    made = pd.DataFrame(lines, columns=list(COLUMNS))
    counts = {f"{name}:n": "Int64" for name in _NUMBERS}
    shares = [f"{name}{part}" for name in _NUMBERS for part in ("", ":low", ":high")]
    return made.astype(counts).round(dict.fromkeys(shares, 10))
