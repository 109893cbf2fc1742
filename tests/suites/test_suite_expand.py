"""From a suite to its cells: which there are, in which order, and what they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import registry
from bench.errors import SuiteError, UnknownNameError
from bench.suites.cells import Cell
from bench.suites.combine import kept, product
from bench.suites.expand import Makers, expand
from bench.suites.load import load_suite
from bench.suites.naming import resolve
from bench.suites.spec import Suite

Write = Callable[..., Path]


def suite(**changed: object) -> Suite:
    base = {
        "name": "demo",
        "dataset": "cifar10",
        "threat_models": ["linf:8/255"],
        "models": ["zoo:small"],
        "attacks": ["fgsm", {"name": "pgd", "steps": 20}],
    }
    return Suite.model_validate({**base, **changed})


def lines(cells: Sequence[Cell]) -> list[str]:
    return [f"{one.role} {one.model.id}/{one.defense_id}/{one.attack_id}/{one.adversary}/{one.search}" for one in cells]


def test_a_bare_model_has_one_cell_per_attack() -> None:
    assert lines(expand(suite())) == [
        "suite small/none/fgsm/adaptive/first_success",
        "suite small/none/pgd-20/adaptive/first_success",
    ]


@pytest.mark.parametrize("adversaries", [["oblivious"], ["adaptive"], ["adaptive", "oblivious"]])
def test_the_adversaries_do_not_matter_for_the_bare_model(adversaries: list[str]) -> None:
    assert expand(suite(adversaries=adversaries)) == expand(suite())


def test_defaults_and_backend_are_filled_in() -> None:
    fgsm, pgd = expand(suite())
    assert (fgsm.attack.backend, fgsm.attack.args) == ("bench", {"loss": "ce"})
    assert pgd.attack.args == {"steps": 20, "restarts": 1, "alpha": None, "loss": "ce", "random_start": True}
    assert (pgd.precision, pgd.seed) == ("auto", 0)


def test_a_default_written_out_is_the_same_cell() -> None:
    short, long = expand(suite(attacks=["pgd"])), expand(suite(attacks=[{"name": "pgd", "steps": "10", "loss": "ce"}]))
    assert [cell.identity({}) for cell in short] == [cell.identity({}) for cell in long]


FULL = [
    "suite small/none/fgsm/adaptive/first_success",
    "suite small/none/pgd-20/adaptive/first_success",
    "suite small/jpeg-quality50/fgsm/adaptive/first_success",
    "suite small/jpeg-quality50/pgd-20/adaptive/first_success",
    "prerequisite small/none/fgsm/adaptive/strongest",
    "prerequisite small/none/pgd-20/adaptive/strongest",
    "oblivious small/jpeg-quality50/fgsm/oblivious/strongest",
    "oblivious small/jpeg-quality50/pgd-20/oblivious/strongest",
    "gradient_free small/jpeg-quality50/square/adaptive/first_success",
]


@pytest.mark.parametrize("adversaries", [["adaptive"], ["oblivious", "adaptive"]])
@pytest.mark.parametrize("bare_first", [True, False])
def test_a_defended_row_gets_the_cells_that_the_harness_adds(adversaries: list[str], bare_first: bool) -> None:
    defenses: list[object] = ["none", {"name": "jpeg", "quality": 50}]
    cells = expand(suite(defenses=defenses if bare_first else defenses[::-1], adversaries=adversaries))
    assert lines(cells) == FULL
    assert cells[-1].attack.args == {"n_queries": 500}
    assert cells[-1].attack.backend == "lib"


def test_only_the_oblivious_adversary_where_only_it_is_asked_for() -> None:
    cells = expand(suite(defenses=[{"name": "jpeg", "quality": 50}], adversaries=["oblivious"]))
    assert lines(cells) == [line for line in FULL if line.startswith(("prerequisite", "oblivious"))]


def test_defenses_share_the_prerequisites() -> None:
    cells = expand(suite(defenses=["jpeg", "blur"], run={"seeds": [0, 1]}))
    roles = [cell.role for cell in cells]
    assert (roles.count("prerequisite"), roles.count("oblivious"), roles.count("gradient_free")) == (4, 8, 4)


def test_an_oblivious_cell_finds_its_prerequisite_before_it() -> None:
    cells = expand(
        suite(
            defenses=["none", "jpeg", "blur"],
            run={"seeds": [0, 1]},
            threat_models=["linf:0.1", "linf:0.2"],
            models=["zoo:small", "timm:x"],
        )
    )
    for index, cell in enumerate(cells):
        if cell.role == "oblivious":
            prerequisite = Makers(cells).of(cell)
            assert prerequisite.role == "prerequisite"
            assert cells.index(prerequisite) < index
            assert (prerequisite.model, prerequisite.attack, prerequisite.seed) == (cell.model, cell.attack, cell.seed)
            assert prerequisite.threat_model == cell.threat_model
    assert {cell.role for cell in cells if Makers(cells).is_read(cell)} == {"prerequisite"}
    with pytest.raises(ValueError, match="only oblivious and transfer cells"):
        Makers(cells).of(cells[0])
    with pytest.raises(ValueError, match="is missing"):
        Makers(cells[:1]).of(next(cell for cell in cells if cell.role == "oblivious"))


def test_the_suites_own_cell_is_the_prerequisite_where_it_spends_the_whole_budget() -> None:
    cells = expand(suite(defenses=["jpeg", "none"], run={"search": "strongest"}))
    assert [cell.role for cell in cells] == ["suite"] * 4 + ["oblivious"] * 2 + ["gradient_free"]
    assert Makers(cells).of(cells[4]) is cells[0]
    assert [Makers(cells).is_read(cell) for cell in cells] == [True, True, False, False, False, False, False]
    ids = [cell.id({}) for cell in cells]
    assert len(set(ids)) == len(ids)


def test_attacks_whose_examples_cannot_be_reused_get_no_oblivious_cell() -> None:
    cells = expand(suite(defenses="jpeg", attacks=["fgsm", {"name": "square", "n_queries": 100}]))
    assert [(cell.role, cell.attack_id, cell.attack.args.get("n_queries")) for cell in cells] == [
        ("suite", "fgsm", None),
        ("suite", "square", 100),
        ("prerequisite", "fgsm", None),
        ("oblivious", "fgsm", None),
        ("gradient_free", "square-500", 500),
    ]


def test_the_gradient_free_attack_is_left_out_where_it_is_off_there_already_or_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def roles(**changed: object) -> set[str]:
        return {cell.role for cell in expand(suite(defenses="jpeg", **changed))}

    assert "gradient_free" in roles()
    assert "gradient_free" not in roles(run={"gradient_free_queries": 0})
    assert "gradient_free" not in roles(attacks=["fgsm", "square"])
    table = registry.attacks.entries()
    monkeypatch.setitem(table, "square", type(table["fgsm"])("x:y", "", table["square"].params, ("l2",)))
    assert "gradient_free" not in roles()
    monkeypatch.delitem(table, "square")
    assert "gradient_free" not in roles()


def test_what_rejects_is_attacked_with_adams_steps_under_linf(monkeypatch: pytest.MonkeyPatch) -> None:
    table = registry.attacks.entries()
    monkeypatch.setitem(table, "adam_pgd", type(table["pgd"])("x:y", "", table["pgd"].params, ("linf",)))

    def added(**changed: object) -> list[str]:
        cells = expand(suite(**{"defenses": ["none", "jpeg", "detector"], "attacks": ["fgsm"], **changed}))
        return [line for line in lines(cells) if "adam" in line and line.startswith("suite")]

    assert added() == ["suite small/detector/adam_pgd-200/adaptive/first_success"]
    assert added(run={"seeds": [0, 1], "search": "strongest"}) == added() * 2
    assert added(run={"detector_steps": 0}) == added(threat_models=["l2:1"]) == added(adversaries=["oblivious"]) == []
    asked = {"name": "adam_pgd", "steps": 40}
    own = "suite small/detector/adam_pgd-40/adaptive/first_success"
    assert added(attacks=[asked], defenses=["detector"]) == [own, *added()]
    assert added(attacks=[asked], defenses=["detector"], run={"detector_steps": 40}) == [own]


def test_the_order_is_model_threat_model_defense_attack_seed() -> None:
    cells = expand(
        suite(models=["zoo:small", "timm:x"], threat_models=["l2:1", "linf:0.2", "linf:0.1"], run={"seeds": [3, 1]})
    )
    keys = [(cell.model.id, cell.threat_model.slug, cell.attack_id, cell.seed) for cell in cells]
    assert keys == [
        (model, threat_model, attack, seed)
        for model in ("small", "x")
        for threat_model in ("l2-1", "linf-0.2", "linf-0.1")
        for attack in ("fgsm", "pgd-20")
        for seed in (3, 1)
    ]


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({"exclude": [{"attack": "fgsm"}]}, [1, 3, 5, 7, 8]),
        ({"exclude": [{"attack": "pgd", "defense": "jpeg*"}]}, [0, 1, 2, 4, 6, 8]),
        ({"exclude": [{"adversary": "oblivious"}]}, [0, 1, 2, 3, 8]),
        ({"exclude": [{"adversary": "adaptive", "defense": "jpeg"}]}, [0, 1, 4, 5, 6, 7]),
        ({"exclude": [{"defense": "none"}]}, [2, 3, 4, 5, 6, 7, 8]),
        ({"include": [{"defense": ["none", "x"]}]}, [0, 1]),
        ({"include": [{"attack": "pgd-20"}], "exclude": [{"model": "nobody"}]}, [1, 3, 5, 7, 8]),
        ({"include": [{"attack": "fgsm", "defense": "none"}, {"attack": "PGD*", "adversary": "oblivious"}]}, [0, 5, 7]),
        ({"include": [{"threat_model": "linf:*"}]}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ({"include": [{"threat_model": "linf:16/510"}]}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ({"exclude": [{"threat_model": "linf"}]}, []),
    ],
)
def test_filters_keep_and_drop_combinations(filters: dict[str, object], left: list[int]) -> None:
    cells = expand(suite(defenses=["none", {"name": "jpeg", "quality": 50}], **filters))
    assert lines(cells) == [FULL[index] for index in left]


@pytest.mark.parametrize(
    ("attacks", "ids"),
    [
        (["fgsm", "pgd", {"name": "pgd", "steps": 40}], ["fgsm", "pgd-10", "pgd-40"]),
        (["pgd", {"name": "pgd", "loss": "margin"}], ["pgd-10-lossce", "pgd-10-lossmargin"]),
        (["pgd", {"name": "pgd", "alpha": 0.01, "restarts": 5}], ["pgd-10-restarts1", "pgd-10-restarts5-alpha0.01"]),
        (["pgd", {"name": "pgd", "backend": "foolbox"}], ["pgd-10-bench", "pgd-10-foolbox"]),
        (["fgsm", {"name": "pgd", "id": "FGSM"}], ["fgsm-2", "FGSM"]),
        (["ensemble", {"name": "ensemble", "stages": ["a"]}], ["ensemble-stagesa_b", "ensemble-stagesa"]),
        (["pgd", {"name": "pgd", "random_start": False}], ["pgd-10-random_start", "pgd-10-random_start=false"]),
        ([{"name": "pgd", "id": "mine", "steps": 3}], ["mine"]),
    ],
)
def test_ids_of_attacks_are_readable_and_their_own(attacks: list[object], ids: list[str]) -> None:
    resolved = resolve(suite(attacks=attacks))
    assert [attack.id for attack in resolved.attacks] == ids
    assert resolve(resolved) == resolved


@pytest.mark.parametrize(
    ("defenses", "ids"),
    [
        (["none", "jpeg", {"name": "jpeg", "quality": 50}], ["none", "jpeg", "jpeg-quality50"]),
        (["jpeg", {"name": "jpeg", "quality": 75}], ["jpeg", "jpeg-quality75"]),
        ([{"name": "jpeg", "quality": 50, "id": "soft"}, "blur"], ["soft", "blur"]),
    ],
)
def test_ids_of_defenses_are_readable_and_their_own(defenses: list[object], ids: list[str]) -> None:
    assert [defense.id for defense in resolve(suite(defenses=defenses)).defenses] == ids


@pytest.mark.parametrize(
    ("models", "ids"),
    [
        (["zoo:small", "timm:a/b c"], ["small", "a-b-c"]),
        (["timm:x", "robustbench:x"], ["x-timm", "x-robustbench"]),
        (
            [
                {"source": "checkpoint", "weights": "a/w.pt", "architecture": "cnn"},
                {"source": "checkpoint", "weights": "b/w.pt", "architecture": "cnn"},
            ],
            ["w-a.pt", "w-b.pt"],
        ),
        (
            [{"source": "timm", "name": "x", "id": "x"}, {"source": "timm", "name": "x", "mean": [0.1], "std": [1]}],
            ["x", "x-2"],
        ),
        (["timm:漢字"], ["model"]),
    ],
)
def test_ids_of_models_are_readable_and_their_own(models: list[object], ids: list[str]) -> None:
    resolved = resolve(suite(models=models))
    assert [model.id for model in resolved.models] == ids
    assert resolve(resolved) == resolved


def test_a_long_id_is_cut_and_stays_its_own() -> None:
    one, two = resolve(
        suite(defenses=[{"name": "blur", "x": "a" * 200}, {"name": "blur", "x": "a" * 199 + "b"}])
    ).defenses
    assert one.id != two.id
    assert all(len(str(defense.id)) <= 60 for defense in (one, two))


def test_unknown_names_and_wrong_parameters_are_refused_here_too() -> None:
    with pytest.raises(UnknownNameError, match="did you mean pgd"):
        expand(suite(attacks=["pdg"]))
    with pytest.raises(SuiteError, match=r"attacks\.0\.steps: out of range, got 0"):
        expand(suite(attacks=[{"name": "pgd", "steps": 0}]))


def test_cells_of_a_run_have_ids_of_their_own(write: Write) -> None:
    path = write(
        threat_models="[{norm: linf, eps: [0.1, 0.2, 0.2001]}, 'l2:1']",
        attacks="[fgsm, pgd, {name: pgd, loss: margin}, ensemble]",
        defenses="[none, jpeg, blur]",
        models="['zoo:small', 'timm:x']",
        run="{seeds: [0, 1]}",
    )
    cells = expand(load_suite(path).suite)
    ids = [cell.id({"weights": cell.model.id}) for cell in cells]
    assert len(cells) == 2 * 4 * 2 * (4 + 2 * 4 + 4 + 2 * 4 + 2)
    assert len(set(ids)) == len(ids)


_SPECS = st.fixed_dictionaries(
    {
        "threat_models": st.lists(st.sampled_from(["linf:0.1", "linf:8/255", "l2:1"]), min_size=1, unique=True),
        "models": st.lists(st.sampled_from(["zoo:small", "timm:a", "timm:b"]), min_size=1, unique=True),
        "attacks": st.lists(st.sampled_from(["fgsm", "pgd", "ensemble", "square"]), min_size=1, unique=True),
        "defenses": st.lists(st.sampled_from(["none", "jpeg", "blur"]), min_size=1, unique=True),
        "adversaries": st.lists(st.sampled_from(["oblivious", "adaptive"]), min_size=1, unique=True),
        "seeds": st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True),
        "run": st.fixed_dictionaries({"search": st.sampled_from(["first_success", "strongest"])}),
    }
)


@settings(deadline=None)
@given(changed=_SPECS)
def test_every_product_has_the_cells_that_the_design_asks_for(changed: dict[str, object]) -> None:
    asked = suite(**changed)
    cells = expand(asked)
    rows, seeds = len(asked.models) * len(asked.threat_models), len(asked.run.seeds)
    bare = [one for one in asked.defenses if one.name == "none"]
    defended = [one for one in asked.defenses if one.name != "none"]
    reusable = [one for one in asked.attacks if one.name != "square"]
    adaptive = "adaptive" in asked.adversaries
    by_role = {
        role: [cell for cell in cells if cell.role == role]
        for role in ("suite", "prerequisite", "oblivious", "gradient_free")
    }
    assert len(by_role["suite"]) == rows * seeds * len(asked.attacks) * (len(bare) + len(defended) * adaptive)
    assert len(by_role["oblivious"]) == rows * seeds * len(reusable) * len(defended)
    own = bool(bare) and asked.run.search == "strongest"
    assert len(by_role["prerequisite"]) == (0 if own or not defended else rows * seeds * len(reusable))
    square = any(one.name == "square" for one in asked.attacks)
    assert len(by_role["gradient_free"]) == (rows * seeds * len(defended) if adaptive and not square else 0)
    ids = [cell.id({"weights": cell.model.id}) for cell in cells]
    assert len(set(ids)) == len(ids)
    order = {id(cell): index for index, cell in enumerate(cells)}
    makers = Makers(cells)
    read = {order[id(cell)]: order[id(makers.of(cell))] for cell in by_role["oblivious"]}
    assert all(prerequisite < cell for cell, prerequisite in read.items())
    assert {index for index, cell in enumerate(cells) if makers.is_read(cell)} == set(read.values())


def test_include_and_exclude_are_complements() -> None:
    asked = resolve(suite(defenses=["none", "jpeg"], attacks=["fgsm", "pgd", "ensemble"]))
    pattern = [{"attack": ["fgsm", "ens*"], "defense": "jpeg"}]
    inside = kept(
        resolve(
            asked.model_copy(
                update={"include": Suite.model_validate({**asked.model_dump(), "include": pattern}).include}
            )
        )
    )
    outside = kept(
        resolve(
            asked.model_copy(
                update={"exclude": Suite.model_validate({**asked.model_dump(), "exclude": pattern}).exclude}
            )
        )
    )
    assert len(inside) + len(outside) == len(list(product(asked))) == 9
    assert len(inside) == 4


TWICE = ["pgd", {"name": "pgd", "search": "strongest"}]


def test_an_attack_may_have_a_search_of_its_own() -> None:
    cells = expand(suite(attacks=["fgsm", *TWICE]))
    assert lines(cells) == [
        "suite small/none/fgsm/adaptive/first_success",
        "suite small/none/pgd-10/adaptive/first_success",
        "suite small/none/pgd-10-strongest/adaptive/strongest",
    ]
    assert len({cell.id({}) for cell in cells}) == 3
    whole, alone = expand(suite(attacks=["pgd"], run={"search": "strongest"})), expand(suite(attacks=TWICE[1:]))
    assert [cell.identity({}) for cell in whole] == [cell.identity({}) for cell in alone]
    first = expand(suite(attacks=[{"name": "pgd", "search": "first_success"}], run={"search": "strongest"}))
    assert [cell.search for cell in first] == ["first_success"]


@pytest.mark.parametrize("defenses", [["none", "jpeg"], ["jpeg"]])
def test_attacks_that_differ_in_their_search_share_their_examples(defenses: list[str]) -> None:
    cells = expand(suite(attacks=TWICE, defenses=defenses))
    ids = [cell.id({}).rsplit("-", 1)[1] for cell in cells]
    assert len(set(ids)) == len(ids)
    (oblivious,) = (cell for cell in cells if cell.role == "oblivious")
    read = Makers(cells).of(oblivious)
    assert (read.role, read.search) == ("suite" if "none" in defenses else "prerequisite", "strongest")
    adaptive = [cell.search for cell in cells if cell.role == "suite" and cell.defense.name == "jpeg"]
    assert adaptive == ["first_success", "strongest"]
