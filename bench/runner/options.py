"""What the user says of one run beside the suite: none of it can change a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.suites.places import Places


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
    """

    results: Path = Path("results")
    run: str = "default"
    device: str = "auto"
    batch_size: int | None = None
    places: Places = field(default_factory=Places)
    yes: bool = False

    def directory(self, suite: str) -> Path:
        """``results/<suite>/<run>``."""
        return self.results / suite / self.run
