"""Where the speeds of each kind of device come from: measured here, given as files, or scaled where the user asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from bench.errors import BenchError, SchemaError, StoreError
from bench.runner.devices import choose, describe
from bench.runner.executors.opening import worker_of
from bench.runner.neighbours import BUSY, cores, others_at_work
from bench.runner.options import RunSettings
from bench.runner.planning import files
from bench.runner.planning.calibrate import Planned, empty, label_of, measure, row_key
from bench.runner.planning.peaks import PEAKS, ratio
from bench.runner.planning.speeds import Calibration, RowSpeed
from bench.runner.preflight import Plan
from bench.runner.provenance import now
from bench.runner.shards import reason_of

CPU = "cpu"
Note = Callable[[str], None]


class KindSpeeds(NamedTuple):
    """The speeds of one kind of device."""

    rows: dict[str, RowSpeed]
    """by their keys; rows that couldn't be measured are missing"""
    device: str
    """as records name it; empty where the speeds are scaled"""
    origin: Literal["measured", "scaled"]
    source: str


@dataclass(frozen=True, slots=True)
class Speeds:
    """Finds or measures speeds.

    Attributes:
        plan: the suite.
        settings: the device of this machine, where results lie, threads of a CPU worker.
        given: files of speeds, the later ones first.
        scale: whether speeds may be scaled by peak rates.
        note: hears what takes time or goes wrong.
    """

    plan: Plan
    settings: RunSettings
    given: tuple[Calibration, ...] = ()
    scale: bool = False
    note: Note = field(default=lambda text: None)

    @property
    def known(self) -> list[str]:
        """Names of kinds that ``--devices`` may have."""
        here = [CPU, empty(choose(self.settings.device)).kind]
        return sorted({*here, *(one.kind for one in self.given), *PEAKS})

    def of(self, kind: str, rows: Sequence[Planned], *, several: bool) -> KindSpeeds:
        """The speeds of a kind of device.

        Args:
            kind: its name.
            rows: a cell of each row that is needed.
            several: whether there are several devices, so that a CPU is a worker of Ray.

        Raises:
            BenchError: where they aren't known; says how they can be.
        """
        keys = {row_key(one, self.plan.dataset.shape): one for one in rows}
        given = [one for one in self.given if one.kind == kind]
        if given:
            return self._given(kind, given, keys)
        device = choose(self.settings.device)
        if kind == CPU:
            device = torch.device(CPU)
        if kind in (CPU, empty(device).kind):
            with self.threads(several=several and kind == CPU):
                here = self._here(device, rows)
            return KindSpeeds({row.key: row for row in here.rows}, here.device, "measured", f"here: {_said(here)}")
        if not self.scale:
            raise BenchError(
                f"--devices: no speeds of {kind} (accepted: a file of them with --calibration FILE, which bench plan SUITE "
                "--calibrate FILE writes on such a device; or --scale, by peak rates from a GPU that was measured)"
            )
        return self._scaled(kind, keys)

    @contextmanager
    def threads(self, *, several: bool) -> Iterator[None]:
        """Inside, torch takes as many threads as one of several workers on CPUs does."""
        before = torch.get_num_threads()
        if several:
            torch.set_num_threads(self.settings.cluster.cpus_per_worker)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def measured_here(self, rows: Sequence[Planned]) -> Calibration:
        """Measures this machine's device anew, and keeps that for later plans."""
        return self._here(choose(self.settings.device), rows, anew=True)

    def _given(self, kind: str, given: Sequence[Calibration], keys: dict[str, Planned]) -> KindSpeeds:
        found = {key: row for one in reversed(given) for key in keys if (row := one.row(key)) is not None}
        missing = [one.cell.model.id for key, one in keys.items() if key not in found]
        if missing:
            raise BenchError(
                f"--calibration: no speeds of {missing[0]} on {kind} as the suite has it now: its weights, defense, norm or "
                f"precision were others, or it is new ({len(missing)} of {len(keys)} rows; accepted: a file written anew with "
                "bench plan SUITE --calibrate FILE)"
            )
        return KindSpeeds(found, given[0].device, "measured", f"given: {_said(given[0])}")

    def _scaled(self, kind: str, keys: dict[str, Planned]) -> KindSpeeds:
        bases = [one for one in self.given if one.kind in PEAKS]
        here = choose(self.settings.device)
        if not bases and empty(here).kind in PEAKS:
            bases = [self._here(here, list(keys.values()))]
        if not bases:
            raise BenchError(
                f"--scale: no GPU was measured from which {kind} could be scaled; a CPU tells nothing of a GPU (accepted: "
                f"--calibration FILE, measured on one of {', '.join(PEAKS)})"
            )
        measured = self._given(bases[0].kind, bases[:1], keys).rows
        rows = {key: row.scaled(ratio(bases[0].kind, kind, row.precision)) for key, row in measured.items()}
        return KindSpeeds(rows, "", "scaled", f"by peak rates from {_said(bases[0])}")

    def _here(self, device: torch.device, rows: Sequence[Planned], *, anew: bool = False) -> Calibration:
        """The speeds of a device of this machine: those that are kept, and the missing ones measured now."""
        path = files.speeds_path(self.settings.results, describe(device))
        kept = empty(device) if anew else _kept(path, empty(device))
        most = min(self.plan.suite.run.shard_size, len(self.plan.dataset))
        shape, asked = self.plan.dataset.shape, self.settings.batch_size
        missing = [one for one in rows if not _serves(kept.row(row_key(one, shape)), most, asked)]
        if not missing:
            return kept
        worker = worker_of(self.plan.dataset, self.plan.calibration, self.settings, self.settings.places, device)
        enough = BUSY * cores()
        shared = device.type == CPU and others_at_work(enough) >= enough
        found = list[RowSpeed]()
        for number, one in enumerate(missing, start=1):
            label = label_of(one.cell)
            self.note(f"measuring {label} on {describe(device)} ({number} of {len(missing)})")
            try:
                found.append(measure(worker, one, most, asked))
            except (Exception, SystemExit) as error:  # noqa: BLE001 (the row's edge: its cells have no time)
                self.note(f"{label} can't be measured: {reason_of(error)}")
        kept = kept.with_rows(tuple(found), now(), shared=shared)
        files.write(path, kept)
        return kept


def _kept(path: Path, fresh: Calibration) -> Calibration:
    """What was measured before with the same versions; nothing where it is damaged."""
    try:
        found = files.read(path, Calibration) if path.is_file() else fresh
    except SchemaError:
        raise
    except StoreError:
        return fresh
    same = (found.torch, found.bench, found.processor) == (fresh.torch, fresh.bench, fresh.processor)
    return found if same else fresh


def _serves(row: RowSpeed | None, most: int, asked: int | None) -> bool:
    """Whether figures were measured up to the size of the shards, and with the batches that are asked for."""
    return row is not None and row.wanted >= most and row.asked == asked


def _said(calibration: Calibration) -> str:
    shared = ", while other processes used its cores" if calibration.shared else ""
    return f"{calibration.processor}, {calibration.device}, {calibration.made[:16].replace('T', ' ')} UTC{shared}"
