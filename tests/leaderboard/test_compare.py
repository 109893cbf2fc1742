"""Two runs side by side: planted differences come out as they were planted, and what can't be compared is refused."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats
from synthetic_run import Planned, build_run

from bench.errors import StoreError, UnknownNameError
from bench.leaderboard.compare import SHARED, compare
from bench.leaderboard.comparison import Comparison, Entry, Pair
from bench.leaderboard.matched import Chosen
from bench.leaderboard.side_by_side import FORMATS
from bench.stats import holm, tango
from bench.store.records import Flag
from bench.store.run_directory import RunDirectory

ODD = "m_1 & <b>|*x*"


def two(tmp_path: Path, a: list[Planned], b: list[Planned], n: int = 40, **more: object) -> Comparison:
    return compare(build_run(tmp_path / "a", a, n=n), build_run(tmp_path / "b", b, n=n, **more))  # type: ignore[arg-type]


def entry(pair: Pair, name: str) -> Entry:
    return next(one for one in pair.entries if one.name == name)


def sample(position: int) -> str:
    return f"cifar10/test/{position:05d}"


def test_planted_differences(tmp_path: Path) -> None:
    a = [
        Planned(attack="fgsm", wrong=[0], broken=range(1, 5)),
        Planned(attack="pgd-20", wrong=[0], broken=range(1, 10)),
    ]
    b = [
        Planned(attack="fgsm", wrong=[0], broken=range(1, 5)),
        Planned(attack="pgd-20", wrong=[0], broken=range(3, 24)),
    ]
    found = two(tmp_path, a, b)
    (pair,) = found.pairs
    assert (pair.a, pair.images, pair.only_a, pair.only_b, pair.notes) == ("model-a", 40, 0, 0, ())
    pgd = entry(pair, "pgd-20")
    assert pgd.lost == tuple(sample(at) for at in range(10, 24))
    assert pgd.gained == (sample(1), sample(2))
    assert pgd.difference == pytest.approx(-12 / 40)
    assert (pgd.low, pgd.high) == tango(2, 14, 40)
    assert pgd.p == pytest.approx(scipy_stats.binomtest(2, 16, 0.5).pvalue)
    assert (pgd.seconds, pgd.passes) == (1.0, 1.0)
    worst = entry(pair, "worst case")
    assert worst.lost == pgd.lost
    assert worst.gained == ()  # fgsm had broken them too
    assert entry(pair, "clean").p == entry(pair, "fgsm").p == 1.0
    raw = [one.p or 0 for one in pair.entries]
    assert [one.adjusted for one in pair.entries] == pytest.approx(holm(raw))
    assert found.tests == 4


def test_clean_accuracy_under_several_radii_is_one_test(tmp_path: Path) -> None:
    cells = [Planned(attack="fgsm", wrong=[0], threat_model=ball) for ball in ("linf:2/255", "linf:8/255")]
    more = [Planned(attack="fgsm", wrong=range(9), threat_model=ball) for ball in ("linf:2/255", "linf:8/255")]
    found = two(tmp_path, cells, more)
    assert found.tests == 1 + 4  # and both radii's attack and worst case
    assert [entry(pair, "clean").adjusted for pair in found.pairs] == pytest.approx([5 * 2 * 0.5**8] * 2)


def test_images_pair_by_digest(tmp_path: Path) -> None:
    a = build_run(tmp_path / "a", [Planned(broken=[0, 30])], n=40)
    b = build_run(tmp_path / "b", [Planned(broken=[0])], n=20)
    (pair,) = compare(a, b).pairs
    assert (pair.images, pair.only_a, pair.only_b) == (20, 20, 0)
    assert entry(pair, "worst case").p == 1.0
    for format, text in {name: make(compare(a, b)) for name, make in FORMATS.items()}.items():
        assert format in ("csv", "json") or "20 only in A" in text


def test_an_attack_with_another_seed_is_the_same_attack(tmp_path: Path) -> None:
    a = [Planned(attack="fgsm", broken=[0]), Planned(broken=range(8))]
    b = [Planned(attack="fgsm", broken=[0], seed=3), Planned(broken=range(20), seed=3)]
    (pair,) = two(tmp_path, a, b).pairs
    assert [one.name for one in pair.entries] == ["clean", "fgsm", "pgd-20", "worst case"]
    assert len(entry(pair, "pgd-20").lost) == len(entry(pair, "worst case").lost) == 12
    assert pair.notes == ("seed 0 in A, 3 in B",)


def test_more_seeds_are_a_stronger_attack(tmp_path: Path) -> None:
    (pair,) = two(tmp_path, [Planned()], [Planned(seed=1), Planned(seed=2, broken=range(9))]).pairs
    assert entry(pair, "worst case").p is None
    assert "pgd-20 (seed 1): only B has it, A doesn't" in entry(pair, "worst case").reason
    assert pair.notes == ()


def test_rows_of_one_run(tmp_path: Path) -> None:
    planned = [
        Planned(model="x", attack="fgsm", broken=range(5)),
        Planned(model="x", attack="fgsm", broken=range(20), defense="jpeg"),
        Planned(model="x", attack="square", broken=range(22), defense="jpeg", role="gradient_free"),
        Planned(model="y", attack="fgsm", broken=range(2)),
    ]
    run = build_run(tmp_path, planned, n=40)
    (pair,) = compare(run, None, Chosen(rows=("x", "x+jpeg"))).pairs
    assert [one.name for one in pair.entries] == ["clean", "fgsm", "worst case"]
    assert len(entry(pair, "worst case").lost) == 17
    assert pair.notes == ("the worst case of B has cells of a kind that the other lacks: gradient-free",)
    every = compare(run, None)
    assert [(one.a, one.b) for one in every.pairs] == [("x", "x + jpeg"), ("x", "y"), ("x + jpeg", "y")]
    with pytest.raises(UnknownNameError, match=r"unknown row 'x\+jpg'; did you mean x\+jpeg"):
        compare(run, None, Chosen(rows=("x", "x+jpg")))


def test_models_may_have_other_names(tmp_path: Path) -> None:
    a = build_run(tmp_path / "a", [Planned(model="old")])
    b = build_run(tmp_path / "b", [Planned(model="new", broken=[1])])
    with pytest.raises(StoreError, match=r"(?s)old under Linf 8/255: only A has it; B has no such row.*only B has it"):
        compare(a, b)
    (pair,) = compare(a, b, Chosen(rows=("old", "new"))).pairs
    assert (pair.a, pair.b) == ("old", "new")
    assert len(entry(pair, "pgd-20").lost) == 1


def test_another_radius_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"model-a under Linf 8/255: only A has it; B has it under Linf 4/255"):
        two(tmp_path, [Planned()], [Planned(threat_model="linf:4/255")])


def test_another_dataset_is_refused(tmp_path: Path) -> None:
    a, b = build_run(tmp_path / "a", [Planned()]), build_run(tmp_path / "b", [Planned()])
    record = b.read_run()
    b.write_run(record.model_copy(update={"dataset": {**record.dataset, "digest": "other"}}))
    with pytest.raises(StoreError, match=r"another dataset: digest None in .*a, other in .*b"):
        compare(a, b)


def test_other_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="other samples: none of the 10 images of A is among the 10 of B"):
        compare(
            build_run(tmp_path / "a", [Planned(rows=range(10))], positions=range(10)),
            build_run(tmp_path / "b", [Planned()], positions=range(10, 20)),
        )


def test_other_attacks_leave_the_shared_ones(tmp_path: Path) -> None:
    a = [Planned(attack="fgsm", broken=[1]), Planned(attack="pgd-20", broken=[1, 2])]
    b = [Planned(attack="fgsm", broken=[1, 3])]
    (pair,) = two(tmp_path, a, b).pairs
    assert entry(pair, "worst case").p is None
    assert entry(pair, "worst case").reason == "pgd-20: only A has it, B doesn't"
    assert entry(pair, "pgd-20").reason == "only A has it, B doesn't"
    assert entry(pair, f"{SHARED} (fgsm)").lost == (sample(3),)


def test_other_parameters_of_an_attack_are_named(tmp_path: Path) -> None:
    run = build_run(tmp_path / "b", [Planned()])
    (cell,) = run.read_cells()
    run.write_cell(cell.model_copy(update={"attack": cell.attack.model_copy(update={"args": {"steps": 40}})}))
    (pair,) = compare(build_run(tmp_path / "a", [Planned()]), run).pairs
    assert entry(pair, "pgd-20").reason == "another attack in A and B: steps None and 40"
    assert entry(pair, "worst case").reason == "pgd-20: another attack in A and B: steps None and 40"
    assert entry(pair, "clean").p == 1.0


@pytest.mark.parametrize("trouble", ["error", "missing", "partial", "invalid"])
def test_what_is_not_complete_is_at_most(tmp_path: Path, trouble: str) -> None:
    bad = {
        "error": Planned(attack="pgd-20", status="error", reason="left the ball", rows=range(9), broken=range(6)),
        "missing": Planned(attack="pgd-20", recorded=False, rows=range(9), broken=range(6)),
        "partial": Planned(attack="pgd-20", rows=range(9), broken=range(6)),
        "invalid": Planned(attack="pgd-20", broken=range(6), flags=(Flag(rule="r", severity="invalid", message="m"),)),
    }[trouble]
    a = [Planned(attack="fgsm"), Planned(attack="pgd-20")]
    found = two(tmp_path, a, [Planned(attack="fgsm"), bad])
    (pair,) = found.pairs
    worst = entry(pair, "worst case")
    assert (worst.p, worst.b_bound, worst.a_bound) == (None, True, False)
    assert worst.reason == "B: the row isn't complete"
    assert worst.b is not None
    assert (worst.b.value, worst.b.low) == (34 / 40, None)
    assert entry(pair, "pgd-20").p is None
    assert trouble in entry(pair, "pgd-20").reason
    assert "≤ 85.0" in FORMATS["text"](found)
    assert r"$\leq$~85.0" in FORMATS["latex"](found)
    assert entry(pair, "fgsm").p == 1.0


def test_stochastic_shares_are_paired_too(tmp_path: Path) -> None:
    shares = dict.fromkeys(range(20), 0.5)
    found = two(tmp_path, [Planned()], [Planned(correctness=shares)])
    worst = entry(found.pairs[0], "worst case")
    assert worst.difference == pytest.approx(-0.25)
    assert worst.p is not None
    assert worst.p < 0.001
    assert worst.low is not None
    assert worst.high is not None
    assert worst.low < -0.25 < worst.high < 0
    assert len(worst.lost) == 20


def test_costs_are_ratios(tmp_path: Path) -> None:
    passes = dict.fromkeys(range(40), 60.0)
    (pair,) = two(tmp_path, [Planned()], [Planned(passes=passes)]).pairs
    assert entry(pair, "pgd-20").passes == pytest.approx(3)
    assert entry(pair, "worst case").passes == pytest.approx(3)


def test_markup_in_names_is_escaped(tmp_path: Path) -> None:
    found = two(tmp_path, [Planned(model="x")], [Planned(model="x", broken=[1])])
    pair = found.pairs[0].model_copy(update={"a": ODD, "b": "b%_$"})
    pair = pair.model_copy(update={"entries": tuple(one.model_copy(update={"name": ODD}) for one in pair.entries)})
    odd = found.model_copy(update={"pairs": (pair,)})
    markdown = FORMATS["md"](odd)
    assert r"m_1 & \<b\>\|\*x\*" in markdown
    assert "<b>" not in markdown
    line = next(line for line in markdown.splitlines() if line.startswith("| m_1"))
    assert len(re.split(r"(?<!\\)\|", line)) == 12
    tex = FORMATS["latex"](odd)
    assert r"m\_1 \& \textless{}b\textgreater{}\textbar{}{*}x{*}" in tex
    assert r"b\%\_\$" in tex
    assert next(csv.reader(io.StringIO(FORMATS["csv"](odd).split("\n", 1)[1])))[2] == ODD
    assert Comparison.model_validate_json(FORMATS["json"](odd)) == odd


def test_the_renderings_say_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = [Planned(attack="fgsm", broken=rng.choice(200, 40, replace=False).tolist())]
    b = [Planned(attack="fgsm", broken=rng.choice(200, 90, replace=False).tolist())]
    found = two(tmp_path, a, b, n=200)
    worst = entry(found.pairs[0], "worst case")
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](found))))
    assert float(lines[-1]["difference"]) == pytest.approx(-0.25)
    assert lines[-1]["lost_ids"].split() == list(worst.lost)
    shown = next(line for line in FORMATS["text"](found).splitlines() if line.startswith("worst case "))
    assert "80.0 (" in shown
    assert "-25.0 (" in shown
    assert "*" in shown
    assert json.loads(FORMATS["json"](found))["pairs"][0]["entries"][-1]["gained"] == list(worst.gained)


def test_a_run_without_rows_of_images(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(status="error", reason="x", rows=[])], positions=())
    with pytest.raises(StoreError, match="other samples: none of the 0 images"):
        compare(RunDirectory(run.path), RunDirectory(run.path))
