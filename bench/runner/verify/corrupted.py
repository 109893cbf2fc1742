"""Verifies the corruption cells of a run: every row and number, and corrupted images made and judged again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bench.datasets.base import image_digest
from bench.errors import BenchError, StoreError
from bench.metrics import estimates
from bench.runner.corrupted_shard import Kept
from bench.runner.judge import exact_arithmetic, predict
from bench.runner.preflight import Plan
from bench.runner.verify.again import CHUNK, some_of
from bench.runner.verify.compared import Compared, compare_corrupted
from bench.runner.verify.corrupted_identity import CorruptedSubject, identify_corrupted
from bench.runner.verify.figures import differences
from bench.runner.verify.hairline import tolerance
from bench.runner.verify.reading import compare_seals, typed
from bench.runner.verify.results import CellVerification, Found, reason_of
from bench.runner.verify.rows import AnyArray, check_corrupted_rows, check_images
from bench.runner.worker import Worker
from bench.store.corrupted import CorruptedRecord, CorruptedReport, CorruptionResult, CorruptionStore
from bench.store.records import RunRecord
from bench.store.run_directory import RunDirectory, hash_of

if TYPE_CHECKING:
    import pandas as pd

MOST = 1000
"""Up to so many images of a cell are made and judged again: to make 75 variants of each takes what the run took."""


class CorruptedVerifier:
    """The corruption cells of one run.

    Args:
        directory: the run.
        record: ``run.json``.
        plan: its suite with what lies here now; ``None`` where it can't be had.
        worker: holds the dataset and the models; ``None`` likewise.
        digests: of the images that the suite asks for, shape (N,).
        found: gets what isn't as it should be.
        most: so many images of a cell are made and judged again at most.
    """

    def __init__(
        self,
        directory: RunDirectory,
        record: RunRecord,
        plan: Plan | None,
        worker: Worker | None,
        digests: AnyArray,
        found: Found,
        most: int = MOST,
    ) -> None:
        self.directory, self.record, self.plan, self.worker = directory, record, plan, worker
        self.digests, self.found, self.most = digests, found, most
        self.store = CorruptionStore(directory)
        images = None if plan is None else plan.corrupted.images
        self.images = None if images is None else Kept(images)

    def all(self, note: Callable[[str], None]) -> tuple[CellVerification, ...]:
        """Cell by cell.

        Args:
            note: told of how it goes on.
        """
        subjects = identify_corrupted(self.record, self.plan, self.store, self.found)
        cells = list[CellVerification]()
        for number, subject in enumerate(subjects, start=1):
            cells.append(self._safely(subject))
            note(f"[{number}/{len(subjects)}] {cells[-1].label}: {cells[-1].examples} corrupted images judged again")
        return tuple(cells)

    def unlisted(self) -> tuple[str, ...]:
        """What lies under ``corruptions/`` and was left alone, for people."""
        known = {hash_of(cell) for cell in self.record.corruption_cells}
        others = [path for path in self.store.path.glob("*.json") if hash_of(path.stem) not in known]
        return (f"{len(others)} records under corruptions/ that run.json doesn't list",) if others else ()

    def _safely(self, subject: CorruptedSubject) -> CellVerification:
        """One cell; what nobody thought of is a problem of this cell, too."""
        label = subject.id if subject.cell is None else subject.cell.label
        status = "missing" if subject.result is None else subject.result.status
        unchecked, rows, judged = list[str](), 0, 0
        try:
            frame = self._rows(subject)
            rows = len(frame)
            judged = self._judged(subject, frame, unchecked)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge: it becomes a problem)
            self.found.add("not-verifiable", f"it can't be checked: {reason_of(error)}", cell=subject.id)
            unchecked.append("most of it: see the problems")
        hairline = self.found.count("hairline", subject.id)
        return CellVerification(subject.id, label, status, rows, judged, hairline=hairline, unchecked=tuple(unchecked))

    # -- what needs no model -----------------------------------------------------------------------------------------

    def _rows(self, subject: CorruptedSubject) -> pd.DataFrame:
        """The rows of samples that the suite asks for; what the record says of them is checked."""
        import pandas as pd

        result = subject.result
        done = result is not None and result.status == "done"
        if result is not None and done:
            there = {path.name: path for path in self.store.parts(subject.id)}
            record = f"corruptions/{result.cell}.json"
            compare_seals(self.directory, subject.id, record, result.provenance.get("parts"), there, self.found)
        elif result is not None:
            self.found.add("not-verifiable", f"it has no number: {result.status}: {result.reason}", cell=subject.id)
            if result.accuracy is not None or result.clean_accuracy is not None:
                what = f"corruptions/{result.cell}.json: an {result.status} has no accuracy"
                self.found.add("metrics", what, cell=subject.id)
        try:
            stored, reports = self.store.read(subject.id)
            stored = typed(stored, self.store.path / subject.id, CorruptedRecord)
        except StoreError as error:
            self.found.add("unreadable", str(error).splitlines()[0], cell=subject.id)
            return pd.DataFrame(columns=list(CorruptedRecord._fields))
        rows = self._asked(subject, stored)
        if len(rows) and subject.cell is not None:
            check_corrupted_rows(rows, subject.cell.defense, subject.id, self.found)
        if result is not None and done:
            self._figures(result, rows, reports)
        return rows

    def _asked(self, subject: CorruptedSubject, stored: pd.DataFrame) -> pd.DataFrame:
        """The rows of samples that the suite asks for; of a finished cell every one of these must have one."""
        if self.plan is None:
            return stored[stored["position"].isin(self.record.positions)].reset_index(drop=True)
        rows = check_images(stored, self.plan.dataset, self.digests, subject.id, self.found)
        if subject.result is not None and subject.result.status == "done":
            there = set(rows["sample_id"])
            missing = [sample for sample in self.plan.dataset.sample_ids if sample not in there]
            if missing:
                self.found.add("row", "no row of a sample that run.json asks for", cell=subject.id, samples=missing)
        return rows

    def _figures(self, result: CorruptionResult, rows: pd.DataFrame, reports: Sequence[CorruptedReport]) -> None:
        """What the record says must follow from its rows."""
        if not len(rows):
            return
        flags = [flag.rule for report in reports for flag in report.flags]
        here = {
            "accuracy": estimates.share(rows["correctness"].to_numpy(dtype=float)).model_dump(mode="json"),
            "clean_accuracy": estimates.share(rows["clean_correctness"].to_numpy(dtype=float)).model_dump(mode="json"),
            "samples": len(rows),
            "seconds": sum(report.seconds for report in reports),
            "flags": list(dict.fromkeys(flags)),
        }
        recorded = result.model_dump(mode="json", include=set(here))
        recorded["flags"] = [flag.rule for flag in result.flags]
        for name, value in here.items():
            for text in differences(name, recorded[name], value):
                self.found.add("metrics", f"corruptions/{result.cell}.json: {text}", cell=result.cell)

    # -- what the models say -----------------------------------------------------------------------------------------

    def _judged(self, subject: CorruptedSubject, rows: pd.DataFrame, unchecked: list[str]) -> int:
        """Makes corrupted images and judges them again; how many."""
        planned, worker = subject.planned, self.worker
        if not len(rows):
            return 0
        if worker is None or planned is None:
            unchecked.append("no model judged it again")
            return 0
        blocked = planned.unavailable or planned.broken
        if blocked or self.images is None:
            self.found.add("not-verifiable", blocked or "its corrupted images can't be had here", cell=subject.id)
            return 0
        chosen = self._chosen(subject, rows)
        if len(chosen) < len(rows):
            unchecked.append(f"{len(rows) - len(chosen):,} of {len(rows):,} corrupted images weren't made again")
        cell = planned.cell
        with exact_arithmetic():
            worker.target(cell)
            shown = {flag.rule for flag in worker.flags(cell) if flag.severity != "info"}
            if "unmarked-randomness" in shown:
                raise BenchError("the model is random, and nothing says how: no verdict of it can be judged again")
            with worker.guarded(cell):
                for start in range(0, len(chosen), CHUNK):
                    self._piece(subject, rows, chosen[start : start + CHUNK])
        recorded = set() if subject.result is None else {flag.rule for flag in subject.result.flags}
        for rule in sorted(shown - recorded):
            self.found.add("metrics", f"the model shows {rule} here, and no flag says so", cell=subject.id)
        return len(chosen)

    def _chosen(self, subject: CorruptedSubject, rows: pd.DataFrame) -> list[int]:
        """Which rows are judged again: all, or as many as may be, drawn by what the files hold, the same for all models."""
        if len(rows) <= self.most:
            return list(range(len(rows)))
        seal = hashlib.sha256("".join(sorted(self.store.seals(subject.id).values())).encode()).digest()
        draws = np.random.Generator(np.random.PCG64(int.from_bytes(seal[:8], "big")))
        return sorted(draws.choice(len(rows), self.most, replace=False).tolist())

    def _piece(self, subject: CorruptedSubject, rows: pd.DataFrame, chosen: list[int]) -> None:
        """Judges some rows again."""
        worker, planned = self.worker, subject.planned
        assert worker is not None
        assert planned is not None
        assert self.images is not None
        cell, dataset = planned.cell, worker.dataset
        place = {sample: index for index, sample in enumerate(dataset.sample_ids)}
        members = tuple(place[sample] for sample in rows["sample_id"].iloc[chosen])
        pixels = torch.from_numpy(self.images.of(cell, members)).float().div(255)
        batch = dataset.batch(np.asarray(members, dtype=np.int64))
        x, y, corrupted = (one.to(worker.device) for one in (batch.x, batch.y, pixels))
        scoring = worker.scoring(cell, tuple(dataset.sample_ids[member] for member in members))
        target: Any = worker.target(cell)  # Any: a counted or defended model
        hairline = tolerance(target, x, scoring)
        clean = worker.clean(cell, members, x, y)
        judged = predict(target, corrupted, y, worker.batch_size, scoring)
        compared = Compared(worker, cell, subject.id, rows, torch.tensor(chosen), members, hairline, self.found)
        self._same_images(compared, pixels)
        compare_corrupted(compared, clean, judged, some_of(corrupted, y), some_of(x, y))

    def _same_images(self, compared: Compared, pixels: Tensor) -> None:
        recorded = compared.frame["corrupted_digest"].to_numpy()
        other = np.array([image_digest(one) != then for one, then in zip(pixels, recorded, strict=True)])
        if other.any():
            what = "the corrupted image isn't the one that is made or read here"
            samples = compared.frame["sample_id"][other]
            self.found.add("corrupted-image", what, cell=compared.identity, samples=samples)
