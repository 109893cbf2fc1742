"""What ``run.json`` says of the images, and what lies in ``cells/`` without being listed there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.errors import StoreError
from bench.runner.preflight import Plan
from bench.runner.submitted import NAME, rows_of, submitted_cell
from bench.runner.verify.identity import Subject
from bench.runner.verify.reading import inside
from bench.runner.verify.results import Found
from bench.store.records import RunRecord
from bench.store.run_directory import RunDirectory, hash_of


def check_dataset(record: RunRecord, plan: Plan, found: Found) -> None:
    """Compares the images that ``run.json`` speaks of with those that its suite asks for.

    Args:
        record: ``run.json``.
        plan: its suite, with the images that lie here.
        found: gets the problems.
    """
    dataset = plan.dataset
    here = {
        "name": dataset.name,
        "digest": dataset.digest,
        "samples": len(dataset),
        "num_classes": dataset.num_classes,
        "class_names": list(dataset.class_names),
        "shape": list(dataset.shape),
    }
    for key, value in here.items():
        if key in record.dataset and record.dataset[key] != value:
            told = f"{record.dataset[key]!s:.40}, here it is {value!s:.40}"
            found.add("identity", f"run.json: the dataset's {key} was {told}")
    if record.positions and list(record.positions) != dataset.positions.tolist():
        found.add("identity", "run.json: positions aren't those of the samples that its suite asks for")


def check_unlisted(
    directory: RunDirectory, plan: Plan | None, subjects: Sequence[Subject], found: Found
) -> tuple[str, ...]:
    """Looks at the records that aren't listed: to leave a submission against a row of the suite out would hide it.

    Args:
        directory: the run.
        plan: its suite; ``None`` where it can't be had.
        subjects: the cells that are listed.
        found: gets the problems.

    Returns:
        What was left alone, for people.
    """
    known = {hash_of(subject.id) for subject in subjects}
    records = sorted((directory.path / "cells").glob("*.json"))
    others = [path for path in records if hash_of(path.stem) not in known]
    for path in others:
        if plan is not None and path.stem.startswith(f"{NAME}-") and _counts(directory, plan, path, found):
            what = "examples that were submitted against a row of the suite aren't listed in run.json"
            found.add("identity", f"{inside(directory, path)}: {what}")
    return (f"{len(others)} records under cells/ that run.json doesn't list",) if others else ()


def _counts(directory: RunDirectory, plan: Plan, path: Path, found: Found) -> bool:
    """Whether a submission's row is there, with the same weights, code and images."""
    try:
        result = directory.read_cell(path.stem)
    except StoreError as error:
        found.add("unreadable", str(error).splitlines()[0])
        return False
    if result is None or result.role != "submitted" or result.status != "done" or "digest" not in result.attack.args:
        return False
    row = rows_of(plan).get((result.model.id, result.defense_id, result.threat_model))
    return row is not None and hash_of(submitted_cell(plan, row, result.attack, result.seed).id) == hash_of(path.stem)
