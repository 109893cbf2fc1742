"""How rules are applied: several checks as one, flags that are taken over, severities, and what couldn't be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from planted.case import SQUARE, flagged
from synthetic_audit import FGSM, PGD, ROW, SMOOTH, WRONG, N, Probed, built, examined
from synthetic_run import Planned

from bench.audit.evidence import ALPHA, MATERIAL, REFUTED, CannotCheck, NotMeant, RowEvidence, compared
from bench.audit.rule import Found, Rule, both, lifted
from bench.audit.rules import RULES
from bench.store.audit import Severity
from bench.store.records import Flag


def rule(check: Callable[[RowEvidence], Iterable[Found]], *, strength: bool = False) -> Rule:
    """A rule of the test's own."""
    return Rule("mine", "a title", "a meaning", "do this", "A Paper 2020", check, strength=strength)


def says(text: str, severity: Severity = "warning") -> Callable[[RowEvidence], Iterable[Found]]:
    def check(row: RowEvidence) -> Iterable[Found]:
        yield Found(severity, text, evidence={"n": 1})

    return check


def cannot(reason: str, first: str = "") -> Callable[[RowEvidence], Iterable[Found]]:
    def check(row: RowEvidence) -> Iterable[Found]:
        if first:
            yield Found("warning", first)
        raise CannotCheck(reason)

    return check


def unmeant(row: RowEvidence) -> Iterable[Found]:
    raise NotMeant


def looked(
    path: Path, check: Callable[[RowEvidence], Iterable[Found]], *cells: Planned
) -> tuple[list[str], int, dict[str, tuple[str, ...]], int]:
    """What one rule says of a run: messages, what it checked and what not, and how many findings count."""
    found = examined(built(path, cells or ROW), rules=[rule(check)])
    result = found.result("mine")
    return [one.message for one in found.of("mine")], result.checked, result.unchecked, result.findings


ROW_A = ("model-a | Linf 8/255",)


def test_a_part_that_can_not_look_keeps_no_other_from_it(tmp_path: Path) -> None:
    assert looked(tmp_path / "1", both(says("one"), says("two"))) == (["one", "two"], 1, {}, 2)
    assert looked(tmp_path / "2", both(cannot("no light"), says("two"))) == (["two"], 0, {"no light": ROW_A}, 1)
    assert looked(tmp_path / "3", both(says("one"), cannot("no light"))) == (["one"], 0, {"no light": ROW_A}, 1)
    assert looked(tmp_path / "4", both(cannot("no light"), cannot("no air"))) == ([], 0, {"no air": ROW_A}, 0)


def test_a_part_that_is_not_meant_keeps_no_other_from_it(tmp_path: Path) -> None:
    assert looked(tmp_path / "1", both(unmeant, says("two"))) == (["two"], 1, {}, 1)
    assert looked(tmp_path / "2", both(says("one"), unmeant)) == (["one"], 1, {}, 1)
    assert looked(tmp_path / "3", both(unmeant, cannot("no light"))) == ([], 0, {"no light": ROW_A}, 0)
    assert looked(tmp_path / "4", both(unmeant, unmeant)) == ([], 0, {}, 0)


def test_what_a_rule_saw_before_it_could_not_go_on_counts(tmp_path: Path) -> None:
    assert looked(tmp_path, cannot("no light", first="seen")) == (["seen"], 0, {"no light": ROW_A}, 1)


def test_flags_stand_in_the_audit_without_probes_too(tmp_path: Path) -> None:
    flags = ("zero-gradient", "probabilities", "training-mode", "autoattack-square")
    marks = tuple(Flag(rule=flag, severity="warning", message=f"says {flag}") for flag in flags)
    cells = (FGSM, Planned(attack="pgd-20", wrong=WRONG, broken=range(40), flags=marks))
    found = examined(built(tmp_path, cells), probed=())
    said = {one.rule: one.message for one in found.record.findings if one.severity == "warning"}
    assert said == {
        "zero-gradient": "says zero-gradient",
        "saturated-logits": "says probabilities",
        "clean-accuracy": "says training-mode",
        "gradient-free-stronger": "says autoattack-square",
    }


def test_a_finding_stands_beside_the_probe_that_failed(tmp_path: Path) -> None:
    probed = Probed(
        {"transfer:model-b": range(60), "transfer:model-c": "ValueError: no", "large-eps": "ValueError: no"}
    )
    found = examined(built(tmp_path), [probed])
    assert [one.severity for one in found.of("transfer-stronger")] == ["invalid"]
    assert list(found.result("transfer-stronger").unchecked) == ["the probe transfer:model-c failed: ValueError: no"]
    fewer = Probed({"growth:1/2": range(60), "large-eps": "ValueError: no"})
    found = examined(built(tmp_path / "fewer"), [fewer])
    assert [one.message[:37] for one in found.of("success-not-growing")] == ["a larger radius breaks fewer images: "]


def test_flags_are_taken_over_with_their_own_words_once(tmp_path: Path) -> None:
    same = Flag(rule="f", severity="info", message="same", source="a paper")
    own = Flag(rule="g", severity="invalid", message="own")
    cells = (
        Planned(attack="fgsm", flags=(same, own)),
        Planned(attack="pgd-20", flags=(same, Flag(rule="h", severity="warning", message="not asked for"))),
        Planned(attack="pgd-20", model="model-b", flags=(same,)),
        Planned(attack="cw", recorded=False, rows=()),
    )
    run = built(tmp_path, cells)
    found = examined(run, probed=(), rules=[rule(lifted("f", "g"))])
    ids = found.ids
    assert [(one.model, one.severity, one.message, one.source, one.cells) for one in found.of("mine")] == [
        ("model-a", "info", "same", "a paper", (ids[0], ids[1])),
        ("model-a", "invalid", "own", "A Paper 2020", (ids[0],)),
        ("model-b", "info", "same", "a paper", (ids[2],)),
    ]
    assert (found.result("mine").checked, found.result("mine").findings) == (2, 1)


@pytest.mark.parametrize("severity", ["warning", "invalid"])
def test_a_weak_attack_is_an_info_where_nothing_is_left(tmp_path: Path, severity: Severity) -> None:
    everything = Planned(attack="pgd-20", wrong=WRONG, broken=range(72))
    run = built(tmp_path / "nothing", (FGSM, everything))
    assert [one.severity for one in examined(run, rules=[rule(says("x", severity), strength=True)]).of("mine")] == [
        "info"
    ]
    assert examined(run, rules=[rule(says("x", severity), strength=True)]).result("mine").findings == 0
    assert [one.severity for one in examined(run, rules=[rule(says("x", severity))]).of("mine")] == [severity]
    one_left = built(tmp_path / "one", (FGSM, Planned(attack="pgd-20", wrong=WRONG, broken=range(71))))
    assert [
        one.severity for one in examined(one_left, rules=[rule(says("x", severity), strength=True)]).of("mine")
    ] == [severity]


def test_where_something_is_left_in_some_draws_a_weak_attack_is_none(tmp_path: Path) -> None:
    shares = {**dict.fromkeys(range(72), 0.4), **dict.fromkeys(WRONG, 0.0)}
    broken = Planned(attack="pgd-20", wrong=WRONG, broken=range(72), correctness=shares)  # by the majority of the draws
    found = examined(built(tmp_path, (broken,)), rules=[rule(says("x"), strength=True)])
    assert found.evidence.outcome.rows[0].worst_correctness.mean() == pytest.approx(0.36)
    assert [one.severity for one in found.of("mine")] == ["warning"]


@pytest.mark.parametrize("role", ["suite", "certificate"])
def test_where_nobody_has_attacked_nothing_is_exhausted(tmp_path: Path, role: str) -> None:
    missing = Planned(attack="pgd-20", defense="smoothing-a", role=role, recorded=role == "certificate", rows=())
    found = examined(built(tmp_path, (missing,)), probed=(), rules=[rule(says("x"), strength=True)])
    assert [one.severity for one in found.of("mine")] == ["warning"]


def test_every_rule_on_strength_is_an_info_where_nothing_is_left(tmp_path: Path) -> None:
    everything = Planned(
        attack="pgd-20", wrong=WRONG, broken=range(72), flags=flagged("zero-gradient", "invalid")[1].flags
    )
    probed = Probed(
        {"large-eps": (), "growth:1": ()},
        gradients=SMOOTH.model_copy(update={"zero": 0.9, "noise_cosine": 0.0, "zero_loss": 1.0}),
        controls={},
    )
    found = examined(built(tmp_path, (everything,)), [probed])
    strength = {one.id for one in RULES if one.strength}
    severities = {one.rule: one.severity for one in found.record.findings if one.rule in strength}
    assert set(severities) >= {"large-eps", "success-not-growing", "zero-gradient", "saturated-logits", "rough-loss"}
    assert set(severities.values()) == {"info"}


def test_a_difference_is_significant_and_material() -> None:
    def more(n: int, first: int, second: int = 0) -> bool:
        """Whether ``first`` images of n are more than ``second`` others."""
        places = np.arange(n)
        return compared(places < first, (places >= first) & (places < first + second)).greater

    assert (ALPHA, MATERIAL, REFUTED) == (0.01, 0.005, 0.10)
    assert [more(100, 6), more(100, 7)] == [False, True]  # 1/64 and 1/128
    assert [more(100, 9, 1), more(100, 10, 1)] == [False, True]  # 11/1024 and 12/2048
    assert [more(2000, 9), more(2000, 10)] == [False, True]  # both significant, 0.45 % and 0.50 %
    assert [more(2000, 59, 50), more(2000, 80, 50), more(2000, 50, 80)] == [False, True, False]
    none = np.zeros(0, dtype=bool)
    assert (compared(none, none).p, compared(none, none).share, compared(none, none).greater) == (1.0, 0.0, False)


@pytest.mark.parametrize(("more", "fires"), [(9, False), (10, True)])
def test_many_images_make_no_warning_of_nothing(tmp_path: Path, more: int, fires: bool) -> None:
    cells = (Planned(attack="pgd-20", broken=range(800)), Planned(attack="square", broken=range(800 + more)))
    found = examined(built(tmp_path, cells, n=2000), probed=())
    assert [one.evidence["more"] for one in found.of("gradient-free-stronger")] == ([more] if fires else [])


def test_only_what_the_row_calls_robust_refutes_its_number(tmp_path: Path) -> None:
    run = built(tmp_path, (PGD, Planned(attack="square", wrong=WRONG, broken=range(40, 50))))
    (row,) = examined(run).evidence.rows
    places = np.arange(N)
    assert row.worst.tolist() == (places < 50).tolist()
    assert not row.exhausted
    assert [row.refuted(places < count) for count in (50, 57, 58)] == [False, False, True]
    assert not row.refuted((places >= 50) & (places < 57))
    assert row.refuted((places >= 50) & (places < 58))


def test_a_gradient_free_row_has_no_gradients_to_compare_with(tmp_path: Path) -> None:
    found = examined(
        built(tmp_path, (SQUARE,)), probed=(), without="no white-box attack of the suite is finished on this row"
    )
    assert [one.rule for one in found.record.findings if one.severity != "info"] == ["only-single-step"]
    for name in ("transfer-stronger", "noise-stronger", "more-steps-help", "large-eps", "positive-control"):
        assert list(found.result(name).unchecked) == ["no white-box attack of the suite is finished on this row"]


def test_a_rule_that_fails_is_not_checked_and_stops_no_other(tmp_path: Path) -> None:
    def fails(row: RowEvidence) -> Iterable[Found]:
        yield Found("warning", "seen before it failed")
        raise ZeroDivisionError("by chance")

    broken = Rule("broken", "a rule with a fault", "m", "a", "s", fails)
    found = examined(built(tmp_path, (SQUARE,)), probed=(), without="none", rules=(broken, rule(says("the other"))))
    result = found.result("broken")
    assert (result.checked, list(result.unchecked)) == (0, ["the rule failed: ZeroDivisionError: by chance"])
    assert [one.message for one in found.record.findings] == ["seen before it failed", "the other"]
    assert found.result("mine").checked == 1
