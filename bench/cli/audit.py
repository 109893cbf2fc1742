"""``bench audit``: the known signs of a bad evaluation, in a run that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options

if TYPE_CHECKING:
    from bench.store.audit import AuditRecord, Finding

REFUSED = 6


def audit(
    run: Annotated[Path, typer.Argument(help="A run's directory, such as results/quickstart/default.", metavar="RUN")],
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            min=0,
            help="Images that the probes attack; the suite's audit.samples by default, 0 for no probes.",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 6 on warnings, too.")] = False,
    device: options.Device = "auto",
    batch_size: options.BatchSize = None,
    model_dir: options.ModelDir = None,
    data_dir: options.DataDir = None,
    offline: options.Offline = False,
    allow_pickle: options.AllowPickle = None,
    allow_plugins: options.AllowPlugins = False,
) -> None:
    """Look for the known signs of a bad evaluation in a run, and flag its numbers.

    Verifies every saved example, runs small extra attacks on a fixed subset of the images (saved, and not run again), and
    applies every rule (bench list rules). Writes audit.json and the tables and plots again. Exit code 6 where something
    makes a number invalid.
    """
    from bench.cli.progress import make_progress
    from bench.cli.report import draw
    from bench.runner.audit import AuditSettings, audit_run

    places = options.places(model_dir, data_dir, offline, allow_pickle, allow_plugins)
    record = audit_run(run, AuditSettings(places, device, batch_size, samples), make_progress())
    say(record)
    draw(run)
    worst = record.worst()
    if worst == "invalid" or (strict and worst == "warning"):
        raise typer.Exit(REFUSED)


def say(record: AuditRecord) -> None:
    """The audit for people: what fired, the severest first, then which rules were checked and which could not be.

    Args:
        record: what was found.
    """
    for severity in ("invalid", "warning", "info"):
        said: dict[tuple[str, str], list[Finding]] = {}
        for finding in record.findings:
            if finding.severity == severity:
                said.setdefault((finding.rule, finding.message), []).append(finding)
        for (rule, message), findings in said.items():
            print(f"{severity}: {rule}: {_where(findings)}{message}")
            if severity != "info":
                print(f"    what to do: {findings[0].advice} [{findings[0].source}]")
    counts = {
        one: sum(finding.severity == one for finding in record.findings) for one in ("invalid", "warning", "info")
    }
    checked = [rule for rule in record.rules if rule.checked]
    print(f"{len(checked)} of {len(record.rules)} rules were checked: {', '.join(rule.rule for rule in checked)}")
    left: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for result in record.rules:
        for reason, labels in result.unchecked.items():
            left.setdefault((reason, labels), []).append(result.rule)
    for (reason, labels), names in left.items():
        what = "; ".join(labels) if len(labels) <= 3 else f"{len(labels)} rows"
        print(f"not checked on {what}, because {reason}: {', '.join(names)}")
    found = ", ".join(f"{count} {one}" for one, count in counts.items())
    print(f"audit: {found}. That no rule fires says that none of these faults was seen, and nothing else.")


def _where(findings: list[Finding]) -> str:
    """Which rows a message speaks of."""
    labels = []
    for one in findings:
        name = one.model if one.defense in ("", "none") else f"{one.model} + {one.defense}"
        ball = f" | {one.threat_model}" if one.threat_model and name else one.threat_model
        cells = f" ({', '.join(one.cells)})" if one.cells and not name else ""
        labels.append(f"{name}{ball}{cells}")
    known = [label for label in dict.fromkeys(labels) if label]
    return f"{'; '.join(known)}: " if known else ""
