"""The leaderboard as data: what ``leaderboard.json`` holds and every rendering is made from.

Accuracies are shares of the images in [0, 1]; the renderings for people show them in %.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from bench.store.audit import RuleResult
from bench.store.cell_outcome import OutcomeStatus
from bench.store.corruption_outcomes import CorruptedStatus
from bench.store.crossings import SquareStatus
from bench.store.records import Cost, Estimate

SCHEMA_VERSION = 1


class Record(BaseModel):
    """Base of all records here: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(Record):
    """What one attack, or one kind of cell, left of a row: per sample the worst over its cells (seeds, attacks)."""

    status: OutcomeStatus
    """``done`` where every cell is; else what keeps the number from being shown"""
    robust: Estimate | None
    seeds: dict[int, float] = {}
    """robust accuracy per attack seed"""
    seconds: float = 0.0
    """what its cells took together"""
    cells: tuple[str, ...]
    """ids of its cells"""
    bound: bool = False
    """whether something makes one of its cells invalid: ``robust`` is at most that, and has no interval"""
    notes: tuple[int, ...] = ()
    """those warnings, and what makes cells invalid, that speak of these cells and not of all cells of the row"""


class Broken(Record):
    """What one part of the adversary broke of a defended row."""

    count: int
    """images that were right when clean, and that a cell of this part broke"""
    alone: int
    """those of them that no other part broke"""


class Restored(Record):
    """What a defense does besides surviving; shares in [0, 1], ``None`` where there is nothing to measure."""

    labels: float | None
    """of the bare model's examples that fool it, those whose label the defense gives back, by the attack that leaves least"""
    attack: str
    """which attack that is"""
    clean_damage: float | None
    """of the bare model's right clean predictions, those that the defense breaks"""
    defense_success_rate: float | None
    """of the images that are right when clean, those that the strongest single adaptive attack leaves"""
    psnr: float | None
    """in dB, of the adversarial image against the clean one"""
    psnr_purified: float | None
    """the same of the purified adversarial image"""
    ssim: float | None
    ssim_purified: float | None
    lpips: float | None
    lpips_purified: float | None
    purify_ms: float | None
    """milliseconds an image"""
    false_positive_rate: float | None
    """clean images that are rejected"""
    accuracy_with_rejection: float | None
    """of the clean images that are accepted, those that are right"""
    detector_auc: float | None
    """of the adaptive attack that is caught least"""
    tpr_at_5_fpr: float | None
    """the same at a threshold that rejects 5 % of the clean images"""


class PublishedNumbers(Record):
    """What RobustBench has published for this model; shares in [0, 1]."""

    entry: str
    eps: str
    """as the entry writes it"""
    clean: float
    robust: float
    """the lower of AutoAttack's number and the external one"""
    clean_difference: float | None
    """ours less the published one"""
    difference: float | None
    """worst case less the published robust accuracy; ``None`` where the row isn't complete"""
    unreliable: bool
    link: str


class Row(Record):
    """One (model, defense) under one threat model."""

    rank: tuple[int, int] | None
    """the range of ranks that the tests leave; ``None`` where a cell is missing, failed or invalid"""
    best: bool = False
    """whether no ranked row is significantly better"""
    model: str
    defense: str
    clean: Estimate | None
    attacks: dict[str, Score]
    """by the attack's name in tables; only those that the suite has for this row"""
    gradient_free: Score | None
    naive: Score | None = None
    oblivious: Score | None
    certified: Estimate | None = None
    """certified to be right within eps: a lower bound; ``None`` where the defense certifies nothing"""
    worst: Estimate | None
    """per sample the worst over all cells of the row; ``None`` where nothing is known"""
    complete: bool
    """whether ``worst`` is the row's number; else it is only known to be at most that"""
    published: PublishedNumbers | None = None
    seconds: float
    """what all its cells took together"""
    broken: dict[str, Broken] = {}
    """of a defended row, by part of the adversary: ``exact gradient`` or what stands in for it (BPDA, EOT, joint with the
    detector), ``naive``, ``transfer`` from the bare model, ``gradient-free``, ``submitted`` by a person"""
    restored: Restored | None = None
    """of a defended row"""
    correct: int = 0
    """images that are right when clean"""
    notes: tuple[int, ...] = ()
    """all that are said of the row"""


class Note(Record):
    """Something that a reader of the numbers must know."""

    number: int
    subject: str
    """which rows, and which of their attacks where it isn't all"""
    text: str
    severity: Literal["info", "warning", "invalid", "failed"]
    source: str = ""
    rule: str = ""
    """id of the rule that says it"""
    advice: str = ""
    """what to do, where the audit says so"""


class Table(Record):
    """All rows of one threat model."""

    threat_model: str
    """for people: ``Linf 8/255``"""
    norm: str
    eps: str
    """exact, as a fraction"""
    attacks: tuple[str, ...]
    """the columns, in the suite's order"""
    rows: tuple[Row, ...]
    """ranked rows by worst case, then the others"""
    notes: tuple[Note, ...] = ()
    found: dict[str, int] = {}
    """by severity, how many findings of the audit speak of this table, of its rows or of the whole run"""


class Audited(Record):
    """What became of the audit of a run."""

    made: str
    """when, ISO 8601"""
    samples: int
    """of the subset that its probes attacked; 0 where there were none"""
    outdated: int
    """cells that have changed since, or weren't there yet"""
    rules: tuple[RuleResult, ...]


class CellNumbers(Record):
    """The metrics and the cost of one cell."""

    cell: str
    role: str
    threat_model: str
    model: str
    defense: str
    attack: str
    adversary: str
    seed: int
    status: OutcomeStatus
    metrics: dict[str, Estimate]
    cost: Cost | None
    rounded: float | None = None
    """share of the successes that are still one when the image is rounded to 8 bits, as the audit found; ``None`` where it
    didn't look, or there are none"""


class PublishedCorruptionNumbers(Record):
    """What RobustBench's corruption leaderboard says of this model; shares in [0, 1]."""

    entry: str
    clean: float
    accuracy: float
    """mean over 15 corruptions at five severities"""
    mce: float | None
    """relative to AlexNet's errors; ImageNet only"""
    difference: float | None
    """mean accuracy less the published one; ``None`` where the row isn't complete"""
    link: str


class CorruptionRow(Record):
    """One (model, defense) under common corruptions: its own table, since no attacker is involved."""

    model: str
    defense: str
    status: CorruptedStatus
    """``done`` where every cell is; else what keeps the means from being shown"""
    reason: str = ""
    """why they can't be shown, in one line"""
    clean: Estimate | None
    accuracy: Estimate | None
    """mean over the corruptions of the mean over their severities; the interval is over images, each with all its variants"""
    drop: Estimate | None
    """clean accuracy less that, image by image"""
    mce: Estimate | None
    """mean corruption error relative to AlexNet's published errors; ImageNet-C with all corruptions and severities only"""
    by_group: dict[str, Estimate]
    """mean accuracy over the noises, blurs, weathers and digital corruptions that are done"""
    by_corruption: dict[str, Estimate]
    """mean accuracy over a corruption's severities, where all are done"""
    by_severity: dict[int, Estimate]
    """mean accuracy over the corruptions, at each severity that all of them have, where all are done"""
    cells: dict[str, dict[int, Estimate]]
    """accuracy by corruption and severity, of those that are done"""
    published: PublishedCorruptionNumbers | None = None
    seconds: float
    """what all its cells took together"""


class CorruptionTable(Record):
    """All rows under common corruptions."""

    published_images: bool
    """whether the images are the published ones; else a library made them"""
    complete: bool
    """whether all 15 corruptions at all five severities are there"""
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    """those that any corruption has"""
    shared: tuple[int, ...]
    """those that all corruptions have"""
    note: str
    """whose images these are, and what the numbers can be compared with"""
    rows: tuple[CorruptionRow, ...]
    """complete rows by accuracy, then the others"""


class TransferSquare(Record):
    """The examples of one model on one row; estimates are ``None`` where there is no number."""

    source: str
    """id of the model that the examples were made against"""
    model: str
    defense: str
    own: bool
    """whether the row is that model without a defense: what its own white-box attack does to it"""
    status: SquareStatus
    reason: str = ""
    """why there is no number, in one line"""
    robust: Estimate | None = None
    """robust accuracy: of all images, those that are right and stay right"""
    success: Estimate | None = None
    """of the images that the row has right when clean, those that the examples break"""
    rate: Estimate | None = None
    """transfer rate: of the images that both models have right and whose example fools the source, those whose example fools
    the row; ``None`` of a model on itself"""


class TransferMatrix(Record):
    """The examples of each model on every other, under one threat model and attack."""

    threat_model: str
    norm: str
    eps: str
    attack: str
    sources: tuple[str, ...]
    """ids of the models that examples were made against: the lines"""
    targets: tuple[str, ...]
    """labels of the rows that they were tried on: the columns"""
    squares: dict[str, dict[str, TransferSquare]]
    """by source and target; those that the suite asks for"""


class Agreed(Record):
    """An attack of a group beside the first of its group, in one row."""

    threat_model: str
    model: str
    defense: str
    group: str
    attack: str
    reference: bool
    """whether it is the first of its group"""
    status: str
    reason: str = ""
    robust: Estimate | None = None
    valid: bool = True
    """whether nothing marks the number as invalid"""
    more: int | None = None
    """images that it broke and the first of its group didn't"""
    less: int | None = None
    """the other way round"""
    p: float | None = None
    """McNemar's exact test of the two"""
    p_holm: float | None = None
    """corrected over all lines of the run"""
    median_distance: float | None = None
    """of a minimum-norm attack, over the images that are classified correctly; infinite where half of them weren't broken"""
    forwards: float | None = None
    """forward passes for each image"""
    backwards: float | None = None
    seconds: float | None = None
    """for each image"""


class Leaderboard(Record):
    """``leaderboard.json``."""

    schema_version: int = SCHEMA_VERSION
    suite: str
    description: str = ""
    run: str
    dataset: str
    """for people: ``CIFAR-10 test``"""
    images: int
    note: str = ""
    """what a reader must know of the images"""
    audit: Audited | None = None
    """``None`` where the run wasn't audited"""
    tables: tuple[Table, ...]
    corruptions: CorruptionTable | None = None
    """``None`` where the suite has none"""
    transfers: tuple[TransferMatrix, ...] = ()
    agreement: tuple[Agreed, ...] = ()
    """attacks of one group beside each other"""
    cells: tuple[CellNumbers, ...]
