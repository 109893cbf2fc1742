"""A defense that defends nothing.

Athalye et al. 2018, Obfuscated Gradients Give a False Sense of Security, arXiv:1802.00420: "shattered gradients" in its
purest form.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bench.defenses.base import Purifier
from bench.defenses.parameters import GradientKillerParams


class GradientKiller(Purifier):
    """Leaves every image as it is and loses its gradient on the way through numpy; BPDA takes the identity's."""

    differentiable: ClassVar[bool] = False
    params: GradientKillerParams

    def purify(self, x: Tensor) -> Tensor:
        """The same images, shape (N, C, H, W), in which no gradient can be followed."""
        return torch.from_numpy(x.detach().cpu().numpy().copy()).to(x.device)
