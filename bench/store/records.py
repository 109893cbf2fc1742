"""The records on disk: one row per sample, one JSON file per cell, one per run.

Everything that a table, a plot or an audit needs stands in these records; nothing reads a model again. The schema
versions rise when a field changes its meaning; a newer file is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

from bench.suites.spec import AttackSpec, DatasetSpec, DefenseSpec, ModelSpec, Suite, ThreatModelSpec

SCHEMA_VERSION = 1

Status = Literal["done", "error", "unavailable"]

SMALLER_EPS = "smaller-eps"
"""The stage of a sample that was not attacked, because a smaller eps of the same suite had broken it."""


class SampleRecord(NamedTuple):
    """What happened to one sample in one cell: one row of the parquet files.

    Probabilities and distances are float; passes are counted per sample by the harness, not by the attack.
    """

    cell: str
    """id of the cell"""
    position: int
    """position of the sample in the dataset's order, from 0"""
    sample_id: str
    sample_digest: str
    """sha256 of the clean image's float32 bytes, 16 hex digits"""
    label: int
    clean_prediction: int
    clean_correct: bool
    adversarial_prediction: int
    """float32 prediction on the projected adversarial point; the clean prediction where the attack returned none"""
    success: bool
    """verified: clean-correct, inside the threat model, and misclassified in float32"""
    robust: bool
    """clean-correct and not broken"""
    linf: float
    """Linf distance of the judged point from the clean image"""
    l2: float
    """L2 distance of the judged point from the clean image"""
    raw_distance: float
    """distance of the point as the attack returned it, in the threat model's norm, before any projection"""
    clean_margin: float
    """logit of the label minus the best other logit, on the clean image"""
    adversarial_margin: float
    """the same on the judged point: below 0 where the attack succeeded"""
    clean_confidence: float
    """softmax probability of the predicted class on the clean image"""
    adversarial_confidence: float
    """softmax probability of the predicted class on the judged point"""
    iterations: int
    """steps that the attack spent on this sample; -1 where a library doesn't tell"""
    forwards: float
    """forward passes on this sample; shared out evenly over the batch where a library attacks"""
    backwards: float
    rejected: bool
    """the defense abstained on the judged point"""
    stage: str
    """the stage of an ensemble that broke the sample, or ``smaller-eps``; empty where none did"""
    minimal_distance: float = math.nan
    """distance of the point that a minimum-norm attack returned, beyond eps too, in the threat model's norm, where it is
    verified to be misclassified; 0 where the clean image is, infinity where nothing was found, NaN for other attacks and
    in files from before this column. Under ``first_success`` the attack stopped early: only an upper bound"""
    l1: float = math.nan
    """L1 distance of the judged point from the clean image; NaN in files from before this column"""
    clean_correctness: float = math.nan
    """share of the scoring draws of a stochastic defense in which the clean image is classified correctly and accepted; 0 or 1
    for others, NaN in files from before this column"""
    correctness: float = math.nan
    """the share on the judged point, where a rejection counts as defended; never above ``clean_correctness``. Robust accuracy
    is its mean; 0 or 1 for deterministic models, NaN in files from before this column"""
    even_correctness: float = math.nan
    """``correctness`` by the scoring draws of even number alone; the worst of several cells is chosen by one half of the draws
    and scored by the other, so that no draw scores what it was chosen for. Not held below ``clean_correctness``"""
    odd_correctness: float = math.nan
    """by those of odd number"""
    clean_rejected: bool = False
    """the defense abstained on the clean image, which counts as an error"""
    clean_rejection_margin: float = math.nan
    """how far the detector's score lies above its threshold on the clean image, in units of logits: above 0 where it
    rejects; NaN without a detector"""
    rejection_margin: float = math.nan
    """the same on the judged point"""
    certified_prediction: int = -1
    """class that a certificate speaks of; -1 where it abstains, and in cells that certify nothing"""
    certified_radius: float = math.nan
    """L2 radius within which the defended model keeps that class, wrong with the probability that the defense states; 0 where
    it abstains, NaN in cells that certify nothing"""
    bare_prediction: int = -1
    """prediction of the bare model on the clean image; -1 where there is no defense"""
    bare_adversarial_prediction: int = -1
    """prediction of the bare model on the judged point; -1 where there is no defense"""
    psnr: float = math.nan
    """peak signal-to-noise ratio of the judged point against the clean image, in dB; NaN without a purifier, and where the two
    are equal"""
    psnr_purified: float = math.nan
    """the same of the purified judged point"""
    ssim: float = math.nan
    """structural similarity of the judged point to the clean image; NaN without a purifier, and for images below 11 pixels"""
    ssim_purified: float = math.nan
    """the same of the purified judged point"""
    lpips: float = math.nan
    """LPIPS distance of the judged point from the clean image; NaN without a purifier, and where LPIPS isn't installed"""
    lpips_purified: float = math.nan
    """the same of the purified judged point"""
    queries: int = -1
    """the query with which a score- or decision-based attack broke the sample, from 1; 0 where it didn't, -1 where nobody
    counted and in files from before this column"""


class Estimate(BaseModel):
    """A metric with its 95 % interval over the sampling of images; n counts the images it was computed from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    """``None`` where there is nothing to compute it from (n is 0), or where it is infinite (n is above 0)"""
    low: float | None = None
    high: float | None = None
    n: int


class Flag(BaseModel):
    """Something that a reader of the number must know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    severity: Literal["info", "warning", "invalid"]
    message: str
    source: str = ""


class Cost(BaseModel):
    """What the cell cost, summed over its shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    images_per_second: float | None
    forwards: float
    backwards: float
    peak_memory: int | None = None
    """bytes: the most that tensors took on a GPU at once; on a CPU the most that the whole process had taken by then"""
    purify_ms: float | None = None
    """milliseconds that the purifiers took for an image, judged in batches; ``None`` without a purifier"""
    reused: int = 0
    """samples that a smaller eps had broken, judged again and not attacked"""


class StageResult(BaseModel):
    """One stage of an ensemble: how many samples it was given, and how many it left robust."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    attacked: int
    broken: int
    robust_accuracy: float
    seconds: float


class CellResult(BaseModel):
    """``cells/<cell>.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    cell: str
    """id"""
    role: Literal[
        "suite", "prerequisite", "oblivious", "naive", "gradient_free", "certificate", "submitted", "transfer"
    ]
    status: Status
    dataset: DatasetSpec
    model: ModelSpec
    defense: DefenseSpec
    threat_model: ThreatModelSpec
    attack: AttackSpec
    adversary: Literal["oblivious", "naive", "adaptive", "transfer"]
    seed: int
    search: str
    precision: str
    """of our own attacks' passes: what ``auto`` came to"""
    samples: int
    """samples that the suite asked for"""
    metrics: dict[str, Estimate] = {}
    stages: tuple[StageResult, ...] = ()
    cost: Cost | None = None
    flags: tuple[Flag, ...] = ()
    reason: str = ""
    """why the cell is an error or unavailable, in one line"""
    traceback: str = ""
    source: ModelSpec | None = None
    """of a ``transfer`` cell, the bare model that the examples were made against"""
    provenance: dict[str, Any] = {}  # Any: JSON values
    """digests and versions, the device, the times; ``facts`` and ``precision`` are what the id was made of beside the fields
    here, ``parts`` the sha256 of the files that a finished cell's number rests on"""

    @property
    def defense_id(self) -> str:
        """The defense's name in tables."""
        return self.defense.id or self.defense.name

    @property
    def attack_id(self) -> str:
        """The attack's name in tables."""
        return self.attack.id or self.attack.name


class JoinedRun(BaseModel):
    """One of the runs that a run was joined from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """of the run; its directory as it was given where several have the same"""
    directory: str
    command: str
    started: str
    finished: str | None = None
    samples: int
    """that its suite asked for"""
    seeds: tuple[int, ...]
    environment: dict[str, Any] = {}  # Any: JSON values


class RunRecord(BaseModel):
    """``run.json``: the suite as resolved, where and with what it ran, and the cells that it has now.

    A run from before the harness added ``adam_pgd`` to what rejects (``run.detector_steps``) has none of its cells.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    suite: Suite
    run: str
    command: str
    started: str
    finished: str | None = None
    cells: tuple[str, ...]
    """ids of the cells that the suite has now, in its order, then of what was submitted against its rows; others in the
    directory are kept but not shown"""
    corruption_cells: tuple[str, ...] = ()
    """ids of its corruption cells, row by row"""
    positions: tuple[int, ...] = ()
    """positions of the samples that the suite asks for now, in the dataset's order"""
    dataset: dict[str, Any] = {}  # Any: JSON values
    """name, digest, number of images and classes, class names, and a note where the images are for smoke tests only"""
    environment: dict[str, Any] = {}  # Any: JSON values
    """versions, device, threads, git commit of the working directory"""
    joined: tuple[JoinedRun, ...] = ()
    """the runs that this one was joined from; a cell's ``provenance.joined`` says which of them its rows are from"""

    @model_validator(mode="before")
    @classmethod
    def _without_adam(cls, value: object) -> object:
        suite = value.get("suite") if isinstance(value, Mapping) else None
        run = suite.get("run") if isinstance(suite, Mapping) else None
        if isinstance(value, Mapping) and isinstance(suite, Mapping) and isinstance(run, Mapping):
            return {**value, "suite": {**suite, "run": {"detector_steps": 0, **run}}}
        return value
