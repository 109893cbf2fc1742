"""What a defense declares and does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor


class Defense(ABC):
    """Changes a model so that it withstands adversarial examples, and says what it is.

    Attributes:
        differentiable: whether its exact gradient is there to be used; otherwise the adaptive adversary takes BPDA.
        stochastic: whether two passes on one image may differ.
        rejects: whether it may abstain.
        revision: raised when its output can change; part of a cell's identity.
        library: distributions whose version can change its output; part of a cell's identity.
    """

    differentiable: ClassVar[bool]
    stochastic: ClassVar[bool] = False
    rejects: ClassVar[bool] = False
    revision: ClassVar[int] = 1
    library: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Any) -> None:  # Any: each defense's own parameters
        self.params = params


class Purifier(Defense):
    """A defense that changes the image before the model sees it."""

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
