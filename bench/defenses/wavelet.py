"""Wavelet denoising.

Chang et al. 2000, Adaptive wavelet thresholding for image denoising and compression (BayesShrink); as a defense Prakash et
al. 2018, Deflecting Adversarial Attacks with Pixel Deflection, arXiv:1801.08926; the denoiser is scikit-image's.
"""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.defenses.base import Purifier
from bench.defenses.parameters import WaveletParams

NORMAL_MEDIAN = 0.6744897501960817
"""The median of the absolute value of a standard normal variable."""
TINY = float(np.finfo(np.float64).eps)
"""The least variance that scikit-image lets the coefficients of an image without noise have."""


class Wavelet(Purifier):
    """Shrinks the wavelet coefficients of every channel as BayesShrink says.

    BPDA differentiates the same transform in torch, with the thresholds held fixed.
    """

    differentiable: ClassVar[bool] = False
    library: ClassVar[tuple[str, ...]] = ("scikit-image", "PyWavelets")
    params: WaveletParams

    def purify(self, x: Tensor) -> Tensor:
        """The denoised images, shape (N, C, H, W)."""
        channels = x.detach().double().cpu().flatten(0, 1).numpy()
        denoised = np.stack([self._denoised(channel) for channel in channels])
        return torch.from_numpy(denoised).view(x.shape).to(x).clamp(0, 1)

    def _denoised(self, channel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """One channel, shape (H, W)."""
        from skimage.restoration import denoise_wavelet

        with warnings.catch_warnings():
            # Where the finest details are zero, the estimate of the noise is NaN: there is no noise to take off.
            warnings.filterwarnings("ignore", message="Mean of empty slice", category=RuntimeWarning)
            warnings.filterwarnings("ignore", message="invalid value encountered", category=RuntimeWarning)
            warnings.filterwarnings("ignore", message="Level value of .* is too high", category=UserWarning)
            denoised: npt.NDArray[np.float64] = denoise_wavelet(
                channel,
                sigma=self.params.sigma,
                wavelet=self.params.wavelet,
                mode=self.params.mode,
                wavelet_levels=self.params.levels,
            )
        return denoised if np.isfinite(denoised).all() else channel

    def surrogate(self, x: Tensor) -> Tensor:
        """The same transform as products of matrices, shape (N, C, H, W)."""
        from pywt import dwtn_max_level

        levels = self.params.levels or max(dwtn_max_level(x.shape[-2:], self.params.wavelet) - 3, 1)
        return self._shrunk(x, levels, self._variance(x)).clamp(0, 1)

    def _shrunk(self, x: Tensor, levels: int, variance: Tensor) -> Tensor:
        """Decomposes, thresholds the details and puts together again; the rest is decomposed ``levels - 1`` times more."""
        (down, back), (across, over) = (self._matrices(length, x) for length in x.shape[-2:])
        bands = [[rows @ x @ columns.T for columns in across] for rows in down]
        if levels > 1:
            bands[0][0] = self._shrunk(bands[0][0], levels - 1, variance)
        result = torch.zeros_like(x)
        for at in range(2):
            for to in range(2):
                band = bands[at][to] if at == to == 0 else self._thresholded(bands[at][to], variance)
                # A transform of an odd length gives a pixel too many.
                result = result + (back[at] @ band @ over[to].T)[..., : x.shape[-2], : x.shape[-1]]
        return result

    def _matrices(self, length: int, x: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The transform of one axis and its inverse: the smooth part's and the details' matrices of each."""
        from pywt import dwt, idwt

        there = dwt(np.eye(length), self.params.wavelet, axis=0)
        unit = np.eye(len(there[0]))
        back = idwt(unit, None, self.params.wavelet, axis=0), idwt(None, unit, self.params.wavelet, axis=0)
        low, high, low_back, high_back = (torch.from_numpy(matrix).to(x) for matrix in (*there, *back))
        return (low, high), (low_back, high_back)

    def _variance(self, x: Tensor) -> Tensor:
        """Variance of the noise of every channel, shape (N, C, 1, 1), from the median of the finest details.

        Those that are 0 don't count; which ones are hangs on the last bit, so they are computed as scikit-image does.
        """
        from pywt import dwtn

        if self.params.sigma is not None:
            return torch.full_like(x[..., :1, :1], self.params.sigma**2)
        details = np.abs(dwtn(x.detach().double().cpu().numpy(), self.params.wavelet, axes=(-2, -1))["dd"])
        medians = [np.median(one[one > 0]) if one.any() else 0.0 for one in details.reshape(-1, *details.shape[2:])]
        return (torch.tensor(medians).view(*x.shape[:2], 1, 1) / NORMAL_MEDIAN).square().to(x)

    def _thresholded(self, band: Tensor, variance: Tensor) -> Tensor:
        power = band.detach().square().mean((-2, -1), keepdim=True)
        threshold = variance / (power - variance).clamp_min(TINY).sqrt()
        if self.params.mode == "hard":
            return band * (band.abs() >= threshold)
        return band.sign() * (band.abs() - threshold).clamp_min(0)
