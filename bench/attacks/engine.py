"""Runs attacks as per-sample state machines that share batches.

All state is per sample, so a sample leaves the batch as soon as it is done, the batch is compacted, and waiting samples
take the free places; samples at different points of their search share a pass. The engine evaluates points, keeps the
best one of each sample, verifies successes in float32 and counts passes; an attack only says where a sample starts and
where it goes next.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from bench.attacks import ahead
from bench.attacks.ahead import Ahead
from bench.attacks.base import AttackContext, AttackResult, Samples, Target
from bench.attacks.batch import Batch, Seen, closing, lies_channels_last, on_cpu, picked
from bench.attacks.checked import keys_of
from bench.attacks.kept import Kept
from bench.attacks.lanes import Lanes
from bench.attacks.listener import Signs
from bench.attacks.looks import Looks
from bench.attacks.losses import answers, margin, pursued
from bench.attacks.minimum_norm import closeness
from bench.attacks.near_misses import search_again
from bench.attacks.search_attack import SearchAttack
from bench.attacks.searched_model import SearchedModel
from bench.attacks.verifier import Verifier
from bench.models.noise import mixed

HAIRLINE = 1e-4
"""A sample leaves the batch when its margin is this far above zero, relative to its largest logit (at least 1)."""
_LOOKS = 1 << 20
"""Draws of the looks beside the path have numbers from here on."""
CLOSE = 0.1
"""Survivors whose best margin came this close to zero, relative to their clean margin, are searched again; those of an
attack that looks for the nearest point where that lies this little beyond eps, relatively."""


def search(attack: SearchAttack, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
    """Runs an attack on every sample.

    Args:
        attack: says where samples start and go.
        model: the model under attack.
        samples: images that it classifies correctly.
        context: threat model, draws, search, batch size and precision.

    Raises:
        AttackError: where a logit isn't finite.
    """
    if attack.fine and context.precision == "bfloat16":
        context = context.closer(samples.x.device)
    state = _Search(attack, model, samples, context)
    result = state.run()
    if context.precision != "bfloat16":
        return result
    return search_again(attack, model, samples, context, result, state.close(), survivors=state.robust())


class _Search:
    """The state of all samples of one attack."""

    def __init__(self, attack: SearchAttack, model: Target, samples: Samples, context: AttackContext) -> None:
        self.attack, self.model, self.context = attack, model, context
        device, fixed = samples.x.device, context.pinned or context.compiled
        self.random = bool(model.stochastic)
        self.lanes = Lanes.of(samples.x, attack.runs(model.num_classes), abreast=context.fill)
        self.samples = samples = samples.take(self.lanes.rows(device)) if self.lanes.lanes > 1 else samples
        self.first_run = self.lanes.first_run(device)
        n = len(samples)
        self.eot = max(attack.eot_iter, context.eot_iter) if self.random else attack.eot_iter
        self.keys = keys_of(samples, context, purpose="defense") if self.random else None
        self.width = context.batch_size if fixed else _even(n, max(1, context.batch_size))
        self.looks = Looks()
        piece = context.batch_size if context.fill else self.width
        self.searched = SearchedModel(model, context, self.looks, piece=piece, width=self.width)
        self.last = attack.steps + int(attack.last_look)
        guesses = context.fill and not self.random and attack.guesses(context)
        self.ahead = Ahead(context.batch_size, self.last - 1) if guesses else None
        self.kept = Kept(samples.x, random=self.random)
        """a row for each lane of each sample"""
        self.verifier = Verifier(attack, model, context, self.searched, self.kept)
        self.left = 0
        """samples whose search is over"""
        self.news = True
        """whether a sample may have succeeded since those who are done left"""
        self.ranking: Tensor | None = None
        here = on_cpu(samples.x) and not (self.random or fixed)
        self.undecided = here and attack.any_layout and context.threat_model.norm == "linf"
        """whether the images may yet be laid out anew"""
        self.channels_last = False
        self.waiting = list(range(n))
        self.signs = Signs(lambda: self.context.report(self.left // self.lanes.lanes, self.robust()))
        self.batch = self._fresh(torch.zeros(0, dtype=torch.int64, device=device), 0)

    def run(self) -> AttackResult:
        """Until no sample is left."""
        if self.attack.chooses_targets and len(self.samples):
            self._rank()
        while True:
            self._refill()
            if not len(self.batch):
                break
            seen = self._evaluate(self.batch) if self.ahead is None else self._evaluate_ahead(self.ahead)
            if self.undecided:
                seen = self._lay_out(seen)
            self._keep(self.batch, self.batch.x_adv, seen)
            self._advance(seen)
            self.signs()
        self.looks.any(self.kept.broken)  # nothing that isn't finite goes unseen
        return self._result()

    def robust(self) -> int:
        """Samples that aren't broken."""
        return self.lanes.samples - int(self.lanes.any(self.kept.broken).sum())

    def _result(self) -> AttackResult:
        """What was found, of each sample in the lane that found most."""
        kept, lanes, count = self.kept, self.lanes, self.lanes.samples
        rows = lanes.best(kept.broken, kept.score, last=not self._ranked)
        forwards, backwards = lanes.sum(kept.forwards), lanes.sum(kept.backwards)
        result = AttackResult(
            (kept.best if lanes.lanes == 1 else kept.best[rows]).contiguous(),
            lanes.sum(kept.steps).cpu(),
            forwards.cpu().double(),
            backwards.cpu().double(),
            [""] * count,
        )
        if self.attack.uses_gradients:
            result.zero_gradient = (~lanes.any(kept.moved) & (backwards > 0)).cpu()
        if kept.agreement is not None:
            result.eot_agreement = kept.agreement[:count].cpu()
        if self.ahead is not None and self.context.search == "first_success":
            result.queries = (forwards - lanes.sum(kept.guessed)).cpu()
        return result

    @property
    def _ranked(self) -> bool:
        """Whether the best point of all counts, not just a success or where the search ended."""
        return self.context.search == "strongest" or self.attack.minimum_norm or self.random

    def close(self) -> Tensor:
        """Survivors that came close to being broken, shape (N,)."""
        kept = self.kept
        if self.attack.minimum_norm:
            distance = self.context.threat_model.distance(kept.best, self.samples.x)
            near = distance <= (1 + CLOSE) * self.context.threat_model.radius
            near |= kept.error > CLOSE * kept.scale  # the search was astray
            close = torch.where(torch.isinf(kept.score), kept.margin > -CLOSE * kept.scale, near)
        else:
            close = kept.margin > -CLOSE * kept.scale
        return ~self.lanes.any(kept.broken) & self.lanes.any(close)

    def _rank(self) -> None:
        x, y, classes = self.samples.x, self.samples.y, self.model.num_classes

        def ranked(rows: Tensor) -> tuple[Tensor, int]:
            keys = None if self.keys is None else self.keys[rows]
            return self.attack.rank(lambda z: answers(self.searched.exact(z, keys), y[rows], classes), x[rows], y[rows])

        everyone = torch.arange(self.lanes.samples, device=x.device)
        found = self.searched.patiently(
            lambda: [ranked(rows) for rows in torch.split(everyone, self.searched.piece)], len(everyone)
        )
        self.ranking = torch.cat([ranking for ranking, _ in found]).repeat(self.lanes.lanes, 1)
        self.kept.forwards[everyone] += 1
        self.kept.backwards[everyone] += found[0][1]

    def _refill(self) -> None:
        free = self.width - len(self.batch)
        if free <= 0 or not self.waiting:
            return
        # A handful of fresh samples beside a half-empty batch costs no more than the batch alone; one at a time would.
        if len(self.batch) and free < self.width // 4 and len(self.waiting) > free:
            return
        if self.lanes.lanes > 1:  # some are over before they have begun
            over = self.kept.settled.tolist()
            waiting = [row for row in self.waiting if not over[row]]
            self.left += len(self.waiting) - len(waiting)
            self.waiting = waiting
        chosen, self.waiting = self.waiting[:free], self.waiting[free:]
        places = torch.tensor(chosen, dtype=torch.int64, device=self.kept.best.device)
        self.batch = self.batch.joined(self._fresh(places, self.first_run[places] if self.lanes.lanes > 1 else 0))

    def _fresh(self, places: Tensor, run: int | Tensor) -> Batch:
        """The samples at the start of a run."""
        x = picked(self.samples.x, places)
        batch = Batch(
            places,
            torch.zeros_like(places) + run,
            torch.zeros_like(places),
            x,
            self.samples.y[places],
            x,
            None if self.ranking is None else self.ranking[places],
        )
        if len(places):
            self.attack.begin(batch, [self.samples.ids[place] for place in places.tolist()], self.context)
        return batch.to_channels_last() if self.channels_last else batch

    def _evaluate(self, batch: Batch) -> Seen:
        """One pass, in smaller pieces where memory runs out."""
        gradients = self.attack.uses_gradients and batch.youngest < self.attack.steps
        seen = self.searched.patiently(lambda: self._passes(batch, gradients), len(batch))
        self.kept.forwards[batch.place] += self.eot
        if gradients:
            here = batch.iteration < self.attack.steps
            self.kept.backwards[batch.place] += self.eot * len(seen.gradients) * here
            self.kept.note_gradients(batch, seen)
        return seen

    def _evaluate_ahead(self, choice: Ahead) -> Seen:
        """One pass for several points of each sample; the batch goes on to the one that counts, and what it showed is given."""
        choice.look(self.batch)
        batch = points = self.batch
        count = 1 if batch.oldest == 0 else choice.count(len(batch))
        if count > 1:
            points = batch.joined(self._guessed(choice, count))
        seen = self.searched.patiently(lambda: self._passes(points, gradients=False), len(points))
        self.kept.forwards[batch.place] += count
        if count > 1:
            rows, before = choice.chosen(points, ahead.better(points, seen), count)
            self.kept.steps[batch.place] += before
            self.kept.guessed[batch.place] += count - 1 - before
            self.batch, seen = points.take(rows), seen.take(rows)
            self.batch.oldest = min(self.batch.oldest, choice.end)
        return seen

    def _guessed(self, choice: Ahead, count: int) -> Batch:
        """The points after the next, of all samples: count - 1 of each. No table of the attack goes beyond the last step."""
        later = self.batch.take(choice.rows(self.batch, count))
        ahead_of = torch.arange(count - 1, device=later.place.device).repeat_interleave(len(self.batch))
        iteration = later.iteration + ahead_of
        later.iteration, later.oldest = iteration.clamp_max(self.attack.steps - 1), later.oldest + count - 1
        self.attack.guess(later, self.context)
        later.iteration = iteration + 1
        return later

    def _lay_out(self, seen: Seen) -> Seen:
        """Lays the images out as the model's first gradients lie, or the gradients as the images, where the model wants that:
        going between two layouts takes longer than most steps.
        """
        self.undecided = False
        if not seen.gradients or not lies_channels_last(seen.gradient):
            return seen
        if not self.searched.takes_channels_last(self.batch.x_adv):
            return replace(seen, gradients=tuple(gradient.contiguous() for gradient in seen.gradients))
        self.channels_last = True
        self.batch.to_channels_last()
        x, self.kept.best = (
            values.contiguous(memory_format=torch.channels_last) for values in (self.samples.x, self.kept.best)
        )
        self.samples = replace(self.samples, x=x)
        return seen

    def _passes(self, batch: Batch, gradients: bool) -> Seen:
        if self.searched.piece >= len(batch):
            return self._pass(batch, gradients)
        rows = torch.split(torch.arange(len(batch), device=batch.place.device), self.searched.piece)
        return Seen.joined([self._pass(batch.take(part), gradients) for part in rows])

    def _pass(self, batch: Batch, gradients: bool) -> Seen:
        x = self.looks.sound(batch.x_adv.detach(), "the attack made points").requires_grad_(gradients)
        seen = []
        for draw in range(self.eot):
            with torch.set_grad_enabled(gradients):
                raw, classes = self.searched.searching(x, self._keys(batch, draw)), self.model.num_classes
                logits = answers(raw, batch.y, classes)
                wanted = logits if self.attack.minimum_norm else pursued(raw, batch.y, classes)
                losses = self.attack.losses(wanted, batch)
            last = len(losses) - 1
            with self.searched.arithmetic():
                found = (
                    tuple(
                        torch.autograd.grad(loss.sum(), x, retain_graph=number < last)[0]
                        for number, loss in enumerate(losses)
                    )
                    if gradients
                    else ()
                )
            values = self.looks.sound(logits.detach(), "the model gave logits")
            if on_cpu(x) and not (self.undecided or self.channels_last):
                found = tuple(gradient.contiguous() for gradient in found)
            for gradient in found:
                self.looks.sound(gradient, "the model gave gradients")
            seen.append(Seen(values, margin(values, batch.y), tuple(loss.detach() for loss in losses), found))
        if self.random and gradients:
            self.kept.note_agreement(batch, seen)
        return Seen.mean(seen)

    def _keys(self, batch: Batch, draw: int) -> Tensor | None:
        """What a stochastic model draws from: its own for every run, point and draw of each sample."""
        if self.keys is None:
            return None
        return mixed(mixed(mixed(self.keys[batch.place], batch.run), batch.iteration), draw)

    def _look(self, x: Tensor) -> Seen:
        """Evaluates other points of the batch for the attack, and keeps what they show."""
        batch = self.batch
        drawn = []
        for draw in range(self.eot if self.random else 1):
            keys = self._keys(batch, _LOOKS + draw)
            ask = partial(self.searched.plain, x, batch.y, self.searched.searching, keys)
            logits = self.searched.patiently(ask, len(x))
            drawn.append(Seen(logits, margin(logits, batch.y), self.attack.losses(logits, batch)))
            self.kept.forwards[batch.place] += 1
        seen = Seen.mean(drawn)
        self._keep(batch, x, seen)
        return seen

    def _keep(self, batch: Batch, x: Tensor, seen: Seen) -> None:
        """Keeps each sample's best point.

        That is the nearest adversarial one for attacks that minimise the distance; the one of the best score under
        ``strongest``, where an adversarial one beats one that isn't; else the clearest success.
        """
        kept, place = self.kept, batch.place
        average = seen.margin.clone() if self.random else seen.margin
        if batch.youngest == 0:
            first, size = torch.isinf(kept.margin[place]), seen.margin.abs().clamp_min(1e-6)
            kept.scale[place] = torch.where(first, size.to(kept.scale.dtype), kept.scale[place])
        claims = self.looks.any(seen.margin > 0)
        self.news |= claims
        known = self.verifier(batch, x, seen, self.samples) if claims else None
        kept.margin[place] = torch.maximum(kept.margin[place], seen.margin.to(kept.margin.dtype))
        whole = self.context.search == "strongest" or self.random
        if not claims and (self.attack.minimum_norm or not whole):
            return
        was = kept.broken[place]
        adversarial = inside = seen.margin > 0 if known is None else (seen.margin > 0) & known
        if self.attack.minimum_norm:
            distance = self.context.threat_model.distance(x, batch.x)
            inside = adversarial & (distance <= self.context.threat_model.radius)
            score = closeness(self.attack, seen, distance, self.context.threat_model.radius)
            kept.take(adversarial & (score > kept.score[place]), place, x, score)
        elif whole:
            score = average if self.random else seen.margin if self.attack.ranked_by == "margin" else seen.loss
            better = score > kept.score[place]
            if self.attack.successes_first or self.random:
                better = (adversarial & ~was) | ((adversarial == was) & better)
            kept.take(better, place, x, score)
        else:
            kept.take(adversarial & (seen.margin > kept.score[place]), place, x, seen.margin)
        kept.broken[place] = was | inside
        if self.context.search == "first_success":
            scale = seen.logits.abs().amax(1).clamp_min(1.0)
            kept.settled[place] |= inside & kept.sure[place] & (seen.margin > HAIRLINE * scale)
            if claims:
                kept.settled = self.lanes.shared(kept.settled)

    def _advance(self, seen: Seen) -> None:
        """Steps, restarts and leavings: the batch is cut once, before anything is computed for those who stay."""
        batch = self.batch
        fresh = None
        if self.news or batch.oldest >= self.attack.steps:
            # Of a stochastic model no success is the end: the point that fools the most draws is wanted.
            over = self.kept.settled[batch.place] & (not self.random)
            stepping = (batch.iteration < self.attack.steps) & ~over
            if not bool(stepping.all()):
                fresh = self._retire(~stepping)
                seen = seen.take(rows := closing(stepping))
                self.batch = batch = batch.closed_up(rows)
            batch.oldest = min(batch.oldest, self.attack.steps - 1)
        self.news = False
        if len(batch):
            self.attack.step(batch, seen, self._look, self.context)
            self.kept.steps[batch.place] += 1
            batch.moved_on()
            if self.news or batch.oldest >= self.last:
                ended = (batch.iteration >= self.last) | (self.kept.settled[batch.place] & (not self.random))
                if bool(ended.any()):  # the point after the last step isn't evaluated, or the step looked and succeeded
                    more = self._retire(ended)
                    fresh = more if fresh is None else fresh if more is None else fresh.joined(more)
                    self.batch = batch.closed_up(closing(~ended))
        if fresh is not None:
            self.batch = self.batch.joined(fresh)

    def _retire(self, ended: Tensor) -> Batch | None:
        """The runs of some samples are over: those with runs left start the next one, which is returned; others leave."""
        batch = self.batch
        rows = ended.nonzero().flatten()
        place, run = batch.place[rows], batch.run[rows]
        gone = self.kept.settled[place] | self.lanes.over(run)
        if not self._ranked:
            left = gone & ~self.kept.broken[place]  # what a survivor shows for its records is where its search ended
            self.kept.best[place[left]] = batch.x_adv[rows[left]]
        if bool(gone.any()):
            self.left += int(gone.sum())
            self.signs.say()
        again = ~gone
        return self._fresh(place[again], run[again] + 1) if bool(again.any()) else None


def _even(count: int, most: int) -> int:
    """A batch size of at most ``most`` that leaves no small rest: 276 samples go as 3 x 92, not as 128, 128 and 20."""
    return -(-count // -(-count // most)) if count > most else most
