"""What a table says of defended rows: who broke what, what is restored, and how they compare with the bare model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic_run import Planned, build_run

from bench.leaderboard import table
from bench.leaderboard.markdown import markdown
from bench.leaderboard.records import Row, Table
from bench.leaderboard.terminal import plain
from bench.store.records import Estimate


def shown(path: Path, *planned: Planned, n: int = 20) -> Table:
    (found,) = table.make(build_run(path, planned, n=n)).tables
    return found


def defended(found: Table) -> Row:
    return next(row for row in found.rows if row.defense != "none")


def metric(value: float) -> Estimate:
    return Estimate(value=value, n=20)


CELLS = (
    Planned(broken=range(12)),
    Planned(defense="jpeg", broken=range(5), attack="pgd-20"),
    Planned(defense="jpeg", broken=range(4, 8), role="naive", adversary="naive", attack="pgd-20"),
    Planned(defense="jpeg", broken=(9,), role="oblivious", adversary="oblivious", attack="pgd-20"),
    Planned(defense="jpeg", broken=(9, 10), role="gradient_free", attack="square"),
)


def test_each_part_of_the_adversary_is_counted_and_what_nothing_else_broke(tmp_path: Path) -> None:
    row = defended(shown(tmp_path, *CELLS))
    counts = {part: (one.count, one.alone) for part, one in row.broken.items()}
    assert counts == {"BPDA": (5, 4), "naive": (4, 3), "transfer": (1, 0), "gradient-free": (2, 1)}
    assert row.correct == 20
    assert row.worst is not None
    assert row.worst.value == pytest.approx(10 / 20)
    assert row.naive is not None
    assert row.naive.robust is not None
    assert row.naive.robust.value == pytest.approx(16 / 20)


def test_the_second_table_is_printed_everywhere(tmp_path: Path) -> None:
    board = table.make(build_run(tmp_path, CELLS))
    for text in (markdown(board), plain(board, 160)):
        assert "What broke the defended rows" in text
        assert "5 (4)" in text
        assert "by gradient-free" in text
    assert "What broke" not in plain(table.make(build_run(tmp_path / "bare", CELLS[:1])), 160)


def test_what_is_restored_is_that_of_the_attack_that_leaves_least(tmp_path: Path) -> None:
    def cell(rate: float, psnr: float, attack: str) -> Planned:
        metrics = {"label_restoration_rate": metric(rate), "psnr": metric(30.0), "psnr_purified": metric(psnr)}
        return Planned(defense="jpeg", role="oblivious", adversary="oblivious", attack=attack, metrics=metrics)

    suite = Planned(
        defense="jpeg", attack="pgd-20", metrics={"detector_auc": metric(0.8), "defense_success_rate": metric(0.4)}
    )
    row = defended(shown(tmp_path, Planned(), suite, cell(0.6, 28.0, "pgd-20"), cell(0.5, 27.0, "fgsm")))
    assert row.restored is not None
    assert (row.restored.labels, row.restored.attack, row.restored.psnr_purified) == (0.5, "fgsm", 27.0)
    assert (row.restored.detector_auc, row.restored.defense_success_rate) == (0.8, 0.4)
    assert row.restored.false_positive_rate is None


@pytest.mark.parametrize(
    ("bare", "own", "words"),
    [
        (range(60), range(20), "more images stay right than without the defense: 40.0 points (+"),
        (range(20), range(60), "fewer images stay right under attack than without the defense: 40.0 points (-"),
        (range(30), range(28), ""),
    ],
)
def test_help_and_harm_are_said_in_words(tmp_path: Path, bare: range, own: range, words: str) -> None:
    found = shown(tmp_path, Planned(broken=bare), Planned(defense="jpeg", broken=own), n=100)
    texts = [note.text for note in found.notes if "without the defense" in note.text]
    assert len(texts) == (1 if words else 0)
    assert all(words in text for text in texts)


def test_a_stochastic_row_shows_the_mean_of_its_draws(tmp_path: Path) -> None:
    shares = dict.fromkeys(range(10), 0.25)
    found = shown(tmp_path, Planned(), Planned(defense="random_noise", correctness=shares))
    row = defended(found)
    assert row.worst is not None
    assert row.worst.value == pytest.approx((10 * 0.25 + 10) / 20)
    assert row.worst.low is not None
    assert row.worst.low < row.worst.value < (row.worst.high or 0)
    assert not np.isclose(row.worst.value * 20, round(row.worst.value * 20))
