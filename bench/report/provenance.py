"""Where the numbers come from: the suite as resolved, the command, versions, device, seeds, digests, and files to take."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from bench.leaderboard import corruption_frame, transfer
from bench.leaderboard.frame import frame
from bench.leaderboard.latex import latex
from bench.leaderboard.records import Leaderboard
from bench.store.outcomes import RunOutcome
from bench.store.records import RunRecord

_SKIPPED = ("class_names",)
DASH = "–"


@dataclass(frozen=True, slots=True)
class Download:
    """A file inside the page."""

    name: str
    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Facts by name, and the suite as YAML."""

    run: tuple[tuple[str, str], ...]
    dataset: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    suite: str


def provenance(record: RunRecord) -> Provenance:
    """That of a run."""
    suite = record.suite
    run = {
        "suite": suite.name,
        "run": record.run,
        "command": record.command,
        "started": record.started,
        "finished": record.finished or "not finished",
        "seeds": ", ".join(map(str, suite.run.seeds)),
        "cells": f"{len(record.cells):,}",
    }
    if record.joined:
        run["joined from"] = "; ".join(
            f"{one.name} ({_machine(one.environment)}, {one.started})" for one in record.joined
        )
    return Provenance(
        run=tuple(run.items()),
        dataset=tuple(_flat({key: value for key, value in record.dataset.items() if key not in _SKIPPED})),
        environment=tuple(_flat(record.environment)),
        suite=suite_yaml(record),
    )


def _machine(environment: Mapping[str, object]) -> str:
    return str(environment.get("device") or "device unknown")


def suite_yaml(record: RunRecord) -> str:
    """The suite as resolved, in the words of a suite; what isn't given and means nothing is left out."""
    return yaml.safe_dump(
        record.suite.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True, width=100
    )


def downloads(board: Leaderboard, outcome: RunOutcome) -> list[Download]:
    """The tables and the suite, as they lie beside the page."""
    lines = {"corruptions": corruption_frame.frame(outcome), "transfer": transfer.frame(board.transfers)}
    return [
        _download("leaderboard.csv", "CSV", "text/csv", frame(board).to_csv(index=False)),
        _download("leaderboard.tex", "LaTeX", "application/x-tex", latex(board)),
        _download("leaderboard.json", "JSON", "application/json", board.model_dump_json(indent=1) + "\n"),
        *(
            _download(f"{name}.csv", f"CSV of {name}", "text/csv", found.to_csv(index=False))
            for name, found in lines.items()
            if not found.empty
        ),
        _download("suite.yaml", "suite", "application/yaml", suite_yaml(outcome.record)),
    ]


def _download(name: str, text: str, kind: str, content: str) -> Download:
    data = base64.b64encode(content.encode()).decode("ascii")
    return Download(name, text, f"data:{kind};charset=utf-8;base64,{data}")


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value))
        else:
            yield name, DASH if value is None else str(value)
