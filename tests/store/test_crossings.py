"""Matrices of transferred examples from runs made by hand, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from synthetic_run import Planned, build_run

from bench.store.crossings import Square, matrices
from bench.store.outcomes import read_outcomes
from bench.store.records import Flag

A, B = "model-a", "model-b"
A_OWN = Planned(model=A, broken=range(10), search="strongest", role="prerequisite")
A_SHOWN = Planned(model=A, broken=range(9))
B_SHOWN = Planned(model=B, broken=range(2), wrong={0, 18})
A_ON_B = Planned(
    model=B, wrong={0, 18}, broken={0, 1, 2, 15, 16}, role="transfer", adversary="transfer", source=A, examples_of=0
)
CELLS = (A_OWN, A_SHOWN, B_SHOWN, A_ON_B)


def squares(path: Path, *cells: Planned) -> dict[tuple[str, str], Square]:
    (matrix,) = matrices(read_outcomes(build_run(path, cells)))
    return dict(matrix.squares)


def positions(mask: object) -> list[int]:
    return [place for place, there in enumerate(mask) if there]  # type: ignore[arg-type, var-annotated]


def test_success_and_rate_are_of_different_images(tmp_path: Path) -> None:
    """Position 0 is wrong on B when clean; 15 and 16 break B though A withstands them."""
    found = squares(tmp_path, *CELLS)[A, B]
    assert positions(found.right) == [place for place in range(20) if place not in (0, 18)]
    assert positions(found.broken) == [1, 2, 15, 16]
    assert positions(found.fooled) == list(range(1, 10))
    assert positions(found.carried) == [1, 2]
    assert (found.status, found.own, found.row.label) == ("done", False, B)


def test_the_diagonal_is_what_made_the_examples(tmp_path: Path) -> None:
    found = squares(tmp_path, *CELLS)
    assert set(found) == {(A, A), (A, B)}
    assert (found[A, A].own, positions(found[A, A].broken)) == (True, list(range(10)))


def test_the_models_own_defended_row_has_the_oblivious_number(tmp_path: Path) -> None:
    defended = Planned(model=A, defense="jpeg", broken=range(4), role="oblivious", adversary="oblivious")
    crossed = replace(A_ON_B, defense="jpeg")
    other = Planned(model=A, defense="jpeg", role="transfer", adversary="transfer", source=B, examples_of=5, broken={7})
    made = Planned(model=B, broken=range(3), wrong={0, 18}, search="strongest", role="prerequisite")
    found = squares(tmp_path, *CELLS, made, replace(defended, wrong=()), crossed, replace(other, examples_of=4))
    square = found[A, f"{A} + jpeg"]
    assert (square.own, positions(square.broken), positions(square.carried)) == (False, [0, 1, 2, 3], [0, 1, 2, 3])
    assert positions(found[B, f"{A} + jpeg"].broken) == [7]


def test_a_bare_row_that_the_suite_does_not_show_makes_examples_all_the_same(tmp_path: Path) -> None:
    crossed = replace(A_ON_B, defense="jpeg")
    shown = Planned(model=B, defense="jpeg", broken=range(2), wrong={0, 18})
    outcome = read_outcomes(build_run(tmp_path, [A_OWN, shown, crossed]))
    assert [row.label for row in outcome.rows] == [f"{B} + jpeg"]
    (matrix,) = matrices(outcome)
    assert matrix.sources == (A,)
    assert positions(matrix.squares[A, f"{B} + jpeg"].carried) == [1, 2]
    assert positions(matrix.squares[A, A].broken) == list(range(10))


def test_seeds_are_restarts(tmp_path: Path) -> None:
    """A sample counts in the rate where one seed's example fools both: the examples of two seeds don't add up to one."""
    other_made = replace(A_OWN, seed=1, broken=range(5, 13))
    other = replace(A_ON_B, seed=1, broken={2, 11}, examples_of=4)
    found = squares(tmp_path, *CELLS, other_made, other)[A, B]
    assert positions(found.broken) == [1, 2, 11, 15, 16]
    assert positions(found.fooled) == list(range(1, 13))
    assert positions(found.carried) == [1, 2, 11]


def test_what_is_missing_failed_or_invalid_has_no_number(tmp_path: Path) -> None:
    failed = replace(A_ON_B, status="error", reason="no luck", rows=())
    square = squares(tmp_path / "failed", *CELLS[:3], failed)[A, B]
    assert (square.status, square.reason) == ("error", "no luck")
    flag = Flag(rule="zero-gradient", severity="invalid", message="all gradients are zero")
    square = squares(tmp_path / "source", replace(A_OWN, flags=(flag,)), *CELLS[1:])[A, B]
    assert (square.status, square.reason) == ("invalid", "all gradients are zero")
    square = squares(tmp_path / "partial", A_OWN, A_SHOWN, B_SHOWN, replace(A_ON_B, rows=range(19)))[A, B]
    assert square.status == "partial"
    square = squares(tmp_path / "alone", *CELLS[:3], replace(A_ON_B, examples_of=None))[A, B]
    assert (square.status, square.reason) == ("missing", f"the cell that made the examples of {A} isn't in the run")


def test_a_run_without_transfer_has_no_matrix(tmp_path: Path) -> None:
    assert matrices(read_outcomes(build_run(tmp_path, CELLS[:3]))) == []


def test_transfer_counts_in_the_worst_case(tmp_path: Path) -> None:
    row = next(row for row in read_outcomes(build_run(tmp_path, CELLS)).rows if row.model == B)
    assert positions(row.clean_correct & ~row.worst) == [1, 2, 15, 16]
