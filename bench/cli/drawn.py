"""Whether the tables, plots and page of a run are those of its records as they are now: then they needn't be made again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.digests import file_digest, value_digest
from bench.store.atomic import write_text
from bench.store.outcomes import cell_digest
from bench.store.run_directory import RunDirectory

FILE = ".drawn"
"""In the run's directory; without it nothing is lost but time."""


class _Drawn(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    records: str
    """digest of the code of bench and of the records"""
    audited: bool
    """whether that code has audited them"""
    files: dict[str, str]
    """what was made of them: sha256 by path in the run's directory"""


def remember(run: RunDirectory, files: Iterable[Path], *, audited: bool) -> None:
    """Notes what was made of the records.

    Args:
        run: the run.
        files: in its directory.
        audited: whether ``audit.json`` was made of the same records by the same code.
    """
    made = {path.relative_to(run.path).as_posix(): file_digest(path) for path in files}
    drawn = _Drawn(records=_records(run), audited=audited, files=made)
    write_text(run.path / FILE, drawn.model_dump_json() + "\n")


def current(run: RunDirectory, *, audited: bool) -> bool:
    """Whether what was made of a run's records is there, and would be the same again.

    Args:
        run: the run; its parts are known to be those that its records speak of.
        audited: whether they must have been audited.
    """
    try:
        drawn = _Drawn.model_validate_json((run.path / FILE).read_text(encoding="utf-8"))
        there = all(file_digest(run.path / name) == digest for name, digest in drawn.files.items())
        return there and drawn.audited >= audited and drawn.records == _records(run)
    except (OSError, UnicodeDecodeError, ValidationError):
        return False


def _records(run: RunDirectory) -> str:
    from bench.runner.provenance import code_digest

    names = ("run.json", "audit.json", "clean.safetensors")
    told: Mapping[str, object] = {
        "code": code_digest(),
        "files": [file_digest(run.path / name) if (run.path / name).is_file() else "" for name in names],
        "cells": [cell_digest(run, cell) for cell in run.read_run().cells],
    }
    return value_digest(told)
