"""``bench verify``: the saved examples, rows and numbers of a run, checked again from disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options

if TYPE_CHECKING:
    from bench.runner.verify import CellVerification, Transfer, Verification, VerifyProblem

FAILED = 6
"""Exit code where there is a problem."""


def verify(
    run: Annotated[Path, typer.Argument(help="A run's directory, such as results/quickstart/default.", metavar="RUN")],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Try the saved examples on another model instead: a file of weights for the run's model, or a model in short, "
            "such as zoo:mnist_pgd.",
            metavar="CHECKPOINT",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Which model of the run the weights of --against are for.", metavar="ID"),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="Where the state dict lies in the file of --against.", metavar="KEY"),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option("--json", help="Write the whole result as JSON; - for standard output.", metavar="FILE"),
    ] = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = None,
    model_dir: options.ModelDir = None,
    data_dir: options.DataDir = None,
    offline: options.Offline = False,
    allow_pickle: options.AllowPickle = None,
    allow_plugins: options.AllowPlugins = False,
) -> None:
    """Check a run again from disk: every saved example with the real model, every row, metric, id and file.

    Corrupted images are made or read again and judged, up to 1,000 of each corruption cell.

    Nothing is believed that can be checked, and nothing is written into the run. What can't be read or checked is a problem,
    and the rest is checked all the same: exit code 6 where there is any problem, 0 where there is none. Verdicts that differ
    by no more than rounding, and successes that hang on it, are listed apart and are no problems.

    With --against the examples are replayed on another model: how many that it gets right when clean does it get wrong?
    """
    from bench.cli.progress import make_progress
    from bench.errors import BenchError
    from bench.runner.verify import replay, verify_run

    if against is None and (model is not None or key is not None):
        raise BenchError("--model and --key say what the weights of --against are for (accepted: with --against)")
    _refuse_inside(run, json)
    places = options.places(model_dir, data_dir, offline, allow_pickle, allow_plugins)
    note = make_progress().note
    done: Verification | Transfer
    if against is None:
        done = verify_run(run, places=places, device=device, batch_size=batch_size, note=note)
    else:
        done = replay(
            run, against, model=model, key=key, places=places, device=device, batch_size=batch_size, note=note
        )
    if json is not None:
        _write(json, done.as_json())
    if json != "-":
        _say(done)
    if done.problems:
        raise typer.Exit(FAILED)


def _refuse_inside(run: Path, json: str | None) -> None:
    from bench.errors import BenchError

    if json not in (None, "-") and Path(str(json)).resolve().is_relative_to(run.resolve()):
        raise BenchError(f"--json {json}: lies in the run, into which nothing is written (accepted: a file elsewhere)")


def _write(target: str, value: dict[str, Any]) -> None:  # Any: JSON values
    import json

    from bench.store.atomic import write_text

    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    if target == "-":
        print(text, end="")
    else:
        write_text(Path(target), text)


def _say(done: Verification | Transfer) -> None:
    from bench.runner.verify import Verification

    if isinstance(done, Verification):
        _say_verified(done)
    else:
        _say_replayed(done)


def _say_verified(done: Verification) -> None:
    from tabulate import tabulate

    head = ("cell", "status", "rows", "examples", "successes", "rounded to 8 bits", "hairline", "borderline")
    lines = [
        (
            cell.label,
            cell.status,
            cell.rows,
            cell.examples,
            cell.successes,
            _rounded(cell),
            cell.hairline or "–",
            cell.borderline or "–",
        )
        for cell in done.cells
    ]
    if lines:
        print(tabulate(lines, head, disable_numparse=True, colalign=("left", "left", *["right"] * 6)))
        print(
            "rounded to 8 bits: successes that are still one as an image of 8 bits per channel, judged by the real model"
        )
    if done.corrupted:
        print("\n" * bool(lines), end="")
        _say_corrupted(done.corrupted)
    left = [(cell.label, text) for cell in (*done.cells, *done.corrupted) for text in cell.unchecked]
    for title, texts in (
        ("not checked", dict.fromkeys(f"{label}: {text}" for label, text in left)),
        ("left alone", dict.fromkeys(done.notes)),
    ):
        if texts:
            print(f"\n{title}:")
            for text in texts:
                print(f"  {text}")
    if done.hairline:
        print("\nwithin rounding (no problem):")
        _list(done.hairline)
    _problems(done.problems)
    print()
    parts = [f"{_many(done.examples, 'example')} of {_many(len(done.cells), 'cell')}"] if done.cells else []
    if done.corrupted:
        cells = _many(len(done.corrupted), "corruption cell")
        parts.append(f"{_many(done.corrupted_images, 'corrupted image')} of {cells}")
    counted = ", ".join(parts) or "0 cells"
    if done.sound:
        bound = "; what no attack found, no verification finds: every robust accuracy stays an upper bound"
        agree = f"verified: {counted} and all rows, metrics and ids agree with the models and images here"
        print(agree + (bound if done.cells else ""))
    else:
        print(f"not verified: {_many(len(done.problems), 'problem')}; {counted} judged again")


def _say_corrupted(cells: Iterable[CellVerification]) -> None:
    """A line per model and defense: there may be 75 cells of each."""
    from tabulate import tabulate

    rows: dict[str, list[CellVerification]] = {}
    for cell in cells:
        rows.setdefault(cell.label.rpartition(" | ")[0] or cell.label, []).append(cell)
    head = ("under common corruptions", "cells", "rows", "judged again", "hairline")
    lines = []
    for label, own in rows.items():
        states = {status: sum(cell.status == status for cell in own) for status in dict.fromkeys(c.status for c in own)}
        counts = (
            sum(cell.rows for cell in own),
            sum(cell.examples for cell in own),
            sum(c.hairline for c in own) or "–",
        )
        lines.append((label, ", ".join(f"{count} {status}" for status, count in states.items()), *counts))
    print(tabulate(lines, head, disable_numparse=True, colalign=("left", "left", "right", "right", "right")))


def _rounded(cell: CellVerification) -> str:
    if cell.rounded is None or cell.rounded_rate is None:
        return "–"
    return f"{cell.rounded}/{cell.successes} ({100 * cell.rounded_rate:.1f} %)"


def _say_replayed(done: Transfer) -> None:
    from tabulate import tabulate

    head = ("model", "threat model", "attack", "replayed", "clean-correct", "misclassified", "transfer rate in %")
    lines = [
        (
            row.model,
            row.threat_model,
            row.attack,
            f"{row.replayed}{'*' if row.successes_only else ''}",
            row.clean_correct,
            row.misclassified,
            "–" if row.rate is None else f"{100 * row.rate:.1f} ({100 * row.low:.1f}–{100 * row.high:.1f})",
        )
        for row in done.rows
    ]
    print(f"saved examples of the bare rows, on {done.other} (weights {done.digest[:12]})")
    print(tabulate(lines, head, disable_numparse=True, colalign=("left", "left", "left", *["right"] * 4)))
    print(
        "transfer rate: misclassified by the other model / clean-correct on it, with Wilson's 95 % interval over images"
    )
    if any(row.successes_only for row in done.rows):
        print("* only successes were saved: examples that didn't break their own model weren't replayed")
    if not any(row.replayed for row in done.rows):
        print("no bare row of the run has saved examples: nothing was replayed")
    _problems(done.problems)


def _problems(problems: Iterable[VerifyProblem]) -> None:
    if problems:
        print("\nproblems:")
        _list(problems)


def _list(problems: Iterable[VerifyProblem]) -> None:
    """A line each, under its cell."""
    cell = None
    for one in problems:
        if one.cell != cell:
            cell = one.cell
            print(f"  {cell or 'the run'}")
        print(f"    {one.kind}: {one.message}")


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
