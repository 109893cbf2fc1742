"""Verifies a run: every saved example, every row, every number and every id, with nothing believed that can be checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import StoreError
from bench.runner.devices import choose
from bench.runner.preflight import Plan, preflight
from bench.runner.verify.again import Again, Counts
from bench.runner.verify.corrupted import MOST, CorruptedVerifier
from bench.runner.verify.figures import check_figures
from bench.runner.verify.identity import Subject, identify
from bench.runner.verify.listing import check_dataset, check_unlisted
from bench.runner.verify.reading import (
    Rows,
    check_seals,
    example_ids,
    knows_detector_steps,
    read_parts,
    read_record,
    read_rows,
)
from bench.runner.verify.results import CellVerification, Found, Verification, first_line, reason_of
from bench.runner.verify.rows import check_images, check_rows
from bench.runner.worker import Worker
from bench.store.records import CellResult, RunRecord
from bench.store.run_directory import RunDirectory
from bench.suites.expand import Makers
from bench.suites.loaded import LoadedSuite
from bench.suites.places import Places

if TYPE_CHECKING:
    import pandas as pd


def verify_run(
    run: Path,
    *,
    places: Places | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    note: Callable[[str], None] = lambda text: None,
    corrupted: int = MOST,
) -> Verification:
    """Checks a run from disk with the real models; writes nothing, and needs no lock.

    What can't be read or checked is a problem, and the rest is checked all the same. Whether an attack was run as it is
    recorded, and whether a stronger one would have found more, no verification can tell.

    Args:
        run: the run's directory.
        places: directories and permissions.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: the most samples of a pass; found by itself where it is ``None``.
        note: told of how it goes on.
        corrupted: the most images of a corruption cell that are made again.

    Raises:
        StoreError: where there is no run.
        BenchError: for a device that isn't here.
    """
    return _Verifier(RunDirectory.open(run), places or Places(), device, batch_size, note).all(corrupted)


class _Verifier:
    """One verification."""

    def __init__(
        self, directory: RunDirectory, places: Places, device: str, batch_size: int | None, note: Callable[[str], None]
    ) -> None:
        self.directory, self.places, self.note = directory, places, note
        self.device, self.batch_size = choose(device), batch_size
        self.found, self.notes = Found(), list[str]()
        self.record = self._record()
        self.plan = None if self.record is None else self._plan(self.record)
        self.worker: Worker | None = None
        self.digests = np.zeros(0, dtype=object)
        if self.plan is not None:
            dataset = self.plan.dataset
            self.worker = Worker(dataset, places, self.device, batch_size, calibration=self.plan.calibration)
            self.digests = np.array([dataset.sample_digest(place) for place in range(len(dataset))], dtype=object)

    def all(self, most: int) -> Verification:
        """Cell by cell, those of a model one after the other; of corruption cells so many images at most."""
        listed = self._listed()
        results = {cell: read_record(self.directory, cell, self.found) for cell in listed}
        subjects = identify(self.record, self.plan, results, self.found)
        if self.record is not None and self.plan is not None:
            check_dataset(self.record, self.plan, self.found)
        self.notes += check_unlisted(self.directory, self.plan, subjects, self.found)
        cells: dict[str, CellVerification] = {}
        for number, subject in enumerate(_by_model(subjects), start=1):
            cells[subject.id] = self._safely(subject, subjects)
            self.note(f"[{number}/{len(subjects)}] {_told(cells[subject.id])}")
        corrupted = self._corrupted(most)
        return Verification(
            self.directory.path,
            self.found.problems(),
            self.found.hairline(),
            tuple(cells[subject.id] for subject in subjects),
            tuple(self.notes),
            corrupted,
        )

    # -- the run ---------------------------------------------------------------------------------------------------

    def _record(self) -> RunRecord | None:
        try:
            record = self.directory.read_run()
        except StoreError as error:
            self.found.add("unreadable", f"{first_line(error)}: no model can judge anything again without it")
            return None
        if record.finished is None:
            self.notes.append("run.json: the last run was stopped before its end; running the suite again finishes it")
        return record

    def _plan(self, record: RunRecord) -> Plan | None:
        """The suite of ``run.json`` with what lies here now."""
        plugins = tuple(Path(plugin) for plugin in record.suite.plugins)
        loaded = LoadedSuite(record.suite, self.directory.path / "run.json", plugins=plugins)
        try:
            return preflight(loaded, self.places, self.note, recorded=True)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the edge of the run: it becomes a problem)
            what = "no model can judge anything again"
            self.found.add("not-verifiable", f"run.json: its suite can't be had here: {reason_of(error)}: {what}")
            return None

    def _corrupted(self, most: int) -> tuple[CellVerification, ...]:
        """The corruption cells."""
        if self.record is None:
            return ()
        verifier = CorruptedVerifier(
            self.directory, self.record, self.plan, self.worker, self.digests, self.found, most
        )
        self.notes += verifier.unlisted()
        return verifier.all(self.note)

    def _listed(self) -> list[str]:
        """The ids of the cells to check: those that the run lists; all that have a record where nothing lists them."""
        if self.record is None:
            return sorted(path.stem for path in (self.directory.path / "cells").glob("*.json"))
        twice = [cell for place, cell in enumerate(self.record.cells) if cell in self.record.cells[:place]]
        for cell in twice:
            self.found.add("identity", "run.json lists it twice", cell=cell)
        return list(dict.fromkeys(self.record.cells))

    # -- one cell --------------------------------------------------------------------------------------------------

    def _safely(self, subject: Subject, subjects: Sequence[Subject]) -> CellVerification:
        """One cell; what nobody thought of is a problem of this cell, too."""
        try:
            return self._cell(subject, subjects)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge: it becomes a problem)
            self.found.add("not-verifiable", f"it can't be checked: {reason_of(error)}", cell=subject.id)
            label = subject.id if subject.cell is None else subject.cell.label
            status = "missing" if subject.result is None else subject.result.status
            return CellVerification(subject.id, label, status, unchecked=("most of it: see the problems",))

    def _cell(self, subject: Subject, subjects: Sequence[Subject]) -> CellVerification:
        result, unchecked = subject.result, list[str]()
        if result is not None and result.status == "done":
            reason = check_seals(self.directory, subject.id, result, self.found)
            unchecked += [reason] if reason else []
        elif result is not None:
            self.found.add("not-verifiable", f"it has no number: {result.status}: {result.reason}", cell=subject.id)
            if result.metrics:
                self.found.add(
                    "metrics", f"cells/{result.cell}.json: an {result.status} has no metrics", cell=subject.id
                )
        stored = read_rows(self.directory, subject.id, self.found)
        rows = self._asked(subject, stored)
        if subject.cell is None:
            return CellVerification(
                subject.id, subject.id, "missing", len(rows), unchecked=("nothing tells what it is",)
            )
        if len(rows):
            check_rows(rows, subject.cell, subject.id, self.found)
        counts = self._judged(subject, rows, subjects, unchecked)
        if result is not None and result.status == "done" and self.record is not None:
            self._figures(subject, result, stored, rows, unchecked)
            self._flags(subject, result, counts)
        return CellVerification(
            subject.id,
            subject.cell.label,
            "missing" if result is None else result.status,
            len(rows),
            counts.examples,
            counts.successes,
            counts.rounded if counts.successes else None,
            self.found.count("hairline", subject.id),
            self.found.count("borderline", subject.id),
            tuple(unchecked),
        )

    def _asked(self, subject: Subject, stored: Rows) -> pd.DataFrame:
        """The rows of samples that the suite asks for; every one of these must have one."""
        if self.plan is None:
            return stored.frame
        dataset = self.plan.dataset
        rows = check_images(stored.frame, dataset, self.digests, subject.id, self.found)
        result = subject.result
        if result is None or result.status != "done" or result.role == "submitted":
            return rows
        there = set(rows["sample_id"])
        missing = [sample for sample in dataset.sample_ids if sample not in there]
        if missing:
            self.found.add("row", "no row of a sample that run.json asks for", cell=subject.id, samples=missing)
        return rows

    def _judged(
        self, subject: Subject, rows: pd.DataFrame, subjects: Sequence[Subject], unchecked: list[str]
    ) -> Counts:
        """Judges rows and examples again, as far as there are a model and rows."""
        assert subject.cell is not None
        self._missing_examples(subject, rows, unchecked)
        if self.worker is None or subject.blocked or not len(rows):
            for _ in read_parts(self.directory, subject.id, self.found):
                pass  # what can't be read is named all the same
            if self.worker is None:
                unchecked.append("no model judged it again")
            elif subject.blocked:
                self.found.add("not-verifiable", subject.blocked, cell=subject.id)
            return Counts()
        source = subject.id if subject.keep != "none" else ""
        if subject.cell.transferred:
            source = self._prerequisite(subject, rows, subjects)
        elif subject.cell.role == "certificate":
            unchecked.append("certificates aren't computed again")
        again = Again(self.worker, subject.cell, subject.id, rows, self.found)
        counts = Counts()
        try:
            again.judge(read_parts(self.directory, source, self.found) if source else (), counts)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge: it becomes a problem)
            self.found.add("not-verifiable", f"it can't be judged again: {reason_of(error)}", cell=subject.id)
        if counts.unasked:
            unchecked.append(f"{counts.unasked} examples of samples that the suite doesn't ask for")
        return counts

    def _missing_examples(self, subject: Subject, rows: pd.DataFrame, unchecked: list[str]) -> None:
        """Every success has its example, or every sample, by what the cell keeps."""
        if subject.keep == "none":
            broken = int(rows["success"].sum()) if len(rows) else 0
            attacked = subject.cell is not None and not subject.cell.transferred and subject.cell.role != "certificate"
            if broken and attacked:
                unchecked.append(f"no examples are kept (run.save_adversarial): {broken} successes aren't judged again")
            return
        wanted = rows if subject.keep == "all" else rows[rows["success"].astype(bool)]
        kept = example_ids(self.directory, subject.id)
        missing = [sample for sample in wanted["sample_id"] if sample not in kept]
        if missing:
            what = "a success without its example" if subject.keep != "all" else "no example, though every one is kept"
            place = f"adversarial/{subject.id}"
            self.found.add("missing-example", f"{place}: {what}", cell=subject.id, samples=missing)

    def _prerequisite(self, subject: Subject, rows: pd.DataFrame, subjects: Sequence[Subject]) -> str:
        """The cell whose examples an oblivious or a transfer one judged; empty where it isn't there."""
        assert subject.cell is not None
        cells = {id(other.cell): other for other in subjects if other.cell is not None}
        try:
            source = cells[id(Makers(other.cell for other in subjects if other.cell is not None).of(subject.cell))]
        except ValueError:
            self.found.add(
                "not-verifiable", "the cell with the examples that it judged isn't in the run", cell=subject.id
            )
            return ""
        kept = example_ids(self.directory, source.id)
        missing = [sample for sample in rows["sample_id"] if sample not in kept]
        if missing:
            what = f"adversarial/{source.id}: no example of a sample that it judged"
            self.found.add("missing-example", what, cell=subject.id, samples=missing)
        return source.id

    def _figures(
        self, subject: Subject, result: CellResult, stored: Rows, rows: pd.DataFrame, unchecked: list[str]
    ) -> None:
        """What the record says must follow from the rows that it counts."""
        assert subject.cell is not None
        assert self.record is not None
        counted = rows if self.plan is not None else rows[rows["position"].isin(self.record.positions)]
        if result.role == "submitted" and len(counted) != result.samples:  # as many as there were when it was submitted
            counted = stored.frame
        asked = len(self.record.positions) if self.plan is None else len(self.plan.dataset)
        if not stored.whole or (result.role != "submitted" and len(counted) != asked) or not len(counted):
            unchecked.append("its metrics: rows are missing")
            return
        suite = self.record.suite
        if not knows_detector_steps(self.directory):  # nobody had switched off what wasn't there
            suite = suite.model_copy(update={"run": suite.run.model_copy(update={"detector_steps": 1})})
        check_figures(result, subject.cell, suite, counted, stored.reports, self.found)

    def _flags(self, subject: Subject, result: CellResult, counts: Counts) -> None:
        """What the model itself shows must be said of it; older records may be from before a rule."""
        for rule in sorted(counts.flags - {flag.rule for flag in result.flags}):
            if "facts" in result.provenance:
                what = f"cells/{result.cell}.json: the model shows {rule} here, and no flag says so"
                self.found.add("metrics", what, cell=subject.id)


def _by_model(subjects: Sequence[Subject]) -> list[Subject]:
    """So that no model is loaded twice."""
    models = list(dict.fromkeys(one.cell.model.id for one in subjects if one.cell is not None))
    return sorted(subjects, key=lambda one: -1 if one.cell is None else models.index(one.cell.model.id))


def _told(cell: CellVerification) -> str:
    return f"{cell.label}: {cell.rows} rows, {cell.examples} examples judged again"
