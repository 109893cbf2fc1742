"""A verifier that trusts nobody: the saved examples, rows and metrics of a run, checked again from disk with the real models.

:func:`verify_run` checks a run, :func:`replay` tries its saved examples on another model. Neither writes anything.
"""

from bench.runner.verify.results import CellVerification, Verification, VerifyProblem
from bench.runner.verify.transfer import Transfer, TransferRow, replay
from bench.runner.verify.whole import verify_run

__all__ = ["CellVerification", "Transfer", "TransferRow", "Verification", "VerifyProblem", "replay", "verify_run"]
