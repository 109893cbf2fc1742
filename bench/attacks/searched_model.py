"""How a search asks the model: in its own precision or exactly, in batch shapes that are fast, in pieces that fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor

from bench.attacks.base import AttackContext, Target
from bench.attacks.looks import Looks
from bench.attacks.losses import answers
from bench.attacks.memory import out_of_memory
from bench.models.arithmetic import tf32
from bench.models.graphs import filled

T = TypeVar("T")
_FEW = 4
"""Images that a layout is tried on."""


class SearchedModel:
    """The model as a search sees it.

    Args:
        model: under attack.
        context: says how it is asked.
        looks: told what should be finite.
        piece: the most rows of a pass.
        width: rows of a full batch, for which a model is compiled.

    Attributes:
        piece: the same, halved whenever memory runs out.
    """

    def __init__(self, model: Target, context: AttackContext, looks: Looks, *, piece: int, width: int) -> None:
        self.model, self.context, self.piece = model, context, piece
        self._looks, self._width = looks, width
        if context.graphed:
            model.renew()

    def searching(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """Logits as the search sees them: in its precision, of compiled code or graphs where that is asked for.

        Args:
            x: points, shape (B, C, H, W).
            keys: what a stochastic model draws from, shape (B,).
        """
        with self._faster(), self.arithmetic():
            if self.context.precision != "bfloat16":
                return self.exact(x, keys)
            with torch.autocast(x.device.type, dtype=torch.bfloat16):
                return self.exact(x, keys)

    def exact(self, x: Tensor, keys: Tensor | None = None, model: Target | None = None) -> Tensor:
        """Logits of the model, at a fixed batch shape where that is asked for: rows that nobody reads fill it up.

        Args:
            x: points, shape (B, C, H, W).
            keys: what a stochastic model draws from, shape (B,).
            model: another one than that under attack.
        """
        count, size, model = len(x), len(x), model or self.model
        if self.context.pinned:
            size = max(count, self.piece)
        elif x.device.type == "cuda":  # every new shape costs a search for kernels
            size = filled(count, max(count, self.piece))
        if count < size:
            x = torch.cat([x, x.detach()[:1].expand(size - count, *x.shape[1:])])
            keys = None if keys is None else torch.cat([keys, keys[:1].expand(size - count)])
        with nullcontext() if keys is None else model.drawing(keys):
            return model(x)[:count]

    def plain(
        self,
        x: Tensor,
        y: Tensor,
        ask: Callable[[Tensor, Tensor | None], Tensor],
        keys: Tensor | None = None,
    ) -> Tensor:
        """Logits without gradients, as they count for an attacker.

        Args:
            x: points, shape (B, C, H, W).
            y: labels, shape (B,).
            ask: :meth:`searching`, :meth:`exact` or another.
            keys: what a stochastic model draws from, shape (B,).
        """
        self._looks.sound(x, "the attack made points")
        with torch.no_grad():
            rows = torch.split(torch.arange(len(x), device=x.device), self.piece)
            found = torch.cat([ask(x[part], None if keys is None else keys[part]) for part in rows])
        return answers(self._looks.sound(found, "the model gave logits"), y, self.model.num_classes)

    def takes_channels_last(self, x: Tensor) -> bool:
        """Whether the model gives a few images the same bits with the channels last in memory; some don't take them at all.

        Args:
            x: points, shape (B, C, H, W).
        """
        few = x.detach()[:_FEW]
        try:
            with torch.no_grad(), self.model.passes.uncounted():
                usual = self.searching(few.contiguous(), None)
                return torch.equal(usual, self.searching(few.contiguous(memory_format=torch.channels_last), None))
        except Exception:  # noqa: BLE001 (whatever it raises, it raises because of the layout: the images go on as they were)
            return False

    def patiently(self, call: Callable[[], T], count: int) -> T:
        """Calls, and calls again with pieces of half the size where memory runs out.

        Args:
            call: makes passes.
            count: their rows.
        """
        while True:
            try:
                return call()
            except Exception as error:
                if not out_of_memory(error) or self.piece == 1:
                    raise
            self._looks.forget()
            self.piece = max(1, min(self.piece, count) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def arithmetic(self) -> AbstractContextManager[None]:
        """Inside, a GPU multiplies as the search's precision says."""
        return tf32() if self.context.precision == "tf32" else nullcontext()

    def _faster(self) -> AbstractContextManager[None]:
        if self.context.compiled:
            return self.model.compiled(self._width)
        return self.model.graphed(self.context.batch_size) if self.context.graphed else nullcontext()
