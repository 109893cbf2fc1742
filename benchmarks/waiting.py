"""What the waiting of OpenMP's threads costs a small network, on idle cores and beside a second process that wants them.

    python benchmarks/waiting.py

Each line is a setting of ``OMP_WAIT_POLICY`` or ``GOMP_SPINCOUNT`` in a process of its own: median milliseconds of a forward
and backward pass over 128 digits, alone and while a second process does the same.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

SETTINGS: tuple[dict[str, str], ...] = (
    {},
    {"OMP_WAIT_POLICY": "PASSIVE"},
    {"GOMP_SPINCOUNT": "1000"},
    {"GOMP_SPINCOUNT": "10000"},
    {"GOMP_SPINCOUNT": "100000"},
)
SECONDS = 4.0


def measure() -> None:
    """Prints the median of the passes of some seconds."""
    import torch

    from bench import models
    from bench.models.base import Setting
    from bench.suites.places import Places
    from bench.suites.spec import ModelSpec

    setting = Setting("mnist", "linf", 10, (1, 28, 28))
    model = models.load(ModelSpec.model_validate("zoo:mnist_pgd"), setting, Places(), device=torch.device("cpu"))
    x, passes = torch.rand(128, 1, 28, 28), []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter()
        points = x.clone().requires_grad_()
        torch.autograd.grad(model(points).logsumexp(1).sum(), points)
        passes.append(time.perf_counter() - started)
    print(1000 * statistics.median(passes))


def run(setting: dict[str, str], processes: int) -> float:
    """Milliseconds of a pass where as many processes as that run at once."""
    kept = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    command = [sys.executable, __file__, "--measure"]
    started = [
        subprocess.Popen(command, env={**kept, **setting}, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    return statistics.mean(float(process.communicate()[0].split()[-1]) for process in started)


def main() -> None:
    """Prints a line for each setting."""
    if sys.argv[1:] == ["--measure"]:
        measure()
        return
    for setting in SETTINGS:
        words = " ".join(f"{name}={value}" for name, value in setting.items()) or "nothing set"
        print(f"{words}: {run(setting, 1):.2f} ms alone, {run(setting, 2):.2f} ms beside another", flush=True)


if __name__ == "__main__":
    main()
