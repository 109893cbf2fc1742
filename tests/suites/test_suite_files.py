"""The suites of the project, against the real tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.registry import attacks
from bench.store.published_corruptions import corruption_table
from bench.suites.check import check
from bench.suites.corruption_cells import expand_corruptions
from bench.suites.expand import expand
from bench.suites.load import load_suite
from bench.suites.naming import resolve

FOLDER = Path(__file__).parents[2] / "suites"
SUITES = sorted(FOLDER.glob("*.yaml"))
CELLS = {
    "quickstart": 24,
    "mnist_linf": 8,
    "mnist_l2": 8,
    "cifar10_linf": 28,
    "cifar10_l2": 24,
    "imagenet_linf": 20,
    "cifar10_smoke": 4,
    "broken_defenses": 5,
    "defenses_mnist": 8,
    "defenses_cifar10": 24,
    "corruptions_mnist": 0,
    "cifar10_c": 0,
    "transfer_mnist": 12,
    "agreement": 35,
    "black_box": 16,
    "tutorial": 3,
}
EPS = {
    "mnist_linf": ["Linf 0.3"],
    "mnist_l2": ["L2 1.5"],
    "cifar10_linf": ["Linf 8/255"],
    "cifar10_l2": ["L2 0.5"],
    "imagenet_linf": ["Linf 4/255"],
    "cifar10_smoke": ["Linf 8/255"],
    "quickstart": ["Linf 0.1", "Linf 0.2", "Linf 0.3"],
    "broken_defenses": ["Linf 0.2"],
    "defenses_mnist": ["Linf 0.2"],
    "defenses_cifar10": ["Linf 8/255", "L2 0.5"],
    "corruptions_mnist": [],
    "cifar10_c": [],
    "transfer_mnist": ["Linf 0.3"],
    "agreement": ["Linf 0.3", "L2 1.5"],
    "black_box": ["Linf 0.2", "L2 3"],
    "tutorial": ["Linf 0.3"],
}
OTHER_ATTACKS = {
    "cifar10_smoke": ["fgsm", "pgd"],
    "broken_defenses": ["pgd", "cw", "apgd_targeted"],
    "defenses_mnist": ["pgd", "cw"],
    "defenses_cifar10": ["pgd", "cw", "apgd_targeted"],
    "corruptions_mnist": [],
    "cifar10_c": [],
    "transfer_mnist": ["fgsm", "pgd", "mi_fgsm"],
    "tutorial": ["fgsm", "pgd", "autoattack"],
}
"""Of the suites that have not the usual four."""

pytestmark = pytest.mark.usefixtures("real_tables")


def test_all_suites_are_here() -> None:
    assert {path.stem for path in SUITES} == set(CELLS)


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_suite_is_right_and_described(path: Path) -> None:
    loaded = load_suite(path)
    check(loaded)
    assert loaded.suite.name == path.stem.replace("_", "-")
    assert loaded.suite.description
    assert [one.label for one in loaded.suite.threat_models] == EPS[path.stem]
    assert len([cell for cell in expand(loaded.suite) if cell.defense.name == "none"]) >= CELLS[path.stem]


def test_every_group_of_the_agreement_holds_several_libraries() -> None:
    groups: dict[str, set[str]] = {}
    for attack in resolve(load_suite(FOLDER / "agreement.yaml").suite).attacks:
        groups.setdefault(str(attack.group), set()).add(str(attack.backend))
    wanted = {"fgsm", "pgd", "cw", "deepfool", "apgd", "square", "autoattack", "hopskipjump", "boundary", "ddn", "fmn"}
    assert set(groups) == wanted
    assert all(len(backends) > 1 for backends in groups.values())


def test_black_boxes_see_no_gradient_and_have_a_budget() -> None:
    for attack in load_suite(FOLDER / "black_box.yaml").suite.attacks:
        assert attacks.entry(attack.name).facts["kind"] in ("score", "decision")
        assert {"n_queries", "max_queries", "repeats"} & set(attack.args)


@pytest.mark.parametrize(
    "path", [path for path in SUITES if path.stem not in ("agreement", "black_box")], ids=lambda path: path.stem
)
def test_every_suite_of_models_but_the_smoke_has_the_four_attacks(path: Path) -> None:
    names = [attack.name for attack in load_suite(path).suite.attacks]
    assert names == OTHER_ATTACKS.get(path.stem, ["fgsm", "pgd", "cw", "autoattack"])


@pytest.mark.parametrize("stem", ["cifar10_linf", "cifar10_l2", "imagenet_linf"])
def test_the_models_stand_in_the_leaderboard_with_the_numbers_that_the_comments_give(stem: str, shared: Path) -> None:
    dataset, _, norm = stem.partition("_")
    folder = shared / "robustbench" / "model_info" / dataset / norm.capitalize()
    comments = (FOLDER / f"{stem}.yaml").read_text()
    for model in load_suite(FOLDER / f"{stem}.yaml").suite.models:
        assert model.source == "robustbench"
        published = json.loads((folder / f"{model.name}.json").read_text())
        (line,) = [line for line in comments.splitlines() if line.strip().startswith(f"- robustbench:{model.name} ")]
        robust = float(published.get("external") or published["autoattack_acc"])
        assert abs(float(line.partition("# ")[2].partition(":")[0]) - robust) <= 0.051, line


def test_corruption_suites_ask_for_the_leaderboards_mean() -> None:
    for stem, rows in (("corruptions_mnist", 4), ("cifar10_c", 3)):
        suite = load_suite(FOLDER / f"{stem}.yaml").suite
        assert suite.corruptions is not None
        assert suite.corruptions.complete
        assert len(expand_corruptions(suite)) == 75 * rows


def test_the_models_of_cifar10_c_stand_in_the_corruption_leaderboard() -> None:
    for model in load_suite(FOLDER / "cifar10_c.yaml").suite.models:
        assert ("cifar10", str(model.name)) in corruption_table()


def test_smoothing_is_evaluated_under_l2_only() -> None:
    cells = expand(load_suite(FOLDER / "defenses_cifar10.yaml").suite)
    assert {cell.threat_model.norm for cell in cells if cell.defense.name == "smoothing"} == {"l2"}
