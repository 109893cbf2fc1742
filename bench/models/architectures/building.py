"""From an architecture's name to a network, and to the digest of its code."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from torch import nn

from bench import _imports, registry
from bench.digests import value_digest
from bench.errors import ModelError, UnknownNameError
from bench.models.architectures import PREFIXES


def build(name: str, args: Mapping[str, Any], *, num_classes: int) -> nn.Module:
    """The network of a name, with random weights, in eval mode.

    Args:
        name: from the table, a plugin, or ``timm:NAME`` or ``torchvision:NAME``.
        args: its parameters.
        num_classes: number of logits, where the architecture has that parameter and ``args`` doesn't give it.

    Raises:
        UnknownNameError: with the nearest known names.
        ModelError: for parameters that it doesn't have, or values that it refuses.
    """
    function = _function(name)
    accepted = inspect.signature(function).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    unknown = sorted(set(args) - set(accepted)) if not free else []
    if unknown:
        names = ", ".join(key for key, parameter in accepted.items() if parameter.kind is not parameter.VAR_KEYWORD)
        raise ModelError(f"architecture {name}: no parameter {', '.join(unknown)} (accepted: {names or 'none'})")
    given = dict(args)
    if "num_classes" in accepted or free:
        given.setdefault("num_classes", num_classes)
    try:
        network = function(**given)
    except (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
        raise ModelError(f"architecture {name}: {given}: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"architecture {name}: must give an nn.Module, it gives {type(network).__name__}")
    return network.eval()


def code_digest(name: str, args: Mapping[str, Any]) -> str:
    """The sha256 of what builds a network: source of its module, versions of the libraries that it takes code from.

    Args:
        name: as for :func:`build`.
        args: its parameters, which belong to the code as much as a constant in it would.
    """
    library, colon, _ = name.partition(":")
    if colon and library in PREFIXES:
        return value_digest({"name": name, "version": release(library), "args": dict(args)})
    entry = registry.architectures.entry(name)
    libraries = {library: release(library) for library in entry.facts.get("libraries", ())}
    source = entry.digest or source_of(registry.architectures.load(name))
    return value_digest({"name": name, "source": source, "libraries": libraries, "args": dict(args)})


def release(distribution: str) -> str:
    """The version of an installed distribution, without the build's suffix (``+cpu``), which can't be told by a verdict."""
    return metadata.version(distribution).partition("+")[0]


def _function(name: str) -> Callable[..., object]:
    library, colon, network = name.partition(":")
    if not colon:
        function: Callable[..., object] = registry.architectures.load(name)
        return function
    if library not in PREFIXES:
        raise UnknownNameError(
            "library of architectures", library, difflib.get_close_matches(library, PREFIXES), PREFIXES
        )
    if library == "timm":
        timm = _imports.timm()
        _check_known(name, network, timm.list_models(), timm.is_model(network))
        return lambda **args: timm.create_model(network, pretrained=False, **args)
    models = _imports.torchvision("torchvision.models")
    _check_known(name, network, models.list_models(), network in models.list_models())
    return lambda **args: models.get_model(network, weights=None, **args)


def _check_known(name: str, network: str, known: list[str], is_known: bool) -> None:
    if not is_known:
        library = name.partition(":")[0]
        nearest = [f"{library}:{match}" for match in difflib.get_close_matches(network, known, n=3)]
        raise UnknownNameError("architecture", name, nearest, [f"{len(known)} names of {library}"])


def source_of(function: Callable[..., object]) -> str:
    """The source of the module that defines the function; of the function alone where it has no module of its own."""
    module = importlib.import_module(function.__module__)
    return inspect.getsource(module)
