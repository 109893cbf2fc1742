"""Runs for the tests of the page: several radii, names full of markup, and a suite of forty cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from synthetic_run import Planned, build_run

from bench.store.outcomes import RunOutcome, read_outcomes
from bench.store.records import Flag
from bench.store.run_directory import RunDirectory

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</script><script>alert(3)</script>",
    "{{ 7 * 7 }} ' onmouseover='alert(4)",
)
"""Names and messages that would run if they were markup."""


def two_radii(path: Path) -> RunDirectory:
    """Two models under two radii and two attacks, with examples."""
    return build_run(
        path,
        [
            Planned(model=model, attack=attack, threat_model=f"linf:{eps}/255", wrong=[19], broken=range(eps * strength),
                    examples=range(4))
            for model, strength in (("a", 1), ("b", 2))
            for eps in (2, 8)
            for attack in ("fgsm", "pgd-20")
        ],
    )  # fmt: skip


def hostile(path: Path) -> tuple[RunDirectory, RunOutcome]:
    """Markup in every text that the page shows.

    A suite refuses ids like these; they are put into what was read, as if another program had written them.
    """
    flag = Flag(rule=HOSTILE[1], severity="warning", message=HOSTILE[3], source=HOSTILE[2])
    planned = [
        Planned(model="a", attack="fgsm", broken=range(5), flags=(flag,), examples=range(4)),
        Planned(model="a", attack="pgd-20", status="error", reason=HOSTILE[2], rows=[]),
        Planned(model="b", attack="fgsm", broken=range(9), examples=range(4)),
        Planned(model="b", attack="pgd-20", broken=range(10), examples=range(4)),
        Planned(model="b", attack="fgsm", broken=[3], defense="jpeg-q75"),
        Planned(model="b", attack="pgd-20", broken=[3, 4], defense="jpeg-q75"),
    ]
    run = build_run(path, planned, note=HOSTILE[1], class_names=(HOSTILE[1], HOSTILE[2]))
    record = run.read_run()
    texts = {
        "command": f"bench run {HOSTILE[2]}",
        "environment": {HOSTILE[0]: HOSTILE[2], "path": f"/tmp/{HOSTILE[1]}"},
    }
    suite = record.suite.model_copy(update={"description": HOSTILE[2]})
    run.write_run(record.model_copy(update={**texts, "suite": suite}))
    outcome = read_outcomes(run)
    names = {
        "a": HOSTILE[0],
        "b": HOSTILE[1],
        "none": "none",
        "jpeg-q75": HOSTILE[2],
        "fgsm": HOSTILE[3],
        "pgd-20": HOSTILE[2],
    }
    rows = [
        replace(
            row,
            model=names[row.model],
            defense=names[row.defense],
            cells=tuple(replace(cell, attack=names[cell.attack]) for cell in row.cells),
        )
        for row in outcome.rows
    ]
    return run, replace(outcome, rows=tuple(rows))


def forty_cells(path: Path, n: int = 200) -> RunDirectory:
    """Five models under two radii and four attacks."""
    planned = [
        Planned(
            model=f"model-{model}",
            attack=attack,
            threat_model=f"linf:{eps}/255",
            wrong=range(n - 10, n),
            broken=range(model, min(n, eps * 8 + 7 * model + 5 * place)),
            examples=range(8),
        )
        for model in range(5)
        for eps in (4, 8)
        for place, attack in enumerate(("fgsm", "pgd-20", "cw-20", "square"))
    ]
    return build_run(path, planned, n=n, shape=(3, 32, 32), class_names=tuple(f"class {i}" for i in range(2)))


def smoothed(path: Path) -> RunDirectory:
    """Two models, bare and smoothed, under two radii: passes of two attacks, and certificates."""
    planned = []
    for model, more in (("a", 0), ("b", 4)):
        for eps, broken in (("0.25", 6), ("0.5", 10)):
            bare = {"model": model, "threat_model": f"l2:{eps}", "wrong": [19]}
            own = {**bare, "defense": "smoothing-s0.25", "defense_args": {"sigma": 0.25, "alpha": 0.001}}
            spent = {place: 2 * (place + 1) for place in range(20)}
            planned += [
                Planned(**bare, attack="pgd-20", broken=range(broken + more), passes=spent),
                Planned(**own, attack="pgd-20", broken=range(broken // 2 + more), passes=spent),
                Planned(**own, attack="square", role="gradient_free", broken=range(more), passes={2: 700.0, 5: 900.0}),
                Planned(**own, attack="certified", role="certificate", radii={i: i / 10 for i in range(1, 9 - more)}),
            ]
    return build_run(path, planned)


def transferred(path: Path) -> RunDirectory:
    """The examples of two models on each other: what fooled whom, one cell of which failed."""
    own = {"search": "strongest", "role": "prerequisite"}
    other = {"role": "transfer", "adversary": "transfer"}
    planned = [
        Planned(model="a", broken=range(10), **own),
        Planned(model="a", broken=range(9)),
        Planned(model="b", broken=range(3), **own),
        Planned(model="b", broken=range(2)),
        Planned(model="b", broken={0, 1, 12}, source="a", examples_of=0, **other),
        Planned(model="a", status="error", reason="it burst", rows=[], source="b", examples_of=2, **other),
    ]
    return build_run(path, planned)
