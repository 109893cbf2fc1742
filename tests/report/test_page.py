"""The page of a run, as text: what stands in it, that it agrees with the tables, and that nothing of a run is markup."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from corrupted_run import N, build
from PIL import Image
from report_runs import HOSTILE, forty_cells, hostile, smoothed, transferred, two_radii
from synthetic_run import Planned, build_run

from bench import report
from bench.leaderboard.table import make
from bench.report import pairs as side_by_side
from bench.report.classes import labels
from bench.report.page import asset
from bench.report.pictures import png
from bench.stats import mcnemar, tango, wilson
from bench.store.audit import AuditRecord, Finding, RuleResult
from bench.store.curves import pass_curves
from bench.store.outcomes import RunOutcome, read_outcomes
from bench.store.records import Flag
from bench.store.run_directory import RunDirectory


class Page(HTMLParser):
    """A page taken apart: its elements with their attributes, and the text outside scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif not self._inside:
            self.texts.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def attributes(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.elements if attributes.get(name)]

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


def page_of(run: RunDirectory, outcome: RunOutcome | None = None) -> Page:
    (path,) = report.write(run, outcome)
    assert path == run.path / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def leaderboard_texts(page: Page, path: Path) -> list[list[str]]:
    """The rows of the leaderboard tables: the texts of their values."""
    text = path.read_text(encoding="utf-8")
    found = []
    for row in re.findall(r'<tr id="row-\d+-\d+".*?</tr>', text, re.DOTALL):
        cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
        found.append([re.sub(r"<[^>]+>", " ", cell) for cell in cells])
    return [[" ".join(cell.split()) for cell in row] for row in found]


# -- content -------------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_leaderboard(tmp_path: Path) -> None:
    run = two_radii(tmp_path)
    page = page_of(run)
    board = make(run)
    shown = leaderboard_texts(page, tmp_path / "report.html")
    rows = [row for table in board.tables for row in table.rows]
    assert len(shown) == len(rows) == 4
    for texts, row in zip(shown, rows, strict=True):
        assert texts[1:3] == [row.model, row.defense]
        for estimate, text in ((row.clean, texts[3]), (row.attacks["fgsm"].robust, texts[4]), (row.worst, texts[6])):
            assert estimate is not None
            value, low, high = (100 * float(one) for one in (estimate.value, estimate.low, estimate.high))  # type: ignore[arg-type]
            assert text.endswith(f"{value:.1f} {low:.1f}–{high:.1f}")
    points = page.data["series"]["points"]
    worst = {(ball, row): value for ball, row, series, _, value, _, _ in points if series == "worst case"}
    names = [one["label"] for one in page.data["series"]["rows"]]
    for at, table in enumerate(board.tables):
        for row in table.rows:
            assert worst[at, names.index(row.model)] == pytest.approx(100 * float(row.worst.value), abs=1e-3)  # type: ignore[union-attr,arg-type]


def tabled(path: Path, caption: str) -> list[list[str]]:
    """The lines of the table with this name."""
    text = path.read_text(encoding="utf-8").split(f'aria-label="{caption}"', 1)[1].split("</table>")[0]
    lines = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line, re.DOTALL) for line in text.split("<tr>")[1:]]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in line] for line in lines]


def test_curves_against_passes_are_those_of_the_store(tmp_path: Path) -> None:
    run = smoothed(tmp_path)
    page = page_of(run)
    told, known = page.data["series"], pass_curves(read_outcomes(run))
    assert len(told["passes"]) == len(known) == 12
    for shown, curve in zip(told["passes"], known, strict=True):
        assert told["balls"][shown["ball"]]["label"] == curve.threat_model.label
        assert told["rows"][shown["row"]]["label"] == curve.label
        assert shown["name"] == ("gradient-free" if curve.role == "gradient_free" else curve.attack)
        assert shown["steps"] == [
            [level.x, round(100 * level.robust_accuracy, 4)] for level in curve.at(curve.places())
        ]
        assert [mark[0] for mark in shown["marks"]] == [x for x in (1, 10, 100, 1000) if x < curve.end] + [curve.end]
        for x, *numbers in shown["marks"]:
            (level,) = curve.at([x])
            assert numbers == pytest.approx([100 * level.robust_accuracy, 100 * level.low, 100 * level.high], abs=1e-3)
    head, first, *_ = tabled(tmp_path / "report.html", "Robust accuracy after so many passes")
    assert head == [
        "threat model",
        "row",
        "attack",
        "after 1 pass",
        "10 passes",
        "100 passes",
        "1,000 passes",
        "at the end",
        "95 %",
        "passes",
    ]
    # 6 images break after 4, 8, ... passes, and one was wrong from the start.
    assert first == ["L2 0.25", "a", "pgd-20", "95.0", "85.0", "", "", "65.0", "43.3–81.9", "80"]


def test_certificates_are_lower_bounds_on_the_page(tmp_path: Path) -> None:
    run = smoothed(tmp_path)
    page = page_of(run)
    first, second = page.data["series"]["certified"]
    assert (first["norm"], first["steps"][0], first["steps"][-1]) == ("l2", [0, 40.0], [0.8, 5.0])
    assert [mark[:2] for mark in second["marks"]] == [[0, 20.0], [0.25, 10.0], [0.5, 0.0]]
    head, line, _ = tabled(tmp_path / "report.html", "Certified accuracy by radius, L2")
    assert head == ["row", "at any radius", "radius 0.25", "radius 0.5", "alpha"]
    low, high = (100 * end for end in wilson(6, 20))
    assert line[0] == "a + smoothing-s0.25"
    assert line[2] == f"≥ 30.0 ({low:.1f}–{high:.1f})"
    assert line[-1] == "0.001"


def test_curves_are_there_only_where_there_is_something_to_draw(tmp_path: Path) -> None:
    page = page_of(build_run(tmp_path, [Planned(broken=[1], search="strongest")]))
    assert page.data["series"]["passes"] == page.data["series"]["certified"] == []
    assert not {"chart-passes", "chart-certified"} & set(page.attributes("id"))
    assert "passes" not in page.said.lower().split("rows", 1)[0]


def test_many_steps_of_passes_are_thinned_and_none_is_lowered(tmp_path: Path) -> None:
    n = 2000
    run = build_run(tmp_path, [Planned(broken=range(n), passes={i: i + 1.0 for i in range(n)})], n=n, clean=False)
    (curve,) = pass_curves(read_outcomes(run))
    (shown,) = page_of(run).data["series"]["passes"]
    assert len(shown["steps"]) < 250
    assert shown["steps"][-1] == [2.0 * n, 0.0]
    for x, y in shown["steps"]:
        assert y == pytest.approx(100 * curve.at([x])[0].robust_accuracy, abs=1e-3)


def test_transferred_examples_stand_in_shaded_matrices(tmp_path: Path) -> None:
    run = transferred(tmp_path)
    page = page_of(run)
    (matrix,) = make(run).transfers
    success, rate = (
        tabled(tmp_path / "report.html", f"{what}, Linf 8/255 · pgd-20") for what in ("Attack success", "Transfer rate")
    )
    a_on_b = matrix.squares["a"]["b"]
    assert a_on_b.success is not None
    assert a_on_b.rate is not None
    assert success[1] == ["a", "50.0 29.9–70.1 of 20", "15.0 5.2–36.0 of 20"]
    assert (100 * a_on_b.success.value, 100 * a_on_b.rate.value) == pytest.approx((15, 20))  # type: ignore[operator]
    assert rate[1] == ["a", "–", "20.0 5.7–51.0 of 10"]
    assert (success[2][1], rate[2][1]) == ("error", "error")
    assert "b on a: error: it burst" in page.said
    cells = [attributes["class"] for name, attributes in page.elements if name == "td" and attributes.get("class")]
    assert [cell for cell in cells if re.fullmatch(r"number s\d", str(cell))] == [
        "number s5", "number s1", "number s1", "number s2",
    ]  # fmt: skip
    (download,) = [attributes for _, attributes in page.elements if attributes.get("download") == "transfer.csv"]
    text = base64.b64decode(str(download["href"]).partition(",")[2]).decode()
    assert len(list(csv.DictReader(io.StringIO(text)))) == 4


def test_corruptions_stand_by_severity_with_their_means(tmp_path: Path) -> None:
    run = build(tmp_path, ["fog", "gaussian_noise"], models=("a", "b"), statuses={"fog 3": "error"})
    page = page_of(run)
    cells = tabled(tmp_path / "report.html", "Accuracy of a by corruption and severity")
    reach = np.arange(N) % 6
    shares = [100 * (reach >= severity).mean() for severity in range(1, 6)]
    assert cells[0] == ["corruption / severity", "1", "2", "3", "4", "5", "mean"]
    assert cells[1] == ["fog", *(f"{one:.1f}" if place != 2 else "–" for place, one in enumerate(shares)), "–"]
    assert cells[2][:6] == ["gaussian noise", *(f"{100 * (reach >= severity).mean():.1f}" for severity in range(5))]
    assert cells[3][0] == "mean"
    assert cells[3][3] == "–"
    assert "a: error: it broke" in page.said
    assert "No row is complete." in page.said
    for curve in page.data["series"]["severities"]:
        assert [mark[0] for mark in curve["marks"]] == [0, 1, 2, 4, 5]
        assert curve["marks"][0][1] == 97.5


def test_a_page_of_corruptions_alone_has_no_empty_parts(tmp_path: Path) -> None:
    page = page_of(build(tmp_path, ["fog", "gaussian_noise"]))
    mean = np.mean([(np.arange(N) % 6 >= severity).mean() for severity in (1, 2, 3, 4, 5, 0, 1, 2, 3, 4)])
    assert f"The highest mean accuracy: a with {100 * mean:.1f} %" in page.said
    ids = page.attributes("id")
    assert {"corruptions", "plots", "provenance", "chart-severity"} <= set(ids)
    assert not {"leaderboard", "transfer", "rows", "gallery", "audit", "compare", "chart-attacks"} & set(ids)
    assert all(target[1:] in ids for target in page.attributes("href") if target.startswith("#"))


def test_the_summary_is_two_sentences_with_the_number(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(model="good", broken=range(5)), Planned(model="bad", broken=range(19))])
    said = page_of(run).said
    assert "On 20 images of CIFAR-10 test, 2 models were attacked under Linf 8/255 with pgd-20." in said
    assert "The highest worst cases: Linf 8/255: good with 75.0 % (53.1–88.8); each an upper bound" in said


def test_an_audit_says_what_was_checked_and_never_that_a_model_is_robust(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(broken=[1])])
    assert "This run was not audited" in page_of(run).said
    rules = (
        RuleResult(rule="looked", title="a thing", checked=1, findings=0),
        RuleResult(rule="blind", title="another", checked=0, findings=0, unchecked={"no gradients here": ("model-a",)}),
    )
    run.write_audit(AuditRecord(made="2025-01-01T00:00:00Z", samples=5, cells={}, rules=rules, findings=()))
    page = page_of(run)
    for text in ("none of them fired, which says nothing of attacks that weren't tried", "no gradients here", "looked"):
        assert text in page.said
    assert not re.search(r"\b(is|are) robust\b", page.said)


def test_flags_stand_beside_the_numbers_and_lead_to_their_notes(tmp_path: Path) -> None:
    flag = Flag(rule="masked", severity="warning", message="gradients vanish", source="Athalye et al. 2018")
    run = build_run(tmp_path, [Planned(attack="fgsm", flags=(flag,)), Planned(attack="pgd-20", broken=[2])])
    finding = Finding(rule="weak", severity="warning", message="too weak", advice="more steps", threat_model="linf:8/255",
                      model="model-a", defense="none")  # fmt: skip
    run.write_audit(AuditRecord(made="now", samples=5, cells={}, rules=(), findings=(finding,)))
    page = page_of(run)
    ids = set(page.attributes("id"))
    marks = [href for href in page.attributes("href") if "-note-" in href]
    assert len(marks) >= 4
    assert {mark[1:] for mark in marks} <= ids
    for text in ("gradients vanish", "[masked; Athalye et al. 2018]", "What to do: more steps"):
        assert page.said.count(text) >= 2  # under the table and in the row's section
    assert len(ids) == len(page.attributes("id"))
    for href in page.attributes("href"):
        assert href.startswith("data:") or href[1:] in ids


def test_what_is_not_finished_is_a_bound_with_its_reason(tmp_path: Path) -> None:
    planned = [
        Planned(model="a", attack="fgsm", broken=range(5)),
        Planned(model="a", attack="pgd-20", status="error", reason="it burst", rows=[]),
        Planned(model="b", attack="fgsm", status="unavailable", reason="no weights", rows=[]),
        Planned(model="c", attack="fgsm", broken=[1], rows=range(7), recorded=False),
    ]
    run = build_run(tmp_path, planned)
    page = page_of(run)
    shown = {row[1]: row for row in leaderboard_texts(page, tmp_path / "report.html")}
    assert shown["a"][-2].endswith("≤ 75.0")
    assert shown["a"][0] == "–"
    assert shown["a"][5].endswith("error")
    assert shown["b"][4].endswith("n/a")
    assert "Why there is no rank" in page.said
    assert "it burst" in page.said
    assert "no weights" in page.said
    worst = [entry["worst"] for entry in page.data["compared"][0]["pairs"]]
    assert all("reason" in entry for entry in worst)


@pytest.mark.parametrize("what", ["no cell", "only errors"])
def test_a_run_without_numbers_has_a_page(tmp_path: Path, what: str) -> None:
    run = build_run(tmp_path, [Planned(status="error", reason="x", rows=[])])
    if what == "no cell":
        run.write_run(run.read_run().model_copy(update={"cells": ()}))
    assert "synthetic" in page_of(run).said


def test_what_a_cell_cost_stands_in_its_row(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(broken=range(6), passes={0: 7.0})])
    text = (report.write(run)[0]).read_text()
    (line,) = re.findall(r"<td class=\"name\">Linf 8/255</td><th.*?</tr>", text, re.DOTALL)
    cells = [
        " ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<t[dh].*?</t[dh]>", line, re.DOTALL)
    ]
    assert cells[:9] == ["Linf 8/255", "pgd-20", "70.0 48.1–85.5", "6", "6", "20.0 / 20.0", "1.5", "13.3", "–"]


# -- classes, pairs, pictures ----------------------------------------------------------------------------------------------


def test_classes_count_their_own_images(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(wrong=[0], broken=[1, 2, 4])])  # labels alternate: even cat, odd dog
    text = report.write(run)[0].read_text()
    lines = re.findall(r'<tr><th scope="row" class="name" data-sort="(?:cat|dog)">.*?</tr>', text, re.DOTALL)
    shown = [" ".join(re.sub(r"<[^>]+>", " ", line).split()) for line in lines]
    assert shown == ["cat 10 90.0 9 of 10 70.0 7 of 10", "dog 10 100.0 10 of 10 90.0 9 of 10"]


def test_labels_are_those_of_the_positions_that_count_now(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned()], positions=[3, 4, 8])
    np.testing.assert_array_equal(labels(run, read_outcomes(run)), [1, 0, 0])


def test_pairs_agree_with_the_statistics(tmp_path: Path) -> None:
    run = build_run(
        tmp_path, [Planned(model="a", wrong=[19], broken=range(4)), Planned(model="b", broken=range(2, 14))]
    )
    (compared,) = page_of(run).data["compared"]
    (pair,) = compared["pairs"]
    names = [row["label"] for row in compared["rows"]]
    keeps = {
        "a": np.array([not (i < 4 or i == 19) for i in range(20)]),
        "b": np.array([not 2 <= i < 14 for i in range(20)]),
    }
    one, other = keeps[names[pair["a"]]], keeps[names[pair["b"]]]
    gained, lost = int((other & ~one).sum()), int((one & ~other).sum())
    assert (pair["worst"]["gained"], pair["worst"]["lost"]) == (gained, lost)
    assert pair["worst"]["p"] == pytest.approx(mcnemar(one, other))
    assert (pair["worst"]["low"], pair["worst"]["high"]) == pytest.approx(tuple(tango(gained, lost, 20)))
    assert pair["worst"]["difference"] == pytest.approx((gained - lost) / 20)
    assert pair["clean"]["p"] == 1.0
    assert {row["label"]: (row["clean"], row["worst"]) for row in compared["rows"]} == {
        "a": ("95.0", "75.0"), "b": ("100.0", "40.0"),
    }  # fmt: skip


def test_rows_under_other_attacks_are_not_compared_by_worst_case(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(model="a", attack="fgsm"), Planned(model="b", attack="pgd-20", broken=[1])])
    (pair,) = page_of(run).data["compared"][0]["pairs"]
    assert sorted(re.findall(r"fgsm|pgd-20", pair["worst"]["reason"])) == ["fgsm", "pgd-20"]
    assert "p" in pair["clean"]


def test_stochastic_rows_are_tested_by_their_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = dict.fromkeys(range(6), 0.25)
    planned = [
        Planned(model="a", broken=[1]),
        Planned(model="b", broken=range(6), correctness=random),
        Planned(model="c", broken=range(5), correctness=random),
    ]
    run = build_run(tmp_path, planned)
    page = page_of(run)
    pairs = page.data["compared"][0]["pairs"]
    assert all(pair["random"] and 0 < pair["worst"]["p"] <= 1 for pair in pairs)
    assert "77.5" in [row["worst"] for row in page.data["compared"][0]["rows"]]
    monkeypatch.setattr(side_by_side, "MOST_RANDOM", 1)
    assert len(page_of(run).data["compared"][0]["pairs"]) == 1


def test_pictures_are_the_very_pixels() -> None:
    x = np.random.default_rng(0).random((3, 5, 4)).astype(np.float32)
    for image in (x, x[:1], x[:2]):
        with Image.open(io.BytesIO(base64.b64decode(png(image).removeprefix("data:image/png;base64,")))) as shown:
            expected = np.round(255 * (image.transpose(1, 2, 0) if len(image) == 3 else image[0]))
            np.testing.assert_array_equal(np.asarray(shown), expected.astype(np.uint8))


def test_the_gallery_shows_clean_perturbation_adversarial_and_purified(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(defense="jpeg-q75", broken=[1], examples=[1], purified=[1], bare_prediction=0)])
    page = page_of(run)
    alternatives = page.attributes("alt")
    assert [one.split(":")[0] for one in alternatives] == [
        "clean", "perturbation ×\u00a010", "adversarial", "purified", "purified − clean",
    ]  # fmt: skip
    assert "clean: dog (90 %)" in alternatives
    assert "purified: cat (70 %)" in alternatives
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("src"))


def test_no_examples_and_damaged_ones_cost_pictures_only(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(broken=[1])])
    assert "No example was kept" in page_of(run).said
    (tmp_path / "clean.safetensors").write_bytes(b"broken")
    page = page_of(run)
    assert "damaged" in page.said
    assert page.attributes("src") == []


# -- provenance and files ----------------------------------------------------------------------------------------------------


def test_provenance_and_downloads_open_from_disk(tmp_path: Path) -> None:
    run = two_radii(tmp_path)
    record = run.read_run()
    environment = {"device": "cpu", "versions": {"torch": "2.0"}, "git_commit": "abc123"}
    run.write_run(
        record.model_copy(update={"environment": environment, "dataset": {**record.dataset, "digest": "d1ge57"}})
    )
    page = page_of(run)
    for text in ("bench run synthetic.yaml", "abc123", "d1ge57", "torch 2.0", "seeds 0"):
        assert text in page.said
    files = {
        str(attributes["download"]): base64.b64decode(str(attributes["href"]).partition("base64,")[2]).decode()
        for tag, attributes in page.elements
        if tag == "a" and "download" in attributes
    }
    assert set(files) == {"leaderboard.csv", "leaderboard.tex", "leaderboard.json", "suite.yaml"}
    lines = list(csv.DictReader(files["leaderboard.csv"].splitlines()))
    assert [line["model"] for line in lines] == ["a", "b", "a", "b"]
    assert r"\begin{table}" in files["leaderboard.tex"]
    assert yaml.safe_load(files["suite.yaml"])["name"] == "synthetic"
    assert json.loads(files["leaderboard.json"]) == make(run).model_dump(mode="json")


# -- safety ------------------------------------------------------------------------------------------------------------------


def test_nothing_of_a_run_becomes_markup(tmp_path: Path) -> None:
    page = page_of(*hostile(tmp_path))
    for text in HOSTILE:
        assert " ".join(text.split()) in page.said, text
    plain = page_of(two_radii(tmp_path / "plain"))
    assert len(page.scripts) == len(plain.scripts) == 4
    assert "x" not in page.attributes("src")
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert not str(attributes.get("href") or "").startswith("javascript:")
    labels = [row["label"] for row in page.data["compared"][0]["rows"]]
    assert HOSTILE[0] in labels
    assert "<" not in page.scripts[0]


def test_a_page_asks_the_network_for_nothing_and_allows_only_its_own(tmp_path: Path) -> None:
    page = page_of(*hostile(tmp_path))
    for name in ("src", "srcset", "data", "action", "poster", "background"):
        assert all(value.startswith("data:") for value in page.attributes(name) if not value.isdigit()), name
    assert all(value.startswith(("#", "data:")) for value in page.attributes("href"))
    assert "link" not in {tag for tag, _ in page.elements}
    assert "url(" not in asset("page.css")
    assert "@import" not in asset("page.css")
    (policy,) = [str(a["content"]) for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert page.attributes("style") == []


def test_embedded_scripts_end_where_they_should() -> None:
    for name in ("chart.umd.min.js", "charts.js", "page.js", "page.css"):
        text = asset(name)
        assert "</script" not in text.lower()
        assert "<!--" not in text
        assert "sourceMappingURL" not in text
        assert "\r" not in text
    assert "MIT License" in asset("chart.LICENSE.txt")
    assert re.search(r"Chart\.js v([\d.]+)", asset("chart.umd.min.js"))[1] in asset("README.md")  # type: ignore[index]


# -- size, time, sameness ----------------------------------------------------------------------------------------------------


def test_a_suite_of_forty_cells_fits(tmp_path: Path) -> None:
    run = forty_cells(tmp_path)
    (path,) = report.write(run)
    assert len(run.read_run().cells) == 40
    assert path.stat().st_size < 5_000_000
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.attributes("alt")) > 20


def test_images_that_do_not_fit_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = two_radii(tmp_path)
    whole = len(page_of(run).attributes("alt"))
    monkeypatch.setattr("bench.report.pictures.BUDGET", 3000)
    page = page_of(run)
    assert 0 < len(page.attributes("alt")) < whole
    assert "more didn't fit into this page" in page.said


def test_the_same_records_give_the_same_page(tmp_path: Path) -> None:
    run = two_radii(tmp_path)
    (path,) = report.write(run)
    first = path.read_bytes()
    report.write(run)
    assert path.read_bytes() == first


def test_a_page_needs_no_torch(tmp_path: Path) -> None:
    run = two_radii(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None; from pathlib import Path; from bench import report;"
        "from bench.store.run_directory import RunDirectory; report.write(RunDirectory(Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, str(run.path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "report.html").is_file()
