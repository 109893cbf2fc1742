"""A run for papers: published models, a defense, flags, an error, and texts full of markup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from synthetic_run import Planned, build_run

from bench.store.records import Flag
from bench.store.run_directory import RunDirectory

NASTY = (
    "100% of $x^2$ & a_b #1 {y} ~ \\z [t] *k* -- `` '' ,, \"q\" <u|v> Ωд日 é ß ℓ \u0007\u200f\ue000 \\\\ \\end{table}"
)
ENTRY = ("cifar10", "Linf", "Wong2020Fast")
BETTER = ("cifar10", "Linf", "Engstrom2019Robustness")


def planned(**more: Any) -> list[Planned]:  # Any: fields of every cell
    flag = Flag(rule="zero-gradient", severity="warning", message=f"gradients vanish: {NASTY}", source=NASTY)
    engstrom = {"model": "Engstrom2019Robustness", "published": BETTER, "wrong": range(13)}
    wong = {"model": "Wong2020Fast", "published": ENTRY, "wrong": range(17)}
    mine = {"model": "my_model+2.0=x", "wrong": range(8)}
    jpeg = {**mine, "defense": "jpeg-quality75", "defense_args": {"quality": 75}}
    return [
        Planned(**engstrom, attack="fgsm", broken=range(13, 40), **more),
        Planned(**engstrom, attack="pgd-20", broken=range(13, 48), **more),
        Planned(**engstrom, attack="autoattack", broken=range(13, 51), **more),
        Planned(**wong, attack="fgsm", broken=range(17, 40), **more),
        Planned(**wong, attack="pgd-20", broken=range(17, 52), **more),
        Planned(**wong, attack="autoattack", broken=range(17, 56), flags=(flag,), **more),
        Planned(**mine, attack="fgsm", broken=range(8, 90), **more),
        Planned(**mine, attack="pgd-20", broken=range(8, 97), **more),
        Planned(**mine, attack="autoattack", status="error", reason=NASTY, rows=[], **more),
        Planned(**jpeg, attack="fgsm", broken=range(8, 60), **more),
        Planned(**jpeg, attack="pgd-20", broken=range(8, 70), **more),
        Planned(**jpeg, attack="autoattack", broken=range(8, 75), **more),
        Planned(**jpeg, attack="square", broken=range(8, 50), role="gradient_free", **more),
        Planned(**jpeg, attack="pgd-20", broken=range(8, 40), adversary="oblivious", **more),
    ]


def paper_run(path: Path, *, several: bool = False) -> RunDirectory:
    """A run of 100 images; under two radii where ``several``."""
    cells = planned()
    if several:
        cells += planned(threat_model="linf:2/255")
    return build_run(path, cells, n=100, note=NASTY)


def long_run(path: Path, rows: int) -> RunDirectory:
    """A run of so many bare models, every second with a flag of its own; each third has a long name."""
    cells = []
    for place in range(rows):
        name = f"model_{place:02d}" + "_with_a_name_of_three_lines_that_tells_its_training_and_its_width" * (
            place % 3 == 0
        )
        flag = Flag(rule="zero-gradient", severity="warning", message=f"gradients vanish on {place} images", source="")
        flags = (flag,) if place % 2 else ()
        cells += [
            Planned(model=name, attack="fgsm", wrong=range(10), broken=range(10, 20 + place // 2), flags=flags),
            Planned(model=name, attack="pgd-20", wrong=range(10), broken=range(10, 25 + place // 2)),
            Planned(model=name, attack="autoattack", wrong=range(10), broken=range(10, 30 + place // 2)),
        ]
    return build_run(path, cells, n=100)


def defended_run(path: Path, models: int) -> RunDirectory:
    """A run of so many models, each bare and under three defenses, attacked by both adversaries."""
    cells = []
    for place in range(models):
        own = {"model": f"model_{place:02d}", "wrong": range(10)}
        cells.append(Planned(**own, attack="pgd-20", broken=range(10, 25 + place)))
        for quality in (75, 50, 25):
            jpeg = {**own, "defense": f"jpeg-quality{quality}", "defense_args": {"quality": quality}}
            cells.append(Planned(**jpeg, attack="pgd-20", broken=range(10, 20 + place)))
            cells.append(Planned(**jpeg, attack="pgd-20", broken=range(10, 15), adversary="oblivious"))
    return build_run(path, cells, n=100)


LIBRARIES = {"foolbox": {"foolbox": "3.3.4"}, "art": {"adversarial-robustness-toolbox": "1.20.1"}}


def library_run(path: Path) -> RunDirectory:
    """A run of attacks of libraries: an alias, and names that are too long to stand side by side."""
    names = (
        "foolbox.PGD-40",
        "foolbox.L2ClippingAwareRepeatedAdditiveGaussianNoiseAttack",
        "foolbox.L2MomentumIterativeFastGradientMethod-10",
        "art.HopSkipJump",
    )
    cells = [
        Planned(model="net", attack=name, backend=name.partition(".")[0], broken=range(40), threat_model="l2:0.5")
        for name in names
    ]
    run = build_run(path, cells, n=100)
    for file in (run.path / "cells").glob("*.json"):
        record = json.loads(file.read_text())
        record["provenance"]["facts"] = {"attack_libraries": LIBRARIES[record["attack"]["backend"]]}
        file.write_text(json.dumps(record))
    return run
