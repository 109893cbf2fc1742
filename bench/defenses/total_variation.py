"""Total-variation minimisation.

Guo et al. 2018, Countering Adversarial Images using Input Transformations, arXiv:1711.00117, without its random dropping of
pixels; the model is Rudin, Osher and Fatemi 1992, Nonlinear total variation based noise removal algorithms, the algorithm
Chambolle 2004, An algorithm for total variation minimization and applications, as scikit-image has it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from bench.defenses.base import Purifier
from bench.defenses.parameters import TotalVariationParams

TOLERANCE = 2e-4
"""A channel is done when a step changes its energy by less than this share of the first."""
STEPS = 200
"""The most steps."""
TAU = 0.25
"""Chambolle's step size for images."""


class TotalVariation(Purifier):
    """Finds the image nearest to the given one that has little total variation, each channel on its own.

    BPDA differentiates the same iteration in torch.
    """

    differentiable: ClassVar[bool] = False
    library: ClassVar[tuple[str, ...]] = ("scikit-image",)
    params: TotalVariationParams

    def purify(self, x: Tensor) -> Tensor:
        """The denoised images, shape (N, C, H, W)."""
        from skimage.restoration import denoise_tv_chambolle

        images = x.detach().double().cpu().numpy()
        settings = {"weight": self.params.weight, "eps": TOLERANCE, "max_num_iter": STEPS}
        denoised = [
            denoise_tv_chambolle(image, **settings, channel_axis=0)  # type: ignore[no-untyped-call]
            for image in images
        ]
        return torch.from_numpy(np.stack(denoised)).to(x).clamp(0, 1)

    def surrogate(self, x: Tensor) -> Tensor:
        """Chambolle's iteration in torch, where every channel stops at its own step as it does in scikit-image."""
        p = x.new_zeros(2, *x.shape)
        u = x
        done = torch.zeros_like(x[..., :1, :1], dtype=torch.bool)
        first = before = torch.full_like(x[..., :1, :1], torch.inf)
        for step in range(STEPS):
            move = _divergence(p)
            u = torch.where(done, u, x + move)
            slope = _gradient(u)
            # The root has no gradient at 0, where the tiny number changes nothing else.
            length = (slope.square().sum(0) + 1e-20).sqrt()
            with torch.no_grad():
                energy = (move.square() + self.params.weight * length).sum((-2, -1), keepdim=True)
                first = energy if step == 0 else first
                done = done | ((before - energy).abs() <= TOLERANCE * first)
                before = energy
            if bool(done.all()):
                break
            p = (p - TAU * slope) / (1 + TAU / self.params.weight * length)
        return u.clamp(0, 1)


def _gradient(u: Tensor) -> Tensor:
    """Forward differences down and to the right, 0 at the far border, shape (2, ..., H, W)."""
    down = pad(u[..., 1:, :] - u[..., :-1, :], (0, 0, 0, 1))
    right = pad(u[..., 1:] - u[..., :-1], (0, 1))
    return torch.stack([down, right])


def _divergence(p: Tensor) -> Tensor:
    """The negative divergence of a field of shape (2, ..., H, W): the adjoint of :func:`_gradient`, shape (..., H, W)."""
    return pad(p[0][..., :-1, :], (0, 0, 1, 0)) + pad(p[1][..., :-1], (1, 0)) - p[0] - p[1]
