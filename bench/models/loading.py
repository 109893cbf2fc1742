"""From a suite's model to a counted network: the source found, the spec checked, the network built and wrapped."""

from __future__ import annotations

from pydantic import ValidationError

from bench import registry
from bench.errors import ModelError
from bench.models.base import ModelSource, Setting
from bench.models.plugin import Plugin
from bench.models.wrapper import CountedModel
from bench.registry import Entry
from bench.suites.places import Places
from bench.suites.spec import ModelSpec

_ALWAYS = {"id", "source", "args", "clean_accuracy"}


def source_of(spec: ModelSpec) -> ModelSource:
    """The source of a model, once the spec says nothing that the source would ignore.

    Raises:
        UnknownNameError: for a source that no table knows.
        ModelError: for keys that the source needs and doesn't get, or gets and doesn't use.
    """
    entry = registry.models.entry(spec.source)
    if entry.origin != "bench":
        return Plugin(registry.models.load(spec.source), entry)
    _check_keys(spec, entry)
    source: ModelSource = registry.models.load(spec.source)()
    return source


def build(spec: ModelSpec, setting: Setting, places: Places) -> CountedModel:
    """The counted network on the CPU.

    Raises:
        BenchError: where it can't be located or built; see :func:`bench.models.load`.
    """
    channels = setting.shape[0]
    for key, values in (("mean", spec.mean), ("std", spec.std)):
        if values is not None and len(values) not in (1, channels):
            raise ModelError(f"{spec.id}: {key}: {len(values)} numbers for images of {channels} channels")
    source = source_of(spec)
    network = source.build(spec, setting, places, source.locate(spec, setting, places))
    return CountedModel(network, num_classes=setting.num_classes, mean=spec.mean, std=spec.std)


def _check_keys(spec: ModelSpec, entry: Entry) -> None:
    """A key that would be ignored is refused: a mean and std beside a model that has its own would be a wrong number."""
    takes = entry.facts["takes"]
    given = {key for key in type(spec).model_fields if getattr(spec, key) not in (None, {}, ())}
    for key in sorted(given - set(takes) - _ALWAYS):
        raise ModelError(f"{spec.id}: {key}: {spec.source} doesn't use it (accepted: {', '.join(takes)})")
    for key in entry.facts["needs"]:
        if key not in given:
            raise ModelError(f"{spec.id}: {key}: missing; {spec.source} needs {', '.join(entry.facts['needs'])}")
    if entry.params is not None:
        try:
            entry.params.model_validate(spec.args)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            accepted = ", ".join(entry.params.model_fields) or "none"
            raise ModelError(f"{spec.id}: args: {problems} (accepted: {accepted})") from error
