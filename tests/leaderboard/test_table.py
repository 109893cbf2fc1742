"""The leaderboard against numbers worked out by hand from verdicts chosen by hand."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic_run import Planned, build_run

from bench.leaderboard.records import Leaderboard, Row, Table
from bench.leaderboard.table import make
from bench.store.records import Flag


def table(path: Path, planned: list[Planned], **options: object) -> Table:
    (found,) = make(build_run(path, planned, **options)).tables  # type: ignore[arg-type]
    return found


def row(table: Table, model: str, defense: str = "none") -> Row:
    (found,) = [one for one in table.rows if (one.model, one.defense) == (model, defense)]
    return found


def texts(table: Table, row: Row) -> list[str]:
    return [f"{note.subject}: {note.text}" for note in table.notes if note.number in row.notes]


def wilson(count: int, n: int) -> tuple[float, float]:
    interval = stats.binomtest(count, n).proportion_ci(method="wilson")
    return interval.low, interval.high


def test_columns_clean_and_worst_case(tmp_path: Path) -> None:
    got = table(
        tmp_path,
        [
            Planned(attack="fgsm", wrong=[0, 1], broken=[2, 3]),
            Planned(attack="pgd-20", wrong=[0, 1], broken=[3, 4, 5]),
        ],
        n=20,
    )
    assert got.attacks == ("fgsm", "pgd-20")
    one = row(got, "model-a")
    assert one.clean is not None
    assert one.worst is not None
    assert (one.clean.value, one.clean.n) == (0.9, 20)
    assert (one.clean.low, one.clean.high) == pytest.approx(wilson(18, 20))
    assert one.attacks["fgsm"].robust.value == 0.8  # type: ignore[union-attr]
    assert one.attacks["pgd-20"].robust.value == 0.75  # type: ignore[union-attr]
    assert one.worst.value == 0.7
    assert (one.worst.low, one.worst.high) == pytest.approx(wilson(14, 20))
    assert (one.rank, one.best, one.complete) == ((1, 1), True, True)
    assert one.seconds == 3.0
    assert got.notes == ()


def test_several_seeds_count_together_and_show_their_spread(tmp_path: Path) -> None:
    got = table(
        tmp_path,
        [Planned(seed=0, broken=[0, 1]), Planned(seed=1, broken=[1, 2, 3]), Planned(seed=5, broken=[])],
        n=10,
    )
    score = row(got, "model-a").attacks["pgd-20"]
    assert score.seeds == {0: 0.8, 1: 0.7, 5: 1.0}
    assert score.robust.value == 0.6  # type: ignore[union-attr]
    assert len(score.cells) == 3


def test_ranks_are_those_of_the_paired_tests(tmp_path: Path) -> None:
    n = 100
    models = {"a": range(10), "b": range(12), "c": range(60)}
    got = table(tmp_path, [Planned(model=m, broken=b) for m, b in reversed(models.items())], n=n)
    assert [(one.model, one.rank, one.best) for one in got.rows] == [
        ("a", (1, 2), True),
        ("b", (1, 2), True),
        ("c", (3, 3), False),
    ]


def test_rows_that_are_not_complete_follow_without_a_rank(tmp_path: Path) -> None:
    got = table(
        tmp_path,
        [
            Planned(model="gone", status="unavailable", rows=[], reason="no weights"),
            Planned(model="broke", attack="fgsm", broken=[0]),
            Planned(model="broke", attack="pgd-20", status="error", reason="left the ball", rows=range(8), broken=[1]),
            Planned(model="weak", broken=range(15)),
        ],
        n=20,
    )
    assert [(one.model, one.rank) for one in got.rows] == [("weak", (1, 1)), ("broke", None), ("gone", None)]
    broke, gone = row(got, "broke"), row(got, "gone")
    assert broke.worst is not None
    assert (broke.worst.value, broke.worst.low, broke.complete) == (0.9, None, False)
    assert broke.attacks["pgd-20"].status == "error"
    assert broke.attacks["pgd-20"].robust is None
    assert "broke (pgd-20): error: left the ball" in texts(got, broke)
    assert (gone.clean, gone.worst) == (None, None)
    assert gone.attacks["pgd-20"].status == "unavailable"
    assert "gone: n/a: no weights" in texts(got, gone)


def test_everything_failed(tmp_path: Path) -> None:
    got = table(
        tmp_path,
        [
            Planned(model=m, attack=a, status="error", rows=[], reason="CUDA ran out\nof memory")
            for m in "ab"
            for a in ("fgsm", "cw-20")
        ],
    )
    assert [one.rank for one in got.rows] == [None, None]
    assert [f"{note.subject}: {note.text}" for note in got.notes] == ["a; b: error: CUDA ran out of memory"]


def test_an_unfinished_cell(tmp_path: Path) -> None:
    got = table(
        tmp_path,
        [Planned(attack="fgsm", broken=[0]), Planned(attack="pgd-20", recorded=False, rows=range(6), broken=[1])],
    )
    one = got.rows[0]
    assert one.rank is None
    assert one.worst.value == 0.9  # type: ignore[union-attr]
    assert one.attacks["pgd-20"].status == "missing"
    assert texts(got, one) == ["model-a (pgd-20): not finished (6 of 20 samples); run the suite again to finish it"]


def test_one_seed_that_failed_hides_the_number_but_not_its_successes(tmp_path: Path) -> None:
    got = table(tmp_path, [Planned(seed=0, broken=[0]), Planned(seed=1, status="error", reason="x", broken=[1])])
    one = got.rows[0]
    assert (one.attacks["pgd-20"].status, one.attacks["pgd-20"].seeds) == ("error", {})
    assert one.worst.value == 0.9  # type: ignore[union-attr]


DEFENDED = [
    Planned(attack="pgd-20", broken=range(40)),
    Planned(attack="pgd-20", role="prerequisite", search="strongest", broken=[50]),
    Planned(attack="pgd-20", defense="jpeg-q75", broken=range(30)),
    Planned(attack="pgd-20", defense="jpeg-q75", role="oblivious", adversary="oblivious", broken=range(35, 45)),
    Planned(attack="square", defense="jpeg-q75", role="gradient_free", broken=[99]),
]


def test_a_defended_row(tmp_path: Path) -> None:
    got = table(tmp_path, DEFENDED, n=100)
    bare, defended = row(got, "model-a"), row(got, "model-a", "jpeg-q75")
    assert bare.worst.value == 0.59  # type: ignore[union-attr]
    assert bare.attacks["pgd-20"].robust.value == 0.6  # type: ignore[union-attr]
    assert (bare.oblivious, bare.gradient_free) == (None, None)
    assert got.attacks == ("pgd-20",)
    assert defended.attacks["pgd-20"].robust.value == 0.7  # type: ignore[union-attr]
    assert defended.oblivious.robust.value == 0.9  # type: ignore[union-attr]
    assert defended.gradient_free.robust.value == 0.99  # type: ignore[union-attr]
    assert defended.worst.value == pytest.approx(1 - 0.41)  # type: ignore[union-attr]
    (text,) = texts(got, defended)
    assert text == (
        "model-a + jpeg-q75: the oblivious number (90.0) is 21.0 points above the adaptive one (69.0):"
        " the defense hides the gradient, it does not remove the examples"
    )


def test_an_oblivious_number_that_is_not_significantly_above_gets_no_note(tmp_path: Path) -> None:
    got = table(
        tmp_path,
        [
            Planned(defense="jpeg-q75", broken=range(5)),
            Planned(defense="jpeg-q75", role="oblivious", adversary="oblivious", broken=range(2)),
        ],
        n=100,
    )
    assert got.notes == ()


def test_a_defense_that_only_the_oblivious_adversary_attacked_is_said_so(tmp_path: Path) -> None:
    got = table(tmp_path, [Planned(defense="jpeg-q75", role="oblivious", adversary="oblivious", broken=[1])])
    assert [note.text for note in got.notes] == [
        "only the oblivious adversary attacked it: an attacker who knows the defense does better"
    ]
    assert got.attacks == ()


def test_a_row_that_lacks_an_attack_is_said_so(tmp_path: Path) -> None:
    got = table(tmp_path, [Planned(attack="fgsm"), Planned(attack="autoattack"), Planned(model="b", attack="fgsm")])
    assert texts(got, row(got, "b")) == ["b: not attacked with autoattack, as other rows are"]
    assert "autoattack" not in row(got, "b").attacks


def test_flags_become_notes_once(tmp_path: Path) -> None:
    few = Flag(rule="few-samples", severity="warning", message="only 20 images", source="Carlini et al. 2019")
    zero = Flag(rule="zero-gradients", severity="invalid", message="the gradient is zero on 9 images")
    got = table(
        tmp_path,
        [
            Planned(model="a", attack="fgsm", flags=(few,)),
            Planned(model="a", attack="pgd-20", flags=(few, zero)),
            Planned(model="b", attack="fgsm", flags=(few,)),
            Planned(model="b", attack="pgd-20", flags=(few,)),
        ],
    )
    assert [(note.number, note.subject, note.text, note.source, note.rule) for note in got.notes] == [
        (1, "a (pgd-20)", "the gradient is zero on 9 images", "", "zero-gradients"),
        (2, "b; a", "only 20 images", "Carlini et al. 2019", "few-samples"),
    ]
    assert row(got, "a").notes == (1, 2)
    assert row(got, "a").rank is None
    assert row(got, "b").notes == (2,)


def test_published_numbers_and_differences(tmp_path: Path) -> None:
    entry = ("cifar10", "Linf", "Wong2020Fast")
    planned = [
        Planned(model="wong", broken=range(40), wrong=range(90, 100), published=entry),
        Planned(model="wong", defense="jpeg-q75", broken=range(30), published=entry),
        Planned(model="wong", threat_model="linf:4/255", published=entry),
        Planned(model="trades", published=("cifar10", "Linf", "Zhang2019Theoretically")),
        Planned(model="xiao", published=("cifar10", "Linf", "Xiao2020Enhancing")),
        Planned(model="half", status="error", reason="x", published=entry),
    ]
    eight, four = make(build_run(tmp_path, planned, n=100)).tables
    wong = row(eight, "wong").published
    assert wong is not None
    assert (wong.entry, wong.clean, wong.robust) == ("Wong2020Fast", 0.8334, 0.4321)
    assert wong.difference == pytest.approx(0.5 - 0.4321)
    assert wong.clean_difference == pytest.approx(0.9 - 0.8334)
    assert row(eight, "wong", "jpeg-q75").published is None
    assert row(four, "wong").published is None
    assert row(eight, "half").published.difference is None  # type: ignore[union-attr]
    assert texts(eight, row(eight, "trades")) == [
        "trades; xiao: the published numbers are for eps 0.031, these for 8/255"
    ]
    assert row(eight, "xiao").published.robust == 0.074  # type: ignore[union-attr]
    assert any("marks its AutoAttack number as unreliable" in text for text in texts(eight, row(eight, "xiao")))


def test_one_table_per_threat_model(tmp_path: Path) -> None:
    board = make(
        build_run(
            tmp_path,
            [
                Planned(threat_model=t, broken=range(k))
                for t, k in (("linf:8/255", 9), ("linf:2/255", 3), ("l2:0.5", 5))
            ],
            note="the 20 images that foolbox ships: a smoke test",
        )
    )
    assert [(one.threat_model, one.norm, one.eps) for one in board.tables] == [
        ("Linf 8/255", "linf", "8/255"),
        ("Linf 2/255", "linf", "2/255"),
        ("L2 0.5", "l2", "1/2"),
    ]
    assert [one.rows[0].worst.value for one in board.tables] == [0.55, 0.85, 0.75]  # type: ignore[union-attr]
    assert (board.dataset, board.images, board.note[:6]) == ("CIFAR-10 test", 20, "the 20")


def test_one_sample_and_no_success(tmp_path: Path) -> None:
    one = table(tmp_path, [Planned()], n=1).rows[0]
    assert (one.worst.value, one.worst.n) == (1.0, 1)  # type: ignore[union-attr]
    assert one.worst.low == pytest.approx(wilson(1, 1)[0])  # type: ignore[union-attr]


def test_fewer_positions_than_rows(tmp_path: Path) -> None:
    board = make(build_run(tmp_path, [Planned(broken=range(10))], n=20, positions=range(8, 20)))
    assert board.images == 12
    assert board.tables[0].rows[0].worst.value == pytest.approx(10 / 12)  # type: ignore[union-attr]


def test_random_verdicts_against_plain_sets(tmp_path: Path) -> None:
    """Worst cases, columns and order of a random run, computed again with Python sets."""
    source = random.Random(7)
    n, attacks, planned, expected = 60, ("fgsm", "pgd-20", "cw-20"), [], {}
    for model in "abcde":
        wrong = {i for i in range(n) if source.random() < 0.1}
        gone = set(wrong)
        for attack in attacks:
            for seed in (0, 1):
                broken = {i for i in range(n) if source.random() < 0.2} - wrong
                gone |= broken
                planned.append(Planned(model=model, attack=attack, seed=seed, wrong=wrong, broken=broken))
        expected[model] = 1 - len(gone) / n
    got = table(tmp_path, planned, n=n)
    assert {one.model: one.worst.value for one in got.rows} == pytest.approx(expected)  # type: ignore[union-attr]
    values = [one.worst.value for one in got.rows]  # type: ignore[union-attr]
    assert values == sorted(values, reverse=True)


def test_the_json_is_the_board(tmp_path: Path) -> None:
    import bench.leaderboard

    run = build_run(tmp_path, DEFENDED, n=100)
    bench.leaderboard.write(run)
    read = Leaderboard.model_validate_json((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    assert read == make(run)
    assert {cell.role for cell in read.cells} == {"suite", "prerequisite", "oblivious", "gradient_free"}
    assert np.isclose(sum(cell.cost.seconds for cell in read.cells if cell.cost), 7.5)
