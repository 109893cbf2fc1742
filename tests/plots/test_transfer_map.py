"""The heat map of transferred examples: its numbers, colours and labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from synthetic_run import Planned, build_run

import bench.plots
from bench.plots import saving, transfer
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory

LONG = "robustbench_Wang2023Better_WRN-70-16-with-a-very-long-name-of-60"


def cells(a: str = "a", b: str = "b", **more: object) -> list[Planned]:
    made = Planned(model=a, broken=range(16), search="strongest", role="prerequisite")
    crossed = Planned(model=b, broken=range(3), role="transfer", adversary="transfer", source=a, examples_of=0)
    return [made, Planned(model=a, broken=range(15)), Planned(model=b, broken=range(2)), replace(crossed, **more)]  # type: ignore[arg-type]


def drawn(run: RunDirectory) -> Figure:
    frame = transfer.crossed(read_outcomes(run))
    with saving.style():
        figure = transfer.draw(frame)
        assert figure is not None
        saving.freeze(figure)
        figure.canvas.draw()
    return figure


def texts(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_each_cell_has_its_numbers(tmp_path: Path) -> None:
    (axis,) = drawn(build_run(tmp_path, cells())).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a"]
    assert texts(axis) == ["80.0", "15.0", "19 % of 16"]
    values = axis.images[0].get_array()
    assert values is not None
    assert np.asarray(values).tolist() == [[80.0, 15.0]]
    assert len(axis.patches) == 1  # the frame of the diagonal


def test_numbers_are_readable_on_every_colour(tmp_path: Path) -> None:
    """Contrast of at least 3, as WCAG asks of large text."""

    def light(rgb: tuple[float, ...]) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb[:3]]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for broken in range(0, 21, 2):
        (axis,) = drawn(build_run(tmp_path / str(broken), cells(broken=range(broken)))).axes
        image = axis.images[0]
        ground = light(image.cmap(image.norm(100 * broken / 20)))
        ink = light(to_rgb(str(axis.texts[1].get_color())))
        assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) >= 3, broken


@pytest.mark.parametrize(("status", "shown"), [("error", "error"), ("unavailable", "n/a")])
def test_what_has_no_number_says_why(tmp_path: Path, status: str, shown: str) -> None:
    (axis,) = drawn(build_run(tmp_path, cells(status=status, rows=()))).axes
    assert texts(axis) == ["80.0", shown]


def test_long_labels_cover_nothing(tmp_path: Path) -> None:
    planned = cells(LONG, f"{LONG[:-2]}-61")
    planned += [replace(one, defense="jpeg-of-many+median_blur-kernel5+bit_depth-bits3") for one in planned[2:]]
    figure = drawn(build_run(tmp_path, planned))
    (axis,) = figure.axes
    everything = [*axis.get_xticklabels(), *axis.get_yticklabels(), *axis.texts, axis.xaxis.label, axis.yaxis.label,
                  axis.title, *figure.texts]  # fmt: skip
    boxes = [text.get_window_extent() for text in everything if text.get_text()]
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :]), everything[place]
        assert min(box.x0, box.y0, figure.bbox.x1 - box.x1, figure.bbox.y1 - box.y1) >= -1, everything[place]


def test_files_come_and_go(tmp_path: Path) -> None:
    run = build_run(tmp_path, cells())
    names = {path.name for path in bench.plots.write(run)}
    assert {"transfer-linf-8_255-pgd-20.png", "transfer-linf-8_255-pgd-20.pdf"} <= names
    build_run(tmp_path, cells()[1:3])
    bench.plots.write(run)
    assert not list((tmp_path / "plots").glob("transfer-*"))
