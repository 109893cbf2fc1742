"""Statistics of the pixels alone, whatever the model says of them.

The histogram against the mean clean one: Grosse et al. 2017, On the (Statistical) Detection of Adversarial Examples,
arXiv:1702.06280 (a test of distributions; here of one image's pixels). The spectrum: Harder et al. 2021, SpectralDefense,
arXiv:2103.03000 (the Fourier magnitudes of the image; here one number of them, without a trained classifier).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from bench.defenses.base import Detector, Sight
from bench.defenses.detector_parameters import InputStatisticsParams
from bench.errors import BenchError

_TINY = 1e-12


class InputStatistics(Detector):
    """How far one statistic of the pixels lies from that of clean images; exact gradient.

    - ``pixel_distribution``: chi-squared distance of the histogram from the mean clean one, in [0, 2];
    - ``spectral_entropy``: distance of the power spectrum's entropy from the clean median, in [0, 1];
    - ``high_frequency``: share of the power above a radius, in [0, 1]; nothing is fitted.

    The histogram of an image with large areas of one value changes with the smallest change of them, and attacks that
    step by the sign of the gradient change every pixel: they flatter ``pixel_distribution``. Attacks whose steps are
    in proportion to the gradient leave such areas alone.
    """

    differentiable: ClassVar[bool] = True
    params: InputStatisticsParams

    def __init__(self, params: InputStatisticsParams) -> None:
        super().__init__(params)
        self.needs_fit = params.kind != "high_frequency"
        self._clean: Tensor | None = None

    def fit(self, sight: Sight, y: Tensor) -> None:
        """Takes the mean histogram or the median entropy of clean images."""
        if self.params.kind == "pixel_distribution":
            self._clean = histogram(sight.x, self.params.bins).mean(0)
        elif self.params.kind == "spectral_entropy":
            self._clean = spectral_entropy(sight.x).median()

    def score(self, sight: Sight) -> Tensor:
        """Distance from clean images, shape (N,)."""
        if self.params.kind == "high_frequency":
            return high_frequency_share(sight.x, self.params.radius)
        if self._clean is None:
            raise BenchError(f"input_statistics: {self.params.kind} must be fitted to clean images first")
        clean = self._clean.to(sight.x.device)
        if self.params.kind == "spectral_entropy":
            return (spectral_entropy(sight.x) - clean).abs()
        shares = histogram(sight.x, self.params.bins)
        return ((shares - clean).square() / (shares + clean + _TINY)).sum(1)


def histogram(x: Tensor, bins: int) -> Tensor:
    """The shares of pixel values in [0, 1] around ``bins`` equally spaced centres, shape (N, bins); they sum to 1.

    A value counts for the two centres that it lies between, more for the nearer one, so that there is a gradient.

    Args:
        x: shape (N, C, H, W), in [0, 1].
        bins: centres, from 0 to 1.
    """
    places = x.flatten(1) * (bins - 1)
    lower = places.detach().floor().clamp(0, bins - 2)
    upper_share = places - lower
    zero = torch.zeros_like(places)
    lower_sums = [torch.where(lower == centre, 1 - upper_share, zero).sum(1) for centre in range(bins - 1)]
    upper_sums = [torch.where(lower == centre, upper_share, zero).sum(1) for centre in range(bins - 1)]
    nothing = zero.sum(1)
    lowers, uppers = torch.stack([*lower_sums, nothing], dim=1), torch.stack([nothing, *upper_sums], dim=1)
    return (lowers + uppers) / places.shape[1]


def spectral_entropy(x: Tensor) -> Tensor:
    """Entropy of the normalised power spectrum without its constant part, as a share of the largest, shape (N,)."""
    power = _power(x).flatten(1)
    shares = power / (power.sum(1, keepdim=True) + _TINY)
    return -(shares * (shares + _TINY).log()).sum(1) / math.log(shares.shape[1])


def high_frequency_share(x: Tensor, radius: float) -> Tensor:
    """Share of the power, without the constant part, at frequencies above ``radius``, shape (N,).

    Args:
        x: shape (N, C, H, W).
        radius: length of the frequency (of rows, of columns) in units of Nyquist's.
    """
    rows, columns = (2 * torch.fft.fftfreq(length, device=x.device) for length in x.shape[2:])
    high = (rows[:, None].square() + columns.square()).sqrt() > radius
    power = _power(x)
    share: Tensor = (power * high).flatten(1).sum(1) / (power.flatten(1).sum(1) + _TINY)
    return share


def _power(x: Tensor) -> Tensor:
    """The power at every frequency, the mean of each channel taken out first, shape (N, C, H, W)."""
    spectrum = torch.fft.fft2(x.float() - x.float().mean((2, 3), keepdim=True))
    power: Tensor = spectrum.real.square() + spectrum.imag.square()
    return power
