"""A table of the leaderboard as a grid of texts, in the words of one format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.leaderboard.adversaries import OTHER_MODELS
from bench.leaderboard.records import Leaderboard, Note, Restored, Row, Score, Table
from bench.store.records import Estimate

STATUS = {"error": "error", "unavailable": "n/a", "partial": "partial", "missing": "missing"}


def _same(text: str) -> str:
    return text


def _flag(numbers: Sequence[int]) -> str:
    return " ⚑" + ",".join(map(str, numbers))


@dataclass(frozen=True, slots=True)
class Words:
    """How a format writes what isn't a plain number."""

    escape: Callable[[str], str] = _same
    bold: Callable[[str], str] = _same
    mark: Callable[[Sequence[int]], str] = _flag
    dash: str = "–"
    at_most: str = "≤ "
    at_least: str = "≥ "
    minus: str = "-"


@dataclass(frozen=True, slots=True)
class Detail:
    """Which intervals are shown; a narrow terminal gets fewer, but every number."""

    attacks: bool = True
    clean: bool = True
    seeds: bool = True


@dataclass(frozen=True, slots=True)
class Grid:
    """Headers, the texts below them, and which columns are names (to the left) or numbers (to the right)."""

    headers: tuple[str, ...]
    align: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def grid(table: Table, words: Words, detail: Detail = Detail()) -> Grid:
    """The table as texts.

    Args:
        table: the table.
        words: how the format writes.
        detail: which intervals are shown.
    """
    columns: list[tuple[str, str, Callable[[Row], str]]] = [
        ("rank", "left", lambda row: _rank(row, words)),
        ("model", "left", lambda row: words.escape(row.model)),
        ("defense", "left", lambda row: words.escape(row.defense)),
        ("clean", "right", lambda row: _estimate(row.clean, words, interval=detail.clean)),
    ]
    for attack in table.attacks:
        columns.append((words.escape(attack), "right", partial(_attack, attack, words, detail)))
    if any(row.gradient_free for row in table.rows):
        columns.append(("gradient-free", "right", lambda row: _score(row.gradient_free, words, detail)))
    if any(row.naive for row in table.rows):
        columns.append(("naive", "right", lambda row: _score(row.naive, words, detail)))
    if any(row.oblivious for row in table.rows):
        columns.append(("oblivious", "right", lambda row: _score(row.oblivious, words, detail)))
    if any(row.certified for row in table.rows):
        columns.append(("certified", "right", lambda row: _certified(row, words, detail)))
    columns.append(("worst case", "right", lambda row: _worst(row, words)))
    if any(row.published for row in table.rows):
        columns.append(("published", "right", lambda row: _published(row, words)))
        columns.append(("difference", "right", lambda row: _difference(row, words)))
    return Grid(
        tuple(header for header, _, _ in columns),
        tuple(side for _, side, _ in columns),
        tuple(tuple(text(row) for _, _, text in columns) for row in table.rows),
    )


def breakers(table: Table, words: Words) -> Grid | None:
    """What each part of the adversary broke of the defended rows; ``None`` where there are none."""
    rows = [row for row in table.rows if row.broken]
    if not rows:
        return None
    fixed = ("naive", "transfer", "gradient-free", "submitted", OTHER_MODELS)
    there = [part for part in fixed if any(part in row.broken for row in rows)]
    lines = []
    for row in rows:
        how = next((part for part in row.broken if part not in fixed), "")
        cells = [words.escape(row.model), words.escape(row.defense), str(row.correct), how or words.dash]
        lines.append((*cells, *(_broken(row, part, words) for part in (how, *there))))
    headers = ("model", "defense", "clean-correct", "gradient", "broken by it", *(f"by {part}" for part in there))
    return Grid(headers, ("left", "left", "right", "left", *("right" for _ in (*there, ""))), tuple(lines))


BREAKERS = (
    "What broke the defended rows: images of those that are right when clean (in brackets: that nothing else broke)"
)


RESTORED = (
    "What the defenses do besides: labels given back and images restored of the bare model's examples (by the attack that "
    "leaves least), clean predictions broken, and what detectors catch of examples made against them; in %, PSNR in dB"
)


def restorations(table: Table, words: Words) -> Grid | None:
    """What defenses restore, break and catch; ``None`` where no row is defended."""
    rows = [(row, row.restored) for row in table.rows if row.restored is not None]
    if not rows:
        return None
    columns: list[tuple[str, Callable[[Restored], str]]] = [
        ("labels restored", lambda one: _percent(one.labels, words)),
        ("clean broken", lambda one: _percent(one.clean_damage, words)),
        ("left by the strongest", lambda one: _percent(one.defense_success_rate, words)),
        ("PSNR", lambda one: _pair(one.psnr, one.psnr_purified, "{:.1f}", words)),
        ("SSIM", lambda one: _pair(one.ssim, one.ssim_purified, "{:.3f}", words)),
        ("LPIPS", lambda one: _pair(one.lpips, one.lpips_purified, "{:.3f}", words)),
        ("ms/image", lambda one: words.dash if one.purify_ms is None else f"{one.purify_ms:.2f}"),
        ("false positives", lambda one: _percent(one.false_positive_rate, words)),
        ("accuracy if accepted", lambda one: _percent(one.accuracy_with_rejection, words)),
        ("AUC", lambda one: words.dash if one.detector_auc is None else f"{one.detector_auc:.3f}"),
        ("TPR at 5 % FPR", lambda one: _percent(one.tpr_at_5_fpr, words)),
    ]
    told = [(name, text) for name, text in columns if any(text(one) != words.dash for _, one in rows)]
    return Grid(
        ("model", "defense", *(name for name, _ in told)),
        ("left", "left", *("right" for _ in told)),
        tuple(
            (words.escape(row.model), words.escape(row.defense), *(text(one) for _, text in told)) for row, one in rows
        ),
    )


def _percent(share: float | None, words: Words) -> str:
    return words.dash if share is None else percent(share)


def _pair(before: float | None, after: float | None, form: str, words: Words) -> str:
    """Before and after purification."""
    if before is None or after is None:
        return words.dash
    return f"{form.format(before)} → {form.format(after)}"


def _broken(row: Row, part: str, words: Words) -> str:
    found = row.broken.get(part)
    if found is None:
        return words.dash
    return f"{found.count} ({found.alone})"


def heading(board: Leaderboard, table: Table) -> str:
    """The line above a table: what was measured, on what, and how to read it."""
    images = f"{board.images:,} image{'' if board.images == 1 else 's'}"
    parts = [
        table.threat_model,
        f"{board.dataset}, {images}",
        "robust accuracy in % (an upper bound; 95 % interval over images)",
        "rank: the range that all-pairs McNemar tests with Holm leave",
    ]
    seeds = max((len(score.seeds) for row in table.rows for score in _scores(row)), default=1)
    if seeds > 1:
        parts.append(f"[lowest–highest of {seeds} seeds]; their union counts")
    if any(row.published for row in table.rows):
        parts.append("published: RobustBench's clean / robust, difference in points")
    if any(row.certified for row in table.rows):
        parts.append("certified: a lower bound at this radius")
    if table.notes:
        parts.append("⚑ see the notes")
    return " · ".join(parts)


def said(note: Note) -> str:
    """A note without its mark: of whom what is said."""
    return f"{note.subject}: {'invalid: ' * (note.severity == 'invalid')}{note.text}"


def percent(share: float) -> str:
    """A share in % with one decimal, without the sign."""
    return f"{100 * share:.1f}"


def _scores(row: Row) -> list[Score]:
    return [
        score for score in (*row.attacks.values(), row.gradient_free, row.naive, row.oblivious) if score is not None
    ]


def _rank(row: Row, words: Words) -> str:
    if row.rank is None:
        return words.dash
    low, high = row.rank
    text = str(low) if low == high else f"{low}{words.dash}{high}"
    return words.bold(text) if row.best else text


def _estimate(estimate: Estimate | None, words: Words, *, interval: bool) -> str:
    if estimate is None or estimate.value is None:
        return words.dash
    text = percent(estimate.value)
    if not interval or estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({percent(estimate.low)}{words.dash}{percent(estimate.high)})"


def _attack(attack: str, words: Words, detail: Detail, row: Row) -> str:
    return _score(row.attacks.get(attack), words, detail)


def _score(score: Score | None, words: Words, detail: Detail) -> str:
    if score is None:
        return words.dash
    if score.status != "done":
        return STATUS[score.status]
    text = (words.at_most if score.bound else "") + _estimate(score.robust, words, interval=detail.attacks)
    if len(score.seeds) > 1 and detail.seeds:
        low, high = min(score.seeds.values()), max(score.seeds.values())
        text += f" [{percent(low)}{words.dash}{percent(high)}]"
    return text + words.mark(score.notes) if score.notes else text


def _certified(row: Row, words: Words, detail: Detail) -> str:
    if row.certified is None:
        return words.dash
    return words.at_least + _estimate(row.certified, words, interval=detail.attacks)


def _worst(row: Row, words: Words) -> str:
    text = _estimate(row.worst, words, interval=row.complete)
    if not row.complete and row.worst is not None:
        text = words.at_most + text
    text = words.bold(text) if row.best else text
    return text + words.mark(row.notes) if row.notes else text


def _published(row: Row, words: Words) -> str:
    if row.published is None:
        return words.dash
    return f"{100 * row.published.clean:.2f} / {100 * row.published.robust:.2f}"


def _difference(row: Row, words: Words) -> str:
    if row.published is None or row.published.difference is None:
        return words.dash
    # "+ 0.0" turns the -0.0 that rounding leaves into 0.0.
    return f"{round(100 * row.published.difference, 1) + 0.0:+.1f}".replace("-", words.minus)
