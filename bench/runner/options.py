"""What the user says of one run beside the suite: none of it can change a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from bench.suites.places import Places
from bench.suites.short_forms import identifier

EXECUTORS = ("local", "ray")


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What the user says of the workers of ``--executor ray``.

    Attributes:
        address: of a running cluster, such as ``10.0.0.1:6379`` or ``auto``; ``None`` for all devices of this machine.
        workers: how many at most; as many as fit where it is ``None``.
        gpus_per_worker: share of a GPU that a worker takes, above 0; of several GPUs it would use one only.
        cpus_per_worker: CPU cores, and threads, of a worker.
        shard_timeout: seconds after which a shard counts as hanging.
        heartbeat: seconds without a sign of life after which a worker counts as dead.

    Raises:
        BenchError: where a number is out of its range.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float = 1.0
    cpus_per_worker: int = 1
    shard_timeout: float = 6 * 3600.0
    heartbeat: float = 120.0

    def __post_init__(self) -> None:
        if not 0 < self.gpus_per_worker <= 1:
            raise BenchError(f"--gpus-per-worker: {self.gpus_per_worker:g} (accepted: above 0, up to 1)")
        for name in ("cpus_per_worker", "shard_timeout", "heartbeat"):
            if getattr(self, name) <= 0:
                raise BenchError(f"--{name.replace('_', '-')}: {getattr(self, name):g} (accepted: above 0)")
        if self.workers is not None and self.workers < 1:
            raise BenchError(f"--workers: {self.workers} (accepted: 1 or more)")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How and where a suite is run.

    Attributes:
        results: directory of all results.
        run: name of the run.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: the most samples of a pass; found by itself where it is ``None``.
        places: directories of models and data, and permissions.
        yes: consent to saving more than two gigabytes of examples.
        pin_batch: give every pass of our own attacks exactly ``batch_size`` rows: slower, and the same bits for each
            sample in every shard.
        compile: let our own attacks search on the model as torch.compile makes it; verdicts come from the model itself.
        graphs: let them search on CUDA graphs of the model on a GPU; the same holds for verdicts.
        executor: local, or ray for several devices.
        cluster: the workers of ray.

    Raises:
        BenchError: where the name of the run couldn't be that of one directory, or the executor isn't known.
    """

    results: Path = Path("results")
    run: str = "default"
    device: str = "auto"
    batch_size: int | None = None
    places: Places = field(default_factory=Places)
    yes: bool = False
    pin_batch: bool = False
    compile: bool = False
    graphs: bool = True
    executor: str = "local"
    cluster: ClusterSettings = field(default_factory=ClusterSettings)

    def __post_init__(self) -> None:
        try:
            identifier(self.run)
        except ValueError as error:  # a path could lead into the run of another suite
            raise BenchError(f"--run: {error}") from error
        if self.executor not in EXECUTORS:
            raise BenchError(f"--executor {self.executor}: not known (accepted: {', '.join(EXECUTORS)})")

    def directory(self, suite: str) -> Path:
        """``results/<suite>/<run>``."""
        return self.results / suite / self.run
