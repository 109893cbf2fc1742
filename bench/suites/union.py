"""One suite from several that are the same but for what they were sharded by: models, attacks, defenses, seeds, samples.

What the first suite says counts where it makes no difference to a verdict: paths, descriptions, how the audit looks.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any, TypeVar

from bench.errors import MergeError
from bench.suites.corruptions import NAMES, CorruptionSpec, CorruptionsSpec
from bench.suites.spec import Combination, DatasetSpec, RunOptions, SaveAdversarial, Suite, ThreatModelSpec

_T = TypeVar("_T")
_UNITED = {
    "description", "plugins", "dataset", "threat_models", "models", "attacks", "defenses", "metrics", "include", "exclude",
    "run", "audit", "calibration", "corruptions",
}  # fmt: skip
"""Fields of a suite that are compared and joined in a way of their own; every other must be the same."""
_DATASET_MAY_DIFFER = {"samples", "path"}
_RUN_MAY_DIFFER = {"seeds", "save_adversarial", "time_limit"}
_LEAST: tuple[SaveAdversarial, ...] = ("none", "successes", "all")


def union(suites: Sequence[tuple[str, Suite]]) -> Suite:
    """The suite that has everything that one of these has.

    Its product may have combinations that none of them has: a model of one under an attack of another.

    Args:
        suites: resolved suites, each with the name of its run for messages.

    Raises:
        MergeError: naming everything in which they aren't the same suite.
    """
    name, first = suites[0]
    problems = [
        f"{key}: {here} in {name}, {there} in {other}"
        for other, suite in suites[1:]
        for key, here, there in _differences(first, suite)
    ]
    if problems:
        raise MergeError("not the same suite: " + "; ".join(dict.fromkeys(problems)))
    each = [suite for _, suite in suites]
    return first.model_copy(
        update={
            "plugins": _by(
                (plugin for suite in each for plugin in suite.plugins), lambda plugin: PurePath(plugin).name
            ),
            "dataset": first.dataset.model_copy(update={"samples": _most(suite.dataset for suite in each)}),
            "threat_models": _by((one for suite in each for one in suite.threat_models), _ball),
            "models": _by((one for suite in each for one in suite.models), lambda one: one.id),
            "attacks": _by((one for suite in each for one in suite.attacks), lambda one: str(one.id)),
            "defenses": _by((one for suite in each for one in suite.defenses), lambda one: str(one.id)),
            "metrics": _metrics(each),
            "include": _included(each),
            "corruptions": _corruptions([suite.corruptions for suite in each if suite.corruptions is not None]),
            "exclude": tuple(one for one in first.exclude if all(one in suite.exclude for suite in each)),
            "run": _run(first.run, each),
        }
    )


def _differences(first: Suite, other: Suite) -> Iterator[tuple[str, str, str]]:
    """Key, value and other value of all that may not differ."""
    for key in (name for name in Suite.model_fields if name not in _UNITED):
        yield from _pair(key, getattr(first, key), getattr(other, key))
    for key in (name for name in DatasetSpec.model_fields if name not in _DATASET_MAY_DIFFER):
        yield from _pair(f"dataset.{key}", getattr(first.dataset, key), getattr(other.dataset, key))
    for key in (name for name in RunOptions.model_fields if name not in _RUN_MAY_DIFFER):
        yield from _pair(f"run.{key}", getattr(first.run, key), getattr(other.run, key))
    yield from _pair("calibration", _images(first.calibration), _images(other.calibration))
    if first.corruptions is not None and other.corruptions is not None:
        yield from _pair("corruptions", _made_by(first.corruptions), _made_by(other.corruptions))
    if first.run.reuse == "none":
        return
    for norm in dict.fromkeys(one.norm for one in first.threat_models):
        here, there = (sorted(one.eps for one in suite.threat_models if one.norm == norm) for suite in (first, other))
        if there:  # a cell builds on the next smaller eps of its suite: with others it is another cell
            yield from _pair(f"threat_models ({norm}, with run.reuse)", list(map(str, here)), list(map(str, there)))


def _pair(key: str, here: object, there: object) -> Iterator[tuple[str, str, str]]:
    if here != there:
        yield key, str(here), str(there)


def _images(spec: DatasetSpec | None) -> dict[str, Any] | None:  # Any: JSON values
    return None if spec is None else spec.model_dump(mode="json", exclude={"path"})


def _ball(one: ThreatModelSpec) -> tuple[str, str]:
    return one.norm, str(one.eps)


def _by(items: Iterable[_T], key: Any) -> tuple[_T, ...]:  # Any: a function of an item
    """The first item of each key, in order."""
    found: dict[Hashable, _T] = {}
    for item in items:
        found.setdefault(key(item), item)
    return tuple(found.values())


def _most(specs: Iterable[DatasetSpec]) -> int | None:
    counts = [spec.samples for spec in specs]
    return None if None in counts else max(count for count in counts if count is not None)


def _made_by(spec: CorruptionsSpec) -> str:
    return f"seed {spec.seed}" if spec.path is None else "published files"


def _corruptions(specs: Sequence[CorruptionsSpec]) -> CorruptionsSpec | None:
    """Every corruption at every severity that one of these has, in the paper's order where they aren't all the same."""
    if not specs or all(spec.kinds == specs[0].kinds for spec in specs):
        return specs[0] if specs else None
    severities = {
        name: {severity for spec in specs for kind in spec.kinds if kind.name == name for severity in kind.severities}
        for name in NAMES
    }
    kinds = tuple(
        CorruptionSpec(name=name, severities=tuple(sorted(found))) for name, found in severities.items() if found
    )
    return specs[0].model_copy(update={"kinds": kinds})


def _metrics(suites: Sequence[Suite]) -> tuple[str, ...]:
    """All metrics where one suite asks for all."""
    if any(not suite.metrics for suite in suites):
        return ()
    return tuple(dict.fromkeys(name for suite in suites for name in suite.metrics))


def _included(suites: Sequence[Suite]) -> tuple[Combination, ...]:
    """Nothing is restricted where one suite restricts nothing."""
    if any(not suite.include for suite in suites):
        return ()
    return _by((one for suite in suites for one in suite.include), lambda one: one.model_dump_json())


def _run(first: RunOptions, suites: Sequence[Suite]) -> RunOptions:
    seeds = tuple(dict.fromkeys(seed for suite in suites for seed in suite.run.seeds))
    kept = min((suite.run.save_adversarial for suite in suites), key=_LEAST.index)
    return first.model_copy(update={"seeds": seeds, "save_adversarial": kept})
