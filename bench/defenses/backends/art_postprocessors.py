"""ART's postprocessors (``art.defences.postprocessor``) as rewirings: what becomes of the probabilities.

They were made to answer less to those who copy a model (Tramèr et al. 2016, Stealing Machine Learning Models via
Prediction APIs, arXiv:1609.02943). As defenses against adversarial examples they hide the gradient and leave the classes
mostly as they were, so that they are attacked through the logits before them.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bench._imports import prepare_torchvision
from bench.defenses.backends.art_preprocessors import ART
from bench.defenses.base import Ask, Rewiring
from bench.models.noise import Noise, global_seed, reseed

_TINY = torch.finfo(torch.float32).tiny


class ArtPostprocessor(Rewiring):
    """The logarithms of what ART makes of the probabilities; attacked through the logits as they were.

    ART gets one image's probabilities at a time: in release 1.20.1 ``ClassLabels`` marks the classes of all images of a
    batch in each of them.
    """

    differentiable: ClassVar[bool] = False
    attacked_by_surrogate: ClassVar[bool] = True
    library: ClassVar[tuple[str, ...]] = (ART,)

    @cached_property
    def postprocessor(self) -> Any:  # Any: ART has no annotations that mypy sees
        """ART's object, made at the first pass."""
        prepare_torchvision()
        from art.defences import postprocessor

        return getattr(postprocessor, type(self).__name__)(**self.params.model_dump())

    def logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """The logarithms of the processed probabilities, shape (N, K); of 0, that of the smallest float32."""
        return self.processed(ask(x), noise).clamp_min(_TINY).log()

    def processed(self, logits: Tensor, noise: Noise) -> Tensor:
        """What ART makes of the probabilities, shape (N, K), without a gradient; 0 where ART divides 0 by 0."""
        probabilities = logits.detach().float().softmax(1)
        rows = probabilities.cpu().numpy()
        seeds = noise.seeds().tolist() if self.stochastic else [0] * len(rows)
        with np.errstate(all="ignore"), global_seed(0) if self.stochastic else nullcontext():
            found = [self.drawn(row[None], seed) for row, seed in zip(rows, seeds, strict=True)]
        return torch.from_numpy(np.concatenate([rows[:0], *found])).to(probabilities).nan_to_num(0.0)

    def drawn(self, row: Any, seed: int) -> Any:  # Any: an array of shape (1, K)
        """What ART makes of one image's probabilities; the global generators are put back afterwards."""
        if self.stochastic:
            reseed(seed)
        return self.postprocessor(row)


class ClassLabels(ArtPostprocessor):
    """1 for the most probable class, 0 for the others."""


class Rounded(ArtPostprocessor):
    """The probabilities with fewer decimals; of classes that become equal the first one is answered."""


class ReverseSigmoid(ArtPostprocessor):
    """The probabilities less a sigmoid of their log-odds; a large ``beta`` changes the classes."""


class GaussianNoise(ArtPostprocessor):
    """The probabilities with Gaussian noise."""

    stochastic: ClassVar[bool] = True


class HighConfidence(ArtPostprocessor):
    """The probabilities from ``cutoff`` on; where no class has it, ART answers nothing, and the image is rejected.

    The surrogate takes the same decision on the bare logits.
    """

    rejects: ClassVar[bool] = True

    def logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """The logarithms of the classes that are left, and whether none is, shape (N, K + 1)."""
        left = self.processed(ask(x), noise)
        rejected = torch.where(left.amax(1, keepdim=True) > 0, 2 * math.log(_TINY), 0.0)
        return torch.cat([left.clamp_min(_TINY).log(), rejected.to(left)], 1)

    def surrogate_logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """The logarithms of the probabilities and of the cutoff, shape (N, K + 1)."""
        classes = ask(x).float().log_softmax(1)
        return torch.cat([classes, torch.full_like(classes[:, :1], math.log(self.params.cutoff))], 1)
