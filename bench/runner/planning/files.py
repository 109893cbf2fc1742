"""Where plans keep what they have measured: in ``.plan`` beside the runs of a results directory, or where the user says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bench.errors import StoreError
from bench.store.atomic import write_text
from bench.store.damage import damage
from bench.store.parts import check_version

PLANS = ".plan"

_Record = TypeVar("_Record", bound=BaseModel)


def speeds_path(results: Path, device: str) -> Path:
    """The speeds of a device of this machine.

    Args:
        results: directory of all results.
        device: as records name it.
    """
    return results / PLANS / "speeds" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', device).strip('-')}.json"


def forecast_path(results: Path, suite: str, run: str) -> Path:
    """What a run was expected to take."""
    return results / PLANS / "forecasts" / suite / f"{run}.json"


def pilots(results: Path) -> Path:
    """The results directory of pilots."""
    return results / PLANS / "pilots"


def read(path: Path, kind: type[_Record]) -> _Record:
    """Reads a record.

    Raises:
        StoreError: where it can't be read, or isn't one.
        SchemaError: where a newer bench wrote it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
        if isinstance(found, dict):
            check_version(int(found.get("schema_version", 0)), path)
        return kind.model_validate_json(text)
    except OSError as error:
        raise StoreError(f"{path}: can't read: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        why = damage(error) if isinstance(error, ValidationError) else str(error)
        raise StoreError(f"{path}: {why} (accepted: a file that bench plan has written)") from error


def write(path: Path, record: BaseModel) -> None:
    """Writes a record.

    Raises:
        WriteError: where it can't be written.
    """
    write_text(path, record.model_dump_json(indent=1) + "\n")
