"""What the notes say of a defense beside the bare model, from verdicts chosen by hand."""

from __future__ import annotations

from pathlib import Path

from synthetic_run import Planned, build_run

from bench.leaderboard.table import make


def notes(path: Path, defended: Planned, *, bare: Planned | None = None, n: int = 200) -> list[str]:
    bare = bare or Planned(broken=range(100))
    (table,) = make(build_run(path, [bare, defended], n=n)).tables
    (row,) = [one for one in table.rows if one.defense == "jpeg"]
    return [note.text for note in table.notes if note.number in row.notes]


def test_a_defense_that_helps_is_said_to_help_and_by_how_much(tmp_path: Path) -> None:
    (text,) = [text for text in notes(tmp_path, Planned(defense="jpeg", broken=range(60))) if "without" in text]
    assert "more images stay right than without the defense: 20.0 points" in text
    assert "An upper bound" in text


def test_a_defense_that_harms_is_said_to_harm(tmp_path: Path) -> None:
    (text,) = [text for text in notes(tmp_path, Planned(defense="jpeg", broken=range(140))) if "without" in text]
    assert text.startswith("fewer images stay right under attack than without the defense: 20.0 points")


def test_nothing_is_said_of_a_difference_that_chance_explains(tmp_path: Path) -> None:
    swapped = Planned(defense="jpeg", broken=[*range(90), *range(100, 109)])
    assert not any("without the defense" in text for text in notes(tmp_path, swapped))


def test_nothing_is_said_where_a_cell_failed(tmp_path: Path) -> None:
    failed = Planned(defense="jpeg", status="error", reason="boom", rows=range(0))
    assert not any("without the defense" in text for text in notes(tmp_path, failed))
