"""Recipes that a suite names as models: where their weights lie, and the training of those that are missing.

A recipe's weights lie in ``<model directory>/trained/<name>-<digest>/<name>.safetensors``, with their card. The digest is that
of everything that they depend on: the recipe, as :meth:`bench.training.recipe.Recipe.digest` has it, and the files of training
images that it names. A changed recipe means another directory, so that no other recipe's weights are ever taken for its own.
What ``bench train RECIPE`` left in the model directory is taken, too, where its card names the same recipe.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.datasets.base import Dataset
from bench.digests import file_digest, listing_digest, value_digest
from bench.errors import BenchError, DatasetUnavailable, Interrupted, ModelError, ModelUnavailable, Problem, SuiteError
from bench.models.architectures import building
from bench.store.atomic import explained
from bench.suites.check import check as check_suite
from bench.suites.loaded import LoadedSuite
from bench.suites.places import Places
from bench.suites.references import with_members
from bench.suites.sources import Loc, Sources, in_order
from bench.suites.spec import DatasetSpec, ModelSpec, Suite
from bench.training.initial import ZOO, path_of
from bench.training.load import load
from bench.training.recipe import Recipe

FOLDER = "trained"
"""Folder of such weights in the model directory."""


@dataclass(frozen=True, slots=True)
class SuiteRecipe:
    """A recipe that a suite names.

    Attributes:
        model: id of the model.
        path: file of the recipe.
        recipe: what it says.
        weights: where its weights lie, or will.
    """

    model: str
    path: Path
    recipe: Recipe
    weights: Path

    @property
    def trained(self) -> bool:
        """Whether the weights are there, with a card that names this recipe."""
        return self.weights.exists() and _recipe_of(self.weights) == self.recipe.digest()

    @property
    def text(self) -> str:
        """For people: what is missing, and what becomes of it."""
        begun = self.weights.with_suffix(".checkpoint").exists()
        return (
            f"{self.weights}: not trained yet: bench run {'goes on with' if begun else 'trains'} the recipe {self.path} "
            f"({self.recipe.epochs} epochs) first"
        )

    def misfit(self, images: Dataset) -> str:
        """Why the network can't tell the suite's images apart; empty where it can, as far as one image of zeros shows."""
        recipe = self.recipe
        try:
            network = building.build(recipe.architecture, recipe.architecture_args, num_classes=images.num_classes)
            with torch.no_grad():
                shape = tuple(network.eval()(torch.zeros(1, *images.shape)).shape)
        except Exception as error:  # noqa: BLE001 (the edge of the model's cells: whatever its architecture raises)
            return f"{self.path}: {recipe.architecture} doesn't take images of shape {images.shape}: {error}"
        if shape != (1, images.num_classes):
            return f"{self.path}: {recipe.architecture} gives logits of shape {shape} for {images.num_classes} classes"
        return ""


def check(loaded: LoadedSuite) -> None:
    """Checks a suite against the tables of names, as :func:`bench.suites.check.check`, and the recipes that it names.

    Raises:
        SuiteError: with everything that can't work; what is wrong with a recipe has its own file, line and key.
    """
    found: list[Problem] = []
    try:
        check_suite(loaded)
    except SuiteError as error:
        found += error.problems
    for loc, model in _named(loaded.suite):
        found += _problems(Path(str(model.recipe)), (*loc, "recipe"), loaded.sources)
    if found:
        raise SuiteError(in_order(found, (str(loaded.path),)))


def _problems(path: Path, loc: Loc, sources: Sources) -> list[Problem]:
    if not path.exists():
        return [sources.problem(loc, f"{path}: no such file", "a recipe of bench train")]
    try:
        recipe = load(path)
    except SuiteError as error:
        return list(error.problems)
    if recipe.task == "classification":
        return []
    message = f"{path} trains a denoiser, which gives images, not logits"
    return [sources.problem(loc, message, "a recipe of a classifier")]


def with_weights(suite: Suite, places: Places) -> tuple[Suite, tuple[SuiteRecipe, ...]]:
    """The suite with the weights of its recipes, as models of the source ``trained``, and the recipes, each once.

    Args:
        suite: resolved, and right; whether the weights are there, its recipes say themselves.
        places: the model directory.

    Raises:
        SuiteError: where a recipe has become wrong meanwhile.
    """
    found: dict[str, SuiteRecipe] = {}

    def trained(model: ModelSpec, loc: Loc = ()) -> ModelSpec:
        if not _is_recipe(model):
            return model
        path = Path(str(model.recipe))
        recipe = load(path)
        weights = str(_lie(recipe, places.model_dir).absolute())
        found.setdefault(weights, SuiteRecipe(model.id, path, recipe, Path(weights)))
        return model.model_copy(update={"source": "trained", "recipe": None, "weights": weights})

    models = tuple(trained(model) for model in suite.models)
    defenses = tuple(with_members(defense, (), trained) for defense in suite.defenses)
    return suite.model_copy(update={"models": models, "defenses": defenses}), tuple(found.values())


def missing(recipes: Sequence[SuiteRecipe], images: Dataset, failed: Mapping[str, BenchError]) -> dict[str, BenchError]:
    """By the path of the weights, why those of a recipe aren't there; a network that can't work isn't trained first.

    Args:
        recipes: of a suite.
        images: of the suite.
        failed: what :func:`train_all` gave, where it has been tried.
    """
    found: dict[str, BenchError] = {}
    for one in recipes:
        path = str(one.weights)
        if path in failed:
            found[path] = failed[path]
        elif not one.trained:
            misfit = one.misfit(images)
            found[path] = ModelError(misfit) if misfit else ModelUnavailable(one.text)
    return found


def train_all(
    recipes: Sequence[SuiteRecipe], *, device: str, places: Places, note: Callable[[str], None]
) -> dict[str, BenchError]:
    """Trains what isn't trained; a training that fails stops no other.

    Args:
        recipes: of a suite.
        device: where they are trained.
        places: where data lies.
        note: told of every epoch.

    Returns:
        By the path of the weights, why they aren't there.

    Raises:
        Interrupted: where the user stops it; the training's state is saved.
    """
    failed: dict[str, BenchError] = {}
    for one in recipes:
        try:
            _train(one, device, places, note)
        except Interrupted:
            raise
        except DatasetUnavailable as error:
            failed[str(one.weights)] = ModelUnavailable(f"{one.path} can't be trained here: {error}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the edge of the model's cells: they become errors)
            kind = "" if isinstance(error, BenchError) else f"{type(error).__name__}: "
            failed[str(one.weights)] = ModelError(f"{one.path}: the training failed: {kind}{error}")
        if str(one.weights) in failed:
            note(f"{one.model}: {failed[str(one.weights)]}")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # workers in other processes want the memory
    return failed


def _train(one: SuiteRecipe, device: str, places: Places, note: Callable[[str], None]) -> None:
    from bench.training.train import train  # slow to import, and mostly nothing is to be trained

    directory = one.weights.parent
    with _alone(directory, lambda: note(f"{one.model}: waiting for another process that trains {one.path}")):
        if one.trained:
            return
        note(f"{one.model}: training {one.path} into {directory}")
        train(
            one.path,
            output=directory,
            device=device,
            places=places,
            progress=lambda line: note(f"{one.model}: {line.text}"),
            command=f"bench train {one.path} --output {directory}",
        )


@contextmanager
def _alone(directory: Path, wait: Callable[[], None]) -> Iterator[None]:
    """No other process that trains for a suite is in the directory meanwhile; ``wait`` is told where there is one."""
    with explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_recipe(model: ModelSpec) -> bool:
    return model.source == "recipe" and model.recipe is not None


def _named(suite: Suite) -> list[tuple[Loc, ModelSpec]]:
    """The models, and members of defenses, that are recipes, with their places."""
    found: list[tuple[Loc, ModelSpec]] = [(("models", index), model) for index, model in enumerate(suite.models)]

    def see(model: ModelSpec, loc: Loc) -> ModelSpec:
        found.append((loc, model))
        return model

    for index, defense in enumerate(suite.defenses):
        with_members(defense, ("defenses", index), see)
    return [(loc, model) for loc, model in found if _is_recipe(model)]


def _lie(recipe: Recipe, model_dir: Path) -> Path:
    """Where the weights of a recipe lie, or will."""
    init = _init_digest(recipe.init)
    usual = model_dir / f"{recipe.name}.safetensors"
    if recipe.dataset.path is None and not init and usual.exists() and _recipe_of(usual) == recipe.digest():
        return usual
    digest = value_digest([recipe.digest(), _images_digest(recipe.dataset), *([init] if init else [])])
    return model_dir / FOLDER / f"{recipe.name}-{digest[:12]}" / f"{recipe.name}.safetensors"


def _init_digest(init: str | None) -> str:
    """Of the file of weights that a recipe starts from; empty without one, and for the zoo's, whose name is in the recipe."""
    if init is None or init.startswith(ZOO):
        return ""
    path = path_of(init)
    return file_digest(path) if path.is_file() else "missing"


def _images_digest(spec: DatasetSpec) -> str:
    """Of the files of images that a recipe names: what is in a file, names and sizes in a folder; empty without any."""
    if spec.path is None:
        return ""
    path = Path(spec.path).expanduser()
    if path.is_dir():
        files = (one for one in path.rglob("*") if one.is_file())
        return listing_digest((one.relative_to(path).as_posix(), one.stat().st_size) for one in files)
    beside = [path.parent / str(spec.args["labels"])] if spec.args.get("labels") else []
    return value_digest([file_digest(one) for one in (path, *beside) if one.is_file()])


class _Origin(BaseModel):
    """What of a card tells whose weights it is beside."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    recipe_sha256: str


def _recipe_of(weights: Path) -> str:
    """Digest of the recipe that the card beside the weights names; empty where there is none."""
    try:
        return _Origin.model_validate_json(weights.with_suffix(".json").read_bytes()).recipe_sha256
    except (OSError, ValidationError):
        return ""
