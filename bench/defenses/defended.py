"""A defended model: a model again, seen as it is, or as an adversary sees it.

BPDA: Athalye et al. 2018, Obfuscated Gradients Give a False Sense of Security, arXiv:1802.00420. The forward pass is the
real defense; where that has no useful gradient, the backward pass takes the surrogate's.

Where the defense may reject, the logits have a column more than there are classes: the image is rejected where that column
is the largest. Carlini & Wagner 2017, Adversarial Examples Are Not Easily Detected, arXiv:1705.07263, put a detector beside
a classifier that way, so that both are attacked together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from bench.defenses.base import Ask, Defense, Detector, Purifier, RandomPurifier, Rewiring, Sight
from bench.defenses.calibration import Threshold, calibrate, rejection_logit
from bench.defenses.features import Features
from bench.errors import BenchError
from bench.models.noise import Noise, global_seed
from bench.models.straight_through import through

Knowledge: TypeAlias = Literal["judge", "adaptive", "naive"]
"""Whose eyes the defended model is seen with: the judge's, who wants the real logits and no gradients; those of an
attacker who knows the defense; those of one who takes it for any other model, and is blind to rejection."""


class DefendedModel(nn.Module):
    """Defenses before, around and after a model.

    Args:
        model: the bare model (:class:`bench.models.wrapper.CountedModel`); passes are counted there.
        stages: the defenses, that of the image first.
        surrogates: for each of them, ``None`` for its own, ``identity``, ``exact``, or a purifier that stands in for it.

    Attributes:
        num_classes: K.
        stochastic: whether two passes on one image may differ.
        rejects: whether the logits have a column for rejection, unless seen by the naive.
        members: the models that rewirings ask beside the bare one.
    """

    def __init__(
        self, model: Any, stages: Defense | Sequence[Defense], surrogates: Sequence[str | Purifier | None] = ()
    ) -> None:  # Any: a counted model
        super().__init__()
        self.model = model
        self.stages: tuple[Defense, ...] = (stages,) if isinstance(stages, Defense) else tuple(stages)
        self.surrogates = tuple(surrogates) or (None,) * len(self.stages)
        self.knowledge: Knowledge = "judge"
        self.num_classes: int = model.num_classes
        self.thresholds: dict[int, Threshold] = {}
        self._keys: Tensor | None = None
        self._features: list[Features] = []
        """looked up at the first pass, and shared by all eyes"""
        self._real: tuple[DefendedModel, ...] = ()
        """in a tuple, so that it is no submodule"""
        for place, stage in enumerate(self.stages):
            self._check(place, stage)
            if isinstance(stage, Rewiring):
                stage.adopt(model)
        self.members = nn.ModuleList(member for stage in self.stages for member in _models(stage))
        self.eval()

    def _check(self, place: int, stage: Defense) -> None:
        name = type(stage).__name__
        if not isinstance(stage, Purifier | Rewiring | Detector):
            raise BenchError(f"{name}: a defense is a Purifier, a Rewiring or a Detector of bench.defenses.base")
        after = self.stages[place + 1 :]
        if isinstance(stage, Detector) and not all(isinstance(one, Detector) for one in after):
            raise BenchError(f"{name}: nothing but another detector comes after a detector")
        behind = [one for one in after if isinstance(one, Purifier) or (isinstance(one, Rewiring) and one.rejects)]
        if isinstance(stage, Rewiring) and behind:
            raise BenchError(f"{name}: neither a purifier nor what rejects may stand behind it in a chain")
        if isinstance(stage, Rewiring) and stage.needs_models and not stage.models:
            raise BenchError(f"{name}: asks other models beside the bare one, and none is bound")
        if isinstance(stage, Detector) and stage.needs_features and any(isinstance(s, Rewiring) for s in self.stages):
            raise BenchError(f"{name}: looks at the network's features, so nothing but purifiers may stand before it")

    @property
    def stochastic(self) -> bool:
        """Whether two passes on one image may differ; the naive attacker doesn't know."""
        return self.knowledge != "naive" and any(stage.stochastic for stage in self.stages)

    @property
    def rejects(self) -> bool:
        """Whether the logits have a column for rejection; the naive attacker doesn't see it."""
        return self.knowledge != "naive" and any(stage.rejects for stage in self.stages)

    @property
    def approximate(self) -> bool:
        """Whether the attacker's forward pass isn't the real one, so that claims have to be verified."""
        return self.knowledge == "adaptive" and any(_surrogate_forward(stage) for stage in self.stages)

    @property
    def verifying_draws(self) -> int:
        """Fresh draws by which an attack verifies a claim."""
        return min((stage.verifying_draws for stage in self.stages if stage.stochastic), default=1)

    def behind_first(self) -> Ask:
        """What stands behind the first defense: images to logits."""
        rest = tuple(stage for stage in self.stages[1:] if isinstance(stage, Rewiring))
        return lambda z: self._ask(0, rest, z, self._noise(len(z), z.device))

    @property
    def calibrated(self) -> bool:
        """Whether every detector has its threshold."""
        return all(p in self.thresholds for p, stage in enumerate(self.stages) if isinstance(stage, Detector))

    @property
    def purifies(self) -> bool:
        """Whether the image is changed before the model sees it."""
        return any(isinstance(stage, Purifier) for stage in self.stages)

    def seen_by(self, knowledge: Knowledge) -> DefendedModel:
        """The same defended model, sharing everything, with other eyes."""
        other = DefendedModel.__new__(DefendedModel)
        nn.Module.__init__(other)
        other.model, other.stages, other.surrogates = self.model, self.stages, self.surrogates
        other.members = self.members
        other.num_classes, other.thresholds, other._features = self.num_classes, self.thresholds, self._features
        other.knowledge, other._keys, other._real = knowledge, None, (self.real,)
        other.eval()
        return other

    @property
    def real(self) -> DefendedModel:
        """The defended model as the judge sees it."""
        return self._real[0] if self._real else self

    @property
    def passes(self) -> Any:  # Any: the counter of the counted model
        """Sample-passes through the bare model."""
        return self.model.passes

    @property
    def microbatch(self) -> int | None:
        """The most samples of one piece of a pass; ``None`` for whole passes."""
        limit: int | None = self.model.microbatch
        return limit

    @microbatch.setter
    def microbatch(self, limit: int | None) -> None:
        for one in (self.model, *self.members):
            one.microbatch = limit

    def compiled(self, size: int) -> AbstractContextManager[None]:
        """The bare model compiled, behind the real defense; see :meth:`bench.models.wrapper.CountedModel.compiled`."""
        inside: AbstractContextManager[None] = self.model.compiled(size)
        return inside

    def graphed(self, size: int) -> AbstractContextManager[None]:
        """Graphs of the bare model, behind the real defense; see :meth:`bench.models.wrapper.CountedModel.graphed`."""
        inside: AbstractContextManager[None] = self.model.graphed(size)
        return inside

    def renew(self) -> None:
        """The bare model's; see :meth:`bench.models.wrapper.CountedModel.renew`."""
        self.model.renew()

    @contextmanager
    def drawing(self, keys: Tensor) -> Iterator[None]:
        """Inside, passes of ``len(keys)`` images draw from these keys, one for each image, int64."""
        before, self._keys = self._keys, keys
        try:
            yield
        finally:
            self._keys = before

    def calibrate(self, x: Tensor, y: Tensor, batch_size: int) -> None:
        """Fits detectors and sets their thresholds on clean images that neither training nor evaluation uses.

        Args:
            x: shape (N, C, H, W), on the model's device.
            y: labels, shape (N,).
            batch_size: the most images of one pass.

        Raises:
            BenchError: where there are too few images for the false-positive rate.
        """
        for place, stage in enumerate(self.stages):
            if isinstance(stage, Detector):
                inside = self._before(place, x, batch_size)
                self.thresholds[place] = calibrate(
                    stage, self._sights(place), inside, y, fpr=stage.fpr, batch_size=batch_size
                )

    def _before(self, place: int, x: Tensor, batch_size: int) -> Tensor:
        """The images as a detector gets them: purified."""
        with torch.no_grad():
            return torch.cat([self.purified(part) for part in torch.split(x, batch_size)])

    def _sights(self, place: int) -> Callable[[Tensor], Sight]:
        """What the detector at a place may look at, for images that it gets."""
        rest = tuple(stage for stage in self.stages[:place] if isinstance(stage, Rewiring))

        def sight(x: Tensor) -> Sight:
            noise = self._noise(len(x), x.device)
            return self._sight(place, x, lambda z: self._ask(0, rest, z, noise))

        return sight

    def purified(self, x: Tensor) -> Tensor:
        """The images as the model behind the purifiers sees them, without gradients, shape (N, C, H, W)."""
        noise = self._noise(len(x), x.device)
        with torch.no_grad():
            for stage in self.stages:
                if isinstance(stage, Purifier):
                    x = self._checked(stage, stage.purified(x.clone(), noise), x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, K), or (N, K + 1) where it rejects."""
        noise = self._noise(len(x), x.device)
        with self._seeded(noise):
            for place, stage in enumerate(self.stages):
                if isinstance(stage, Purifier):
                    x = self._purified(place, stage, x, noise)
            rest = tuple(stage for stage in self.stages if isinstance(stage, Rewiring))
            detectors = [place for place, stage in enumerate(self.stages) if isinstance(stage, Detector)]
            if not detectors or self.knowledge == "naive":
                logits = self._ask(0, rest, x, noise)
                return logits[:, : self.num_classes] if self.knowledge == "naive" else logits
            return self._with_detectors(x, detectors, lambda z: self._ask(0, rest, z, noise))

    def _purified(self, place: int, stage: Purifier, x: Tensor, noise: Noise) -> Tensor:
        surrogate = self.surrogates[place]
        wanted = torch.is_grad_enabled() and x.requires_grad
        if not wanted or surrogate == "exact" or self.knowledge == "naive" or (stage.differentiable and not surrogate):
            found = self._checked(stage, stage.purified(x.clone(), noise), x)
            return self._connected(stage, surrogate, found, 0 * x) if wanted and not found.requires_grad else found
        with torch.no_grad():
            real = self._checked(stage, stage.purified(x.detach().clone(), noise), x)
        if surrogate == "identity":
            return through(real, x)
        return through(real, surrogate.purified(x, noise) if isinstance(surrogate, Purifier) else stage.surrogate(x))

    def _ask(self, place: int, rest: tuple[Rewiring, ...], x: Tensor, noise: Noise) -> Tensor:
        """The logits behind the purifiers: rewirings from the outermost to the model."""
        if place == len(rest):
            logits: Tensor = self.model(x)
            return logits
        stage = rest[place]
        ask: Ask = lambda z: self._ask(place + 1, rest, z, _matching(noise, len(z)))  # noqa: E731
        surrogate = self.surrogates[self.stages.index(stage)]
        exact = surrogate == "exact" or self.knowledge == "naive"
        if self.knowledge == "adaptive" and stage.attacked_by_surrogate and not exact:
            return self._shaped(stage, stage.surrogate_logits(ask, x, noise), x)
        wanted = torch.is_grad_enabled() and x.requires_grad
        if not wanted or exact or (stage.differentiable and not surrogate):
            found = self._shaped(stage, stage.logits(ask, x, noise), x)
            nothing = 0 * x.flatten(1).sum(1, keepdim=True)
            return self._connected(stage, surrogate, found, nothing) if wanted and not found.requires_grad else found
        with torch.no_grad():
            real = self._shaped(stage, stage.logits(ask, x.detach(), noise), x)
        if surrogate == "identity":
            return through(real, _padded(ask(x), real.shape[1]))
        at = surrogate.purified(x, noise) if isinstance(surrogate, Purifier) else x
        return through(real, self._shaped(stage, stage.surrogate_logits(ask, at, noise), x))

    def _with_detectors(self, x: Tensor, places: Sequence[int], ask: Ask) -> Tensor:
        columns, logits = [], None
        for place in places:
            stage = self.stages[place]
            assert isinstance(stage, Detector)
            if place not in self.thresholds:
                raise BenchError(f"{type(stage).__name__}: the threshold hasn't been calibrated")
            sight = self._sight(place, x, ask)
            if logits is None:
                logits = sight.logits[:, : self.num_classes]
                columns += list(sight.logits[:, self.num_classes :].T)  # of a vote that may abstain
            columns.append(rejection_logit(logits, self._score(place, stage, sight), self.thresholds[place]))
        assert logits is not None
        return torch.cat([logits, torch.stack(columns).amax(0)[:, None]], dim=1)

    def _score(self, place: int, stage: Detector, sight: Sight) -> Tensor:
        wanted = torch.is_grad_enabled() and sight.x.requires_grad
        surrogate = self.surrogates[place]
        if wanted and surrogate == "identity":
            with torch.no_grad():
                return stage.score(sight)
        if not wanted or surrogate == "exact" or stage.differentiable:
            return stage.score(sight)
        with torch.no_grad():
            real = stage.score(sight)
        return through(real, stage.surrogate_score(sight))

    def _sight(self, place: int, x: Tensor, ask: Ask) -> Sight:
        stage = self.stages[place]
        assert isinstance(stage, Detector)
        if not stage.needs_features:
            return Sight(x, ask(x), None, ask)
        if not self._features:
            self._features.append(Features(self.model, self.model, x[:1].detach()))
        look = self._features[0].look
        logits, features = look(x)
        return Sight(x, logits, features, ask, look)

    def _noise(self, count: int, device: torch.device) -> Noise:
        """The draws of one pass: those that were set, or fresh ones from torch's global generator."""
        keys = self._keys
        if keys is None or len(keys) != count:
            if not any(stage.stochastic for stage in self.stages):
                return Noise(torch.zeros(count, dtype=torch.int64, device=device))
            if keys is not None:
                raise BenchError(f"{len(keys)} keys for a pass of {count} images: this is a fault of the harness")
            keys = torch.randint(-(2**62), 2**62, (count,), dtype=torch.int64).to(device)
        return Noise(keys)

    @contextmanager
    def _seeded(self, noise: Noise) -> Iterator[None]:
        """Third parties' randomness comes from the global generators: they are seeded with the first sample's key."""
        if self._keys is None or not any(stage.stochastic and not _keyed(stage) for stage in self.stages):
            yield
            return
        with global_seed(int(noise.keys[0]) & 0x7FFFFFFF if len(noise) else 0):
            yield

    def _connected(self, stage: Defense, surrogate: object, found: Tensor, nothing: Tensor) -> Tensor:
        """What has no graph at all has a gradient of zero for whoever asked for its exact gradient, knowing or not."""
        if stage.differentiable and surrogate != "exact" and self.knowledge != "naive":
            raise BenchError(
                f"{type(stage).__name__} declares itself differentiable, but what it returns does not require grad "
                "(accepted: differentiable = False, and a surrogate)"
            )
        return found + nothing

    @staticmethod
    def _checked(stage: Defense, purified: Tensor, x: Tensor) -> Tensor:
        if purified.shape != x.shape:
            raise BenchError(
                f"{type(stage).__name__}: a purifier keeps the shape, got {tuple(purified.shape)} for {tuple(x.shape)}"
            )
        return purified

    def _shaped(self, stage: Rewiring, logits: Tensor, x: Tensor) -> Tensor:
        wanted = (len(x), self.num_classes + int(stage.rejects))
        if logits.shape != wanted:
            raise BenchError(f"{type(stage).__name__}: gave logits of shape {tuple(logits.shape)}, not {wanted}")
        return logits


def _models(stage: Defense) -> tuple[nn.Module, ...]:
    return stage.models if isinstance(stage, Rewiring) else ()


def _surrogate_forward(stage: Defense) -> bool:
    return isinstance(stage, Rewiring) and stage.attacked_by_surrogate


def _keyed(stage: Defense) -> bool:
    """Whether all its randomness comes from the keys."""
    return isinstance(stage, RandomPurifier | Rewiring)


def _matching(noise: Noise, count: int) -> Noise:
    """The draws for a pass of another size inside a pass: unrelated ones for each copy of a sample."""
    if count == len(noise):
        return noise
    if len(noise) and count % len(noise) == 0:
        return noise.repeated(count // len(noise))
    return Noise(noise.keys[:1].expand(count).clone())


def _padded(logits: Tensor, columns: int) -> Tensor:
    """With a column for rejection that is never the largest, where there is none."""
    if logits.shape[1] == columns:
        return logits
    return torch.cat([logits, logits.amin(1, keepdim=True) - 1], dim=1)
