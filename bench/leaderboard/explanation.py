"""How one number came about, as data: what ``bench explain`` prints, and gives as JSON.

Accuracies are shares of the images in [0, 1].
"""

from __future__ import annotations

from typing import Any

from bench.leaderboard.records import Audited, CorruptionRow, Note, Record, Row
from bench.store.cell_outcome import OutcomeStatus
from bench.store.records import Estimate, StageResult

SCHEMA_VERSION = 1


class Images(Record):
    """On which images the numbers were measured."""

    dataset: str
    """for people: ``CIFAR-10 test``"""
    images: int
    selection: str
    """which of the dataset's images, for people: ``the first 100 images``"""
    digest: str
    """of images and labels; empty where the run doesn't tell"""
    note: str
    """what a reader must know of them"""


class CellExplained(Record):
    """What one cell did."""

    cell: str
    role: str
    attack: str
    """its name in tables"""
    args: dict[str, Any]  # Any: JSON values
    """its parameters that differ from the defaults; all of them where nobody knows the defaults"""
    backend: str | None
    adversary: str
    gradient: str
    """whose gradient it took, or which examples it judged, for people"""
    search: str
    precision: str
    seed: int
    eot_iter: int | None
    """draws that each gradient was averaged over; ``None`` where nothing is random"""
    scoring_draws: int | None
    """fresh draws that scored each image; ``None`` where nothing is random"""
    status: OutcomeStatus
    reason: str
    """why it has no number"""
    correct: int
    """images with a record that are right when clean"""
    attacked: int | None
    """those of them that it attacked, or whose examples it judged; ``None`` for what people submitted and for certificates"""
    reused: int
    """those that a smaller eps had broken, judged again and not attacked"""
    broken: int
    """verified successes, those that were reused included; of a stochastic defense by the majority of the draws. Of a
    certificate, those that it doesn't certify"""
    alone: int
    """those that no other cell of the row broke"""
    left: Estimate | None
    """the robust accuracy that it leaves by itself, of a certificate the share that it certifies; ``None`` where it isn't
    done"""
    stages: tuple[StageResult, ...]
    """of an ensemble"""
    forwards: float | None
    """passes an image"""
    backwards: float | None
    seconds: float | None
    flags: dict[str, str]
    """severity by rule: what speaks of this cell"""


class Suggestion(Record):
    """What would make a number stronger."""

    text: str
    do: str
    """the YAML or the command for it; empty where ``text`` says it"""


class RowExplained(Record):
    """How the number of one row came about."""

    threat_model: str
    """for people: ``Linf 8/255``"""
    address: str
    """``norm:eps``, as options take it"""
    numbers: Row
    """the row of the table"""
    stochastic: bool
    """whether the defense draws at random, so that images are right in a share of the draws"""
    interval: str
    """how the interval of the worst case is made, for people"""
    attacker: str
    """of a defended row, how whoever knows the defense attacked it, for people; else empty"""
    cells: tuple[CellExplained, ...]
    strongest: str
    """the cell that leaves least by itself; empty where none is done"""
    ranked: int
    """rows of the table that have a rank"""
    inseparable: tuple[str, ...]
    """of these, the rows that the paired tests can't tell from this one"""
    notes: tuple[Note, ...]
    audit: str
    """what became of the audit of this table"""
    unranked: tuple[str, ...]
    """why it has no rank: cells without a number, and what is invalid"""
    stronger: tuple[Suggestion, ...]


class CorruptedExplained(Record):
    """How the mean accuracy of one row under common corruptions came about."""

    numbers: CorruptionRow
    """as in the table"""
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    """those that any corruption has"""
    images: str
    """whose corrupted images these are, and what the numbers can be compared with, for people"""
    seed: int | None
    """of what a library made; ``None`` of published files"""
    draws: int | None
    """fresh draws of a stochastic defense in which each image was judged; ``None`` where nothing is random"""
    cells: int
    judged: int
    """corrupted images that have a verdict"""
    always: int | None
    """images that are right in every draw and cell; ``None`` where a cell has no number"""
    failures: tuple[str, ...]
    """cells without a number, and why"""
    flags: tuple[str, ...]
    """rules of the flags of any cell"""


class Explanation(Record):
    """What ``bench explain --json`` prints."""

    schema_version: int = SCHEMA_VERSION
    suite: str
    run: str
    images: Images
    audit: Audited | None
    """``None`` where the run wasn't audited"""
    rows: tuple[RowExplained, ...]
    corrupted: tuple[CorruptedExplained, ...] = ()
    """the same models and defenses under common corruptions"""
