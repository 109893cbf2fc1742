"""bench: how robust image models and defenses are, with numbers that can be defended.

The Python interface has the words of the suites::

    import bench

    summary = bench.run("suites/quickstart.yaml")
    result = bench.evaluate(model, x, y, threat_model="linf:8/255", attacks=["fgsm", {"name": "autoattack"}])
    print(result.table)

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import evaluate, load_suite, run

__all__ = ["__version__", "evaluate", "load_suite", "run"]
__version__ = "0.1.0"

_LAZY = {"load_suite": "bench.api", "run": "bench.api", "evaluate": "bench.api"}


def __getattr__(name: str) -> Any:  # Any: functions of several types
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
