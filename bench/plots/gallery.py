"""A few broken samples: the clean image, the magnified perturbation, the adversarial example, and that purified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plots.frames import Example, Image
from bench.plots.frames import examples as lines
from bench.plots.panels import wrapped
from bench.plots.saving import GREY, new_figure, plain

if TYPE_CHECKING:
    import pandas as pd

_FACTORS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_SMALL = 96
"""Images with shorter sides are shown pixel by pixel."""
_SIDE = 1.55
_NAME = 26
"""Characters of a class that are shown."""
_NOTE = "above each image: the predicted class and its probability; in the differences, grey is no change"
_PURIFIED = "\nwhere there is a purified image, the row's prediction stands above it"


def draw(frame: pd.DataFrame) -> Figure | None:
    """The figure, or ``None`` where there is no example.

    Args:
        frame: one of :func:`bench.plots.picked.pick`.
    """
    examples = lines(frame)
    if not examples:
        return None
    factor = magnification([example.x_adv - example.x for example in examples])
    left = [example.purified - example.x for example in examples if example.purified is not None]
    left_factor = magnification(left) if left else 1
    heads = ["clean", f"perturbation × {factor}", "adversarial"]
    heads += ["purified", "purified - clean" + (f" × {left_factor}" if left_factor > 1 else "")] if left else []
    figure = new_figure(len(heads) * (_SIDE + 0.55) + 1.3, len(examples) * (_SIDE + 0.3) + 0.55)
    axes = figure.subplots(len(examples), len(heads), squeeze=False)
    for line, example in zip(axes, examples, strict=True):
        _line(line, example, factor)
        if left:
            _purified(line[3:], example, left_factor)
    for axis, head in zip(axes[0], heads, strict=True):
        axis.annotate(head, (0.5, 1), (0, 17), xycoords="axes fraction", textcoords="offset points", ha="center",
                      va="bottom", fontsize=9.5, fontweight="bold")  # fmt: skip
    figure.supxlabel(_NOTE + (_PURIFIED if left else ""), fontsize=7.5)
    return figure


def _line(axes: Sequence[Axes], example: Example, factor: int) -> None:
    """One example: three images, named at the left."""
    clean, change, adversarial = axes[:3]
    _show(clean, example.x)
    _show(change, 0.5 + factor * (example.x_adv - example.x))
    _show(adversarial, example.x_adv)
    _title(clean, example.clean_label, example.clean_confidence)
    change.set_title(_size(example), fontsize=7.5)
    _title(adversarial, example.adversarial_label, example.adversarial_confidence)
    name = f"{wrapped(example.row, 26)}\n{wrapped(example.attack, 26)}"
    clean.set_ylabel(name, fontsize=7.5, rotation=0, ha="right", va="center", labelpad=8)


def _purified(axes: Sequence[Axes], example: Example, factor: int) -> None:
    """What the purifier made of one example, and what of it differs from the clean image; nothing without a purifier."""
    purified, change = axes
    if example.purified is None:
        purified.set_axis_off()
        change.set_axis_off()
        return
    difference = example.purified - example.x
    _show(purified, example.purified)
    _show(change, 0.5 + factor * difference)
    _title(purified, example.purified_label, example.purified_confidence)
    change.set_title(_distance(example.norm, difference), fontsize=7.5)


def magnification(perturbations: list[Image]) -> int:
    """The largest round factor that keeps the strongest change within the range of a picture.

    Args:
        perturbations: differences of images in [0, 1], each (C, H, W).
    """
    largest = max(float(np.abs(perturbation).max()) for perturbation in perturbations)
    fitting = [factor for factor in _FACTORS if factor * largest <= 0.5 + 1e-6]
    return max(fitting, default=1)


def _show(axis: Axes, picture: Image) -> None:
    """An image (C, H, W) of any number of channels: three as colours, else the first as grey."""
    clipped = np.clip(picture, 0, 1)
    small = min(picture.shape[1:]) < _SMALL
    shown = clipped[:3].transpose(1, 2, 0) if len(clipped) >= 3 else clipped[0]
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest" if small else "antialiased")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color(GREY)
        spine.set_linewidth(0.4)


def _title(axis: Axes, label: str, confidence: float) -> None:
    """The first name of a class (ImageNet gives several), cut where it is longer than the image is wide."""
    name = label.split(",")[0]
    short = name if len(name) <= _NAME else name[: _NAME - 1] + "…"
    probability = f" ({100 * confidence:.0f} %)" if np.isfinite(confidence) else ""
    axis.set_title(f"{plain(short)}{probability}", fontsize=7.5)


def _size(example: Example) -> str:
    if example.norm == "l1":
        return _distance("l1", example.x_adv - example.x)
    return f"L2 {example.l2:.2f}" if example.norm == "l2" else f"Linf {example.linf:.3f} ({255 * example.linf:.1f}/255)"


def _distance(norm: str, difference: Image) -> str:
    """How large a difference of images is."""
    if norm == "l1":
        return f"L1 {abs(difference).sum():.2f}"
    return f"L2 {np.sqrt((difference**2).sum()):.2f}" if norm == "l2" else f"Linf {abs(difference).max():.2f}"
