"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.suites.loaded import LoadedSuite
    from bench.suites.places import Places

SuitePath = Annotated[Path, typer.Argument(help="The suite's YAML file.", metavar="SUITE")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a value, such as attacks.pgd.steps=50; may be repeated.", metavar="KEY=VALUE"),
]
Results = Annotated[Path, typer.Option("--results", help="Directory of all results.", metavar="DIR")]
RunName = Annotated[str, typer.Option("--run", help="Name of the run: results/<suite>/<run>.", metavar="NAME")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", help="Most samples of a pass; found by itself by default.", min=1, metavar="N"),
]
PinBatch = Annotated[
    bool,
    typer.Option("--pin-batch", help="Give every pass of our own attacks the same number of rows: slower, same bits."),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Let our own attacks search on the model as torch.compile makes it. Verdicts come from the model itself. "
        "Try it before you count on it: on the CPU that was measured it was slower.",
    ),
]
Graphs = Annotated[
    bool,
    typer.Option(
        "--graphs/--no-graphs",
        help="On a GPU, let our own attacks search on CUDA graphs of the model. Verdicts come from the model itself.",
    ),
]
Executor = Annotated[
    str,
    typer.Option(
        "--executor",
        help="local: one device of this machine. ray: all of them, or those of a cluster (docs/cluster.md).",
        metavar="local|ray",
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="With ray: a running cluster, such as 10.0.0.1:6379 or auto.", metavar="HOST:PORT"),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", help="With ray: workers at most; as many as fit by default.", min=1, metavar="N"),
]
GpusPerWorker = Annotated[
    float, typer.Option("--gpus-per-worker", help="With ray: share of a GPU, up to 1.", metavar="SHARE")
]
CpusPerWorker = Annotated[
    int, typer.Option("--cpus-per-worker", help="With ray: cores and threads of a worker.", min=1, metavar="N")
]
ShardTimeout = Annotated[
    float,
    typer.Option(
        "--shard-timeout", help="With ray: a shard that takes longer is tried on another worker.", metavar="SECONDS"
    ),
]
ModelDir = Annotated[
    Path | None,
    typer.Option(
        "--model-dir",
        help="Where RobustBench's weights lie, and in trained/ those of a suite's recipes (default: $BENCH_MODEL_DIR or "
        "models).",
        metavar="DIR",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where datasets lie (default: $BENCH_DATA_DIR or data).", metavar="DIR"),
]
Offline = Annotated[bool, typer.Option("--offline", help="Download nothing.")]
AllowPickle = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow-pickle", help="Unpickle this file of weights, which can run any code; may be repeated.", metavar="FILE"
    ),
]
AllowPlugins = Annotated[
    bool, typer.Option("--allow-plugins", help="Run the Python files that the suite names as plugins.")
]
Audit = Annotated[
    bool,
    typer.Option(
        "--audit/--no-audit",
        help="Verify the examples and probe the attacks afterwards, and flag the numbers (bench audit).",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Consent to saving more than 2 GB of adversarial examples.")]


def places(
    model_dir: Path | None, data_dir: Path | None, offline: bool, allow_pickle: list[Path] | None, allow_plugins: bool
) -> Places:
    """Directories and permissions from the options."""
    from bench.suites.places import Places

    default = Places()
    return Places(
        model_dir=model_dir or default.model_dir,
        data_dir=data_dir or default.data_dir,
        download=not offline,
        allow_pickle=frozenset(path.resolve() for path in allow_pickle or []),
        allow_plugins=allow_plugins,
    )


def load(suite: Path, overrides: list[str] | None) -> LoadedSuite:
    """The suite with its overrides."""
    from bench.suites.load import load_suite

    return load_suite(suite, overrides=overrides or [])
