"""Wide residual networks for 32x32 images, from RobustBench's code."""

from __future__ import annotations

from torch import nn

from bench import _imports


def wide_resnet_28_10(*, num_classes: int = 10, bias_last: bool = True, sub_block1: bool = False) -> nn.Module:
    """WRN-28-10 (Zagoruyko & Komodakis 2016, arXiv:1605.07146).

    Args:
        num_classes: number of logits.
        bias_last: whether the last layer has a bias.
        sub_block1: whether the unused extra block of the TRADES code is there (Carmon et al. 2019, arXiv:1905.13736).
    """
    return _wide_resnet(28, num_classes, bias_last, sub_block1)


def wide_resnet_34_10(*, num_classes: int = 10, bias_last: bool = True, sub_block1: bool = False) -> nn.Module:
    """WRN-34-10 (Zagoruyko & Komodakis 2016, arXiv:1605.07146).

    Args:
        num_classes: number of logits.
        bias_last: whether the last layer has a bias.
        sub_block1: whether the unused extra block of the TRADES code is there (Zhang et al. 2019, arXiv:1901.08573).
    """
    return _wide_resnet(34, num_classes, bias_last, sub_block1)


def _wide_resnet(depth: int, num_classes: int, bias_last: bool, sub_block1: bool) -> nn.Module:
    module = _imports.robustbench("robustbench.model_zoo.architectures.wide_resnet")
    network: nn.Module = module.WideResNet(
        depth=depth, num_classes=num_classes, widen_factor=10, sub_block1=sub_block1, bias_last=bias_last
    )
    return network
