"""Entries for RobustBench's leaderboard: valid against the published ones, and never more than the run knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from synthetic_run import Planned, build_run

from bench.errors import StoreError, UnknownNameError
from bench.leaderboard.export import Export, ModelInfo, Said, export, write
from bench.store.outcomes import read_outcomes
from bench.store.records import Flag
from bench.store.run_directory import RunDirectory

KEYS = (
    "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture", "eps",
    "clean_acc", "reported", "autoattack_acc",
)  # fmt: skip
SAID = Said("A. Author, B. Author", "https://example.org", "ICLR 2026", "A Title", "ResNet-18", False, "46.06")


def cells(model: str = "mine", **more: Any) -> list[Planned]:  # Any: fields of every cell
    return [
        Planned(model=model, attack="pgd-20", wrong=range(17), broken=range(17, 50), **more),
        Planned(model=model, attack="autoattack", wrong=range(17), broken=range(17, 56), **more),
    ]


def exported(run: RunDirectory, said: Said = SAID, **more: Any) -> Export:  # Any: options
    return export(read_outcomes(run), said, **{"allow_subset": True, **more})


def test_all_published_entries_are_valid(shared: Path) -> None:
    """And the schema has no key, and no optional one as needed, that they don't have."""
    files = sorted((shared / "robustbench" / "model_info").rglob("*.json"))
    assert len(files) == 236
    published = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for entry in published:
        assert ModelInfo.model_validate(entry).model_dump(exclude_unset=True) == entry
    schema = ModelInfo.model_json_schema()
    assert set(schema["properties"]) == {key for entry in published for key in entry}
    assert set(schema["required"]) == set.intersection(*(set(entry) for entry in published))


def test_ours_is_built_like_the_published_ones(shared: Path, tmp_path: Path) -> None:
    """The same keys in the same order, values of the same types and forms, at the place of its kind."""
    (entry,) = exported(build_run(tmp_path / "run", cells(), n=100)).entries
    place = shared / "robustbench" / Path(entry.path).parent
    ours = json.loads(entry.text)
    published = [json.loads(file.read_text(encoding="utf-8")) for file in place.glob("*.json")]
    assert published
    for other in published:
        common = [key for key in other if key in KEYS]
        assert common == list(KEYS)
        assert [key for key in ours if key in KEYS] == common
        assert all(type(ours[key]) is type(other[key]) for key in KEYS)
    assert set(ours) <= {key for other in published for key in other}
    assert "8/255" in {other["eps"] for other in published}


def test_an_entry(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", cells(), n=100)
    found = exported(run)
    assert found.refused == ()
    (path,) = write(tmp_path / "out", found)
    assert path == tmp_path / "out/model_info/cifar10/Linf/mine.json"
    assert json.loads(path.read_text()) == {
        "link": "https://example.org", "name": "A Title", "authors": "A. Author, B. Author", "additional_data": False,
        "number_forward_passes": 1, "dataset": "cifar10", "venue": "ICLR 2026", "architecture": "ResNet-18", "eps": "8/255",
        "clean_acc": "83.00", "reported": "46.06", "autoattack_acc": "44.00", "unreliable": False,
        "footnote": "Evaluated on the first 100 of the 10,000 test images.",
    }  # fmt: skip
    assert found.entries[0].missing == ()


def test_a_subset_is_refused(tmp_path: Path) -> None:
    run = build_run(tmp_path, cells(), n=100)
    with pytest.raises(StoreError, match=r"the first 100 of the 10,000 test images; .*--allow-subset"):
        exported(run, allow_subset=False)


def test_images_with_a_note_are_not_the_test_set(tmp_path: Path) -> None:
    run = build_run(tmp_path, cells(), n=100, note="20 samples for smoke tests")
    with pytest.raises(StoreError, match="20 samples for smoke tests"):
        exported(run, allow_subset=False)
    assert exported(run).entries[0].info.footnote == (
        "Evaluated on the first 100 of the 10,000 test images. Images: 20 samples for smoke tests."
    )


def test_the_whole_test_set_needs_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("bench.leaderboard.export", fromlist=["_IMAGES"])._IMAGES, "cifar10", 100)
    (entry,) = exported(build_run(tmp_path, cells(), n=100), allow_subset=False).entries
    assert "footnote" not in json.loads(entry.text)


def test_what_the_run_cannot_know_stays_empty(tmp_path: Path) -> None:
    (entry,) = exported(build_run(tmp_path, cells(), n=100), Said()).entries
    assert entry.missing == ("link", "name", "authors", "venue", "architecture", "additional_data")
    assert (entry.info.authors, entry.info.link, entry.info.reported) == ("", "", "")


def test_a_published_model_keeps_its_published_facts(tmp_path: Path) -> None:
    run = build_run(tmp_path, cells("Wong2020Fast", published=("cifar10", "Linf", "Wong2020Fast")), n=100)
    (entry,) = exported(run, Said()).entries
    assert (entry.info.venue, entry.info.architecture) == ("ICLR 2020", "PreActResNet-18")
    assert entry.missing == ("name", "authors", "additional_data")


def test_a_stronger_attack_is_external(tmp_path: Path) -> None:
    more = Planned(model="mine", attack="cw-20", wrong=range(17), broken=range(60, 100))
    (entry,) = exported(build_run(tmp_path, [*cells(), more], n=100)).entries
    assert (entry.info.autoattack_acc, entry.info.external) == ("44.00", "4.00")


def test_a_warning_makes_it_unreliable(tmp_path: Path) -> None:
    flag = Flag(rule="zero-gradient", severity="warning", message="gradients vanish")
    (entry,) = exported(build_run(tmp_path, cells(flags=(flag,)), n=100)).entries
    assert entry.info.unreliable


@pytest.mark.parametrize(
    ("planned", "reason"),
    [
        ([Planned(attack="pgd-20")], "the suite has no AutoAttack"),
        ([Planned(attack="autoattack", status="error", reason="left the ball", rows=[])], "error: left the ball"),
        ([Planned(attack="autoattack", rows=range(50))], "partial"),
        ([Planned(attack="autoattack", recorded=False, rows=range(50))], "no AutoAttack"),
        (
            [Planned(attack="autoattack", flags=(Flag(rule="x", severity="invalid", message="y"),))],
            "AutoAttack is invalid",
        ),
    ],
)
def test_only_a_finished_autoattack_counts(tmp_path: Path, planned: list[Planned], reason: str) -> None:
    found = exported(build_run(tmp_path, planned, n=100), Said())
    assert found.entries == ()
    assert found.refused[0].row == "model-a, Linf 8/255"
    assert reason in found.refused[0].reason


def test_another_version_of_autoattack_is_refused(tmp_path: Path) -> None:
    run = build_run(tmp_path, cells(), n=100)
    for path in (run.path / "cells").glob("*autoattack*"):
        record = json.loads(path.read_text())
        record["attack"]["args"] = {"version": "custom", "attacks": ["apgd-ce"]}
        path.write_text(json.dumps(record))
    (refused,) = exported(run, Said()).refused
    assert "isn't the standard one (autoattack)" in refused.reason


def test_radii_datasets_and_models_that_the_leaderboard_lacks(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no bare row is at a radius .*Linf 8/255, L2 0.5"):
        exported(build_run(tmp_path / "a", cells(threat_model="linf:2/255"), n=100))
    with pytest.raises(StoreError, match="no leaderboard for mnist"):
        exported(build_run(tmp_path / "b", cells(), n=100, dataset="mnist"))
    two = build_run(tmp_path / "c", [*cells("one"), *cells("two")], n=100)
    with pytest.raises(StoreError, match=r"--model \(one, two\)"):
        exported(two)
    with pytest.raises(UnknownNameError, match="known: one, two"):
        exported(two, model="three")
    assert [entry.path for entry in exported(two, Said()).entries] == [
        "model_info/cifar10/Linf/one.json", "model_info/cifar10/Linf/two.json",
    ]  # fmt: skip
    assert exported(two, model="two").entries[0].info.authors == "A. Author, B. Author"


def test_defended_rows_are_no_entries(tmp_path: Path) -> None:
    run = build_run(tmp_path, [*cells(), *cells(defense="jpeg")], n=100)
    assert len(exported(run).entries) == 1


@pytest.mark.parametrize(
    "change",
    [{"autoattack_acc": 44.0}, {"clean_acc": "83.333"}, {"eps": "0.0314159"}, {"dataset": "mnist"}, {"extra": 1},
     {"number_forward_passes": 0}, {"eps": None}, {"additional_data": "no"}],
)  # fmt: skip
def test_what_is_no_entry_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    (entry,) = exported(build_run(tmp_path, cells(), n=20)).entries
    with pytest.raises(ValidationError):
        ModelInfo.model_validate({**json.loads(entry.text), **change})
