"""Runs of corruption cells on verdicts that the test chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.store.corrupted import CorruptedRecord, CorruptedReport, CorruptionResult, CorruptionStore
from bench.store.records import RunRecord
from bench.store.run_directory import RunDirectory
from bench.suites.corruption_cells import CorruptionCell, expand_corruptions
from bench.suites.spec import Suite

Verdicts = npt.NDArray[np.float64]
N = 40


def right(cell: CorruptionCell) -> Verdicts:
    """Image i is right up to severity (i mod 6), under the noises one further; models differ in nothing."""
    reach = np.arange(N) % 6 + (cell.corruption.endswith("noise"))
    return (reach >= cell.severity).astype(float)


def build(
    path: Path,
    corruptions: Any,
    *,
    dataset: str = "cifar10",
    models: tuple[str, ...] = ("a",),
    statuses: dict[str, str] | None = None,
    verdicts: Any = right,
    published: tuple[str, str, str] | None = None,
    library: str = "1.2",
    pictures: str = "c",
    started: str = "",
) -> RunDirectory:
    """A run of corruption cells alone.

    ``statuses`` names cells by ``corruption severity``, ``library`` is the version of what made the images, ``pictures`` their
    digest.
    """
    suite = Suite.model_validate(
        {"name": "small", "dataset": dataset, "models": [f"zoo:{name}" for name in models], "corruptions": corruptions}
    )
    run = RunDirectory(path)
    cells = expand_corruptions(suite)
    ids = [f"{cell.slug}-{index:012x}" for index, cell in enumerate(cells)]
    run.write_run(
        RunRecord(
            suite=suite,
            run="default",
            command="",
            started=started,
            cells=(),
            corruption_cells=tuple(ids),
            positions=tuple(range(N)),
        )
    )
    store = CorruptionStore(run)
    for cell, identity in zip(cells, ids, strict=True):
        status = (statuses or {}).get(f"{cell.corruption} {cell.severity}", "done")
        if status == "missing":
            continue
        if status == "done":
            shares = verdicts(cell)
            records = [_record(identity, index, float(shares[index]), pictures) for index in range(N)]
            store.write_shard(identity, 0, records, CorruptedReport(samples=N, seconds=1.0, device="cpu"))
        store.write_result(
            CorruptionResult(
                cell=identity,
                status=status,
                dataset=cell.dataset,
                model=cell.model,
                defense=cell.defense,
                corruption=cell.corruption,
                severity=cell.severity,
                published=cell.source.path is not None,
                seed=0,
                samples=N,
                seconds=1.0,
                reason="" if status == "done" else "it broke",
                provenance={"published": published, "facts": {"corruption": {"made_by": {"imagelib": library}}}},
            )
        )
    return run


def _record(cell: str, index: int, share: float, pictures: str) -> CorruptedRecord:
    return CorruptedRecord(
        cell, index, f"s{index}", f"d{index}", pictures, 0, 0, index != 0, float(index != 0), 0, share > 0.5, share, 1.0, 0.9,
        False,
    )  # fmt: skip
