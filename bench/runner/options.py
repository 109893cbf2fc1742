"""What the user says of one run beside the suite: none of it can change a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from bench.suites.places import Places
from bench.suites.short_forms import identifier


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

    Raises:
        BenchError: where the name of the run couldn't be that of one directory.
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

    def __post_init__(self) -> None:
        try:
            identifier(self.run)
        except ValueError as error:  # a path could lead into the run of another suite
            raise BenchError(f"--run: {error}") from error

    def directory(self, suite: str) -> Path:
        """``results/<suite>/<run>``."""
        return self.results / suite / self.run
