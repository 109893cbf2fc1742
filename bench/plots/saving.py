"""How every plot looks and how it is written: readable in grey, colour-blind safe, fonts embedded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.store.atomic import write

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""Okabe and Ito's palette, told apart with any colour vision; each comes with a hatch and a marker for grey."""
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oo", "----")
MARKERS = ("o", "s", "^", "v", "P", "X", "<", ">")
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = ((0, ()), (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
INK = "#1a1a1a"
"""Colour of the worst case and of text."""
GREY = "#8a8a8a"

_DPI = 150
_OURS = (
    "robust_accuracy",
    "clean_vs_robust",
    "accuracy_vs_eps",
    "clean_cost_vs_robust_gain",
    "restoration_vs_eps",
    "curves-*",
    "passes-*",
    "certified-*",
    "corruptions-*",
    "gallery-*",
    "transfer-*",
)
_SETTINGS: Any = {  # Any: matplotlib types each key by itself
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "text.usetex": False,
    "savefig.dpi": _DPI,
    "figure.dpi": _DPI,
}


@contextmanager
def style() -> Iterator[None]:
    """Draws with our settings, whatever a user's ``matplotlibrc`` says; restores them afterwards."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        # Names of classes may be in any script; what the font lacks is drawn as a box, which is no reason to fail.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from", category=UserWarning)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure that no pyplot knows of.

    Args:
        width: inches.
        height: inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def freeze(figure: Figure) -> None:
    """Lays the figure out, once: its panels stay where they are from now on."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def plain(text: str) -> str:
    """Text in which matplotlib reads no mathematics."""
    return text.replace("$", r"\$")


def save_all(directory: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Writes each figure as PNG and PDF, and removes our own older ones that are not drawn any more.

    Raises:
        StoreError: where a file can't be written.
    """
    written = [path for name, figure in figures.items() for path in save(directory, name, figure)]
    for pattern in _OURS:
        for suffix in ("png", "pdf"):
            for older in directory.glob(f"{pattern}.{suffix}"):
                if older not in written:
                    older.unlink(missing_ok=True)
    return written


def save(directory: Path, name: str, figure: Figure) -> list[Path]:
    """Writes one figure as PNG and PDF.

    Raises:
        StoreError: where a file can't be written.
    """
    png, pdf = directory / f"{name}.png", directory / f"{name}.pdf"
    freeze(figure)
    # No dates and no versions inside, so that the same records give the same files.
    write(png, lambda path: figure.savefig(path, format="png", metadata={"Software": None}))
    write(pdf, lambda path: figure.savefig(path, format="pdf", metadata={"CreationDate": None, "Producer": None}))
    return [png, pdf]
