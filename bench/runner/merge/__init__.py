"""Joins runs of one suite that were made on other machines or other nights: :func:`bench.runner.merge.whole.merge_runs`."""

from bench.runner.merge.identity import Missing
from bench.runner.merge.rows import LIMIT, Contradiction
from bench.runner.merge.whole import Merged, merge_runs

__all__ = ["LIMIT", "Contradiction", "Merged", "Missing", "merge_runs"]
