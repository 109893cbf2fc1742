"""Figures for papers: as wide as a column, in fonts that can be read there and are embedded."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.text
import pytest
from paper_run import paper_run
from synthetic_run import Planned, build_run

from bench.plots.paper import SMALLEST, WIDTHS, draw, write
from bench.store.outcomes import RunOutcome, read_outcomes


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> RunOutcome:
    return read_outcomes(paper_run(tmp_path_factory.mktemp("figures") / "run", several=True))


@pytest.mark.parametrize("width", ["one-column", "two-column"])
def test_sizes(outcome: RunOutcome, width: str, tmp_path: Path) -> None:
    drawn = draw(outcome, width, {"fgsm": "FGSM"})
    assert set(drawn) == {
        "attacks-linf-8_255", "attacks-linf-2_255", "clean-vs-robust-linf-8_255", "clean-vs-robust-linf-2_255",
        "accuracy-vs-eps-linf",
    }  # fmt: skip
    for path, one in zip(write(tmp_path, drawn), drawn.values(), strict=True):
        assert one.figure.get_figwidth() == pytest.approx(WIDTHS[width])
        texts = [
            text for text in one.figure.findobj(matplotlib.text.Text) if text.get_text().strip() and text.get_visible()
        ]
        assert texts
        assert min(text.get_fontsize() for text in texts) >= SMALLEST
        drawn_on = one.figure.get_tightbbox()
        assert min(drawn_on.x0, drawn_on.y0) >= -0.01
        assert drawn_on.x1 <= one.figure.get_figwidth() + 0.01
        assert drawn_on.y1 <= one.figure.get_figheight() + 0.01
        data = path.read_bytes()
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
        assert box is not None
        assert float(box[1]) == pytest.approx(72 * WIDTHS[width], abs=0.1)
        assert b"/Subtype /CIDFontType2" in data or b"/Subtype /TrueType" in data
        assert b"/FontFile2" in data
        assert b"/Type3" not in data


def test_legends_spell_attacks_as_they_are_told(outcome: RunOutcome) -> None:
    figure = draw(outcome, "one-column", {"fgsm": "FGSM"})["attacks-linf-8_255"].figure
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "clean", "FGSM", "pgd-20", "autoattack", "gradient-free", "oblivious", "worst case",
    ]  # fmt: skip


def test_captions_say_what_the_numbers_are(outcome: RunOutcome) -> None:
    for one in draw(outcome, "two-column").values():
        assert "100 images" in one.caption
        assert "upper bounds" in one.caption
        assert "hollow: at most that" in one.caption
        assert "a flag" in one.caption


def test_no_figures_where_none_are_wanted(outcome: RunOutcome, tmp_path: Path) -> None:
    (tmp_path / "attacks-old.pdf").write_text("")
    assert draw(outcome, "none") == {}
    assert write(tmp_path, {}) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("width", ["one-column", "two-column"])
def test_many_rows_fit_a_page(tmp_path: Path, width: str) -> None:
    planned = [
        Planned(
            model=f"a_rather_long_name_of_a_model_{i:02d}", attack=attack, wrong=range(i % 7), broken=range(7, 12 + i)
        )
        for i in range(40)
        for attack in ("fgsm", "pgd-20", "cw-20")
    ]
    drawn = draw(read_outcomes(build_run(tmp_path, planned, n=60)), width)
    assert max(one.figure.get_figheight() for one in drawn.values()) < 8.6
    assert "1 a_rather_long" in drawn["clean-vs-robust-linf-8_255"].caption
    assert ("1 a_rather_long" in drawn["attacks-linf-8_255"].caption) == (width == "one-column")
    assert "40 a_rather_long" in drawn["clean-vs-robust-linf-8_255"].caption


def test_the_same_records_give_the_same_files(outcome: RunOutcome, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write(tmp_path / "a", draw(outcome, "one-column"))]
    assert first == [path.read_bytes() for path in write(tmp_path / "b", draw(outcome, "one-column"))]
