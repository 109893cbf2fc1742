"""A comparison as text, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from tabulate import tabulate

from bench.leaderboard import latex as tex
from bench.leaderboard import markdown as md
from bench.leaderboard.cells import CORRUPTED, CORRUPTIONS
from bench.leaderboard.comparison import Comparison, Entry, Pair
from bench.leaderboard.grid import Words, percent
from bench.leaderboard.paper.texts import GLYPH, escape
from bench.store.records import Estimate

_HEADERS = ("", "A", "B", "B - A, points", "lost", "gained", "p", "Holm", "passes", "seconds")
_ALIGN = ("left", *["right"] * 9)
_IDS = 10
"""Up to so many ids of samples stand in a text for people; JSON and CSV have all."""


def text(found: Comparison) -> str:
    """Aligned plain text."""
    parts = [_heading(found)]
    for pair in found.pairs:
        drawn = tabulate(
            _rows(pair, Words(), found.alpha),
            headers=_HEADERS,
            tablefmt="plain",
            disable_numparse=True,
            colalign=_ALIGN,
        )
        lines = [_title(pair), "\n".join(line.rstrip() for line in drawn.splitlines()), *_remarks(pair)]
        parts.append("\n".join(lines))
    parts += ["\n".join(_refused(found))] if found.refused else []
    return "\n\n".join(parts) + "\n"


def markdown(found: Comparison) -> str:
    """Markdown; names are escaped."""
    parts = ["# Comparison", md.escape(_heading(found))]
    for pair in found.pairs:
        table = tabulate(
            _rows(pair, md.WORDS, found.alpha),
            headers=_HEADERS,
            tablefmt="pipe",
            disable_numparse=True,
            colalign=_ALIGN,
        )
        parts += [f"## {md.escape(_title(pair))}", table]
        parts += ["\n".join(f"- {md.escape(line)}" for line in _remarks(pair))] if _remarks(pair) else []
    if found.refused:
        parts += ["## Not compared", "\n".join(f"- {md.escape(line)}" for line in _refused(found))]
    return "\n\n".join(parts) + "\n"


def latex(found: Comparison) -> str:
    """One ``table`` environment per pair of rows, with booktabs."""
    head = r"% made by bench compare; needs \usepackage[T1]{fontenc}, \usepackage{booktabs} and \usepackage{graphicx}"
    parts = [head, GLYPH]
    for pair in found.pairs:
        drawn = tabulate(
            _rows(pair, tex.WORDS, found.alpha),
            headers=_HEADERS,
            tablefmt="latex_booktabs",
            disable_numparse=True,
            colalign=_ALIGN,
        )
        parts.append(
            "\n".join(
                [
                    r"\begin{table}[htbp]",
                    r"\centering",
                    r"\caption{" + escape(f"{_title(pair)} · {_heading(found)}") + "}",
                    r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
                    tex.marked_up(drawn).strip() + "}",
                    *(rf"\par\smallskip{{\footnotesize\raggedright {escape(line)}\par}}" for line in _reasons(pair)),
                    r"\end{table}",
                ]
            )
        )
    parts += [f"% not compared: {' '.join(line.split())}" for line in _refused(found)]
    return "\n".join(parts) + "\n"


def comma_separated(found: Comparison) -> str:
    """A line per number; shares, not %, and ids of samples with blanks between."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["norm", "eps", "a", "b", "images", "number", "kind", "a_value", "a_low", "a_high", "a_is_bound", "b_value", "b_low",
         "b_high", "b_is_bound", "difference", "low", "high", "lost", "gained", "p", "holm", "passes_ratio",
         "seconds_ratio", "reason", "lost_ids", "gained_ids"]
    )  # fmt: skip
    for pair in found.pairs:
        for entry in pair.entries:
            writer.writerow(
                [pair.norm, pair.eps, pair.a, pair.b, pair.images, entry.name, entry.kind, *_ends(entry.a), entry.a_bound,
                 *_ends(entry.b), entry.b_bound, entry.difference, entry.low, entry.high, len(entry.lost),
                 len(entry.gained), entry.p, entry.adjusted, entry.passes, entry.seconds, entry.reason,
                 " ".join(entry.lost), " ".join(entry.gained)]
            )  # fmt: skip
    return out.getvalue()


def as_json(found: Comparison) -> str:
    """All of it."""
    return found.model_dump_json(indent=1) + "\n"


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": text,
    "md": markdown,
    "csv": comma_separated,
    "latex": latex,
    "json": as_json,
}


def _ends(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)


def _heading(found: Comparison) -> str:
    a, b = (f"{side.path} ({side.suite}, {side.images:,} images)" for side in (found.a, found.b))
    sides = f"A: {a} · B: {b}" if found.a != found.b else f"A and B: {a}"
    tests = f"{found.tests} test{'s' * (found.tests != 1)}"
    means = " (a randomisation test where images are right in shares)"
    mcnemar = "McNemar's exact test" + means * any(pair.norm == CORRUPTIONS for pair in found.pairs)
    return (
        f"{sides} · accuracies in % (upper bounds under attack), 95 % intervals over images; differences paired by image · p: "
        f"{mcnemar}; Holm: corrected over {tests}, * below {found.alpha:g} · passes, seconds: B by A"
    )


def _title(pair: Pair) -> str:
    names = f"{pair.a} in A and B" if pair.a == pair.b else f"A: {pair.a}, B: {pair.b}"
    left = [f"{count:,} only in {side}" for side, count in (("A", pair.only_a), ("B", pair.only_b)) if count]
    more = f" ({', '.join(left)}: left out)" if left else ""
    return f"{pair.threat_model} · {names} · {pair.images:,} images{more}"


def _rows(pair: Pair, words: Words, alpha: float) -> list[tuple[str, ...]]:
    return [
        (
            words.escape(entry.name),
            _estimate(entry.a, entry.a_bound, words),
            _estimate(entry.b, entry.b_bound, words),
            _difference(entry, words),
            words.dash if entry.p is None else str(len(entry.lost)),
            words.dash if entry.p is None else str(len(entry.gained)),
            _p(entry.p, words),
            _p(entry.adjusted, words) + _star(entry, alpha, words),
            _ratio(entry.passes, words),
            _ratio(entry.seconds, words),
        )
        for entry in pair.entries
    ]


def _estimate(estimate: Estimate | None, bound: bool, words: Words) -> str:
    if estimate is None or estimate.value is None:
        return words.dash
    shown = percent(estimate.value)
    if bound:
        return f"{words.at_most}{shown}"
    if estimate.low is None or estimate.high is None:
        return shown
    return f"{shown} ({percent(estimate.low)}{words.dash}{percent(estimate.high)})"


def _difference(entry: Entry, words: Words) -> str:
    if entry.difference is None or entry.low is None or entry.high is None:
        return words.dash
    value, low, high = (_points(one) for one in (entry.difference, entry.low, entry.high))
    return f"{value} ({low} to {high})".replace("-", words.minus)


def _points(share: float) -> str:
    # "+ 0.0" turns the -0.0 that rounding leaves into 0.0.
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def _p(value: float | None, words: Words) -> str:
    if value is None:
        return words.dash
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}".replace("-", words.minus)


def _star(entry: Entry, alpha: float, words: Words) -> str:
    return words.escape("*") if entry.adjusted is not None and entry.adjusted < alpha else ""


def _ratio(value: float | None, words: Words) -> str:
    return words.dash if value is None else f"{value:.2f}"


def _reasons(pair: Pair) -> list[str]:
    """What isn't tested and why, and what else differs."""
    return [f"{entry.name}: not compared: {entry.reason}" for entry in pair.entries if entry.reason] + [
        f"note: {note}" for note in pair.notes
    ]


def _remarks(pair: Pair) -> list[str]:
    """The same, and which samples were lost and gained; of corruptions those of the mean."""
    lines = _reasons(pair)
    for entry in pair.entries:
        if entry.kind == "corruption" and entry.name != CORRUPTED:
            continue
        lines += [
            f"{entry.name}: {what} {_ids(ids)}" for what, ids in (("lost", entry.lost), ("gained", entry.gained)) if ids
        ]
    return lines


def _ids(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _IDS:,} more" if len(ids) > _IDS else ""
    return ", ".join(ids[:_IDS]) + more


def _refused(found: Comparison) -> list[str]:
    return [f"{item.subject}: not compared: {item.reason}" for item in found.refused]
