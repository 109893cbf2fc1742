from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from bench.errors import SuiteError
from bench.training.load import load
from bench.training.method_parameters import PGDParams
from bench.training.recipe import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"
SHORT = "name: a\ndataset: mnist\narchitecture: mnist_cnn\nepochs: 2\n"


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(SuiteError) as caught:
        load(path, overrides=overrides)
    return [str(problem).replace(str(path), path.name) for problem in caught.value.problems]


def test_the_short_form_is_widened(written: Callable[[str], Path]) -> None:
    recipe = load(written(SHORT + "method: standard\noptimizer: sgd\nschedule: onecycle\n"))
    assert recipe.dataset.split == "train"
    assert recipe.test_images.split == "test"
    assert (recipe.method.name, recipe.optimizer.name, recipe.schedule.name) == ("standard", "sgd", "onecycle")


def test_a_selection_of_training_images_is_not_made_of_the_test_images(mini: Path) -> None:
    recipe = load(mini).model_copy(update={"test": None})
    assert recipe.dataset.samples == 300
    assert recipe.test_images.samples is None


@pytest.mark.parametrize("name", ["mnist_standard", "mnist_pgd", "mnist_denoiser"])
def test_the_recipes_of_the_zoo_are_right(name: str) -> None:
    recipe = load(RECIPES / f"{name}.yaml")
    assert recipe.name == name
    assert recipe.method.name == {"mnist_denoiser": "denoise"}.get(name, name.removeprefix("mnist_"))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    recipe = load(path)
    assert recipe.name == path.stem
    said = {"denoise": "denoiser"}.get(recipe.method.name, recipe.method.name)
    said = "mixed" if recipe.mix is not None else "awp" if recipe.awp is not None else said
    assert path.stem.endswith(said) or "madry" in path.stem


def test_overrides_win_and_reach_into_short_forms(mini: Path) -> None:
    recipe = load(mini, overrides=["epochs=7", "epochs=8", "method.eps=8/255", "optimizer={name: sgd, lr: 1e-2}"])
    assert recipe.epochs == 8
    assert isinstance(recipe.method, PGDParams)
    assert recipe.method.eps == Fraction(8, 255)
    assert (recipe.optimizer.name, recipe.optimizer.lr) == ("sgd", 0.01)
    assert load(mini, overrides=["dataset.samples=10", "architecture.hidden=5"]).architecture_args["hidden"] == 5


def test_every_problem_is_told_with_its_line(written: Callable[[str], Path]) -> None:
    path = written(
        "name: a\n"
        "dataset: mnits\n"
        "architecture: mnist_cmm\n"
        "epoch: 3\n"
        "batch_size: true\n"
        "method:\n"
        "  name: pgd\n"
        "  esp: 0.3\n"
        "  steps: 0\n"
        "optimizer: {name: adam, momentum: 0.9}\n"
    )
    told = problems(path)
    assert any(text.startswith("recipe.yaml:2: dataset: unknown dataset 'mnits'; did you mean mnist?") for text in told)
    assert any(text.startswith("recipe.yaml:3: architecture: unknown architecture 'mnist_cmm'") for text in told)
    assert any("recipe.yaml:4: epoch: unknown" in text and "did you mean epochs?" in text for text in told)
    assert any(text.startswith("recipe.yaml:5: batch_size: true is not wanted here") for text in told)
    assert any("'eps' of the training method pgd is missing" in text for text in told)
    assert any("recipe.yaml:8: method.esp: unknown parameter 'esp'" in text for text in told)
    assert any(text.startswith("recipe.yaml:9: method.steps:") and "at least 1" in text for text in told)
    assert any("momentum belongs to sgd" in text for text in told)
    assert any("'epochs' of the recipe is missing" in text for text in told)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "there is no ="),
        ("epoch=3", "a recipe has no 'epoch'; did you mean epochs?"),
        ("epochs=many", "--set epochs=many: epochs:"),
        ("epochs.first=3", "epochs is 3: there is nothing inside it to set"),
        ("optimizer={name: adam, nesterov: true}", "nesterov belongs to sgd with momentum"),
        ("optimizer={name: sgd, momentum: 0, nesterov: true}", "nesterov belongs to sgd with momentum"),
        ("method.name=tradez", "unknown training method 'tradez'; did you mean trades?"),
        ("method={name: attack, eps: 0.1, attack: apgdd}", "method.attack: unknown attack 'apgdd'; did you mean apgd"),
        ("method={name: attack, eps: 0.1, attack: {name: apgd, stepz: 3}}", "stepz"),
        ("method={name: attack, eps: 0.1, attack: ddn}", "the attack ddn doesn't work under linf (accepted: l2)"),
    ],
)
def test_a_wrong_override_says_so(mini: Path, override: str, message: str) -> None:
    assert any(message in text for text in problems(mini, override))


def test_attacks_that_could_not_be_run_after_the_training_are_refused_before_it(written: Callable[[str], Path]) -> None:
    path = written(
        SHORT + "evaluation:\n"
        "  threat_models: ['linf:0.1', 'l1:2']\n"
        "  attacks:\n"
        "    - pdg\n"
        "    - {name: pgd, stesp: 4}\n"
    )
    told = problems(path)
    assert any(
        text.startswith("recipe.yaml:8: evaluation.attacks.0: unknown attack 'pdg'; did you mean pgd?") for text in told
    )
    assert any(text.startswith("recipe.yaml:9: evaluation.attacks.1.stesp: unknown parameter 'stesp'") for text in told)
    assert any("the attack pgd doesn't work under l1 (accepted: linf, l2)" in text for text in told)


def test_numbers_are_finite(written: Callable[[str], Path]) -> None:
    told = problems(written(SHORT + "optimizer: {name: sgd, lr: .inf}\n"))
    assert told == ["recipe.yaml:5: optimizer.lr: wrong type, got inf (accepted: a finite number)"]


def test_duplicate_keys_are_refused(written: Callable[[str], Path]) -> None:
    assert "the key 'epochs' is there twice" in problems(written(SHORT + "epochs: 3\n"))[0]


def test_training_on_the_test_images_is_refused(written: Callable[[str], Path]) -> None:
    path = written("name: a\ndataset: {name: mnist, split: test}\narchitecture: mnist_cnn\nepochs: 1\n")
    assert "it would be trained on its test images" in problems(path)[0]


def test_the_digest_is_that_of_what_the_weights_depend_on(mini: Path) -> None:
    recipe = load(mini)
    same = load(mini, overrides=["name=other", "description=text", "evaluation.samples=5"])
    assert same.digest() == recipe.digest()
    for other in ("seed=4", "epochs=4", "method.eps=0.2", "threads=2", "augmentation.shift=2", "dataset.samples=200"):
        assert load(mini, overrides=[other]).digest() != recipe.digest(), other


def test_a_resolved_recipe_loads_as_itself(mini: Path) -> None:
    recipe = load(mini)
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_a_path_beside_the_recipe_is_found(written: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "images.npz").touch()
    path = written(SHORT.replace("dataset: mnist", "dataset: {name: npz, path: images.npz}"))
    assert load(path).dataset.path == str(tmp_path / "images.npz")
