"""The gallery's images as PNG data, and what stands below each."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import SchemaError, StoreError
from bench.plots import picked
from bench.plots.frames import Example, Image, examples
from bench.plots.gallery import magnification
from bench.store.outcomes import RunOutcome
from bench.store.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

BUDGET = 2_500_000
"""Characters that all images of a page may take."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One image: what it is, its data, and the class or the distance below it."""

    title: str
    uri: str
    said: str
    described: str


@dataclass(frozen=True, slots=True)
class Broken:
    """One broken sample: of which row, by which attack, and its images."""

    row: str
    attack: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """The broken samples of one threat model."""

    title: str
    samples: tuple[Broken, ...]


@dataclass(frozen=True, slots=True)
class Galleries:
    """All of them, how many samples didn't fit, and why there is none."""

    galleries: tuple[Gallery, ...]
    left_out: int = 0
    reason: str = ""


def galleries(run: RunDirectory, outcome: RunOutcome) -> Galleries:
    """A few broken samples per threat model, as far as their images fit into a page."""
    try:
        chosen = picked.pick(run, outcome)
    except SchemaError:
        raise
    except StoreError as error:
        return Galleries((), reason=str(error))
    if not chosen:
        return Galleries((), reason="No example was kept: run.save_adversarial says which are, and the clean images of the "
                         "first 64 samples are.")  # fmt: skip
    drawn = {ball.label: _drawn(frame) for ball, frame in chosen.items()}
    kept: dict[str, list[Broken]] = {title: [] for title in drawn}
    left, missed = BUDGET, 0
    for turn in range(max(map(len, drawn.values()))):  # in turn, so that every threat model is seen
        for title, samples in drawn.items():
            if turn >= len(samples):
                continue
            size = sum(len(picture.uri) for picture in samples[turn].pictures)
            if size > left:
                missed += 1
                continue
            left -= size
            kept[title].append(samples[turn])
    return Galleries(tuple(Gallery(title, tuple(some)) for title, some in kept.items() if some), missed)


def _drawn(frame: pd.DataFrame) -> list[Broken]:
    found = examples(frame)
    factor = magnification([one.x_adv - one.x for one in found])
    changes = [one.purified - one.x for one in found if one.purified is not None]
    return [
        Broken(one.row, one.attack, tuple(_pictures(one, factor, magnification(changes) if changes else 1)))
        for one in found
    ]


def _pictures(one: Example, factor: int, purified_factor: int) -> Sequence[Picture]:
    size = _distance(one.norm, one.x_adv - one.x)
    found = [
        _picture("clean", one.x, _class(one.clean_label, one.clean_confidence)),
        _picture(_times("perturbation", factor), 0.5 + factor * (one.x_adv - one.x), size),
        _picture("adversarial", one.x_adv, _class(one.adversarial_label, one.adversarial_confidence)),
    ]
    if one.purified is not None:
        change = one.purified - one.x
        found.append(_picture("purified", one.purified, _class(one.purified_label, one.purified_confidence)))
        left = _picture(_times("purified − clean", purified_factor), 0.5 + purified_factor * change,
                        _distance(one.norm, change))  # fmt: skip
        found.append(left)
    return found


def _times(what: str, factor: int) -> str:
    return what if factor == 1 else f"{what} ×\u00a0{factor}"


def _picture(title: str, image: Image, said: str) -> Picture:
    return Picture(title, png(image), said, f"{title}: {said}" if said else title)


def _class(name: str, confidence: float) -> str:
    """The first name of a class (ImageNet gives several), and its probability."""
    first = name.split(",")[0]
    return f"{first} ({100 * confidence:.0f} %)" if np.isfinite(confidence) else first


def _distance(norm: str, difference: Image) -> str:
    if norm == "l1":
        return f"L1 {np.abs(difference).sum():.2f}"
    if norm == "l2":
        return f"L2 {np.sqrt((difference**2).sum()):.2f}"
    largest = float(np.abs(difference).max())
    return f"Linf {largest:.3f} ({255 * largest:.1f}/255)"


def png(image: Image) -> str:
    """An image (C, H, W) as a data URI: three channels as colours, else the first as grey."""
    from PIL import Image as Pillow

    pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    shown = pixels[:3].transpose(1, 2, 0) if len(pixels) >= 3 else pixels[0]
    buffer = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(shown)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
