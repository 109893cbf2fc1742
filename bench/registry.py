"""Tables of names: which attacks, defenses, models, datasets and metrics there are.

Each package keeps its own table beside its docstring (``bench.attacks.TABLE``); a registry reads it on first use, so
that nothing here imports torch. A line of a table carries the static facts that a suite is checked against: parameters,
norms, kind. Installed packages add names through entry points (``bench.attacks`` and so on), suites through plugin
files, which run only where the user allows them.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from bench.errors import BenchError, PluginError, UnknownNameError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a table of names.

    Args:
        target: where the thing is, as ``"module:attribute"``; resolved on first use.
        summary: one line for ``bench list``.
        params: its parameters, a pydantic model that needs no torch; ``None`` where it has none.
        norms: the norms that it works under; empty where the question doesn't arise.
        paper: the reference, for ``bench show``.
        facts: what else a suite is checked against (``kind``, ``num_classes``, ...).
        origin: ``"bench"``, the plugin file or the distribution that added it.
        digest: sha256 of the plugin file, empty for the others.
    """

    target: str
    summary: str
    params: type[BaseModel] | None = None
    norms: tuple[str, ...] = ()
    paper: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)  # Any: free facts, read by name
    origin: str = "bench"
    digest: str = ""


_FACTS = ("kind", "differentiable", "stochastic", "rejects", "calibrated", "num_classes", "minimum_norm")
"""What the table says of a third party's thing, by its attributes."""


class Registry(Generic[T]):
    """The known names of one kind, and what stands behind them.

    Args:
        kind: singular noun for messages, such as ``"attack"``.
        package: module that holds ``TABLE: dict[str, Entry]``; also the name of the entry-point group.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._table: dict[str, Entry] | None = None
        self._refused: dict[str, str] = {}
        self._objects: dict[str, T] = {}

    def entries(self) -> dict[str, Entry]:
        """Every known name with its line, in the order of the table."""
        if self._table is None:
            module = importlib.import_module(self.package)
            table = dict(module.TABLE)
            self._refused = dict(getattr(module, "REFUSED", {}))
            for point in metadata.entry_points(group=self.package):
                if point.name not in table:
                    origin = point.dist.name if point.dist is not None else "entry point"
                    table[point.name] = self._describe(_loaded(point, origin), point.value, origin=origin)
            self._table = table
        return self._table

    def entry(self, name: str) -> Entry:
        """The line of a name.

        Raises:
            UnknownNameError: with the nearest known names.
        """
        table = self.entries()
        if name not in table:
            near = difflib.get_close_matches(name, table, n=3)
            raise UnknownNameError(self.kind, name, near, self.known_to(name), self.refused.get(name, ""))
        return table[name]

    @property
    def refused(self) -> dict[str, str]:
        """Names of a library's things that can't be used here, and why."""
        self.entries()
        return self._refused

    def known_to(self, name: str) -> list[str]:
        """What to tell somebody who wrote a name that isn't there: a library's names where it looks like one of them.

        Args:
            name: what they wrote.
        """
        libraries = sorted({one.partition(".")[0] for one in self.entries() if "." in one})
        library = name.partition(".")[0]
        if library in libraries:
            return sorted(one for one in self.entries() if one.startswith(f"{library}."))
        own = sorted(one for one in self.entries() if "." not in one)
        return own + [f"{one}.* (bench list {self.kind}s)" for one in libraries]

    def load(self, name: str) -> T:
        """The thing itself: imports the module that holds it."""
        entry = self.entry(name)
        if name not in self._objects:
            module, _, attribute = entry.target.partition(":")
            self._objects[name] = getattr(importlib.import_module(module), attribute)
        return self._objects[name]

    def add(self, name: str, thing: T, *, origin: str, digest: str = "") -> None:
        """Adds a plugin's thing under a name of its own.

        Raises:
            PluginError: if the name is taken by something else.
        """
        known = self.entries().get(name)
        if known is not None and (known.origin != origin or known.digest != digest):
            raise PluginError(
                f"{origin}: the {self.kind} {name!r} is already there (from {known.origin}); rename yours"
            )
        self.entries()[name] = self._describe(thing, f"{origin}:{name}", origin=origin, digest=digest)
        self._objects[name] = thing

    def remove(self, origin: str) -> None:
        """Forgets everything that one plugin added."""
        for name in [name for name, entry in self.entries().items() if entry.origin == origin]:
            del self.entries()[name]
            self._objects.pop(name, None)

    @staticmethod
    def _describe(thing: object, target: str, *, origin: str, digest: str = "") -> Entry:
        """The static facts of a third party's thing, read from its attributes."""
        params = getattr(thing, "Params", None)
        if params is not None and not (inspect.isclass(params) and issubclass(params, BaseModel)):
            raise PluginError(f"{origin}: Params of {target} must be a pydantic model, got {params!r}")
        summary = (inspect.getdoc(thing) or "").strip().split("\n")[0]
        facts = {key: getattr(thing, key) for key in _FACTS if hasattr(thing, key)}
        norms = tuple(getattr(thing, "norms", ()))
        return Entry(target, summary, params, norms, str(getattr(thing, "paper", "")), facts, origin, digest)


def _loaded(point: metadata.EntryPoint, origin: str) -> Any:  # Any: whatever a third party offers
    """What an installed package offers."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{origin}: the {point.group} {point.name!r} ({point.value}) can't be loaded: {type(error).__name__}: {error}; "
            "mend or uninstall the package"
        ) from error


attacks: Registry[Any] = Registry("attack", "bench.attacks")
defenses: Registry[Any] = Registry("defense", "bench.defenses")
models: Registry[Any] = Registry("model", "bench.models")
architectures: Registry[Any] = Registry("architecture", "bench.models.architectures")
datasets: Registry[Any] = Registry("dataset", "bench.datasets")
metrics: Registry[Any] = Registry("metric", "bench.metrics")

ALL: dict[str, Registry[Any]] = {
    "attacks": attacks,
    "defenses": defenses,
    "models": models,
    "architectures": architectures,
    "datasets": datasets,
    "metrics": metrics,
}
"""What suites name, and plugins may add to."""

methods: Registry[Any] = Registry("training method", "bench.training")

LISTED: dict[str, Registry[Any]] = {**ALL, "methods": methods}
"""What ``bench list`` and ``bench show`` know."""


def load_plugin(path: Path) -> str:
    """Runs a plugin file and adds what it offers.

    A plugin is a Python file with any of the dictionaries ``ATTACKS``, ``DEFENSES``, ``MODELS``, ``ARCHITECTURES``,
    ``DATASETS``, ``METRICS``: name to class or function. Running it runs its code: the caller has asked the user.

    Args:
        path: the file.

    Returns:
        The sha256 of the file.

    Raises:
        PluginError: if the file is missing, raises, or offers nothing.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PluginError(f"{path}: can't read the plugin: {error.strerror}") from error
    digest = hashlib.sha256(source).hexdigest()
    name = f"bench_plugin_{digest[:16]}"
    if name not in sys.modules:
        module = types.ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module
        try:
            # What was read and digested, not the bytecode that a loader may have kept of an earlier text.
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, Exception | SystemExit) and not isinstance(error, BenchError):
                raise PluginError(f"{path}: the plugin raised {type(error).__name__}: {error}") from error
            raise
    module = sys.modules[name]
    tables = {table: getattr(module, table.upper(), None) for table in ALL}
    if not any(tables.values()):
        offers = ", ".join(table.upper() for table in ALL)
        raise PluginError(f"{path}: the plugin offers nothing; it needs at least one dictionary of {offers}")
    for table, things in tables.items():
        if things:
            if not isinstance(things, Mapping) or not all(isinstance(key, str) for key in things):
                raise PluginError(f"{path}: {table.upper()} must be a dictionary of names, got {things!r:.60}")
            ALL[table].remove(str(path))
            for key, thing in things.items():
                ALL[table].add(key, thing, origin=str(path), digest=digest)
    return digest
