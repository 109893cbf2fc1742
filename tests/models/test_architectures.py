"""Architectures by name: what they compute, what they refuse, the digest of their code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bench import _imports, registry
from bench.errors import ModelError, UnknownNameError
from bench.models import architectures
from bench.models.architectures import building

PARAMETERS = {
    "mnist_cnn": ((1, 28, 28), 166_406),
    "madry_cnn": ((1, 28, 28), 3_274_634),
    "denoising_autoencoder": ((1, 28, 28), 64_449),
    "wong_kolter": ((3, 32, 32), 214_918),
    "dncnn": ((1, 28, 28), 555_137),
    "resnet_2b": ((3, 32, 32), 112_006),
    "resnet18": ((3, 32, 32), 11_173_962),
    "preact_resnet": ((3, 32, 32), 691_674),
    "preact_resnet18": ((3, 32, 32), 11_172_170),
    "wide_resnet_28_10": ((3, 32, 32), 36_479_194),
    "wide_resnet_34_10": ((3, 32, 32), 46_160_474),
    "vit_small": ((3, 32, 32), 21_342_346),
}


def test_every_line_of_the_table_is_tested() -> None:
    assert set(PARAMETERS) == set(architectures.TABLE)


@pytest.mark.parametrize("name", [name for name in PARAMETERS if "wide" not in name])
def test_parameters_and_logits(name: str) -> None:
    shape, count = PARAMETERS[name]
    network = building.build(name, {}, num_classes=10)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert not network.training
    with torch.no_grad():
        if architectures.TABLE[name].facts.get("gives") == "images":
            assert network(torch.rand(2, *shape)).shape == (2, *shape)
            return
        assert network(torch.rand(2, *shape)).shape == (2, 10)
        assert building.build(name, {}, num_classes=7)(torch.rand(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", ["wide_resnet_28_10", "wide_resnet_34_10"])
def test_wide_networks_have_the_papers_size(name: str) -> None:
    with torch.device("meta"):
        network = building.build(name, {}, num_classes=10)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name][1]


@pytest.mark.parametrize(("depth", "size"), [(0, (5, 7)), (1, (5, 7)), (2, (30, 33)), (3, (8, 17))])
def test_the_denoising_autoencoder_takes_images_of_any_size(depth: int, size: tuple[int, int]) -> None:
    network = building.build(
        "denoising_autoencoder", {"in_channels": 3, "width": 2, "depth": depth, "mean": 0.2}, num_classes=10
    )
    x = torch.rand(2, 3, *size)
    with torch.no_grad():
        out = network(x)
        assert out.shape == x.shape
        assert out.min() > 0
        assert out.max() < 1
        filled = torch.nn.functional.pad(x, (0, -size[1] % 2**depth, 0, -size[0] % 2**depth))
        torch.testing.assert_close(out, network(filled)[:, :, : size[0], : size[1]])
        for parameter in network.parameters():
            parameter.mul_(parameter.dim() == 1)  # only the biases are left
        for layer in (network.inward, *network.down, *network.up):  # type: ignore[union-attr]
            layer.bias.zero_()
        torch.testing.assert_close(network(x), torch.full_like(x, 0.2))


def test_wong_kolter_covers_its_relatives() -> None:
    mnist = building.build("wong_kolter", {"in_channels": 1, "image_size": 28}, num_classes=10)
    assert mnist.state_dict()["5.weight"].shape == (100, 1568)
    medium = building.build("wong_kolter", {"padding": 0, "hidden": [128, 64]}, num_classes=10)
    assert medium.state_dict()["5.weight"].shape == (128, 1152)
    assert medium(torch.rand(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize("args", [{"width": 32, "blocks": 2}, {"width": 16, "blocks": 1, "activation": "silu"}])
def test_the_small_preact_resnet_is_a_wide_residual_network(args: dict[str, Any]) -> None:
    wide = _imports.robustbench("robustbench.model_zoo.architectures.wide_resnet").WideResNet
    theirs = wide(depth=6 * args["blocks"] + 4, widen_factor=args["width"] // 16, sub_block1=False).eval()
    if args.get("activation") == "silu":
        for module in theirs.modules():
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(module, name, nn.SiLU())
    ours = building.build("preact_resnet", args, num_classes=10)
    for own, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        own.copy_(other)
    x = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs((x - 0.5) / 0.25), rtol=1e-4, atol=1e-5)


def test_the_small_preact_resnet_grows_to_wrn_28_10() -> None:
    with torch.device("meta"):
        network = building.build("preact_resnet", {"width": 160, "blocks": 4}, num_classes=10)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS["wide_resnet_28_10"][1]


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_small_preact_resnet_takes_stages_of_any_width_and_a_strided_stem(stride: int) -> None:
    args = {"width": [6, 10], "blocks": 1, "stem": 5, "stem_stride": stride}
    network = building.build("preact_resnet", args, num_classes=10)
    sizes: list[tuple[int, ...]] = []
    for block in network.blocks:  # type: ignore[union-attr]
        block.register_forward_hook(lambda _module, _args, out: sizes.append(tuple(out.shape)))
    with torch.no_grad():
        assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert sizes == [(2, 6, 32 // stride, 32 // stride), (2, 10, 16 // stride, 16 // stride)]
    doubled = building.build("preact_resnet", {"width": [8, 16, 32]}, num_classes=10).state_dict()
    usual = building.build("preact_resnet", {"width": 8}, num_classes=10).state_dict()
    assert {name: one.shape for name, one in doubled.items()} == {name: one.shape for name, one in usual.items()}


def test_dncnn_begins_as_the_identity_and_takes_the_authors_weights(shared: Path) -> None:
    network = building.build("dncnn", {}, num_classes=10)
    generator = torch.Generator().manual_seed(0)
    picture = torch.from_numpy(np.asarray(Image.open(shared / "denoise" / "Set12" / "01.png"), np.float32) / 255)
    x = picture.view(1, 1, *picture.shape)
    noisy = x + 25 / 255 * torch.randn(x.shape, generator=generator)
    with torch.no_grad():
        assert torch.equal(network(noisy), noisy)
        network.load_state_dict(torch.load(shared / "denoise" / "kair_dncnn_25.pth", weights_only=True))
        psnr = -10 * (network(noisy) - x).square().mean().log10()
    assert float(psnr) == pytest.approx(30.18, abs=0.1)  # the paper's Table II, for this picture


def test_a_vit_for_small_images_has_patches_of_four_pixels() -> None:
    network = building.build("vit_small", {"image_size": 16}, num_classes=10)
    assert network.state_dict()["patch_embed.proj.weight"].shape == (384, 3, 4, 4)
    assert network.state_dict()["pos_embed"].shape == (1, 1 + 16, 384)


def test_preact_resnet18_is_that_of_wong2020fast() -> None:
    """RobustBench's entry without its normalisation."""
    entry = _imports.robustbench("robustbench.model_zoo.cifar10").linf["Wong2020Fast"]["model"]()
    network = building.build("preact_resnet18", {"bn_before_fc": False, "out_shortcut": False}, num_classes=10)
    expected = {name: tensor.shape for name, tensor in entry.state_dict().items() if name not in ("mu", "sigma")}
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == expected
    x = torch.rand(2, 3, 32, 32)
    network.load_state_dict({name: tensor for name, tensor in entry.state_dict().items() if name in expected})
    with torch.no_grad():
        assert torch.equal(network((x - entry.mu) / entry.sigma), entry.eval()(x))


def test_resnet18_is_that_of_autoattacks_example(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyautoattack

    monkeypatch.syspath_prepend(str(Path(pyautoattack.__file__).parent / "examples"))
    import resnet  # type: ignore[import-not-found]  # a script beside the weights, no package

    theirs = resnet.ResNet18().eval()
    ours = building.build("resnet18", {}, num_classes=10)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
def test_networks_of_libraries(name: str) -> None:
    network = building.build(name, {}, num_classes=10)
    with torch.no_grad():
        assert network(torch.rand(1, 3, 64, 64)).shape == (1, 10)


@pytest.mark.parametrize(
    ("name", "args", "kind", "message"),
    [
        ("wong_koltr", {}, UnknownNameError, "did you mean wong_kolter"),
        ("timm:resnet19", {}, UnknownNameError, "did you mean timm:resnet18"),
        ("torchvision:resnet19", {}, UnknownNameError, "did you mean torchvision:resnet18"),
        ("torchvison:resnet18", {}, UnknownNameError, "did you mean torchvision"),
        ("wong_kolter", {"pading": 0}, ModelError, r"no parameter pading \(accepted: in_channels, image_size"),
        ("wong_kolter", {"image_size": 2}, ModelError, "images of 2 pixels are too small"),
        ("mnist_cnn", {"channels": [1, 2, 3]}, ModelError, "takes two channels"),
        ("madry_cnn", {"image_size": 30}, ModelError, "an image_size that 4 divides"),
        ("preact_resnet", {"blocks": 0}, ModelError, "stem and stem_stride are at least 1, got 32, 0, 16 and 1"),
        ("preact_resnet", {"width": [8, 0]}, ModelError, r"at least 1, got \[8, 0\], 2, 16 and 1"),
        ("preact_resnet", {"width": []}, ModelError, r"at least 1, got \[\], 2, 16 and 1"),
        ("preact_resnet", {"stem_stride": 0}, ModelError, "at least 1, got 32, 2, 16 and 0"),
        ("preact_resnet", {"width": [8.5]}, ModelError, "architecture preact_resnet: .*8.5"),
        ("preact_resnet", {"activation": "gelu"}, ModelError, r"activation 'gelu' \(accepted: relu, silu\)"),
        ("dncnn", {"depth": 1}, ModelError, "depth at least 2, got 1, 64, 1"),
        ("vit_small", {"image_size": 30}, ModelError, "must be a multiple of patch_size, got 30 and 4"),
        ("denoising_autoencoder", {"mean": 0}, ModelError, "mean is between 0 and 1"),
        ("denoising_autoencoder", {"width": 0}, ModelError, "width are at least 1"),
        ("timm:resnet18", {"depht": 3}, ModelError, "architecture timm:resnet18: .*depht"),
    ],
)
def test_refusals(name: str, args: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        building.build(name, args, num_classes=10)


def test_code_digests_tell_code_arguments_and_libraries_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [*PARAMETERS, "timm:resnet18", "torchvision:resnet18"]
    digests = {building.code_digest(name, {}) for name in names}
    assert len(digests) == len(names)
    assert building.code_digest("wong_kolter", {"padding": 0}) not in digests
    assert building.code_digest("wong_kolter", {}) in digests
    monkeypatch.setattr(building, "release", lambda distribution: "9.9")
    assert building.code_digest("wong_kolter", {}) in digests
    assert building.code_digest("preact_resnet18", {}) not in digests
    assert building.code_digest("timm:resnet18", {}) not in digests


def test_a_plugins_architecture(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(
        "from torch import nn\n"
        "def tiny(width=4, num_classes=10):\n"
        "    '''A linear model.'''\n"
        "    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))\n"
        "ARCHITECTURES = {'tiny': tiny, 'none': lambda: 3}\n"
    )
    digest = registry.load_plugin(path)
    try:
        assert isinstance(building.build("tiny", {}, num_classes=3)[1], nn.LazyLinear)
        with pytest.raises(ModelError, match=r"must give an nn\.Module, it gives int"):
            building.build("none", {}, num_classes=3)
        first = building.code_digest("tiny", {})
        assert first != building.code_digest("tiny", {"width": 5})
        assert digest == registry.architectures.entry("tiny").digest
    finally:
        registry.architectures.remove(str(path))
