"""Pre-activation ResNet-18 for 32x32 images, from RobustBench's code."""

from __future__ import annotations

from torch import nn

from bench import _imports


def preact_resnet18(*, num_classes: int = 10, bn_before_fc: bool = True, out_shortcut: bool = True) -> nn.Module:
    """Pre-activation ResNet-18 (He et al. 2016, arXiv:1603.05027) as most adversarial training uses it.

    Args:
        num_classes: number of logits.
        bn_before_fc: whether a batch norm and a ReLU come before the linear layer (Rice et al. 2020, arXiv:2002.11569;
            ``false`` for Wong2020Fast).
        out_shortcut: whether the shortcut starts after the first activation, as in the paper (``false`` for
            Wong2020Fast).
    """
    resnet = _imports.robustbench("robustbench.model_zoo.architectures.resnet")
    network: nn.Module = resnet.PreActResNet(
        resnet.PreActBlock, [2, 2, 2, 2], num_classes=num_classes, bn_before_fc=bn_before_fc, out_shortcut=out_shortcut
    )
    return network
