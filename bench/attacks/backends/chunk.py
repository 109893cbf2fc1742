"""What the adapters share: fixed chunks, seeded global generators, counted passes, smaller passes when memory runs out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bench.attacks.backends.joint import joint_model
from bench.attacks.base import Attack, AttackContext, AttackResult, Samples, Target
from bench.attacks.draws import global_seed
from bench.attacks.memory import out_of_memory


class Found(NamedTuple):
    """What a library returned."""

    x_adv: Tensor
    """the points, shape (N, C, H, W)"""
    claimed: Tensor | None = None
    """which of them it says are adversarial, shape (N,), bool; ``None`` where it says nothing"""


class Counted(NamedTuple):
    """What a library returned, and the passes on each of its samples."""

    x_adv: Tensor
    claimed: Tensor | None
    forwards: float
    backwards: float


def counted(model: Target, samples: Samples, seed: int, search: Callable[[], Found]) -> Counted:
    """Runs one search of a library on one chunk.

    The library's global generators are seeded before and restored afterwards. When memory runs out, the model cuts its
    passes into pieces (same gradients, same draws) and the search starts again.

    Args:
        model: the model under attack.
        samples: the chunk.
        seed: for the global generators.
        search: the library's call.
    """
    while True:
        before = (model.passes.forward, model.passes.backward)
        try:
            with global_seed(seed):
                found = search()
            break
        except Exception as error:
            piece = max(1, min(model.microbatch or len(samples), len(samples)) // 2)
            if not out_of_memory(error) or model.microbatch == 1:
                raise
            model.microbatch = piece
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    n = max(1, len(samples))
    forwards, backwards = (model.passes.forward - before[0]) / n, (model.passes.backward - before[1]) / n
    claimed = None if found.claimed is None else found.claimed.detach().bool().cpu()
    return Counted(found.x_adv.detach(), claimed, forwards, backwards)


class LibraryAttack(Attack):
    """A single attack of a library on a chunk of samples."""

    chunked: ClassVar[bool] = True
    joint: ClassVar[bool] = True

    @abstractmethod
    def search(self, model: Target, samples: Samples, context: AttackContext, seed: int) -> Found:
        """The library's call."""

    def run(self, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
        """Attacks every sample of the chunk; see :class:`bench.attacks.base.Attack`."""
        result = AttackResult.untouched(samples)
        if not len(samples):
            return result
        seed = context.draws.chunk_seed(samples.ids)
        seen = joint_model(model, samples)
        found = counted(model, samples, seed, lambda: self.search(seen, samples, context, seed))
        result.x_adv, result.claimed = found.x_adv.to(samples.x.device), found.claimed
        result.iterations.fill_(-1)
        result.forwards.fill_(found.forwards)
        result.backwards.fill_(found.backwards)
        context.report(len(samples), len(samples))
        return result
