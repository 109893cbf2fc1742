"""Architectures: networks by name, for weights from a file. One file per architecture.

Each name stands for a function ``build(**args) -> nn.Module`` with its defaults in its signature. ``timm:NAME`` and
``torchvision:NAME`` reach the two libraries' own; plugins add names through ``ARCHITECTURES``. Inputs are images in
[0, 1], normalised by the caller where a model has a mean and a std. They give logits; those whose facts say
``{"gives": "images"}`` give images, and defenses use them.
"""

from __future__ import annotations

from bench.registry import Entry

PREFIXES = ("timm", "torchvision")
"""Libraries whose networks are reached as ``library:NAME``."""

TABLE: dict[str, Entry] = {
    "mnist_cnn": Entry(
        "bench.models.architectures.mnist_cnn:mnist_cnn",
        "two 4x4 convolutions of stride 2 and two linear layers, for 28x28 grey images (the zoo's)",
        paper="Wong & Kolter 2018, arXiv:1711.00851 (the small MNIST network)",
    ),
    "madry_cnn": Entry(
        "bench.models.architectures.madry_cnn:madry_cnn",
        "two 5x5 convolutions with max pooling and two linear layers, for 28x28 grey images",
        paper="Madry et al. 2018, arXiv:1706.06083 (the MNIST network)",
    ),
    "wong_kolter": Entry(
        "bench.models.architectures.wong_kolter:wong_kolter",
        "two 4x4 convolutions of stride 2 and linear layers, as one nn.Sequential",
        paper="Wong & Kolter 2018, arXiv:1711.00851",
    ),
    "denoising_autoencoder": Entry(
        "bench.models.architectures.denoising_autoencoder:denoising_autoencoder",
        "a small convolutional autoencoder, images to images, for the defense of the same name (the zoo's)",
        paper="Vincent et al. 2008, Extracting and Composing Robust Features with Denoising Autoencoders, "
        "doi:10.1145/1390156.1390294",
        facts={"gives": "images"},
    ),
    "dncnn": Entry(
        "bench.models.architectures.dncnn:dncnn",
        "17 convolutions that see the noise, images to images, for the defense of the same name",
        paper="Zhang et al. 2017, Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising, "
        "arXiv:1608.03981",
        facts={"gives": "images"},
    ),
    "resnet_2b": Entry(
        "bench.models.architectures.resnet_2b:resnet_2b",
        "a residual network of two blocks without batch norm, from the verification literature",
        paper="Wang et al. 2021, arXiv:2103.06624 (alpha-beta-CROWN, resnet2b)",
    ),
    "resnet18": Entry(
        "bench.models.architectures.resnet18:resnet18",
        "ResNet-18 for 32x32 images: a 3x3 stem without pooling",
        paper="He et al. 2016, arXiv:1512.03385",
    ),
    "preact_resnet": Entry(
        "bench.models.architectures.preact_resnet:preact_resnet",
        "a small pre-activation ResNet for 32x32 images; WRN-16-2 as it stands, of any width and depth",
        paper="He et al. 2016, arXiv:1603.05027; Zagoruyko & Komodakis 2016, arXiv:1605.07146",
    ),
    "preact_resnet18": Entry(
        "bench.models.architectures.preact_resnet18:preact_resnet18",
        "pre-activation ResNet-18 for 32x32 images (RobustBench's code)",
        paper="He et al. 2016, arXiv:1603.05027",
        facts={"libraries": ("robustbench",)},
    ),
    "wide_resnet_28_10": Entry(
        "bench.models.architectures.wide_resnet:wide_resnet_28_10",
        "WRN-28-10 for 32x32 images (RobustBench's code)",
        paper="Zagoruyko & Komodakis 2016, arXiv:1605.07146",
        facts={"libraries": ("robustbench",)},
    ),
    "wide_resnet_34_10": Entry(
        "bench.models.architectures.wide_resnet:wide_resnet_34_10",
        "WRN-34-10 for 32x32 images (RobustBench's code)",
        paper="Zagoruyko & Komodakis 2016, arXiv:1605.07146",
        facts={"libraries": ("robustbench",)},
    ),
    "vit_small": Entry(
        "bench.models.architectures.vit_small:vit_small",
        "ViT-small for 32x32 images: patches of 4x4 pixels (timm's code)",
        paper="Dosovitskiy et al. 2021, arXiv:2010.11929; Touvron et al. 2021, arXiv:2012.12877",
        facts={"libraries": ("timm",)},
    ),
}
