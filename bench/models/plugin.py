"""Models of plugins and installed packages: a function that gives a network."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from bench.digests import value_digest
from bench.errors import BenchError, ModelError
from bench.models import state_dict, weights
from bench.models.architectures.building import release, source_of
from bench.models.base import Located, Setting
from bench.models.weights import tensors_digest
from bench.registry import Entry
from bench.suites.places import Places
from bench.suites.spec import ModelSpec


class Plugin:
    """A third party's ``build(**args) -> nn.Module``; ``weights`` in the suite are loaded into what it gives.

    Args:
        build: the function.
        entry: its line of the table.
    """

    name: ClassVar[str] = "plugin"

    def __init__(self, build: Callable[..., Any], entry: Entry) -> None:
        self._build, self._entry = build, entry

    def locate(self, spec: ModelSpec, setting: Setting, places: Places) -> Located:
        """Builds the network to take the digest of its tensors: there may be no file."""
        code = self._entry.digest or value_digest([_version(self._entry.origin), source_of(self._build)])
        architecture = value_digest({"plugin": code, "source": spec.source, "name": spec.name, "args": spec.args})
        if spec.weights is None:
            return Located(None, tensors_digest(self._network(spec).state_dict()), architecture)
        path = Path(spec.weights).expanduser()
        digest = weights.require(path, spec.sha256)
        found = state_dict.find(weights.read(path, places), spec.key, path)
        return Located(path, digest, architecture, note=found.note)

    def build(self, spec: ModelSpec, setting: Setting, places: Places, located: Located) -> nn.Module:
        """The network, with the weights of the file where the suite names one."""
        network = self._network(spec)
        if located.path is not None:
            found = state_dict.find(weights.read(located.path, places), spec.key, located.path)
            state_dict.load_strictly(network, found.state, f"{located.path} into {spec.source}")
        elif tensors_digest(network.state_dict()) != located.weights_digest:
            raise ModelError(f"{spec.id}: {spec.source} gives other weights each time; it must load or seed them")
        return network

    def _network(self, spec: ModelSpec) -> nn.Module:
        ignored = [key for key in ("architecture", "directory", "threat_model") if getattr(spec, key) is not None]
        if ignored or (spec.weights is None and spec.key is not None):
            raise ModelError(
                f"{spec.id}: {', '.join(ignored) or 'key'}: {spec.source} is a plugin, which doesn't use it"
            )
        named = {} if spec.name is None else {"name": spec.name}
        try:
            network = self._build(**spec.args, **named)
        except BenchError:
            raise
        except Exception as error:
            text = f"{spec.id}: {spec.source} (from {self._entry.origin}) raised {type(error).__name__}: {error}"
            raise ModelError(text) from error
        if not isinstance(network, nn.Module):
            raise ModelError(f"{spec.id}: {spec.source} must give an nn.Module, it gives {type(network).__name__}")
        return network.eval()


def _version(origin: str) -> str:
    """Name and version of the package that added the model; the name alone where no package owns the entry point."""
    try:
        return f"{origin} {release(origin)}"
    except PackageNotFoundError:
        return origin
