"""ART's preprocessors (``art.defences.preprocessor``) as purifiers."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench._imports import prepare_torchvision
from bench.defenses.base import Purifier, RandomPurifier
from bench.defenses.libraries.art_parameters import OWNED
from bench.models.noise import Noise, global_seed, reseed

ART = "adversarial-robustness-toolbox"


class _Estimated(torch.autograd.Function):
    """The image itself, with the gradient that a preprocessor estimates."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, estimate: Callable[[Tensor, Tensor], Tensor]) -> Tensor:  # Any: torch's context
        ctx.save_for_backward(x)
        ctx.estimate = estimate
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # Any: torch's context
        (x,) = ctx.saved_tensors
        return ctx.estimate(x, gradients[0]), None


class ArtPurifier(Purifier):
    """A preprocessor of ART, applied to what is predicted; BPDA takes the gradient that ART itself estimates.

    Without an estimate of its own that is the identity. One that can't be told where the channels are gets them last,
    as ART's documentation wants them.

    Attributes:
        owned: parameters that the harness sets.
    """

    differentiable: ClassVar[bool] = False
    library: ClassVar[tuple[str, ...]] = (ART,)
    owned: ClassVar[Mapping[str, Any]] = OWNED

    @cached_property
    def _kind(self) -> Any:  # Any: a class of an untyped library
        prepare_torchvision()
        from art.defences import preprocessor

        return getattr(preprocessor, type(self).__name__)

    @cached_property
    def preprocessor(self) -> Any:  # Any: ART has no annotations that mypy sees
        """ART's object, made at the first pass."""
        takes = inspect.signature(self._kind).parameters
        owned = {key: value for key, value in self.owned.items() if key in takes}
        return self._kind(**owned, **self.params.model_dump())

    @cached_property
    def _channels_last(self) -> bool:
        return "channels_first" not in inspect.signature(self._kind).parameters

    def purified(self, x: Tensor, noise: Noise) -> Tensor:
        """The same; ART is not asked about no images at all."""
        return self.purify(x) if len(x) else x

    def purify(self, x: Tensor) -> Tensor:
        """The preprocessed images, shape (N, C, H, W)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # ART 1.20.1 asks Pillow in an old way
            found, _ = self.preprocessor(self._given(x))
        return self._taken(found, x)

    def surrogate(self, x: Tensor) -> Tensor:
        """The image with ART's estimate of the gradient."""
        estimated: Tensor = _Estimated.apply(x, self._estimate)  # type: ignore[no-untyped-call]
        return estimated

    def _estimate(self, x: Tensor, gradient: Tensor) -> Tensor:
        return self._taken(self.preprocessor.estimate_gradient(self._given(x), self._given(gradient)), gradient)

    def _given(self, x: Tensor) -> NDArray[np.float32]:
        """A copy for ART, which writes into what it gets."""
        x = x.permute(0, 2, 3, 1) if self._channels_last else x
        return np.array(x.detach().cpu().numpy(), dtype=np.float32, order="C")

    def _taken(self, found: NDArray[Any], like: Tensor) -> Tensor:  # Any: float32 or float64
        images = torch.from_numpy(np.asarray(found, dtype=np.float32)).to(like)
        return images.permute(0, 3, 1, 2).contiguous() if self._channels_last else images


class RandomArtPurifier(RandomPurifier, ArtPurifier):
    """A preprocessor that draws from global generators: they are seeded for each image, which ART gets alone.

    What an image draws therefore comes from its own key, in every batch.
    """

    def purified(self, x: Tensor, noise: Noise) -> Tensor:
        """The preprocessed images, shape (N, C, H, W)."""
        if not len(x):
            return x
        pieces = []
        with global_seed(0):  # puts them back afterwards
            for image, seed in zip(torch.split(x, 1), noise.seeds().tolist(), strict=True):
                reseed(seed)
                pieces.append(self.drawn(image))
        return torch.cat(pieces)

    def drawn(self, image: Tensor) -> Tensor:
        """One preprocessed image, shape (1, C, H, W), drawn from the global generators."""
        return ArtPurifier.purify(self, image)


class FeatureSqueezing(ArtPurifier):
    """Rounds every pixel to 2 ** bit_depth levels."""


class SpatialSmoothing(ArtPurifier):
    """The median of every pixel's window, SciPy's; the border is mirrored with its own pixels."""

    library: ClassVar[tuple[str, ...]] = (ART, "scipy")


class SpatialSmoothingPyTorch(ArtPurifier):
    """The median of every pixel's window, the border mirrored without its own pixels; exact gradient."""

    differentiable: ClassVar[bool] = True
    library: ClassVar[tuple[str, ...]] = (ART, "kornia")
    # Medians are in bounds, and ART would clamp images on a GPU by tensors on the CPU.
    owned: ClassVar[Mapping[str, Any]] = {key: value for key, value in OWNED.items() if key != "clip_values"}

    def purify(self, x: Tensor) -> Tensor:
        """The smoothed images, shape (N, C, H, W)."""
        smoothed: Tensor = self.preprocessor.forward(x)[0]
        return smoothed


class JpegCompression(ArtPurifier):
    """Cuts every pixel off to 8 bits, compresses with Pillow's libjpeg and decodes again.

    Images with 3 channels are compressed in colour, others channel by channel.
    """

    library: ClassVar[tuple[str, ...]] = (ART, "pillow")

    def purify(self, x: Tensor) -> Tensor:
        """The decoded images, shape (N, C, H, W)."""
        return super().purify(x.clamp(0, 1))  # beyond 1, 8 bits start again at 0


class TotalVarMin(RandomArtPurifier):
    """Draws the pixels that the result has to match, and minimises the total variation with SciPy."""

    library: ClassVar[tuple[str, ...]] = (ART, "scipy")


class GaussianAugmentation(RandomArtPurifier):
    """Adds Gaussian noise, at prediction instead of in training (``augmentation=False``), and clips to [0, 1]."""


class Cutout(RandomArtPurifier):
    """Blackens a square around a random pixel, at prediction instead of in training."""


class CutoutPyTorch(RandomArtPurifier):
    """Blackens a square around a random pixel, at prediction instead of in training; exact gradient."""

    differentiable: ClassVar[bool] = True

    def drawn(self, image: Tensor) -> Tensor:
        """One image with its square, shape (1, C, H, W)."""
        cut: Tensor = self.preprocessor.forward(image)[0]
        return cut
