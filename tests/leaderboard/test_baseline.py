"""Baselines hold what a run found, in a file that is read back as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import Planned, build_run

from bench.errors import SchemaError, StoreError
from bench.leaderboard import baseline
from bench.leaderboard.verdicts import verdicts_of
from bench.store.records import Flag

PLANNED = [
    Planned(attack="fgsm", wrong=[3], broken=[0, 1]),
    Planned(attack="pgd-20", wrong=[3], broken=[1, 2], flags=(Flag(rule="weak", severity="warning", message="m"),)),
    Planned(attack="fgsm", defense="noise", correctness={0: 0.25, 1: 1 / 3}),
    Planned(attack="square", defense="noise", role="gradient_free", broken=[7]),
    Planned(attack="ann", role="submitted", wrong=[3], broken=range(10, 20)),
]


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_bits(found: list[bool]) -> None:
    outcomes = np.array(found, dtype=float)
    verdicts = verdicts_of(outcomes)
    assert verdicts.shares is None
    assert (verdicts.outcomes(len(found)) == outcomes).all()
    assert verdicts.correct == sum(found)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=40))
def test_shares(found: list[int]) -> None:
    outcomes = np.array(found) / 7
    verdicts = verdicts_of(outcomes)
    assert (verdicts.outcomes(len(found)) == np.round(outcomes, 6)).all()
    again = verdicts_of(verdicts.outcomes(len(found)))
    assert again == verdicts


def test_a_known_baseline(tmp_path: Path) -> None:
    found = baseline.snapshot(build_run(tmp_path / "run", PLANNED))
    bare, defended = found.rows
    assert (bare.threat_model, bare.label, bare.complete) == ("linf:8/255", "model-a", True)
    assert bare.clean is not None
    assert bare.clean.bits == "effff0"  # all but the sample at position 3
    assert bare.worst is not None
    assert (bare.worst.bits, bare.worst.correct) == ("0ffff0", 16)  # what Ann broke is no part of it
    assert list(bare.cells) == ["fgsm", "pgd-20"]
    assert bare.cells["pgd-20"].flags == {"weak": "warning"}
    assert bare.cells["fgsm"].passes == 20 * 40
    assert list(defended.cells) == ["fgsm", "square (gradient-free)"]
    shares = defended.cells["fgsm"].robust
    assert shares is not None
    assert (shares.bits, shares.shares) == (None, "0.25 0.333333 18x1")
    assert found.definitions[bare.cells["fgsm"].definition]["name"] == "fgsm"
    assert found.samples.count == 20


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", PLANNED)
    path = tmp_path / "baselines" / "x.json"
    baseline.write(path, baseline.snapshot(run))
    assert baseline.read(path) == baseline.snapshot(run)
    first = path.read_bytes()
    baseline.write(path, baseline.snapshot(run))
    assert path.read_bytes() == first
    lines = first.decode().splitlines()
    assert sum('"bits"' in line for line in lines) == 8 - 2  # each list of verdicts on a line of its own
    assert str(tmp_path) not in first.decode()


def test_one_changed_verdict_is_one_changed_line(tmp_path: Path) -> None:
    texts = []
    for broken in ([4], [4, 5]):
        baseline.write(
            tmp_path / "x.json", baseline.snapshot(build_run(tmp_path / str(broken), [Planned(broken=broken)]))
        )
        texts.append((tmp_path / "x.json").read_text().splitlines())
    changed = [(a, b) for a, b in zip(*texts, strict=True) if a != b]
    assert [a.strip().split('"')[1] for a, _ in changed] == ["accuracy", "correct", "bits"] * 2  # worst case and cell


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "damaged, or no baseline: Expecting value"),
        ("[]", "damaged, or no baseline: Input should be a valid dictionary or instance of Baseline$"),
        (
            "{}",
            "damaged, or no baseline: suite: field required; made: field required; dataset: field required; and 4 more$",
        ),
        ('{"schema_version": 1, "suite": 3}', "damaged, or no baseline: suite: input should be a valid string; made"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=f"x.json: {said}"):
        baseline.read(path)


def test_damaged_verdicts_and_newer_files(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    baseline.write(path, baseline.snapshot(build_run(tmp_path / "run", PLANNED)))
    value = json.loads(path.read_text())
    path.write_text(path.read_text().replace("effff0", "effff0ff"))
    with pytest.raises(
        StoreError, match=r"x.json: model-a under linf:8/255, clean: damaged verdicts: 32 bits for 20 samples"
    ):
        baseline.read(path)
    path.write_text(json.dumps({**value, "schema_version": 9, "more": 1}))
    with pytest.raises(SchemaError, match=r"newer bench \(schema 9, this one reads 2\)"):
        baseline.read(path)
    with pytest.raises(StoreError, match="can't read the baseline"):
        baseline.read(tmp_path / "none.json")


@pytest.mark.parametrize(("key", "other"), [("accuracy", 0.9), ("correct", 18.0)])
def test_numbers_that_are_not_those_of_the_verdicts(tmp_path: Path, key: str, other: float) -> None:
    path = tmp_path / "x.json"
    baseline.write(path, baseline.snapshot(build_run(tmp_path / "run", PLANNED)))
    value = json.loads(path.read_text())
    value["rows"][0]["cells"]["fgsm"]["robust"][key] = other
    path.write_text(json.dumps(value))
    with pytest.raises(
        StoreError, match=rf"x.json: model-a under linf:8/255, fgsm: damaged verdicts: .*{key} {other:g}"
    ):
        baseline.read(path)


def test_incomplete_rows_are_named(tmp_path: Path) -> None:
    invalid = Flag(rule="r", severity="invalid", message="m")
    planned = [
        Planned(model="a", attack="fgsm"),
        Planned(model="a", attack="pgd-20", status="error", reason="x", rows=[]),
        Planned(model="b", attack="fgsm", flags=(invalid,)),
        Planned(model="c", attack="fgsm"),
    ]
    found = baseline.snapshot(build_run(tmp_path, planned))
    assert baseline.incomplete(found) == ["a under linf:8/255 (pgd-20: error)", "b under linf:8/255 (fgsm: invalid)"]


def test_samples_without_rows_make_no_baseline(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(rows=range(5), recorded=False)])
    with pytest.raises(StoreError, match="15 samples have no row in any cell"):
        baseline.snapshot(run)
