"""Audits a run: probes its rows, verifies its files, and applies the rules to both and to the records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.audit.evidence import FileProblem, Place, Rounding, Verified, gather
from bench.audit.examine import examine
from bench.errors import BenchError, Interrupted, WriteError
from bench.runner.devices import choose
from bench.runner.events import Progress, Silent
from bench.runner.preflight import Plan, preflight
from bench.runner.probing.rows import known, probe, to_probe
from bench.runner.provenance import now
from bench.runner.verify.whole import verify_run
from bench.runner.worker import Worker
from bench.store.audit import AuditRecord
from bench.store.outcomes import RunOutcome, address, read_outcomes
from bench.store.probes import RowProbes
from bench.store.run_directory import RunDirectory
from bench.suites.loaded import LoadedSuite
from bench.suites.places import Places


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How a run is audited; nothing here can change a verdict.

    Attributes:
        places: directories of models and data, and permissions.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: the most samples of a pass; found by itself where it is ``None``.
        samples: of the probes' subset; the suite's own where it is ``None``, 0 for no probes.
    """

    places: Places
    device: str = "auto"
    batch_size: int | None = None
    samples: int | None = None


CORRUPTED = 20
"""Images of a corruption cell that are made and judged again: each audit would else take what the run took."""


def audit_run(run: Path, settings: AuditSettings | None = None, progress: Progress | None = None) -> AuditRecord:
    """Audits a run and writes ``audit.json``. Probes that ran before, on the same cells, are not run again.

    Args:
        run: the run's directory.
        settings: where and how.
        progress: hears how it goes on.

    Raises:
        BenchError: where the run can't be read, or its data can't be had.
        Interrupted: on Ctrl-C; the probes that were finished are saved.
    """
    settings, progress = settings or AuditSettings(Places()), progress or Silent()
    directory = RunDirectory.open(run)
    with directory.locked():
        record = directory.read_run()
        suite = record.suite
        if settings.samples is not None:
            suite = suite.model_copy(update={"audit": suite.audit.model_copy(update={"samples": settings.samples})})
        plugins = tuple(Path(plugin) for plugin in suite.plugins)
        loaded = LoadedSuite(suite, directory.path / "run.json", plugins=plugins)
        outcome = read_outcomes(directory, audited=False)
        try:
            probes, without = _probed(directory, loaded, outcome, settings, progress)
            verified = _verified(directory, settings, progress)
        except KeyboardInterrupt as error:
            raise Interrupted(f"the audit was stopped; finished probes are saved in {directory.path}") from error
        finally:
            progress.end()
        evidence = gather(directory, outcome, probes, without, verified)
        found = examine(evidence, made=now(), samples=max((len(one.positions) for one in probes.values()), default=0))
        directory.write_audit(found)
    return found


def _probed(
    directory: RunDirectory,
    loaded: LoadedSuite,
    outcome: RunOutcome,
    settings: AuditSettings,
    progress: Progress,
) -> tuple[dict[Place, RowProbes], dict[Place, str]]:
    """What the probes saw by row, and why others have none."""
    try:
        plan: Plan = preflight(loaded, settings.places, progress.note, recorded=True)
        rows, without = to_probe(plan, outcome)
        if rows:
            worker = Worker(
                plan.dataset,
                settings.places,
                choose(settings.device),
                settings.batch_size,
                calibration=plan.calibration,
            )
            probe(plan, rows, directory, worker, progress)
    except WriteError:
        raise
    except BenchError as error:  # rules that need no probes go on, and the others say why they couldn't
        reason = f"no probe could be run: {str(error).splitlines()[0]}"
        return {}, {(row.model, row.defense, address(row.threat_model)): reason for row in outcome.rows}
    found: dict[Place, RowProbes] = {}
    for row in rows:
        place = (row.outcome.model, row.outcome.defense, address(row.outcome.threat_model))
        seen = known(directory, row)
        if seen is None:
            without[place] = "its probes are damaged; delete probes/ and audit again"
        else:
            found[place] = seen
    return found, without


def _verified(directory: RunDirectory, settings: AuditSettings, progress: Progress) -> Verified:
    """What the verifier says, in the words of the rules."""
    progress.note("audit: verifying the saved examples")
    try:
        found = verify_run(
            directory.path,
            places=settings.places,
            device=settings.device,
            batch_size=settings.batch_size,
            corrupted=CORRUPTED,
        )
    except WriteError:
        raise
    except Exception as error:  # noqa: BLE001 (the verifier's edge: its rules then say that nothing could be checked)
        return Verified(failed=f"nothing could be verified: {type(error).__name__}: {error}".splitlines()[0])
    return Verified(
        tuple(FileProblem(one.kind, one.cell, one.count, one.message) for one in found.problems),
        {one.cell: one.hairline + one.borderline for one in found.cells if one.hairline or one.borderline},
        {one.cell: Rounding(one.successes, one.rounded) for one in found.cells if one.rounded is not None},
    )
