"""A suite's words for transfer, and the cells that they become."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import SuiteError
from bench.suites.cells import Cell
from bench.suites.check import check
from bench.suites.expand import Makers, expand
from bench.suites.families import running_order
from bench.suites.load import load_suite
from bench.suites.spec import Suite

TEXT = """\
name: small
dataset: {name: cifar10, samples: 5}
threat_models: ["linf:8/255", "l2:0.5"]
models: [zoo:small, {id: other, source: checkpoint, weights: w.pt, architecture: cnn}]
attacks: [fgsm, {name: pgd, steps: 20}]
"""


def load(tmp_path: Path, more: str = "", text: str = TEXT) -> Suite:
    path = tmp_path / "suite.yaml"
    path.write_text(text + more)
    loaded = load_suite(path)
    check(loaded)
    return loaded.suite


def crossed(suite: Suite) -> list[str]:
    return [shown(cell) for cell in expand(suite) if cell.role == "transfer"]


def shown(cell: Cell) -> str:
    assert cell.source is not None
    target = f"{cell.model.id}/{cell.defense_id}"
    return f"{cell.source.id} -> {target} {cell.threat_model.slug} {cell.attack_id} s{cell.seed}"


def test_every_model_meets_every_other(tmp_path: Path) -> None:
    assert crossed(load(tmp_path, "transfer: all")) == [
        f"{source} -> {target}/none {ball} {attack} s0"
        for source, target in (("other", "small"), ("small", "other"))
        for ball in ("linf-8_255", "l2-0.5")
        for attack in ("fgsm", "pgd-20")
    ]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("all", 8),
        ("true", 8),
        ("{}", 8),
        ("{sources: other}", 4),
        ("{targets: [oth*]}", 4),
        ("{attacks: [pgd-20], threat_models: linf}", 2),
        ("{threat_models: ['linf:16/510']}", 4),
        ("false", 0),
        ("null", 0),
    ],
)
def test_short_forms_and_selections(tmp_path: Path, words: str, count: int) -> None:
    suite = load(tmp_path, f"transfer: {words}")
    assert len(crossed(suite)) == count
    assert Suite.model_validate_json(suite.model_dump_json()) == suite


def test_sources_are_bare_and_targets_any_row(tmp_path: Path) -> None:
    suite = load(tmp_path, "transfer: {sources: small, attacks: fgsm, threat_models: linf}\ndefenses: [none, jpeg]")
    assert crossed(suite) == [f"small -> other/{defense} linf-8_255 fgsm s0" for defense in ("none", "jpeg")]
    alone = load(tmp_path, "transfer: {attacks: fgsm, defenses: jpeg, threat_models: linf}\ndefenses: [none, jpeg]")
    assert crossed(alone) == [
        f"{s} -> {t}/jpeg linf-8_255 fgsm s0" for s, t in (("other", "small"), ("small", "other"))
    ]


def test_every_cell_finds_the_cell_that_made_its_examples(tmp_path: Path) -> None:
    cells = expand(load(tmp_path, "transfer: all\ndefenses: [none, jpeg]\nrun: {seeds: [0, 1]}"))
    reading = [cell for cell in cells if cell.transferred]
    assert len(reading) == 2 * 2 * 2 * (1 + 2) * 2
    for cell in reading:
        made = Makers(cells).of(cell)
        assert (made.model, made.defense.name, made.search) == (cell.source or cell.model, "none", "strongest")
        assert (made.threat_model, made.attack, made.seed) == (cell.threat_model, cell.attack, cell.seed)
        assert Makers(cells).is_read(made)
    made = [cell for cell in cells if cell.role == "prerequisite"]
    assert len(made) == 2 * 2 * 2 * 2  # one for all defenses and targets


def test_a_strongest_cell_of_the_suite_is_what_makes_the_examples(tmp_path: Path) -> None:
    cells = expand(load(tmp_path, "transfer: {threat_models: linf}\nrun: {search: strongest}"))
    assert {cell.role for cell in cells} == {"suite", "transfer"}
    assert {Makers(cells).of(cell).role for cell in cells if cell.transferred} == {"suite"}


def test_attacks_that_differ_in_their_search_alone_share_their_examples(tmp_path: Path) -> None:
    text = TEXT.replace("attacks: [fgsm, {name: pgd, steps: 20}]", "attacks: [fgsm, {name: fgsm, search: strongest}]")
    cells = expand(load(tmp_path, "transfer: {threat_models: linf}", text))
    assert [cell.attack_id for cell in cells if cell.transferred] == ["fgsm", "fgsm"]
    assert not [cell for cell in cells if cell.role == "prerequisite"]


def test_what_reads_examples_runs_when_all_are_made(tmp_path: Path) -> None:
    cells = expand(load(tmp_path, "transfer: all\ndefenses: [none, jpeg]"))
    roles = [cells[place].role for place in running_order(cells)]
    first = roles.index("transfer")
    assert set(roles[first:]) == {"transfer"}


def test_filters_hold_for_sources_and_targets(tmp_path: Path) -> None:
    suite = load(tmp_path, "transfer: {threat_models: linf}\nexclude: [{model: small, attack: fgsm}]")
    assert crossed(suite) == [
        "other -> small/none linf-8_255 fgsm s0",
        "other -> small/none linf-8_255 pgd-20 s0",
        "small -> other/none linf-8_255 pgd-20 s0",
    ]


def test_attacks_whose_examples_say_nothing_elsewhere_are_left_out(tmp_path: Path) -> None:
    text = TEXT.replace("attacks: [fgsm, {name: pgd, steps: 20}]", "attacks: [fgsm, square]")
    suite = load(tmp_path, "transfer: {sources: small, threat_models: linf}", text)
    assert crossed(suite) == ["small -> other/none linf-8_255 fgsm s0"]


def test_a_cell_says_whose_examples_it_judges(tmp_path: Path) -> None:
    suite = load(tmp_path, "transfer: {sources: small, attacks: fgsm, threat_models: linf}\ndefenses: [none, jpeg]")
    bare, defended = (cell for cell in expand(suite) if cell.role == "transfer")
    assert bare.label == "other | Linf 8/255 | fgsm transfer from small"
    assert bare.slug == "transfer-other-linf-8_255-fgsm-from-small-s0"
    assert defended.slug == "transfer-other-jpeg-linf-8_255-fgsm-from-small-s0"
    assert (bare.adversary, bare.search) == ("transfer", "strongest")
    (own,) = (cell for cell in expand(suite) if cell.role == "suite" and cell.model == bare.model and cell.attack == bare.attack
              and cell.threat_model == bare.threat_model and cell.defense.name == "none")  # fmt: skip
    assert own.identity({}) != {**bare.identity({}), "search": own.search}


def test_a_suite_without_transfer_has_the_ids_that_it_always_had(tmp_path: Path) -> None:
    cell = expand(load(tmp_path))[0]
    assert set(cell.identity({})) == {
        "dataset", "threat_model", "attack", "defense", "adversary", "transferred", "seed", "search", "precision", "facts",
    }  # fmt: skip
    assert cell.identity({})["transferred"] is False


@pytest.mark.parametrize(
    ("words", "key", "message"),
    [
        ("al", "transfer", "neither all nor a selection, got 'al'"),
        ("[small]", "transfer", "neither all nor a selection, got ['small']"),
        ("{source: small}", "transfer.source", "unknown key 'source', got 'small'; did you mean sources?"),
        ("{sources: smal}", "transfer.sources", "no model of this suite is called 'smal'; did you mean small?"),
        (
            "{sources: [small, nobody]}",
            "transfer.sources.1",
            "no model of this suite is called 'nobody' (accepted: small",
        ),
        ("{attacks: pgd-40}", "transfer.attacks", "no attack of this suite is called 'pgd-40'; did you mean pgd-20?"),
        ("{threat_models: l1}", "transfer.threat_models", "no threat model of this suite is called 'l1'"),
        ("{defenses: jpeg}", "transfer.defenses", "no defense of this suite is called 'jpeg'"),
        ("{attacks: []}", "transfer.attacks", "too few items, got []"),
        ("{sources: small, targets: small}", "transfer", "nothing to try: no source meets another model"),
    ],
)
def test_what_cant_work_is_refused(tmp_path: Path, words: str, key: str, message: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, f"transfer: {words}\n")
    assert message in str(caught.value)
    (problem,) = caught.value.problems
    assert problem.line == 6
    assert problem.key.startswith(key)


@pytest.mark.parametrize(
    ("section", "new", "message"),
    [
        ("models", "[zoo:small]", "nothing to try: the suite has one model"),
        ("attacks", "[square]", "nothing to try: the examples of square can't be reused"),
    ],
)
def test_a_suite_with_nothing_to_try_is_refused(tmp_path: Path, section: str, new: str, message: str) -> None:
    lines = [f"{section}: {new}" if line.startswith(section) else line for line in TEXT.splitlines()]
    with pytest.raises(SuiteError, match=message):
        load(tmp_path, "transfer: all", "\n".join(lines) + "\n")


def test_transfer_needs_attacks(tmp_path: Path) -> None:
    text = "\n".join(line for line in TEXT.splitlines() if not line.startswith(("attacks", "threat_models"))) + "\n"
    with pytest.raises(SuiteError, match="transfer chooses among attacks, and this suite has none"):
        load(tmp_path, "corruptions: fog\ntransfer: all", text)
