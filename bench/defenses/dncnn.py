"""The denoising network DnCNN.

Zhang et al. 2017, Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising, arXiv:1608.03981, without
batch normalisation (merged into the convolutions, as the authors' published weights have it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from bench.defenses.base import Purifier
from bench.defenses.parameters import DnCNNParams
from bench.errors import BenchError, ModelError
from bench.models.state_dict import find, load_strictly
from bench.models.weights import read, require
from bench.suites.places import Places

_WEIGHT = re.compile(r"model\.(\d+)\.weight")


class DnCNN(Purifier):
    """Takes off the noise that the network sees; exact gradient. Grey weights are applied to each channel on its own.

    Raises:
        ModelUnavailable: if there is no such file.
        ModelError: if it holds something else than a DnCNN.
    """

    differentiable: ClassVar[bool] = True
    params: DnCNNParams

    def __init__(self, params: DnCNNParams) -> None:
        super().__init__(params)
        path = Path(params.weights)
        self._digest = require(path, None)
        self.network = _network(find(read(path, Places()), None, path).state, path)

    @property
    def digest(self) -> str:
        """The sha256 of the file of weights."""
        return self._digest

    def purify(self, x: Tensor) -> Tensor:
        """The denoised images, shape (N, C, H, W).

        Raises:
            BenchError: for a number of channels that the weights don't take.
        """
        network = self.network.to(x.device)
        takes = next(network.parameters()).shape[1]
        if takes not in (1, x.shape[1]):
            raise BenchError(f"dncnn: {self.params.weights} takes images with {takes} channels, got {x.shape[1]}")
        images = x.flatten(0, 1).unsqueeze(1) if takes == 1 else x
        noise: Tensor = network(images.float())
        return (x - noise.view(x.shape).to(x.dtype)).clamp(0, 1)


def _network(state: Mapping[str, Tensor], path: Path) -> nn.Sequential:
    """The network of a state dict: as many convolutions as it has, ReLU between them."""
    widths = {int(match[1]): tensor.shape for name, tensor in state.items() if (match := _WEIGHT.fullmatch(name))}
    places = sorted(widths)
    if len(places) < 2 or places != list(range(0, 2 * len(places), 2)) or any(len(widths[at]) != 4 for at in places):
        raise ModelError(
            f"{path}: not a DnCNN: it must hold the weights of convolutions named model.0, model.2, ... without a gap, "
            f"got {', '.join(list(state)[:4])}"
        )
    layers: list[nn.Module] = []
    for at in places:
        layers += [nn.Conv2d(widths[at][1], widths[at][0], 3, padding=1), nn.ReLU()]
    body = nn.Sequential(*layers[:-1])
    if widths[0][1] != widths[places[-1]][0]:
        raise ModelError(f"{path}: not a DnCNN: it takes {widths[0][1]} channels and gives {widths[places[-1]][0]}")
    load_strictly(nn.ModuleDict({"model": body}), state, f"{path} as DnCNN")
    return body.eval().requires_grad_(False)
