"""The leaderboard as one data frame, for ``leaderboard.csv``: a line per row and threat model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.leaderboard.adversaries import OTHER_MODELS
from bench.leaderboard.notes import SEVEREST
from bench.leaderboard.records import Leaderboard, Row, Score, Table
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd

_PARTS = ("naive", "transfer", "gradient-free", "submitted", OTHER_MODELS)
Line = dict[str, Any]  # Any: numbers and texts of a CSV line


def frame(board: Leaderboard) -> pd.DataFrame:
    """One line per row and threat model.

    Accuracies and differences are shares in [0, 1]. The columns of an attack are ``robust:<attack>``, those of the
    others ``oblivious``, ``naive`` and ``gradient_free``; each has ``<name>`` (robust accuracy), ``<name>:low``,
    ``<name>:high`` (95 %), ``<name>:seed_min``, ``<name>:seed_max``, ``<name>:status`` and ``<name>:is_bound``. A number
    that can't be shown is empty. ``broken:<part>`` counts the images that a part of the adversary broke.
    ``worst_case_is_bound`` is true where a cell is missing, failed or invalid, so that the row's number is at most
    ``worst_case``; ``<name>:is_bound`` is true where a cell of this attack is invalid. ``flags`` has the rules of the row's
    notes, ``worst_flag`` the severest of invalid, failed, warning and info; ``audit`` is ``done``, ``outdated`` or ``none``.
    """
    import pandas as pd

    lines = pd.DataFrame([_line(board, table, row) for table in board.tables for row in table.rows])
    ranks = ["rank_low", "rank_high"]
    return lines.astype(dict.fromkeys(ranks, "Int64")).round(10) if len(lines) else lines


def _line(board: Leaderboard, table: Table, row: Row) -> Line:
    low, high = row.rank or (None, None)
    texts = {note.number: f"{note.subject}: {note.text}" for note in table.notes}
    found = row.published
    own = [note for note in table.notes if note.number in row.notes]
    return {
        "suite": board.suite,
        "run": board.run,
        "dataset": board.dataset,
        "images": board.images,
        "threat_model": table.threat_model,
        "norm": table.norm,
        "eps": table.eps,
        "rank_low": low,
        "rank_high": high,
        "model": row.model,
        "defense": row.defense,
        **_estimate("clean", row.clean),
        **_estimate("worst_case", row.worst),
        "worst_case_is_bound": not row.complete,
        "flags": " ".join(dict.fromkeys(note.rule for note in own)),
        "worst_flag": next((one for one in SEVEREST if any(note.severity == one for note in own)), None),
        "audit": "none" if board.audit is None else "outdated" if board.audit.outdated else "done",
        **{
            key: value
            for attack in table.attacks
            for key, value in _score(f"robust:{attack}", row.attacks.get(attack)).items()
        },
        **_score("gradient_free", row.gradient_free),
        **_score("naive", row.naive),
        **_score("oblivious", row.oblivious),
        **_estimate("certified", row.certified),
        **{f"broken:{part}": row.broken[part].count if part in row.broken else None for part in _PARTS},
        "broken:gradient": next((one.count for part, one in row.broken.items() if part not in _PARTS), None),
        "gradient": next((part for part in row.broken if part not in _PARTS), None),
        "published_clean": None if found is None else found.clean,
        "published_robust": None if found is None else found.robust,
        "clean_difference": None if found is None else found.clean_difference,
        "difference": None if found is None else found.difference,
        "seconds": row.seconds,
        "notes": " | ".join(texts[number] for number in row.notes),
    }


def _estimate(name: str, estimate: Estimate | None) -> Line:
    known = estimate if estimate is not None else Estimate(value=None, n=0)
    return {name: known.value, f"{name}:low": known.low, f"{name}:high": known.high}


def _score(name: str, score: Score | None) -> Line:
    seeds = list(score.seeds.values()) if score is not None else []
    return {
        **_estimate(name, None if score is None else score.robust),
        f"{name}:seed_min": min(seeds, default=None),
        f"{name}:seed_max": max(seeds, default=None),
        f"{name}:status": None if score is None else score.status,
        f"{name}:is_bound": None if score is None else score.bound,
    }
