"""The page in two sentences: what was attacked with what, and what is left."""

from __future__ import annotations

from collections.abc import Sequence

from bench.leaderboard.grid import percent
from bench.leaderboard.records import CorruptionTable, Leaderboard, Row, Table
from bench.report.tables import interval, label

_MOST = 4


def summary(board: Leaderboard) -> tuple[str, str]:
    """Two sentences: what was done, and what came out of it; of corruptions alone where nothing was attacked."""
    if board.corruptions is not None and not board.tables:
        return _corrupted(board, board.corruptions)
    return _done(board), _left(board)


def _corrupted(board: Leaderboard, table: CorruptionTable) -> tuple[str, str]:
    count, kinds = len(table.rows), len(table.corruptions)
    done = (
        f"{count} row{'s' * (count != 1)} {'were' if count != 1 else 'was'} put to {kinds} common "
        f"corruption{'s' * (kinds != 1)} of {board.images:,} image{'s' * (board.images != 1)} of {board.dataset}."
    )
    best = table.rows[0] if table.rows else None
    if best is None or best.accuracy is None or best.accuracy.value is None:
        return done, "No row is complete."
    ends = interval(best.accuracy)
    mean = f"{percent(best.accuracy.value)} %" + (f" ({ends})" if ends else "")
    return done, f"The highest mean accuracy: {label(best)} with {mean}; no attacker was involved."


def _done(board: Leaderboard) -> str:
    rows = [row for table in board.tables for row in table.rows]
    models, defenses = {row.model for row in rows}, {row.defense for row in rows} - {"none"}
    attacks = list(dict.fromkeys(attack for table in board.tables for attack in table.attacks))
    images = f"{board.images:,} image{'s' * (board.images != 1)} of {board.dataset}"
    what = f"{len(models)} model{'s' * (len(models) != 1)}"
    if defenses:
        what += f" and {len(defenses)} defense{'s' * (len(defenses) != 1)}"
    verb = "was" if len(models) + len(defenses) == 1 else "were"
    if not board.tables:
        return f"Nothing of {images} has been evaluated yet."
    balls = _listed([table.threat_model for table in board.tables])
    return f"On {images}, {what} {verb} attacked under {balls} with {_listed(attacks) or 'no attack of the suite'}."


def _left(board: Leaderboard) -> str:
    if not board.tables:
        return "Run the suite to get numbers."
    parts = [_best(table) for table in board.tables[:_MOST]]
    more = len(board.tables) - _MOST
    parts += [f"{more} more table{'s' * (more > 1)} below"] if more > 0 else []
    text = f"The highest worst cases: {'; '.join(parts)}; each an upper bound, which a stronger attack can only lower"
    unranked = sum(row.rank is None for table in board.tables for row in table.rows)
    if unranked:
        text += f", and {unranked} row{'s' * (unranked > 1)} without a rank (≤)"
    return text + "."


def _best(table: Table) -> str:
    ranked = [row for row in table.rows if row.rank is not None]
    if not ranked:
        return f"{table.threat_model}: no row can be ranked"
    best = ranked[0]
    ties = sum(row.best for row in ranked) - 1
    tied = f", not told apart from {ties} other{'s' * (ties > 1)}" if ties > 0 and best.best else ""
    return f"{table.threat_model}: {label(best)} with {_number(best)}{tied}"


def _number(row: Row) -> str:
    if row.worst is None or row.worst.value is None:
        return "an unknown share"
    ends = interval(row.worst)
    return f"{percent(row.worst.value)} %" + (f" ({ends})" if ends else "")


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
