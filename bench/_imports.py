"""Imports of third parties that don't work, or not quietly, without help.

- torchvision's compiled extension may not load beside a CPU build of torch (it is built for one build of torch).
  torchvision then fails at import, because it registers fake kernels for operators that nobody declared. Declaring the
  two schemas is enough: no classification model uses them.
- robustbench imports ``autoattack``, the official AutoAttack under its old name, which PyPI doesn't have; its wheel
  depends on ``pyautoattack``, which is the same code.
- timm 1.0.9 imports a function that huggingface_hub 2 no longer has, and then takes the whole hub for missing: no
  pretrained weights. It needs that function for uploads only, so a stand-in that refuses is enough.
- robustbench and timm warn at import of deprecations that no user of bench can change.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_DEPRECATED: tuple[tuple[str, type[Warning]], ...] = (
    ("pkg_resources is deprecated", UserWarning),
    ("pkg_resources is deprecated", DeprecationWarning),
    ("`torch.jit", DeprecationWarning),
    ("Importing from timm.models", DeprecationWarning),
)
_kept: list[torch.library.Library] = []  # a library's schemas vanish with it


@cache
def prepare_torchvision() -> None:
    """Makes ``import torchvision`` work; call it before anything imports torchvision, timm, robustbench or art.

    Does something only where torch is a CPU build and torchvision's extension can't be loaded.
    """
    if torch.version.cuda is not None or "torchvision" in sys.modules or _extension_loads():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _kept.append(library)


def torchvision(name: str = "torchvision") -> Any:  # Any: torchvision has no annotations to rely on
    """torchvision, or a module of it such as ``torchvision.datasets``."""
    prepare_torchvision()
    return importlib.import_module(name)


def timm(name: str = "timm") -> Any:  # Any: timm has no annotations to rely on
    """timm, or a module of it."""
    prepare_torchvision()
    _prepare_hub()
    with quiet():
        return importlib.import_module(name)


def robustbench(name: str = "robustbench") -> Any:  # Any: robustbench has no annotations to rely on
    """robustbench, or a module of it such as ``robustbench.utils``."""
    prepare_torchvision()
    _prepare_hub()
    with quiet():
        if "autoattack" not in sys.modules and importlib.util.find_spec("autoattack") is None:
            sys.modules["autoattack"] = importlib.import_module("pyautoattack")
            sys.modules["autoattack.state"] = importlib.import_module("pyautoattack.state")
        return importlib.import_module(name)


@contextmanager
def quiet() -> Iterator[None]:
    """Ignores the deprecations that these libraries warn of, and no others."""
    with warnings.catch_warnings():
        for message, category in _DEPRECATED:
            warnings.filterwarnings("ignore", message=message, category=category)
        yield


def _prepare_hub() -> None:
    """Gives huggingface_hub the name that timm looks for."""
    hub = importlib.import_module("huggingface_hub")
    if not hasattr(hub, "repo_type_and_id_from_hf_id"):
        hub.repo_type_and_id_from_hf_id = _no_uploads  # type: ignore[attr-defined]


def _no_uploads(*args: object, **kwargs: object) -> None:
    raise NotImplementedError(
        "bench uploads nothing: this function of huggingface_hub 1 is there for timm's import only"
    )


def _extension_loads() -> bool:
    """Whether torchvision's own extension loads; loading it declares its operators."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return False
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        for folder in spec.submodule_search_locations:
            file = Path(folder) / f"_C{suffix}"
            if file.exists():
                try:
                    torch.ops.load_library(file)  # type: ignore[no-untyped-call]
                except OSError:
                    return False
                return True
    return False
