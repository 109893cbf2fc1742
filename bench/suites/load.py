"""Reading a suite: YAML, ``extends``, ``--set``, paths; every problem with its file and line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.errors import Problem, SuiteError
from bench.suites.check import Parts, part_problems
from bench.suites.extend import read_extended
from bench.suites.loaded import LoadedSuite
from bench.suites.messages import problems_of
from bench.suites.override import override
from bench.suites.paths import absolute
from bench.suites.references import MODEL_PATHS, with_paths
from bench.suites.short_forms import each_eps
from bench.suites.sources import Loc, Sources, in_order
from bench.suites.spec import AttackSpec, DatasetSpec, DefenseSpec, ModelSpec, Suite, ThreatModelSpec

__all__ = ["LoadedSuite", "load_suite"]

_S = TypeVar("_S", bound=BaseModel)


def load_suite(path: Path | str, *, overrides: Sequence[str] = ()) -> LoadedSuite:
    """Reads a suite.

    Paths in it (``dataset.path``, ``corruptions.path``, ``weights``, ``recipe``, ``directory``, ``plugins``, a defense's
    files) are looked for relative to the file that names them, then relative to the working directory, and become
    absolute; one that exists in neither place stays as it is, to be refused when it is needed.

    Args:
        path: the YAML file.
        overrides: ``--set`` texts such as ``attacks.pgd.steps=50``.

    Raises:
        SuiteError: with everything that is wrong, each with file, line, key, value and what would be accepted. Names
            and combinations are checked by :func:`bench.suites.check.check`, after the plugins have been run; where
            the suite is already wrong without them, unknown names are reported along with the rest.
    """
    path = Path(path)
    repeated: list[Problem] = []
    root = read_extended(path, repeated)
    try:
        override(root, overrides)
    except SuiteError as error:
        raise SuiteError([*repeated, *error.problems]) from error
    sources = Sources(root)
    plain = root.plain()
    try:
        suite = Suite.model_validate(plain)
    except ValidationError as error:
        problems = repeated + problems_of(error, sources)
        parts = _right_parts(plain if isinstance(plain, dict) else {})
        if not parts.plugins:
            problems += part_problems(parts, sources)
        raise SuiteError(in_order(problems, (str(path),))) from error
    if repeated:
        unknown = [] if suite.plugins else part_problems(Parts.of(suite), sources)
        raise SuiteError(in_order([*repeated, *unknown], (str(path),)))
    suite = _with_paths(suite, sources)
    return LoadedSuite(suite, path, sources, tuple(Path(plugin) for plugin in suite.plugins))


def _right_parts(plain: Mapping[str, Any]) -> Parts:  # Any: what stands in the YAML
    """The parts of a broken suite that are right by themselves."""

    def items(section: str, widen: Callable[[object], list[Any]] = lambda item: [item]) -> list[Any]:
        value = plain.get(section)
        listed = value if isinstance(value, list) else [] if value is None else [value]
        return [one for item in listed for one in widen(item)]

    def right(spec: type[_S], values: list[Any], *, mend: bool = True) -> dict[int, _S]:
        found = ((index, _validated(spec, value, mend=mend)) for index, value in enumerate(values))
        return {index: one for index, one in found if one is not None}

    return Parts(
        right(DatasetSpec, [plain.get("dataset")]).get(0),
        None if plain.get("calibration") is None else right(DatasetSpec, [plain["calibration"]]).get(0),
        right(ThreatModelSpec, items("threat_models", each_eps)),
        right(ModelSpec, items("models"), mend=False),
        right(AttackSpec, items("attacks")),
        right(DefenseSpec, items("defenses")),
        {index: value for index, value in enumerate(items("metrics")) if isinstance(value, str)},
        tuple(str(item) for item in items("plugins")),
    )


def _validated(spec: type[_S], value: object, *, mend: bool) -> _S | None:
    """The part, without its wrong keys if it can be mended so; ``None`` where it can't."""
    try:
        return spec.model_validate(value)
    except ValidationError as error:
        wrong = {detail["loc"][0] for detail in error.errors() if detail["loc"]}
    if not mend or not isinstance(value, Mapping) or not wrong & value.keys():
        return None
    return _validated(spec, {key: item for key, item in value.items() if key not in wrong}, mend=False)


def _with_paths(suite: Suite, sources: Sources) -> Suite:
    """The suite with its paths made absolute."""

    def lies(value: str, loc: Loc) -> str:
        mark = sources.mark(loc)
        return value if mark is None else absolute(value, mark.directory)

    def found(value: str | None, loc: Loc) -> str | None:
        return None if value is None else lies(value, loc)

    models = tuple(
        model.model_copy(update={key: found(getattr(model, key), ("models", index, key)) for key in MODEL_PATHS})
        for index, model in enumerate(suite.models)
    )
    dataset = suite.dataset.model_copy(update={"path": found(suite.dataset.path, ("dataset", "path"))})
    plugins = tuple(str(found(plugin, ("plugins", index))) for index, plugin in enumerate(suite.plugins))
    defenses = tuple(with_paths(defense, ("defenses", index), lies) for index, defense in enumerate(suite.defenses))
    calibration = suite.calibration
    if calibration is not None:
        calibration = calibration.model_copy(update={"path": found(calibration.path, ("calibration", "path"))})
    corruptions = suite.corruptions
    if corruptions is not None:
        corruptions = corruptions.model_copy(update={"path": found(corruptions.path, ("corruptions", "path"))})
    update = {
        "models": models,
        "dataset": dataset,
        "corruptions": corruptions,
        "calibration": calibration,
        "plugins": plugins,
        "defenses": defenses,
    }
    return suite.model_copy(update=update)
