"""What a node needs to evaluate shards, and gets once from the driver: images, weights, plugins. No shared disk is needed.

A file that lies on the node under the same path with the same content is used where it lies; others come from the driver
and are kept in a directory of the node's temporary files under their digests.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench import registry
from bench.datasets.base import Dataset
from bench.digests import file_digest
from bench.models.base import Located
from bench.runner.executors.evaluator import Evaluator, Get
from bench.runner.options import RunSettings
from bench.runner.preflight import Plan
from bench.runner.provenance import code_digest, versions
from bench.store.atomic import write_bytes
from bench.suites.cells import Defended
from bench.suites.corruptions import CorruptionsSpec
from bench.suites.places import Places
from bench.suites.references import files, members, with_paths
from bench.suites.spec import DefenseSpec, ModelSpec

Put = Callable[[Any], Any]  # Any: an array or a dataset, and a reference to it in an object store
"""Puts something where every node can get it."""


class PackedFile(NamedTuple):
    """A file that travels: its digest, and its bytes in an object store."""

    digest: str
    content: Any  # Any: a reference


class Digests(NamedTuple):
    """What a model must be on the node, too."""

    weights: str
    architecture: str


@dataclass(frozen=True, slots=True)
class RunLuggage:
    """The luggage of a real run.

    Attributes:
        dataset: a reference to the images.
        calibration: a reference to those for thresholds, or ``None``.
        corruptions: how corrupted images are made on the node; ``None`` where they travel with the shards.
        settings: the user's.
        files: files by the paths that the suite has for them.
        directories: of RobustBench's layout, or of weights with a card beside them: by directory, the files in it by their
            paths inside.
        models: digests by the ids of models.
        plugins: paths of plugin files, which stand in ``files``.
        code: digest of the code of bench.
        versions: of the packages that numbers depend on.
        members: digests of the models that a defense asks, by its id and norm.
    """

    dataset: Any  # Any: a reference
    calibration: Any  # Any: a reference
    corruptions: CorruptionsSpec | None
    settings: RunSettings
    files: Mapping[str, PackedFile]
    directories: Mapping[str, Mapping[str, PackedFile]]
    models: Mapping[str, Digests]
    plugins: tuple[str, ...]
    code: str
    versions: Mapping[str, str]
    members: Mapping[tuple[str, str], tuple[Digests, ...]]

    def unfit(self) -> str:
        """Other code or other versions would give records that don't belong beside the driver's."""
        here = versions()
        other = [
            f"{name} {here[name]} instead of {wanted}" for name, wanted in self.versions.items() if here[name] != wanted
        ]
        if other:
            return f"other versions: {', '.join(other)}"
        return "" if code_digest() == self.code else "another code of bench"

    def open(self, get: Get) -> Evaluator:
        """Writes the files that aren't there, runs the plugins, and makes a worker."""
        from bench.runner.executors.on_node import NodeEvaluator

        lie = {path: _unpack(Path(path), packed, get) for path, packed in self.files.items()}
        for base, there in self.directories.items():
            lie[base] = _unpack_directory(Path(base), there, get)
            lie |= {str(Path(base) / inside): str(Path(lie[base]) / inside) for inside in there}
        for plugin in self.plugins:
            registry.load_plugin(Path(lie[plugin]))
        places = _places(self.settings.places, lie)
        dataset: Dataset = get(self.dataset)
        calibration = None if self.calibration is None else get(self.calibration)
        return NodeEvaluator(self, dataset, calibration, places, Localiser(lie))


class Localiser:
    """The paths of a cell as they are on this node.

    Args:
        lie: where the paths of the driver lie here.
    """

    def __init__(self, lie: Mapping[str, str]) -> None:
        self._lie = dict(lie)

    def model(self, spec: ModelSpec) -> ModelSpec:
        """A model with its paths."""
        paths = {key: getattr(spec, key) for key in ("weights", "directory")}
        return spec.model_copy(
            update={key: self._lie.get(path, path) for key, path in paths.items() if path is not None}
        )

    def defense(self, spec: DefenseSpec) -> DefenseSpec:
        """A defense with its paths."""
        return with_paths(spec, (), lambda path, loc: self._lie.get(path, path))


def pack(plan: Plan, settings: RunSettings, plugins: tuple[Path, ...], put: Put) -> RunLuggage:
    """Reads what nodes need.

    Args:
        plan: the suite.
        settings: the user's.
        plugins: the plugin files of the suite.
        put: puts an array, or a dataset, where every node can get it.
    """
    there: dict[str, PackedFile] = {}

    def packed(path: Path) -> PackedFile:
        digest = file_digest(path)
        if digest not in there:
            there[digest] = PackedFile(digest, put(np.fromfile(path, dtype=np.uint8)))
        return there[digest]

    single: dict[str, PackedFile] = {str(path): packed(path) for path in plugins}
    layout: dict[str, dict[str, PackedFile]] = {}
    digests: dict[str, Digests] = {}
    for one in plan.every:
        if one.located is None or one.unavailable or one.broken:
            continue
        digests[one.cell.model.id] = Digests(one.located.weights_digest, one.located.architecture_digest)
        for path in _own_files(one.cell):
            single.setdefault(path, packed(Path(path)))
        for base, inside, path in (*_robustbench(one.cell, one.located, settings.places), *_trained(one.cell)):
            layout.setdefault(base, {}).setdefault(inside, packed(Path(path)))
    spec = plan.suite.corruptions
    return RunLuggage(
        dataset=put(plan.dataset),
        calibration=None if plan.calibration is None else put(plan.calibration),
        corruptions=spec if spec is not None and spec.path is None and plan.corrupted.images is not None else None,
        settings=settings,
        files=single,
        directories=layout,
        models=digests,
        plugins=tuple(str(path) for path in plugins),
        code=code_digest(),
        versions=versions(),
        members=_members(plan),
    )


def _members(plan: Plan) -> dict[tuple[str, str], tuple[Digests, ...]]:
    found = {}
    for one in plan.every:
        found[one.cell.defense_id, one.cell.norm] = tuple(
            Digests(*pair) for pair in one.facts.get("defense_members", ())
        )
    return found


def _own_files(cell: Defended) -> Iterator[str]:
    """The files that the words of a model and its defense name, and that stand alone."""
    for spec in (cell.model, *members(cell.defense)):
        if spec.weights is not None and spec.source != "trained":
            yield spec.weights
    for link in cell.defense.links:
        yield from files(link).values()


def _trained(cell: Defended) -> Iterator[tuple[str, str, str]]:
    """Directory, path inside and path of the weights that bench trained, and of their cards."""
    for spec in (cell.model, *members(cell.defense)):
        if spec.weights is not None and spec.source == "trained":
            weights = Path(spec.weights)
            for path in (weights, weights.with_suffix(".json")):
                yield str(path.parent), path.name, str(path)


def _robustbench(cell: Defended, located: Located, places: Places) -> Iterator[tuple[str, str, str]]:
    """Directory, path inside and path of RobustBench's files; all of an ensemble's.

    Members of defenses are looked for in the same directories, so that a directory travels as far as it is asked for.
    """
    if cell.model.source != "robustbench" or located.path is None:
        return
    base = Path(cell.model.directory).expanduser() if cell.model.directory else places.model_dir
    name, _, number = located.path.name.rpartition("_m")
    several = bool(name) and number.removesuffix(".pt").isdigit()
    found = sorted(located.path.parent.glob(f"{name}_m*.pt")) if several else [located.path]
    for path in found:
        yield str(cell.model.directory or places.model_dir), str(path.relative_to(base)), str(path)


def _unpack(path: Path, packed: PackedFile, get: Get) -> str:
    """Where a file lies on this node; it is written where it doesn't lie there yet."""
    if _is(path, packed.digest):
        return str(path)
    kept = _kept() / packed.digest / path.name
    if not _is(kept, packed.digest):
        write_bytes(kept, get(packed.content).tobytes())
    return str(kept)


def _unpack_directory(base: Path, there: Mapping[str, PackedFile], get: Get) -> str:
    """The same of a directory of files."""
    if all(_is(base / inside, packed.digest) for inside, packed in there.items()):
        return str(base.absolute())
    text = "\n".join(f"{inside} {packed.digest}" for inside, packed in sorted(there.items()))
    directory = _kept() / hashlib.sha256(text.encode()).hexdigest()
    for inside, packed in there.items():
        if not _is(directory / inside, packed.digest):
            write_bytes(directory / inside, get(packed.content).tobytes())
    return str(directory)


def _is(path: Path, digest: str) -> bool:
    try:
        return file_digest(path.expanduser()) == digest
    except OSError:
        return False


def _kept() -> Path:
    """This user's files from drivers; nobody else may put any there."""
    directory = Path(tempfile.gettempdir()) / f"bench-files-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def _places(places: Places, lie: Mapping[str, str]) -> Places:
    """Directories here; what the user trusts to be unpickled is trusted wherever it lies."""
    trusted = {Path(where).resolve() for path, where in lie.items() if Path(path).resolve() in places.allow_pickle}
    for base, where in lie.items():
        for path in places.allow_pickle:
            if path.is_relative_to(Path(base).resolve()):
                trusted.add((Path(where) / path.relative_to(Path(base).resolve())).resolve())
    model_dir = Path(lie.get(str(places.model_dir), str(places.model_dir)))
    return replace(places, model_dir=model_dir, allow_pickle=places.allow_pickle | trusted)
