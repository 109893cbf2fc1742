"""Judges the rows and the saved examples of a cell again: with the runner's own judge, the real model and its scoring draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench import threat_models
from bench.attacks.draws import Draws, global_seed
from bench.errors import BenchError
from bench.runner.beside import beside_the_bare
from bench.runner.judge import Prediction, Scoring, exact_arithmetic, predict
from bench.runner.verify.compared import (
    Ask,
    Compared,
    compare_bare,
    compare_clean,
    compare_distances,
    compare_judged,
    compare_quality,
)
from bench.runner.verify.hairline import tolerance
from bench.runner.verify.reading import Part
from bench.runner.verify.results import Found
from bench.runner.worker import Worker
from bench.suites.cells import Cell

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 256
"""Images at a time; the clean predictions of a row are kept, chunk by chunk, for its next cell."""


@dataclass
class Counts:
    """What was judged again of one cell."""

    examples: int = 0
    successes: int = 0
    rounded: int = 0
    unasked: int = 0
    """examples of samples that the suite doesn't ask for now"""
    flags: set[str] = field(default_factory=set)
    """rules of what the model itself shows here"""


class Points(NamedTuple):
    """Saved points that may be judged, and their rows."""

    rows: Tensor
    """which rows of the cell, shape (M,), int64"""
    x: Tensor
    """clean images, shape (M, C, H, W), on the CPU"""
    y: Tensor
    points: Tensor


class Again:
    """One cell, judged again.

    Args:
        worker: holds the dataset and the models.
        cell: the cell.
        identity: its id.
        rows: its rows, all of samples that the suite asks for.
        found: gets what differs.
    """

    def __init__(self, worker: Worker, cell: Cell, identity: str, rows: pd.DataFrame, found: Found) -> None:
        self.worker, self.cell, self.identity, self.rows, self.found = worker, cell, identity, rows, found
        dataset = worker.dataset
        places = {sample: place for place, sample in enumerate(dataset.sample_ids)}
        self.ids = rows["sample_id"].tolist()
        self.places = [places[sample] for sample in self.ids]
        self.row = {sample: row for row, sample in enumerate(self.ids)}
        self.asked = set(dataset.sample_ids)
        self.ball = threat_models.build(cell.threat_model.norm, cell.threat_model.eps)
        self.clean: Prediction | None = None
        self.hairline = 0.0

    def judge(self, parts: Iterable[Part], counts: Counts) -> None:
        """Compares every row with what the model says of its clean image, and of its example where one is saved.

        Args:
            parts: the files of the examples; none for a certificate.
            counts: gets what was judged, as it goes on.

        Raises:
            BenchError: where the model can't be had, or gives nothing that could be compared.
        """
        seed = Draws(self.cell.seed, self.cell.attack.name, "global").chunk_seed(self.worker.dataset.sample_ids)
        with exact_arithmetic(), global_seed(seed):
            self.worker.target(self.cell)
            counts.flags = {flag.rule for flag in self.worker.flags(self.cell) if flag.severity != "info"}
            if "unmarked-randomness" in counts.flags:
                raise BenchError("the model is random, and nothing says how: no verdict of it can be judged again")
            with self.worker.guarded(self.cell):
                self._clean()
                for part in parts:
                    self._part(part, counts)

    def _clean(self) -> None:
        """Judges all clean images of the suite, and compares those that have a row."""
        whole, bare = list[Prediction](), list[Prediction]()
        count = len(self.worker.dataset)
        for start in range(0, count, CHUNK):
            members = tuple(range(start, min(start + CHUNK, count)))
            x, y = self._images(members)
            if not start:
                self.hairline = tolerance(self.worker.target(self.cell), x, self._scoring(members))
            whole.append(self.worker.clean(self.cell, members, x, y))
            if self.cell.defense.name != "none":
                bare.append(self.worker.clean_bare(self.cell, members, x, y))
        places = torch.tensor(self.places, dtype=torch.int64)
        self.clean = _taken(whole, places)
        compared = self._compared(torch.arange(len(self.ids)))

        def ask(rows: Sequence[int]) -> tuple[Tensor, Tensor]:
            return self._images([self.places[row] for row in rows])

        compare_clean(compared, self.clean, ask)
        if bare:
            compare_bare(compared, "bare_prediction", _taken(bare, places).predicted, ask)

    def _part(self, part: Part, counts: Counts) -> None:
        """Judges the examples of one file."""
        if part.examples.images.shape[1:] != self.worker.dataset.shape:
            shape = f"images of shape {part.examples.images.shape[1:]}, not {self.worker.dataset.shape}"
            self.found.add("unreadable", f"{part.name}: {shape}", cell=self.identity)
            return
        strange = [sample for sample in part.examples.sample_ids if sample in self.asked and sample not in self.row]
        if strange:
            self.found.add("row", f"{part.name}: an example without a row", cell=self.identity, samples=strange)
        counts.unasked += sum(sample not in self.asked for sample in part.examples.sample_ids)
        kept = [place for place, sample in enumerate(part.examples.sample_ids) if sample in self.row]
        for start in range(0, len(kept), CHUNK):
            some = kept[start : start + CHUNK]
            ids = [part.examples.sample_ids[place] for place in some]
            points = torch.from_numpy(np.ascontiguousarray(part.examples.images[some]))
            judgeable = self._inside(part.name, ids, points)
            if len(judgeable.rows):
                self._judged(judgeable, counts)

    def _inside(self, name: str, ids: list[str], points: Tensor) -> Points:
        """The points that are images inside the threat model; the others are named."""
        rows = torch.tensor([self.row[sample] for sample in ids], dtype=torch.int64)
        batch = self.worker.dataset.batch(np.array([self.places[row] for row in rows.tolist()], dtype=np.int64))
        finite = torch.isfinite(points.flatten(1)).all(1)
        self._named("not-finite", f"{name}: NaN or infinity", ids, ~finite)
        within = self.ball.contains(points, batch.x)
        outside = finite & ~within
        if outside.any():
            bad = int(outside.nonzero()[0])
            reach, pixels = float(self.ball.distance(points[bad : bad + 1], batch.x[bad : bad + 1])), points[bad]
            detail = (
                f"{self.ball.norm} distance {reach:.6g} with eps {self.ball.radius:.6g}, pixels {float(pixels.min()):.6g} to "
                f"{float(pixels.max()):.6g}"
            )
            self._named("outside", f"{name}: outside the threat model", ids, outside, detail)
        good = (finite & within).nonzero().flatten()
        return Points(rows[good], batch.x[good], batch.y[good], points[good])

    def _judged(self, some: Points, counts: Counts) -> None:
        """Judges points that lie inside, and compares their rows; examples of another cell were judged projected."""
        worker, members = self.worker, tuple(self.places[row] for row in some.rows.tolist())
        target, scoring = worker.target(self.cell), self._scoring(members)
        x, y, points = (one.to(worker.device) for one in some[1:])
        if self.cell.transferred:
            points = self.ball.project(points, x)
        prediction = predict(target, points, y, worker.batch_size, scoring)
        assert self.clean is not None
        clean = Prediction(*(column[some.rows] for column in self.clean))
        compared = self._compared(some.rows)
        compare_judged(compared, clean, prediction, some_of(points, y), some_of(x, y))
        compare_distances(compared, x.cpu(), points.cpu(), self.ball)
        beside = beside_the_bare(worker, self.cell, members, x, y, points).columns
        if beside:
            compare_bare(
                compared, "bare_adversarial_prediction", beside["bare_adversarial_prediction"], some_of(points, y)
            )
            compare_quality(compared, {name: beside[name] for name in beside if not name.startswith("bare_")})
        counts.examples += len(members)
        success = compared.column("success").bool() & clean.correct & prediction.fooled
        counts.successes += int(success.sum())
        self._borderline(compared, success, prediction, target)
        rows = success.nonzero().flatten().to(x.device)
        if len(rows):
            whole = (255 * points[rows]).round() / 255
            again = predict(target, whole, y[rows], worker.batch_size, None if scoring is None else scoring.take(rows))
            counts.rounded += int(again.fooled.sum())

    def _borderline(self, compared: Compared, success: Tensor, prediction: Prediction, target: Any) -> None:
        """Successes whose margin is within the hairline of none; those of a stochastic defense hang on many draws."""
        if target.stochastic:
            return
        near = prediction.margin.abs() <= self.hairline
        near |= prediction.rejection_margin.abs() <= self.hairline  # NaN without a detector, which is not near
        compared.named("borderline", "a success by no more than rounding", success & near, "adversarial_margin")

    def _compared(self, rows: Tensor) -> Compared:
        places = [self.places[row] for row in rows.tolist()]
        return Compared(self.worker, self.cell, self.identity, self.rows, rows, places, self.hairline, self.found)

    def _scoring(self, members: Iterable[int]) -> Scoring | None:
        ids = self.worker.dataset.sample_ids
        return self.worker.scoring(self.cell, tuple(ids[place] for place in members))

    def _images(self, members: Iterable[int]) -> tuple[Tensor, Tensor]:
        batch = self.worker.dataset.batch(np.asarray(list(members), dtype=np.int64))
        return batch.x.to(self.worker.device), batch.y.to(self.worker.device)

    def _named(self, kind: Any, what: str, ids: list[str], which: Tensor, detail: str = "") -> None:
        if which.any():
            samples = [sample for sample, bad in zip(ids, which.tolist(), strict=True) if bad]
            self.found.add(kind, what, cell=self.identity, samples=samples, detail=detail)


def some_of(images: Tensor, y: Tensor) -> Ask:
    """Some of these images."""

    def ask(rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        here = torch.tensor(rows, dtype=torch.int64, device=images.device)
        return images[here], y[here]

    return ask


def _taken(predictions: list[Prediction], places: Tensor) -> Prediction:
    """Those of some places, of the chunks of a whole dataset."""
    return Prediction(*(torch.cat(columns)[places] for columns in zip(*predictions, strict=True)))
