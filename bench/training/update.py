"""One batch: its points, its loss, its gradient, and the updates of the weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.training import averages, precision
from bench.training.augment import augment, draw
from bench.training.awp import AWP
from bench.training.checkpoint import State
from bench.training.draws import BatchDraws
from bench.training.images import TrainingImages, moved
from bench.training.method import Outcome, Step, TrainingMethod
from bench.training.processes import Processes
from bench.training.recipe import Recipe
from bench.training.schedule import factor
from bench.training.seeds import Seeds
from bench.training.strength import strength


@dataclass(frozen=True, slots=True)
class _Part:
    """Some images of a batch, computed at once; ``first`` is the place of the first of them in the batch."""

    x: Tensor
    y: Tensor
    first: int


class Updates:
    """Makes the updates of the weights that a recipe asks for, batch by batch.

    Args:
        recipe: what to do.
        state: changed in place.
        images: the training images.
        method: the training method.
        processes: this process's place among the others.
        batches: of an epoch.
    """

    def __init__(
        self,
        recipe: Recipe,
        state: State,
        images: TrainingImages,
        method: TrainingMethod,
        processes: Processes,
        *,
        batches: int,
    ) -> None:
        self.recipe, self.state, self.images, self.method = recipe, state, images, method
        self.processes, self.batches = processes, batches
        self.precision = precision.resolved(recipe, images.device)
        self._seeds, self._awp = Seeds(recipe.seed), AWP(recipe.awp) if recipe.awp is not None else None

    def batch(self, rows: Tensor) -> None:
        """Trains on the images at these places, int64, shape (N,), on the CPU."""
        number = self.state.epoch * self.batches + self.state.step
        share = factor(self.recipe.schedule, number, self.batches * self.recipe.epochs, self.recipe.epochs)
        for group in self.state.optimizer.param_groups:
            group["lr"] = self.recipe.optimizer.lr * share
        parts = self._parts(rows)
        for update in range(self.method.updates):
            self._update(parts, len(rows), update)
            decay = averages.decay(self.recipe)
            if self.state.average is not None and decay is not None:
                done = number * self.method.updates + update
                averages.follow(self.state.average, self.state.model, decay, done)

    def place(self, purpose: str, batch: int, first: int, count: int) -> Step:
        """Where in the training the running step is, for these images of its batch."""
        state, recipe = self.state, self.recipe
        epochs_done = (state.epoch * self.batches + state.step) / self.batches
        generator = self._seeds.generator(purpose, epoch=state.epoch, step=state.step)
        return Step(
            epochs_done,
            recipe.epochs,
            BatchDraws(generator, batch, first, count, self.images.device),
            recipe.label_smoothing,
            strength(recipe, epochs_done),
        )

    def passes(self) -> AbstractContextManager[object]:
        """The arithmetic of the recipe."""
        return precision.passes(self.precision, self.images.device)

    def _parts(self, rows: Tensor) -> list[_Part]:
        """This process's images of the batch, augmented, in the parts that they are computed in."""
        state, recipe = self.state, self.recipe
        generator = self._seeds.generator("augment", epoch=state.epoch, step=state.step)
        numbers = draw(recipe.augmentation, len(rows), generator)
        mine = self.processes.part(len(rows))
        count = max(1, min(recipe.accumulate, len(mine) // 2))  # batch norm can't train on a single image
        parts = []
        for index in range(count):
            first, last = (mine.start + len(mine) * place // count for place in (index, index + 1))
            x, y = self.images.batch(rows[first:last])
            x = augment(x, recipe.augmentation, moved(numbers[:, first:last], x.device))
            parts.append(_Part(precision.arranged_images(x, self.precision), y, first))
        return parts

    def _update(self, parts: list[_Part], images: int, update: int) -> None:
        """One update of the weights."""
        state = self.state
        again = f"/{update}" if update else ""
        # Layers such as dropout draw from the global generator.
        rank = f"/rank {self.processes.rank}" if self.processes.rank else ""
        torch.manual_seed(self._seeds.number(f"layers{again}{rank}", epoch=state.epoch, step=state.step))
        state.optimizer.zero_grad(set_to_none=True)
        for part in parts:
            place = self.place(f"method{again}", images, part.first, len(part.y))
            with self.passes():
                x_adv = self._points(part, place)
            outcome = self._backward(part, x_adv, place, len(part.y) / images)
            self._tally(outcome, part.y)
            self.method.after_backward(x_adv, step=place)
        self.processes.combine(state.model)
        if self.recipe.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), self.recipe.grad_clip)
        state.optimizer.step()

    def _points(self, part: _Part, place: Step) -> Tensor:
        """The method's points; where the recipe mixes, the last images of the part stay clean."""
        mix, model = self.recipe.mix, self.state.model
        if mix is None:
            return self.method.examples(model, part.x, part.y, step=place)
        attacked = max(1, round(len(part.y) * mix.attacked))
        place = place._replace(draws=place.draws.of(0, attacked))
        moved_images = self.method.examples(model, part.x[:attacked], part.y[:attacked], step=place)
        return torch.cat([moved_images, part.x[attacked:]])

    def _backward(self, part: _Part, x_adv: Tensor, place: Step, share: float) -> Outcome:
        """The loss and its gradient, the part's share of the batch's."""
        model, method = self.state.model, self.method
        weights: AbstractContextManager[None] = nullcontext()
        if self._awp is not None:
            weights = self._awp.perturbed(model, method, part.x, x_adv, part.y, step=place)
        with self.passes(), weights:
            outcome = method.loss(model, part.x, x_adv, part.y, step=place)
            loss = outcome.loss if share == 1 else outcome.loss * share
            with torch.autocast(part.x.device.type, enabled=False):  # the backward pass follows the forward one
                loss.backward()  # type: ignore[no-untyped-call]
        return outcome

    def _tally(self, outcome: Outcome, y: Tensor) -> None:
        tally = self.state.tally
        with torch.no_grad():
            tally.loss += outcome.loss.detach() * len(y)
            if outcome.logits is not None:
                tally.correct += (outcome.logits.detach().argmax(1) == y).sum()
        tally.seen += len(y)
