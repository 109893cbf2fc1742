"""``bench doctor``: whether everything is here."""

from __future__ import annotations

import typer

OPTIONAL = ("kornia", "torchmetrics", "scikit-image", "statsmodels", "opacus", "ray")


def doctor() -> None:
    """Check the environment: versions, imports, devices, the zoo's digests, directories; names what is missing."""
    failures = _versions() + _imports() + _devices() + _zoo() + _places()
    print()
    if failures:
        print(f"{len(failures)} problems:")
        for failure in failures:
            print(f"  {failure}")
        raise typer.Exit(2)
    print("everything that bench needs is here")


def _versions() -> list[str]:
    from importlib import metadata

    from packaging.requirements import Requirement

    failures = []
    for text in metadata.requires("robustness-bench") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            failures.append(f"{requirement.name} is missing: pip install '{requirement}'")
            continue
        fits = requirement.specifier.contains(found.split("+")[0], prereleases=True)
        print(f"  {requirement.name} {found}" + ("" if fits else f"  (wanted {requirement.specifier})"))
        if not fits:
            failures.append(f"{requirement.name} {found} doesn't fit: pip install '{requirement}'")
    try:
        metadata.version("torchattacks")
        failures.append(
            "torchattacks is installed: it overwrites robustbench's files; pip uninstall torchattacks, then "
            "pip install --force-reinstall --no-deps robustbench"
        )
    except metadata.PackageNotFoundError:
        pass
    installed = {dist.metadata["Name"].lower() for dist in metadata.distributions()}
    missing = [name for name in OPTIONAL if name not in installed]
    if missing:
        print(f"  optional, not installed: {', '.join(missing)}")
    return failures


def _imports() -> list[str]:
    """The imports with traps, as bench makes them."""
    from importlib import import_module

    from bench.models import shims

    failures = []
    shims.prepare()
    for module in ("torchvision", "robustbench.utils", "pyautoattack", "foolbox", "art.attacks.evasion", "timm"):
        try:
            import_module(module)
            print(f"  import {module}: fine")
        except Exception as error:  # noqa: BLE001 (whatever fails is what doctor is for)
            failures.append(f"import {module}: {type(error).__name__}: {error}")
    return failures


def _devices() -> list[str]:
    import torch

    from bench.runner.devices import choose, describe

    print(f"  device: {describe(choose('auto'))}; CUDA build: {torch.version.cuda or 'no'}")
    return []


def _zoo() -> list[str]:
    from bench.models import zoo

    failures = []
    for name in zoo.names():
        try:
            print(f"  zoo:{name}: {zoo.verify(name)[:12]}")
        except Exception as error:  # noqa: BLE001 (as above)
            failures.append(f"zoo:{name}: {error}")
    return failures


def _places() -> list[str]:
    import os
    from pathlib import Path

    from bench.suites.places import Places

    places, failures = Places(), []
    for name, path in (("models", places.model_dir), ("data", places.data_dir), ("results", Path("results"))):
        nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
        writable = os.access(nearest, os.W_OK)
        print(
            f"  {name}: {path} ({'there' if path.exists() else 'not there yet'}{'' if writable else ', not writable'})"
        )
        if not writable and name == "results":
            failures.append(f"{path} can't be written: give --results")
    return failures
