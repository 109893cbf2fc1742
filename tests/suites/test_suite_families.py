"""Which cells may build on a smaller eps, and in which order cells run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.suites.cells import Cell
from bench.suites.expand import Makers, expand
from bench.suites.families import next_smaller, running_order
from bench.suites.spec import Suite


def cells(**changed: object) -> tuple[Cell, ...]:
    base = {
        "name": "demo",
        "dataset": "cifar10",
        "threat_models": [{"norm": "linf", "eps": ["8/255", "2/255", "4/255"]}],
        "models": ["zoo:small"],
        "attacks": ["fgsm"],
    }
    return expand(Suite.model_validate({**base, **changed}))


def named(found: tuple[Cell, ...]) -> dict[str, str | None]:
    """Each cell that has a smaller one, and that one."""
    below = next_smaller(found)
    return {cell.label: None if place is None else found[place].label for cell, place in zip(found, below, strict=True)}


def test_each_builds_on_the_next_smaller_whatever_the_order_of_the_suite() -> None:
    assert named(cells()) == {
        "small | Linf 8/255 | fgsm": "small | Linf 4/255 | fgsm",
        "small | Linf 2/255 | fgsm": None,
        "small | Linf 4/255 | fgsm": "small | Linf 2/255 | fgsm",
    }


def test_only_the_same_attack_seed_norm_and_adversary() -> None:
    found = cells(
        threat_models=[{"norm": "linf", "eps": ["2/255", "4/255"]}, {"norm": "l2", "eps": [0.5, 1]}],
        models=["zoo:small", "timm:x"],
        attacks=["fgsm", {"name": "pgd", "steps": 5}, {"name": "pgd", "steps": 6}],
        defenses=["none", "jpeg"],
        run={"seeds": [0, 1]},
    )
    below = next_smaller(found)
    larger = [
        cell.role in ("suite", "gradient_free") and cell.threat_model.slug in ("linf-4_255", "l2-1") for cell in found
    ]
    assert [place is not None for place in below] == larger
    assert sum(larger) >= 2 * 2 * 3 * 2 * 2
    for cell, place in zip(found, below, strict=True):
        if place is None:
            continue
        other = found[place]
        assert other.threat_model.eps < cell.threat_model.eps
        same = ("role", "model", "defense", "attack", "adversary", "seed", "precision")
        assert [getattr(cell, name) for name in same] == [getattr(other, name) for name in same]
        assert (cell.threat_model.norm, cell.search) == (other.threat_model.norm, "first_success")
        assert cell.role in ("suite", "gradient_free")


def test_the_whole_budget_is_spent_at_every_eps() -> None:
    assert set(next_smaller(cells(run={"search": "strongest"}))) == {None}
    own = cells(attacks=["fgsm", {"name": "pgd", "search": "strongest"}])
    assert {cell.attack.name for cell, place in zip(own, next_smaller(own), strict=True) if place is not None} == {
        "fgsm"
    }


def test_excluded_combinations_are_skipped() -> None:
    assert named(cells(exclude=[{"threat_model": "linf:4/255"}])) == {
        "small | Linf 8/255 | fgsm": "small | Linf 2/255 | fgsm",
        "small | Linf 2/255 | fgsm": None,
    }


@given(st.permutations(["linf:8/255", "linf:2/255", "linf:4/255", "l2:1", "l2:0.5"]), st.booleans())
def test_the_running_order_respects_every_dependence(threat_models: list[str], strongest: bool) -> None:
    found = cells(
        threat_models=threat_models,
        models=["zoo:small", "timm:x"],
        defenses=["none", "jpeg"],
        run={"search": "strongest" if strongest else "first_success"},
    )
    order, makers = running_order(found), Makers(found)
    assert sorted(order) == list(range(len(found)))
    turn = {place: number for number, place in enumerate(order)}
    for place, below in enumerate(next_smaller(found)):
        if below is not None:
            assert turn[below] < turn[place]
        if found[place].role == "oblivious":
            source = next(i for i, cell in enumerate(found) if cell is makers.of(found[place]))
            assert turn[source] < turn[place]
    models = [found[place].model.id for place in order]
    assert models == sorted(models, key=["small", "x"].index), "a model is loaded once"


def test_a_suite_in_ascending_order_runs_as_it_is_written() -> None:
    found = cells(threat_models=[{"norm": "linf", "eps": ["2/255", "8/255"]}], defenses=["none", "jpeg"])
    assert running_order(found) == list(range(len(found)))
