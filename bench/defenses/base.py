"""What a defense declares and does.

A defense is one of three things: a :class:`Purifier` changes the image before the model sees it, a :class:`Rewiring`
changes how the model is asked or what becomes of its answer, and a :class:`Detector` rejects images. They chain; the whole
is a model again (:mod:`bench.defenses.defended`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from torch import Tensor, nn

from bench.models.noise import Noise

Ask: TypeAlias = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) in [0, 1] to logits (N, K): whatever stands behind the defense."""

Look: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images (N, C, H, W) in [0, 1] to logits (N, K) and features (N, D); see :class:`bench.defenses.features.Features`."""


class Defense(ABC):
    """Changes a model so that it withstands adversarial examples, and says what it is.

    Attributes:
        differentiable: whether its exact gradient is there to be used; otherwise the adaptive adversary takes BPDA.
        stochastic: whether two passes on one image may differ.
        rejects: whether it may abstain.
        verifying_draws: fresh draws by which an attack verifies a claim, where it is stochastic; fewer where one is a vote.
        revision: raised when its output can change; part of a cell's identity.
        library: distributions whose version can change its output; part of a cell's identity.
    """

    differentiable: ClassVar[bool]
    stochastic: ClassVar[bool] = False
    rejects: ClassVar[bool] = False
    verifying_draws: ClassVar[int] = 10
    revision: ClassVar[int] = 1
    library: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Any) -> None:  # Any: each defense's own parameters
        self.params = params

    @property
    def digest(self) -> str:
        """The sha256 of the files that it was made from, empty where there are none; part of a cell's identity."""
        return ""


class Purifier(Defense):
    """A defense that changes the image before the model sees it."""

    kind: ClassVar[str] = "purifier"

    @abstractmethod
    def purify(self, x: Tensor) -> Tensor:
        """The purified images.

        Args:
            x: shape (N, C, H, W), float32 in [0, 1].

        Returns:
            The same shape, in [0, 1].
        """

    def surrogate(self, x: Tensor) -> Tensor:
        """A differentiable stand-in whose gradient BPDA takes; the identity unless the defense names a better one."""
        return x

    def purified(self, x: Tensor, noise: Noise) -> Tensor:
        """The same with the draws of the pass; those that declare themselves ``stochastic`` may leave them alone and
        draw from torch's, numpy's or Python's global generator, which the harness seeds for every pass.
        """
        return self.purify(x)


class RandomPurifier(Purifier):
    """A purifier whose randomness is drawn for each sample: the same sample gets the same draws in every batch."""

    stochastic: ClassVar[bool] = True

    @abstractmethod
    def purified(self, x: Tensor, noise: Noise) -> Tensor:
        """The purified images; every random number comes from ``noise``.

        Args:
            x: shape (N, C, H, W), float32 in [0, 1].
            noise: the draws of this pass, one key for each sample.
        """

    def purify(self, x: Tensor) -> Tensor:
        """Not to be had without draws.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{type(self).__name__} needs draws: call purified")


class Rewiring(Defense):
    """A defense that changes how the model is asked (votes, several models) or what becomes of its logits.

    Attributes:
        attacked_by_surrogate: whether the adaptive adversary's forward pass is :meth:`surrogate_logits`, too, because the
            losses are useless on the real logits (saturated, or counts of votes). Claims are verified on the real ones.
        needs_models: whether it asks other models beside the bare one; then :meth:`bind` is called before the first pass.
        models: these, once they are bound. The defended model holds them as its own, so that what changes them is noticed.
    """

    kind: ClassVar[str] = "rewiring"
    attacked_by_surrogate: ClassVar[bool] = False
    needs_models: ClassVar[bool] = False
    models: tuple[nn.Module, ...] = ()

    def bind(self, models: Sequence[nn.Module]) -> None:
        """Gives it the models that the suite names in its parameters, in that order.

        Args:
            models: images (N, C, H, W) in [0, 1] to logits (N, K), on the device of the bare model.
        """
        self.models = tuple(models)

    def adopt(self, network: nn.Module) -> None:
        """Called once with the bare network before the first pass, for those that reach into it; nothing to do for others.

        Args:
            network: what :data:`Ask` asks in the end; it is shared, so that it must be left as it was found.
        """
        return

    @abstractmethod
    def logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """Logits of the defended model.

        Args:
            ask: the model behind the defense; may be called several times, with other numbers of images.
            x: shape (N, C, H, W), float32 in [0, 1].
            noise: the draws of this pass, one key for each sample.

        Returns:
            Shape (N, K).
        """

    def surrogate_logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """A differentiable stand-in whose gradient BPDA takes: the model itself unless the defense names a better one."""
        return ask(x)


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What a detector may look at, for N images.

    Attributes:
        x: the images as the detector gets them, shape (N, C, H, W), float32 in [0, 1].
        logits: of the model behind the detector, shape (N, K).
        features: input of the network's last linear layer, shape (N, D); only where ``needs_features``.
        ask: the model behind the detector, for other images than ``x``.
        look: the same with the features; only where ``needs_features``.
    """

    x: Tensor
    logits: Tensor
    features: Tensor | None
    ask: Ask
    look: Look | None = None


class Detector(Defense):
    """A defense that rejects images whose score lies above a threshold.

    The threshold is calibrated by :func:`bench.defenses.calibration.calibrate` at the stated false-positive rate on clean
    images that neither training nor evaluation uses.

    Attributes:
        needs_features: whether it looks at ``Sight.features``; then nothing may stand between it and the network.
        needs_fit: whether :meth:`fit` must be called; half of the calibration images are used for it, the other half for
            the threshold. An instance may say it for its parameters.
    """

    kind: ClassVar[str] = "detector"
    calibrated: ClassVar[bool] = True
    rejects: ClassVar[bool] = True
    needs_features: ClassVar[bool] = False
    needs_fit: bool = False

    def fit(self, sight: Sight, y: Tensor) -> None:
        """Learns what clean images look like; nothing to do unless ``needs_fit``.

        Args:
            sight: clean calibration images, N of them, without gradients.
            y: their labels, shape (N,).
        """
        return

    @property
    def fpr(self) -> float:
        """The false-positive rate that the threshold is calibrated at: the parameter of that name, or 5 %."""
        params = self.params
        return float(params.get("fpr", 0.05) if isinstance(params, Mapping) else getattr(params, "fpr", 0.05))

    @abstractmethod
    def score(self, sight: Sight) -> Tensor:
        """How suspicious each image is, shape (N,), float32: higher is more suspicious.

        Differentiable with respect to ``sight.x``, ``sight.logits`` and ``sight.features`` where the defense declares
        itself ``differentiable``; otherwise :meth:`surrogate_score` gives the gradient.
        """

    def surrogate_score(self, sight: Sight) -> Tensor:
        """A differentiable stand-in whose gradient BPDA takes; the score itself unless the defense names another."""
        return self.score(sight)
