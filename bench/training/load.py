"""Reading a recipe: the YAML of suites, ``--set``, and every problem with its file, line and key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from bench import registry
from bench.errors import Problem, SuiteError, UnknownNameError, did_you_mean, nearest
from bench.models.architectures import PREFIXES
from bench.models.zoo.cards import cards
from bench.registry import Registry
from bench.suites.messages import problems_of
from bench.suites.nodes import Mark, Node, parse, read
from bench.suites.sources import Sources, in_order
from bench.suites.spec import AttackSpec, DatasetSpec
from bench.training import TABLE
from bench.training.initial import ZOO
from bench.training.method_parameters import AttackParams
from bench.training.recipe import Recipe

_FORM = "key=value, such as epochs=5 or method.eps=0.2"
_SHORT = ("dataset", "test", "architecture", "method", "optimizer", "schedule", "average")
"""Parts that may be written as a name alone."""


def load(path: Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file.

    Args:
        path: a YAML file.
        overrides: changes such as ``epochs=5`` or ``method.eps=0.2``; later ones win.

    Raises:
        SuiteError: with everything that is wrong with it.
    """
    root = read(path)
    problems: list[Problem] = []
    for text in overrides:
        try:
            _override(root, text)
        except SuiteError as error:
            problems += error.problems
    if problems:
        raise SuiteError(problems)
    return _validated(root, path)


def _validated(root: Node, path: Path) -> Recipe:
    sources = Sources(root)
    plain = root.plain()
    assert isinstance(plain, dict)
    problems = _method_problems(plain, sources)
    recipe = None
    try:
        recipe = Recipe.model_validate(plain)
    except ValidationError as error:
        owned = problems_of(error, sources, model=Recipe, owner="the recipe")
        # The branches of a union have their own places; the method's problems are already found.
        problems += [problem for problem in owned if not (problems and problem.key.partition(".")[0] == "method")]
    problems += _name_problems(plain, sources)
    problems += _attack_problems(recipe, sources) if recipe is not None else []
    if problems or recipe is None:
        raise SuiteError(in_order(problems, [str(path)]))
    return recipe.model_copy(
        update={
            "dataset": _beside(recipe.dataset, path),
            "test": _beside(recipe.test, path) if recipe.test is not None else None,
            "init": _found(recipe.init, path),
        }
    )


def _method_problems(plain: dict[str, object], sources: Sources) -> list[Problem]:
    """What is wrong with the method's parameters."""
    said = plain.get("method", "standard")
    method = {"name": said} if isinstance(said, str) else said
    if not isinstance(method, dict):
        return []
    name = method.get("name")
    if not isinstance(name, str) or name not in TABLE:
        hint = nearest(str(name), TABLE, most=1)
        message = f"unknown training method {name!r}{hint}" if "name" in method else "the method has no name"
        return [sources.problem(("method", "name") if "name" in method else ("method",), message, ", ".join(TABLE))]
    params = TABLE[name].params
    assert params is not None
    try:
        params.model_validate(method)
    except ValidationError as error:
        return problems_of(error, sources, model=params, base=("method",), owner=f"the training method {name}")
    return []


def _name_problems(plain: dict[str, object], sources: Sources) -> list[Problem]:
    """Names of datasets and architectures that no table knows."""
    problems: list[Problem] = []
    tables: tuple[tuple[str, Registry[object]], ...] = (
        ("dataset", registry.datasets),
        ("test", registry.datasets),
        ("architecture", registry.architectures),
    )
    for key, table in tables:
        said = plain.get(key)
        loc = (key, "name") if isinstance(said, dict) else (key,)
        name = said.get("name") if isinstance(said, dict) else said
        if not isinstance(name, str) or (key == "architecture" and name.partition(":")[0] in PREFIXES):
            continue
        try:
            table.entry(name)
        except UnknownNameError as error:
            hint = did_you_mean(error.nearest)
            problems.append(sources.problem(loc, f"unknown {error.kind} {name!r}{hint}", ", ".join(error.known)))
    init = plain.get("init")
    if isinstance(init, str) and init.startswith(ZOO) and init.removeprefix(ZOO) not in cards():
        unknown = init.removeprefix(ZOO)
        hint = nearest(unknown, list(cards()), most=1)
        problems.append(sources.problem(("init",), f"unknown model of the zoo {unknown!r}{hint}", ", ".join(cards())))
    return problems


def _attack_problems(recipe: Recipe, sources: Sources) -> list[Problem]:
    """Attacks that couldn't be run, in the training or when it is done."""
    norms = list(dict.fromkeys(threat_model.norm for threat_model in recipe.evaluation.threat_models))
    problems: list[Problem] = []
    for index, attack in enumerate(recipe.evaluation.attacks):
        problems += _problems_of_attack(attack, norms, ("evaluation", "attacks", index), sources)
    if isinstance(recipe.method, AttackParams):
        problems += _problems_of_attack(recipe.method.attack, [recipe.method.norm], ("method", "attack"), sources)
    return problems


def _problems_of_attack(
    attack: AttackSpec, norms: Sequence[str], loc: tuple[str | int, ...], sources: Sources
) -> list[Problem]:
    """An attack that no table knows, its parameters, and norms that it doesn't work under."""
    try:
        entry = registry.attacks.entry(attack.name)
    except UnknownNameError as error:
        hint = f"; did you mean {' or '.join(error.nearest)}?" if error.nearest else ""
        return [sources.problem(loc, f"unknown attack {attack.name!r}{hint}", ", ".join(error.known))]
    problems: list[Problem] = []
    try:
        if entry.params is not None:
            entry.params.model_validate(attack.args)
    except ValidationError as error:
        model, owner = entry.params or BaseModel, f"the attack {attack.name}"
        problems += problems_of(error, sources, model=model, base=(*loc, "args"), owner=owner)
    return problems + [
        sources.problem(loc, f"the attack {attack.name} doesn't work under {norm}", ", ".join(entry.norms))
        for norm in norms
        if entry.norms and norm not in entry.norms
    ]


def _beside(spec: DatasetSpec, path: Path) -> DatasetSpec:
    """A relative path means a file beside the recipe where there is one, else in the working directory."""
    found = _found(spec.path, path)
    return spec if found == spec.path else spec.model_copy(update={"path": found})


def _found(name: str | None, path: Path) -> str | None:
    """The file beside the recipe where there is one, else the name as it is."""
    return name if name is None or not (path.parent / name).exists() else str(path.parent / name)


def _override(root: Node, text: str) -> None:
    """Applies one ``--set``; the value is read as YAML."""
    key, equals, value = text.partition("=")
    mark = Mark(f"--set {text}", None, Path())
    parts = key.strip().split(".")
    known = tuple(Recipe.model_fields)
    if not equals or not all(parts):
        raise SuiteError(
            [Problem("there is no =" if not equals else f"{key!r} is not a place", mark.file, None, "", _FORM)]
        )
    if parts[0] not in known:
        hint = nearest(parts[0], known, most=1)
        raise SuiteError([Problem(f"a recipe has no {parts[0]!r}{hint}", mark.file, None, "", ", ".join(known))])
    node = root
    for depth, part in enumerate(parts[:-1]):
        assert isinstance(node.value, dict)
        child = node.value.setdefault(part, Node({}, mark))
        if depth == 0 and part in _SHORT and isinstance(child.value, str):
            child.value = {"name": Node(child.value, child.mark)}
        if child.value is None:
            child.value = {}
        if not isinstance(child.value, dict):
            place = ".".join(parts[: depth + 1])
            message = f"{place} is {child.plain()!r}: there is nothing inside it to set"
            raise SuiteError([Problem(message, mark.file, None, "", f"{place}=...")])
        node = child
    assert isinstance(node.value, dict)
    tree = parse(value, file=mark.file, directory=mark.directory, lines=False)
    node.value[parts[-1]] = _marked(tree, mark) if tree is not None else Node(None, mark)


def _marked(node: Node, mark: Mark) -> Node:
    """The tree with the mark of its ``--set`` everywhere."""
    if isinstance(node.value, dict):
        return Node({key: _marked(child, mark) for key, child in node.value.items()}, mark)
    if isinstance(node.value, list):
        return Node([_marked(child, mark) for child in node.value], mark)
    return Node(node.value, mark)
