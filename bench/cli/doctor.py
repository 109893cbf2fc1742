"""``bench doctor``: whether everything is here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import typer

OPTIONAL = ("kornia", "torchmetrics", "scikit-image", "statsmodels", "opacus", "ray")


def doctor() -> None:
    """Check the environment: versions, imports, devices, the zoo's digests, directories; names what is missing."""
    failures: list[str] = []
    for check in (_versions, _imports, _devices, _zoo, _places):
        failures += _tried(check)
    print()
    if failures:
        print(f"{len(failures)} problem{'' if len(failures) == 1 else 's'}:")
        for failure in failures:
            print(f"  {failure}")
        raise typer.Exit(2)
    print("everything that bench needs is here")


def _tried(check: Callable[[], Iterator[str]]) -> list[str]:
    """What a check finds wrong; that it can't even be made is a finding too."""
    found: list[str] = []
    try:
        found.extend(check())
    except Exception as error:  # noqa: BLE001 (whatever fails is what doctor is for)
        found.append(f"{check.__name__.strip('_')}: {type(error).__name__}: {error}")
    return found


def _versions() -> Iterator[str]:
    from importlib import metadata

    from packaging.requirements import Requirement

    try:
        wanted = metadata.requires("robustness-bench") or []
    except metadata.PackageNotFoundError:
        yield "robustness-bench isn't installed, so its requirements aren't known: pip install ."
        return
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement.name} is missing: pip install '{requirement}'"
            continue
        fits = requirement.specifier.contains(found.split("+")[0], prereleases=True)
        print(f"  {requirement.name} {found}" + ("" if fits else f"  (wanted {requirement.specifier})"))
        if not fits:
            yield f"{requirement.name} {found} doesn't fit: pip install '{requirement}'"
    installed = {str(dist.metadata["Name"]).lower() for dist in metadata.distributions()}
    if "torchattacks" in installed:
        yield (
            "torchattacks is installed: it overwrites robustbench's files; pip uninstall torchattacks, then "
            "pip install --force-reinstall --no-deps robustbench"
        )
    missing = [name for name in OPTIONAL if name not in installed]
    if missing:
        print(f"  optional, not installed: {', '.join(missing)}")


def _imports() -> Iterator[str]:
    """The imports with traps, as bench makes them."""
    from functools import partial
    from importlib import import_module

    from bench import _imports

    _imports.prepare_torchvision()
    imports: dict[str, Callable[[], object]] = {
        "torchvision": _imports.torchvision,
        "timm": _imports.timm,
        "robustbench": partial(_imports.robustbench, "robustbench.utils"),
        "pyautoattack": partial(import_module, "pyautoattack"),
        "foolbox": partial(import_module, "foolbox"),
        "art": partial(import_module, "art.attacks.evasion"),
    }
    for name, load in imports.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load()
            print(f"  import {name}: fine")
        except Exception as error:  # noqa: BLE001 (as above)
            yield f"import {name}: {type(error).__name__}: {error}"


def _devices() -> Iterator[str]:
    import torch

    from bench.runner.devices import choose, describe

    print(f"  device: {describe(choose('auto'))}; CUDA build: {torch.version.cuda or 'no'}")
    yield from ()


def _zoo() -> Iterator[str]:
    """Every model of the zoo has its weights, and they have the digest of its card."""
    from bench.digests import file_digest
    from bench.models.zoo.cards import cards

    for name, card in cards().items():
        try:
            digest = file_digest(card.path)
        except Exception as error:  # noqa: BLE001 (as above)
            yield f"zoo:{name}: {error}"
            continue
        if digest == card.weights_sha256:
            print(f"  zoo:{name}: {digest[:12]}")
        else:
            yield f"zoo:{name}: {card.path} has digest {digest[:12]}, its card says {card.weights_sha256[:12]}: damaged"


def _places() -> Iterator[str]:
    import os
    from pathlib import Path

    from bench.suites.places import Places

    places = Places()
    for name, path in (("models", places.model_dir), ("data", places.data_dir), ("results", Path("results"))):
        nearest = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
        writable = nearest.is_dir() and os.access(nearest, os.W_OK)
        state = "there" if path.exists() else "not there yet"
        print(f"  {name}: {path} ({state}{'' if writable else ', not writable'})")
        if not writable and name == "results":
            yield f"{path} can't be written: give --results"
