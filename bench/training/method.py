"""What a training method offers: the points and the loss of one step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from bench.training.draws import BatchDraws


class Step(NamedTuple):
    """Where in the training a step is.

    Attributes:
        epochs_done: epochs before this step, a fraction within one, from 0.
        epochs: of the whole training.
        draws: the method's own random numbers, for the images that it is called with.
        label_smoothing: of the recipe, 0 to 1.
        strength: the share of the attack's eps and alpha that the recipe's schedule gives at this place, 0 to 1.
    """

    epochs_done: float
    epochs: int
    draws: BatchDraws
    label_smoothing: float
    strength: float


class Outcome(NamedTuple):
    """The loss to minimise (a scalar with its graph), and the logits it was made from, shape (N, K).

    ``logits`` is ``None`` where the network gives images.
    """

    loss: Tensor
    logits: Tensor | None


class TrainingMethod(ABC):
    """A training method; :data:`bench.training.TABLE` names them.

    The loop calls, for every batch, ``examples``, ``loss``, the backward pass, ``after_backward`` and the optimizer.
    Precision, accumulation, averages, schedules and saving are the loop's.
    """

    updates: int = 1
    """Updates of the weights that are made on every batch."""

    def examples(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> Tensor:
        """The points in [0, 1] that the loss is taken at, shape (N, C, H, W), without a graph; here the images.

        Args:
            model: in training mode; it is left so.
            x: augmented images in [0, 1], shape (N, C, H, W).
            y: labels, shape (N,), int64.
            step: where in the training.
        """
        return x

    @abstractmethod
    def loss(self, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The loss at these points, a mean over images.

        Args:
            model: in training mode; it is left so.
            x: augmented images in [0, 1], shape (N, C, H, W).
            x_adv: what ``examples`` gave, the same shape.
            y: labels, shape (N,), int64.
            step: where in the training.
        """

    def after_backward(self, x_adv: Tensor, *, step: Step) -> None:  # noqa: B027
        """Called after the backward pass and before the update.

        Args:
            x_adv: what ``examples`` gave; its ``grad`` is there where it was made to require one.
            step: where in the training.
        """

    def state(self) -> dict[str, Tensor]:
        """What a resumed training needs to go on to the same bits."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:  # noqa: B027
        """Takes up what :meth:`state` gave."""

    def watch(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> str | None:
        """Looks at the weights at the end of an epoch; a text ends the training there, for that reason.

        The weights of the epoch before are then the ones that are kept.

        Args:
            model: in evaluation mode; never the average.
            x: a batch of images, not augmented: of the validation images where the recipe has some, else of the
                training images.
            y: labels, shape (N,), int64.
            step: where in the training.
        """
        return None
