"""One shard on one worker: whatever fails inside becomes its failure."""

from __future__ import annotations

from bench.attacks.listener import Listener
from bench.errors import SchemaError, WriteError
from bench.runner.corrupted_shard import Images, evaluate_corrupted
from bench.runner.evaluate import evaluate
from bench.runner.shards import AnyOutcome, AnyShard, Failure, Shard, failure_of
from bench.runner.worker import Worker


def attempt(worker: Worker, images: Images | None, shard: AnyShard, report: Listener) -> AnyOutcome | Failure:
    """Loads what the shard needs, and evaluates it.

    Args:
        worker: keeps the dataset and the model.
        images: makes or reads corrupted images; ``None`` where the suite asks for none.
        shard: what to evaluate.
        report: called with (samples finished, samples still robust or right) now and then.

    Raises:
        WriteError: where the store fails.
        SchemaError: where a newer bench has written there.
    """
    try:
        if isinstance(shard, Shard):
            worker.model(shard.cell.model, shard.cell.norm)
        else:
            worker.target(shard.cell)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the edge of the model's cells: they become errors)
        return failure_of(error, model=True)
    try:
        if isinstance(shard, Shard):
            return evaluate(worker, shard, report)
        assert images is not None  # else the cell is unavailable
        return evaluate_corrupted(worker, images, shard, report)
    except (WriteError, SchemaError):
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge: a failure is an error cell, never a number)
        return failure_of(error)
