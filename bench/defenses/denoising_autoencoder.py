"""A denoising autoencoder before the model.

Gu & Rigazio 2014, Towards Deep Neural Network Architectures Robust to Adversarial Examples, arXiv:1412.5068; the reformer
of Meng & Chen 2017, MagNet: a Two-Pronged Defense against Adversarial Examples, arXiv:1705.09064. Carlini & Wagner 2017,
MagNet and "Efficient Defenses Against Adversarial Attacks" are Not Robust to Adversarial Examples, arXiv:1711.08478, broke
it by going through it, as the adaptive adversary does here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from bench.defenses.base import Purifier
from bench.defenses.parameters import DenoisingAutoencoderParams
from bench.digests import value_digest
from bench.errors import ModelError, UnsafeWeights
from bench.models import state_dict, weights
from bench.models.architectures import building
from bench.models.architectures.denoising_autoencoder import DenoisingAutoencoder as Network
from bench.models.zoo import cards
from bench.suites.places import Places

_ARCHITECTURE = "denoising_autoencoder"
_ZOO = "zoo:"


class DenoisingAutoencoder(Purifier):
    """Replaces the image by what a trained denoising autoencoder makes of it; exact gradient.

    Args:
        params: say which weights; the network's sizes are read off them.

    Raises:
        ModelError: where the weights aren't those of such a network, or can't be had.
    """

    differentiable: ClassVar[bool] = True
    params: DenoisingAutoencoderParams

    def __init__(self, params: DenoisingAutoencoderParams) -> None:
        super().__init__(params)
        path, sha256 = _located(params.weights)
        self._weights = weights.require(path, sha256)
        state = _read(path)
        self._args = _sizes(state)
        network = building.build(_ARCHITECTURE, self._args, num_classes=0)
        state_dict.load_strictly(network, state, f"{path} into {_ARCHITECTURE}")
        assert isinstance(network, Network)
        self._network = network.requires_grad_(False)

    @property
    def digest(self) -> str:
        """The sha256 over the file of weights and the network's code."""
        return value_digest({"weights": self._weights, "code": building.code_digest(_ARCHITECTURE, self._args)})

    def purify(self, x: Tensor) -> Tensor:
        """The denoised images, shape (N, C, H, W), in (0, 1).

        Raises:
            ModelError: for images of other channels than the network's.
        """
        wanted = self._network.inward.in_channels
        if x.shape[1] != wanted:
            raise ModelError(
                f"denoising_autoencoder: {self.params.weights} is for images of {wanted} channels, these have {x.shape[1]}"
            )
        # Where x is of another type it is the search's; the network itself stays in float32.
        denoised: Tensor = self._network.to(x.device)(x.float())
        return denoised.to(x.dtype)


def _located(said: str) -> tuple[Path, str | None]:
    """The file of weights, and the digest it must have where that is known."""
    if not said.startswith(_ZOO):
        return Path(said).expanduser(), None
    name, denoisers = said.removeprefix(_ZOO), cards.of("restoration")
    if name not in denoisers:
        known = ", ".join(f"{_ZOO}{each}" for each in sorted(denoisers))
        reason = "gives logits, not images" if name in cards.cards() else "isn't there"
        raise ModelError(f"denoising_autoencoder: weights: {said} {reason} (accepted: {known}, or a file)")
    return denoisers[name].path, denoisers[name].weights_sha256


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return state_dict.find(weights.read(path, Places()), None, path).state
    except UnsafeWeights as error:
        raise ModelError(
            f"{path}: not only tensors, and a defense's weights are never unpickled; save the state_dict alone "
            "(torch.save or safetensors)"
        ) from error


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:  # Any: parameters of the architecture
    """The network's sizes, from the shape of its first convolution and the number of the others.

    Where that isn't there they stay at their defaults, and loading tells what is missing.
    """
    first = next((tensor for name, tensor in state.items() if name.endswith("inward.weight")), None)
    if first is None or first.dim() != 4:
        return {}
    depth = sum(".down." in f".{name}" and name.endswith(".weight") for name in state)
    return {"in_channels": first.shape[1], "width": first.shape[0], "depth": depth}
