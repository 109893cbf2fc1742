"""Models of timm: pretrained, or an architecture with weights from a file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench import _imports
from bench.digests import value_digest
from bench.errors import ModelError, ModelUnavailable, UnknownNameError
from bench.models import state_dict, weights
from bench.models.architectures.building import release
from bench.models.base import Located, Setting
from bench.models.normalisation import Planes, normalised
from bench.models.weights import tensors_digest
from bench.suites.places import Places
from bench.suites.spec import ModelSpec


class Timm:
    """``timm:NAME``: timm's pretrained weights, or those of ``weights``; timm's normalisation is inside.

    ``mean`` and ``std`` in the suite take the place of timm's own normalisation.
    """

    name: ClassVar[str] = "timm"

    def locate(self, spec: ModelSpec, setting: Setting, places: Places) -> Located:
        """Takes the digest of the file, or of the pretrained tensors (which downloads them)."""
        _check_name(str(spec.name))
        code = value_digest({"timm": release("timm"), "name": spec.name})
        if spec.weights is not None:
            path = Path(spec.weights).expanduser()
            digest = weights.require(path, spec.sha256)
            found = state_dict.find(weights.read(path, places), spec.key, path)
            return Located(path, digest, code, note=found.note)
        if spec.key is not None or spec.sha256 is not None:
            raise ModelError(f"{spec.id}: key and sha256 go with weights, and there are none")
        return Located(None, tensors_digest(_pretrained(spec, setting, places).state_dict()), code)

    def build(self, spec: ModelSpec, setting: Setting, places: Places, located: Located) -> nn.Module:
        """The network, with timm's normalisation in front."""
        if located.path is None:
            network = _pretrained(spec, setting, places)
        else:
            with _imports.quiet():
                network = _imports.timm().create_model(spec.name, pretrained=False, num_classes=setting.num_classes)
            found = state_dict.find(weights.read(located.path, places), spec.key, located.path)
            state_dict.load_strictly(network, found.state, f"{located.path} into timm:{spec.name}")
        network = network.eval()
        return network if spec.mean is not None else _normalised(network)


class Normalise(nn.Module):
    """Subtracts a mean and divides by a standard deviation, per channel, in [0, 1] units."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self._planes: Planes = {}
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images, shape (N, C, H, W)."""
        return normalised(x, self.mean, self.std, self._planes)


def _normalised(network: nn.Module) -> nn.Module:
    """timm's own normalisation, as its configuration of the weights says."""
    config: Any = network.pretrained_cfg  # Any: timm's dict
    return nn.Sequential(Normalise(tuple(config["mean"]), tuple(config["std"])), network)


def _check_name(name: str) -> None:
    timm = _imports.timm()
    if not timm.is_model(name.partition(".")[0]):
        known = timm.list_models()
        nearest = difflib.get_close_matches(name, known, n=3)
        raise UnknownNameError("model of timm", name, nearest, [f"{len(known)} names, such as {known[0]}"])


def _pretrained(spec: ModelSpec, setting: Setting, places: Places) -> nn.Module:
    """The pretrained network.

    Raises:
        ModelUnavailable: where the weights are neither in timm's cache nor to be downloaded.
        ModelError: where there are no pretrained weights, or they are for other classes.
    """
    with _imports.quiet(), _offline(not places.download):
        try:
            network: nn.Module = _imports.timm().create_model(spec.name, pretrained=True)
        except OSError as error:
            why = "the download failed" if places.download else "downloads are off"
            where = "give weights: with a local file"
            raise ModelUnavailable(f"timm:{spec.name}: not in timm's cache, and {why}: {error}; {where}") from error
        except RuntimeError as error:
            raise ModelError(f"timm:{spec.name}: {error}") from error
    classes = getattr(network, "num_classes", setting.num_classes)
    if classes != setting.num_classes:
        raise ModelError(f"timm:{spec.name} tells {classes} classes apart, {setting.dataset} has {setting.num_classes}")
    return network


@contextmanager
def _offline(offline: bool) -> Iterator[None]:
    """Keeps the hub's client from the network; it reads this constant at every request."""
    import huggingface_hub.constants as constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
