"""The matrices of transferred examples as grids of texts, in the words of one format."""

from __future__ import annotations

from collections.abc import Callable

from bench.leaderboard.grid import STATUS, Grid, Words, percent
from bench.leaderboard.records import TransferMatrix, TransferSquare
from bench.store.records import Estimate

ABOUT = (
    "line: the bare model that the examples were made against, with the attack's whole budget; column: the target that they "
    "were tried on"
)
SUCCESS = (
    "Attack success: of the images that the target has right when clean, those that the source's examples break, in % (95 % "
    "Wilson interval over images) of how many images. In bold what a model's own white-box examples do to it"
)
RATE = (
    "Transfer rate: of the images that both models have right when clean and whose example fools the source, those whose "
    "example fools the target, in % (95 % Wilson interval over images) of how many images"
)
BOTH = (
    "attack success, in % of the images that the target has right when clean / transfer rate, in % of the images that both "
    "have right and whose example fools the source; one number: a model's own white-box examples"
)


def transfer_heading(matrix: TransferMatrix) -> str:
    """The line above a matrix: under what, and by which attack the examples were made."""
    return f"{matrix.threat_model} · {matrix.attack}"


def success_grid(matrix: TransferMatrix, words: Words) -> Grid:
    """Attack success with intervals.

    Args:
        matrix: the matrix.
        words: how the format writes.
    """
    return _grid(matrix, words, lambda square: _bold(square, _of(square.success, words), words))


def rate_grid(matrix: TransferMatrix, words: Words) -> Grid:
    """Transfer rates with intervals; nothing of a model on itself."""
    return _grid(matrix, words, lambda square: words.dash if square.own else _of(square.rate, words))


def short_grid(matrix: TransferMatrix, words: Words) -> Grid:
    """Both without intervals, for a terminal."""

    def text(square: TransferSquare) -> str:
        success = _percent(square.success, words)
        return success if square.own else f"{success} / {_percent(square.rate, words)}"

    return _grid(matrix, words, text)


def transfer_failures(matrix: TransferMatrix) -> list[str]:
    """Why numbers are missing, a line each."""
    return [
        f"{source} on {target}: {square.status}" + (f": {square.reason}" if square.reason else "")
        for source, own in matrix.squares.items()
        for target, square in own.items()
        if square.status != "done"
    ]


def _grid(matrix: TransferMatrix, words: Words, text: Callable[[TransferSquare], str]) -> Grid:
    def cell(source: str, target: str) -> str:
        square = matrix.squares.get(source, {}).get(target)
        if square is None:
            return words.dash
        return text(square) if square.status == "done" else STATUS.get(square.status, square.status)

    return Grid(
        ("source", *map(words.escape, matrix.targets)),
        ("left", *("right" for _ in matrix.targets)),
        tuple(
            (words.escape(source), *(cell(source, target) for target in matrix.targets)) for source in matrix.sources
        ),
    )


def _bold(square: TransferSquare, text: str, words: Words) -> str:
    return words.bold(text) if square.own else text


def _of(estimate: Estimate | None, words: Words) -> str:
    if estimate is None:
        return words.dash
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return f"{words.dash} of {estimate.n}"
    return f"{percent(estimate.value)} ({percent(estimate.low)}{words.dash}{percent(estimate.high)}) of {estimate.n:,}"


def _percent(estimate: Estimate | None, words: Words) -> str:
    return words.dash if estimate is None or estimate.value is None else percent(estimate.value)
