"""A success is a claim until the real model says so in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attacks.base import AttackContext, Samples, Target
from bench.attacks.batch import Batch, Seen
from bench.attacks.checked import margins
from bench.attacks.kept import Kept
from bench.attacks.losses import margin
from bench.attacks.search_attack import SearchAttack
from bench.attacks.searched_model import SearchedModel


class Verifier:
    """Asks the real model where the search sees something else: a cheaper precision, compiled code, a stand-in, its own draws.

    Of a stochastic model the majority of draws of their own decides.

    Args:
        attack: whose points they are.
        model: the model under attack.
        context: of the search.
        searched: the model as the search sees it.
        kept: what is known of the samples; passes and errors of claims are noted in it.
    """

    def __init__(
        self, attack: SearchAttack, model: Target, context: AttackContext, searched: SearchedModel, kept: Kept
    ) -> None:
        self.attack, self.model, self.context, self.searched, self.kept = attack, model, context, searched, kept
        self._random = bool(model.stochastic)
        self._exact = (
            context.precision == "float32"
            and not context.compiled
            and not context.graphed
            and not model.approximate
            and not self._random
        )

    def __call__(self, batch: Batch, x: Tensor, seen: Seen, samples: Samples) -> Tensor | None:
        """Puts the verified margins in the places of those that were claimed.

        Args:
            batch: whose points they are.
            x: the points, shape (B, C, H, W).
            seen: what the search saw there; its margins are changed in place.
            samples: all of the search.

        Returns:
            Where the real model said so, bool, shape (B,): a claim farther away than a point that is known to be adversarial is
            left as it is, and as a stage of an ensemble one outside eps is believed. ``None`` where everything is known.
        """
        if self._exact:
            return None
        kept, place = self.kept, batch.place
        positive = seen.margin > 0
        if self._random and not self.attack.minimum_norm:
            # What isn't better than a verified point need not be verified.
            worth = ~kept.broken[place] | (seen.margin > kept.score[place])
            seen.margin[positive & ~worth] = -torch.inf
            positive &= worth
        known = None
        if self.attack.minimum_norm and not self._random:
            distance = self.context.threat_model.distance(x, batch.x)
            known = distance < -kept.score[place]
            positive &= known
            if self.context.stage and self.context.search == "first_success":
                positive &= distance <= self.context.threat_model.radius  # an ensemble has no use for points outside
        claimed = positive.nonzero().flatten()
        if not len(claimed):
            return known
        if self._random:
            self._ask_draws(batch, x, seen, samples, claimed)
            return None
        points, y, place = x[claimed], batch.y[claimed], place[claimed]
        logits = self.searched.patiently(lambda: self.searched.plain(points, y, self._judged), len(points))
        kept.forwards[place] += 1
        found = margin(logits, y)
        kept.error[place] = torch.maximum(kept.error[place], (seen.margin[claimed] - found).abs().to(kept.error.dtype))
        seen.margin[claimed] = found
        return known

    def _ask_draws(self, batch: Batch, x: Tensor, seen: Seen, samples: Samples, claimed: Tensor) -> None:
        """The median over fresh draws: above 0 where more than half of them are."""
        points, place = x[claimed], batch.place[claimed]
        these, salt = samples.take(place), (batch.run[claimed] << 24) + batch.iteration[claimed]
        found = self.searched.patiently(
            lambda: margins(self.model, points, these, self.context, batch_size=self.searched.piece, salt=salt),
            len(points),
        )
        self.kept.sure[place] = (found > 0).all(0)
        seen.margin[claimed] = found.sort(0, descending=True).values[len(found) // 2]
        self.kept.forwards[place] += len(found)

    def _judged(self, x: Tensor, keys: Tensor | None) -> Tensor:
        return self.searched.exact(x, keys, self.model.real)
