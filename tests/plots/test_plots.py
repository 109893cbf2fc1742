"""Plots draw the numbers that the records hold, and survive every kind of run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats
from synthetic_run import Planned, build_run, image

import bench.plots
from bench.plots import accuracy_vs_eps, clean_vs_robust, frames, gallery, picked, robust_accuracy, saving
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory

TWO = [
    Planned(model="a", attack="fgsm", wrong=[0, 1], broken=range(2, 6), examples=range(20)),
    Planned(model="a", attack="pgd-20", wrong=[0, 1], broken=range(4, 10), examples=range(20)),
    Planned(model="b", attack="fgsm", broken=[0], examples=range(20)),
    Planned(model="b", attack="pgd-20", broken=[1, 2], examples=range(20)),
]
PASSES = "passes-linf-8_255"


def points(run: RunDirectory) -> dict[tuple[str, str, str], frames.Point]:
    frame = frames.accuracy(read_outcomes(run))
    return {(point.threat_model, point.row, point.series): point for point in frames.points(frame)}


def drawn(module: object, run: RunDirectory) -> Figure | None:
    with saving.style():
        figure: Figure | None = module.draw(frames.accuracy(read_outcomes(run)))  # type: ignore[attr-defined]
        if figure is not None:
            saving.freeze(figure)
    return figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))]


def files(run: RunDirectory) -> list[str]:
    return [path.name for path in bench.plots.write(run)]


# -- the frame -----------------------------------------------------------------------------------------------------


def test_the_frame_holds_the_numbers_in_percent(tmp_path: Path) -> None:
    got = points(build_run(tmp_path, TWO))
    worst = got["Linf 8/255", "a", "worst case"]
    assert worst.value == pytest.approx(50)
    interval = stats.binomtest(10, 20).proportion_ci(method="wilson")
    assert (worst.low, worst.high) == pytest.approx((100 * interval.low, 100 * interval.high))
    assert got["Linf 8/255", "a", "clean"].value == pytest.approx(90)
    assert got["Linf 8/255", "a", "fgsm"].value == pytest.approx(70)
    assert (got["Linf 8/255", "b", "clean"].order, worst.order) == (0, 1)
    assert worst.images == 20


def test_the_frame_of_failed_cells(tmp_path: Path) -> None:
    got = points(
        build_run(
            tmp_path,
            [
                Planned(model="a", attack="fgsm", broken=[0]),
                Planned(model="a", attack="pgd-20", status="error", reason="x", rows=[]),
                Planned(model="b", attack="fgsm", status="unavailable", reason="x", rows=[]),
            ],
        )
    )
    failed, bound, gone = (got["Linf 8/255", row, series] for row, series in
                           (("a", "pgd-20"), ("a", "worst case"), ("b", "worst case")))  # fmt: skip
    assert (failed.status, failed.known) == ("error", False)
    assert (bound.status, bound.value, bound.sure) == ("bound", 95.0, False)
    assert (gone.status, gone.known) == ("unavailable", False)


# -- robust accuracy -----------------------------------------------------------------------------------------------


def bars(axis: Axes) -> list[float]:
    return [round(patch.get_width(), 6) for patch in axis.patches if to_hex(patch.get_facecolor()) != "#f5f5f5"]


def test_bars_are_as_long_as_the_numbers(tmp_path: Path) -> None:
    figure = drawn(robust_accuracy, build_run(tmp_path, TWO))
    assert figure is not None
    (axis,) = figure.axes
    assert bars(axis) == [95, 90, 85, 70, 60, 50]  # b, then a: fgsm, pgd-20, worst case
    assert [label.get_text() for label in axis.get_yticklabels()] == ["b", "a"]
    whiskers = [line.get_xdata() for line in axis.lines]
    interval = stats.binomtest(10, 20).proportion_ci(method="wilson")
    assert any(np.allclose(ends, [100 * interval.low, 100 * interval.high]) for ends in whiskers)
    assert any(np.allclose(ends, [90, 90]) for ends in whiskers)  # the clean accuracy of a
    hatches = {patch.get_hatch() for patch in axis.patches}
    assert len(hatches) >= 2
    assert "upper bounds; whiskers: 95 % interval over 20 images" in figure.get_supxlabel()


def test_the_legend_explains_only_what_is_there(tmp_path: Path) -> None:
    for share, there in ((18, False), (2, True)):
        run = build_run(tmp_path / str(share), [Planned(model="a", attack="fgsm", broken=list(range(share)))])
        figure = drawn(clean_vs_robust, run)
        assert figure is not None
        assert ("robust = clean" in texts(figure)) is there


def test_a_curve_that_ends_early_has_no_line_that_looks_like_one(tmp_path: Path) -> None:
    cells = [
        Planned(model=model, attack="fgsm", broken=range(broken), threat_model=threat_model)
        for model, threat_model, broken in (
            ("a", "linf:2/255", 3),
            ("a", "linf:8/255", 9),
            ("b", "linf:2/255", 2),
        )
    ]
    figure = drawn(accuracy_vs_eps, build_run(tmp_path, cells))
    assert figure is not None
    names = {text.get_text(): text for text in figure.axes[0].texts}
    assert names["b"].arrow_patch.get_linestyle() in (":", "dotted")
    assert names["a"].arrow_patch.get_linestyle() in ("-", "solid")


def test_a_bar_too_short_to_be_seen_is_named(tmp_path: Path) -> None:
    broken = Planned(model="a", attack="pgd-20", broken=list(range(20)))
    figure = drawn(robust_accuracy, build_run(tmp_path, [Planned(model="a", attack="fgsm", broken=[0]), broken]))
    assert figure is not None
    found = texts(figure)
    assert {"pgd-20 0.0", "worst case 0.0"} <= set(found)
    assert not any(text.startswith("fgsm ") for text in found)


def test_one_panel_per_threat_model(tmp_path: Path) -> None:
    planned = [Planned(model=m, threat_model=t, broken=[1]) for t in ("linf:8/255", "l2:0.5") for m in "ab"]
    figure = drawn(robust_accuracy, build_run(tmp_path, planned))
    assert figure is not None
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["Linf 8/255", "L2 0.5"]


def test_what_failed_is_a_word_and_a_bound_is_marked(tmp_path: Path) -> None:
    planned = [
        Planned(model="a", attack="fgsm", broken=range(5)),
        Planned(model="a", attack="pgd-20", status="error", reason="x", rows=[]),
        Planned(model="b", attack="fgsm", status="unavailable", reason="x", rows=[]),
    ]
    figure = drawn(robust_accuracy, build_run(tmp_path, planned))
    assert figure is not None
    (axis,) = figure.axes
    words = [text.get_text() for text in axis.texts]
    assert words.count("error") == 1
    assert words.count("n/a") == 2
    assert words.count("≤") == 1
    assert bars(axis) == [75, 75]


def test_many_rows_are_points(tmp_path: Path) -> None:
    planned = [Planned(model=f"m{i:02d}", attack=a, broken=range(i)) for i in range(12) for a in ("fgsm", "pgd-20")]
    figure = drawn(robust_accuracy, build_run(tmp_path, planned))
    assert figure is not None
    (axis,) = figure.axes
    assert bars(axis) == []
    diamonds = [float(line.get_xdata()[0]) for line in axis.lines if line.get_marker() == "D"]
    assert diamonds == pytest.approx([100 - 5 * i for i in range(12)])


# -- clean against robust ------------------------------------------------------------------------------------------


def test_every_row_is_a_point_with_its_name(tmp_path: Path) -> None:
    planned = [*TWO, Planned(model="a", attack="pgd-20", defense="jpeg-q75", broken=range(18))]
    figure = drawn(clean_vs_robust, build_run(tmp_path, planned))
    assert figure is not None
    (axis,) = figure.axes
    places = {(line.get_marker(), float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axis.lines
              if line.get_marker() in ("o", "s")}  # fmt: skip
    assert places == {("o", 90.0, 50.0), ("o", 100.0, 85.0), ("s", 100.0, 10.0)}
    assert {"a", "b", "a + jpeg-q75"} <= set(texts(figure))


def test_many_rows_get_numbers_and_a_key(tmp_path: Path) -> None:
    planned = [Planned(model=f"model-{i:02d}", broken=range(i), wrong=[19 - i % 3]) for i in range(15)]
    figure = drawn(clean_vs_robust, build_run(tmp_path, planned))
    assert figure is not None
    shown = texts(figure)
    assert {f"model-{i:02d}" for i in range(15)} <= set(shown)
    for number in range(1, 16):
        assert shown.count(str(number)) >= 2  # beside the point and in the key


# -- against eps ---------------------------------------------------------------------------------------------------

SEVERAL = [
    Planned(model=model, attack=attack, threat_model=f"linf:{eps}/255", wrong=[19], broken=range(eps * strength))
    for model, strength in (("a", 1), ("b", 2))
    for eps in (8, 2, 4)
    for attack in ("fgsm", "pgd-20")
]


def curves(axis: Axes) -> list[list[tuple[float, float]]]:
    return [list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True)) for line in axis.lines]


def test_curves_start_at_the_clean_accuracy(tmp_path: Path) -> None:
    figure = drawn(accuracy_vs_eps, build_run(tmp_path, SEVERAL))
    assert figure is not None
    overview, first, second = figure.axes
    expected = {
        "a": [(0, 95), (2 / 255, 85), (4 / 255, 75), (8 / 255, 55)],
        "b": [(0, 95), (2 / 255, 75), (4 / 255, 55), (8 / 255, 15)],
    }
    assert [np.array(curve) for curve in curves(overview)] == [pytest.approx(np.array(c)) for c in expected.values()]
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("a", "b")
    assert len(curves(first)) == 3  # fgsm, pgd-20, worst case
    assert [label.get_text() for label in overview.get_xticklabels()] == ["0", "2/255", "4/255", "8/255"]
    assert {"a", "b"} <= {text.get_text() for text in overview.texts}


def test_one_radius_makes_no_curve(tmp_path: Path) -> None:
    assert drawn(accuracy_vs_eps, build_run(tmp_path, TWO)) is None
    other_norm = [*TWO, Planned(model="a", threat_model="l2:0.5")]
    assert drawn(accuracy_vs_eps, build_run(tmp_path / "two", other_norm)) is None


# -- the gallery ---------------------------------------------------------------------------------------------------


def test_the_gallery_shows_broken_samples_of_every_row(tmp_path: Path) -> None:
    run = build_run(tmp_path, TWO, class_names=("cat", "dog"))
    (frame,) = picked.pick(run, read_outcomes(run)).values()
    shown = frames.examples(frame)
    # b has two broken under pgd-20, a six: they take turns, never the same sample twice
    assert [example.row for example in shown] == ["b", "a", "b", "a", "a", "a"]
    assert {example.attack for example in shown} == {"pgd-20"}
    np.testing.assert_array_equal(shown[0].x, image(1))
    assert (shown[0].clean_label, shown[0].adversarial_label) == ("dog", "cat")
    assert (shown[0].clean_confidence, shown[0].adversarial_confidence) == (0.9, 0.7)
    with saving.style():
        figure = gallery.draw(frame)
    assert figure is not None
    assert len(figure.axes) == 18
    assert "perturbation × 10" in texts(figure)
    assert {"dog (90 %)", "cat (70 %)", "Linf 0.031 (8.0/255)"} <= {axis.get_title() for axis in figure.axes}
    change = figure.axes[1].images[0].get_array()
    assert np.asarray(change)[..., 0].ravel() == pytest.approx(
        np.clip(0.5 + 10 * (shown[0].x_adv - shown[0].x)[0], 0, 1).ravel()
    )


@pytest.mark.parametrize(
    ("largest", "factor"), [(8 / 255, 10), (2 / 255, 50), (0.3, 1), (1.0, 1), (0.25, 2), (1e-5, 1000), (0.0, 1000)]
)
def test_the_magnification_is_round_and_fits(largest: float, factor: int) -> None:
    perturbation = np.zeros((3, 4, 4), np.float32)
    perturbation[0, 1, 2] = -largest
    assert gallery.magnification([perturbation, perturbation / 2]) == factor


def test_no_gallery_without_successes_images_or_examples(tmp_path: Path) -> None:
    for name, planned, clean in (
        ("unbroken", [Planned(examples=range(5))], True),
        ("no clean images", TWO, False),
        ("no examples", [Planned(broken=range(5))], True),
    ):
        run = build_run(tmp_path / name, planned, clean=clean)
        assert picked.pick(run, read_outcomes(run)) == {}, name


def test_damaged_examples_cost_a_picture_only(tmp_path: Path) -> None:
    run = build_run(tmp_path, TWO)
    for path in tmp_path.glob("adversarial/b-*pgd-20*/*.safetensors"):
        path.write_bytes(b"broken")
    (frame,) = picked.pick(run, read_outcomes(run)).values()
    assert [(e.row, e.attack) for e in frames.examples(frame)[:2]] == [("b", "fgsm"), ("a", "pgd-20")]


def test_purified_images_stand_beside_what_they_were_made_from(tmp_path: Path) -> None:
    planned = [
        Planned(model="a", broken=[0, 1], examples=range(9)),
        Planned(model="a", defense="jpeg-q75", broken=[1, 2, 3], examples=range(9), purified=[1, 2], bare_prediction=0),
    ]
    run = build_run(tmp_path, planned, class_names=("cat", "dog"))
    (frame,) = picked.pick(run, read_outcomes(run)).values()
    with saving.style():
        figure = gallery.draw(frame)
    assert figure is not None
    shown = frames.examples(frame)
    assert [(one.row, one.purified is not None) for one in shown] == [
        ("a", False), ("a + jpeg-q75", True), ("a", False), ("a + jpeg-q75", True), ("a + jpeg-q75", False),
    ]  # fmt: skip
    lines = np.reshape(np.array(figure.axes, dtype=object), (5, 5))
    assert [axis.get_title() for axis in lines[1]] == [
        "dog (90 %)", "Linf 0.031 (8.0/255)", "bare model: cat", "cat (70 %)", f"Linf {image(1).max() / 2:.2f}",
    ]  # fmt: skip
    assert [axis.get_title() for axis in lines[4][2:]] == ["cat (70 %)", "", ""]  # not kept: as without a purifier
    assert [axis.axison for axis in lines[:, 4]] == [False, True, False, True, False]
    assert {"purified", "purified - clean"} <= set(texts(figure))
    assert np.asarray(lines[1, 3].images[0].get_array())[..., 0] == pytest.approx(image(1)[0] / 2)
    assert np.asarray(lines[1, 4].images[0].get_array())[..., 0] == pytest.approx(0.5 - image(1)[0] / 2)
    assert "the row's prediction stands above it" in figure.get_supxlabel()


def test_a_row_that_only_the_oblivious_meet_shows_the_bare_models_examples(tmp_path: Path) -> None:
    planned = [
        Planned(role="prerequisite", search="strongest", broken=range(9), examples=range(20)),
        Planned(role="oblivious", adversary="oblivious", search="strongest", defense="jpeg-q75", broken=[4], purified=[4],
                bare_prediction=1),
    ]  # fmt: skip
    run = build_run(tmp_path, planned, class_names=("cat", "dog"))
    (frame,) = picked.pick(run, read_outcomes(run)).values()
    (shown,) = frames.examples(frame)
    assert (shown.row, shown.adversarial_label, shown.purified_label) == (
        "model-a + jpeg-q75",
        "bare model: dog",
        "dog",
    )
    np.testing.assert_array_equal(shown.x, image(4))
    assert np.abs(shown.x_adv - shown.x).max() == pytest.approx(8 / 255)


def test_damaged_purified_images_cost_two_pictures_only(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(defense="jpeg-q75", broken=[1], examples=[1], purified=[1])])
    for path in tmp_path.glob("purified/*/*.safetensors"):
        path.write_bytes(b"broken")
    (frame,) = picked.pick(run, read_outcomes(run)).values()
    (shown,) = frames.examples(frame)
    assert (shown.purified, shown.adversarial_label) == (None, "cat")


# -- files ---------------------------------------------------------------------------------------------------------


def test_files_are_png_and_pdf_with_embedded_fonts(tmp_path: Path) -> None:
    run = build_run(tmp_path, [*TWO, Planned(model="a", attack="pgd-20", threat_model="linf:2/255", broken=[3])])
    names = files(run)
    assert names == [
        f"{name}.{kind}"
        for name in (
            "robust_accuracy",
            "clean_vs_robust",
            "accuracy_vs_eps",
            "passes-linf-8_255",
            "passes-linf-2_255",
            "gallery-linf-8_255",
        )
        for kind in ("png", "pdf")
    ]
    for name in names:
        path = tmp_path / "plots" / name
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert min(picture.size) > 300
                assert np.asarray(picture.convert("L")).std() > 5
        else:
            content = path.read_bytes()
            inflated = content + b"".join(_streams(content))
            assert b"/FontFile2" in inflated  # TrueType, not the Type 3 that publishers refuse
            assert b"/Type3" not in inflated


def _streams(content: bytes) -> list[bytes]:
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        try:
            found.append(zlib.decompress(stream))
        except zlib.error:
            continue
    return found


def test_the_same_records_give_the_same_files_and_old_ones_go(tmp_path: Path) -> None:
    run = build_run(tmp_path, TWO)
    plots = tmp_path / "plots"
    plots.mkdir()
    for name in ("gallery-l2-0.5.png", "accuracy_vs_eps.pdf", "mine.png"):
        (plots / name).write_bytes(b"old")
    first = {path.name: path.read_bytes() for path in bench.plots.write(run)}
    second = {path.name: path.read_bytes() for path in bench.plots.write(run)}
    assert first == second
    assert {path.name for path in plots.iterdir()} == {*first, "mine.png"}


@pytest.mark.parametrize(
    ("name", "planned", "n", "expected"),
    [
        ("all failed", [Planned(model=m, status="error", reason="x", rows=[]) for m in "ab"], 20, []),
        ("unavailable", [Planned(status="unavailable", reason="x", rows=[])], 20, []),
        ("no success", [Planned(examples=())], 20, ["robust_accuracy", "clean_vs_robust", PASSES]),
        (
            "one sample",
            [Planned(broken=[0], examples=[0])],
            1,
            ["robust_accuracy", "clean_vs_robust", PASSES, "gallery-linf-8_255"],
        ),
        ("all wrong", [Planned(wrong=range(5))], 5, ["robust_accuracy", "clean_vs_robust", PASSES]),
        ("unfinished", [Planned(recorded=False, rows=range(3), broken=[1])], 5, ["robust_accuracy"]),
    ],
)
def test_every_kind_of_run(tmp_path: Path, name: str, planned: list[Planned], n: int, expected: list[str]) -> None:
    run = build_run(tmp_path, planned, n=n)
    assert [file[:-4] for file in files(run) if file.endswith(".png")] == expected


def test_any_name_and_any_image(tmp_path: Path) -> None:
    long = "a-very-long-name-of-a-checkpoint_epoch-0042_ema_seed-3_lr-0.1_wd-5e-4_batch-128_width-16_depth-70"
    planned = [
        Planned(
            model=f"{long}-{i}",
            attack="pgd-alpha=2_255",
            defense="jpeg-q_7.5",
            threat_model=t,
            broken=range(5),
            examples=range(9),
        )
        for i in range(2)
        for t in ("linf:8/255", "linf:4/255")
    ]
    names = ("κλάση $x_1$ 日本", "{a} \\frac & <b>, the second name of a class that has several")
    assert len(files(build_run(tmp_path, planned, n=9, class_names=names, shape=(1, 28, 28)))) == 14


def test_neither_torch_nor_pyplot_is_imported(tmp_path: Path) -> None:
    run = build_run(tmp_path, TWO)
    code = (
        "import json, sys, pathlib; import bench.leaderboard, bench.plots, bench.metrics;"
        "from bench.store.run_directory import RunDirectory;"
        f"run = RunDirectory(pathlib.Path({str(run.path)!r}));"
        "bench.leaderboard.write(run); bench.leaderboard.text(run); bench.plots.write(run);"
        "unwanted = {'torch', 'torchvision', 'foolbox', 'art', 'robustbench', 'timm', 'matplotlib.pyplot'};"
        "print(json.dumps(sorted(set(sys.modules) & unwanted)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
