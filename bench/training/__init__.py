"""Training: recipes, the loop that follows them, one file per training method, and the card of what came out."""

from __future__ import annotations

from bench.registry import Entry
from bench.training.method_parameters import (
    AttackParams,
    DenoiseParams,
    FGSMParams,
    FreeParams,
    MARTParams,
    NoiseParams,
    PGDParams,
    StandardParams,
    TRADESParams,
)

TABLE: dict[str, Entry] = {
    "standard": Entry(
        "bench.training.standard:Standard",
        "minimises the cross-entropy on clean images",
        StandardParams,
    ),
    "fgsm": Entry(
        "bench.training.fgsm:FGSM",
        "adversarial training with one step from a random start; stops at catastrophic overfitting",
        FGSMParams,
        norms=("linf", "l2"),
        paper="Wong et al. 2020, Fast is better than free: Revisiting adversarial training, arXiv:2001.03994",
    ),
    "pgd": Entry(
        "bench.training.pgd:PGD",
        "adversarial training: minimises the cross-entropy on PGD's examples",
        PGDParams,
        norms=("linf", "l2"),
        paper="Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv:1706.06083",
    ),
    "trades": Entry(
        "bench.training.trades:TRADES",
        "the cross-entropy on clean images plus beta times how far predictions move within the ball",
        TRADESParams,
        norms=("linf", "l2"),
        paper="Zhang et al. 2019, Theoretically Principled Trade-off between Robustness and Accuracy, arXiv:1901.08573",
    ),
    "mart": Entry(
        "bench.training.mart:MART",
        "a boosted cross-entropy on PGD's examples plus a divergence that counts where the clean image is misread",
        MARTParams,
        norms=("linf", "l2"),
        paper="Wang et al. 2020, Improving Adversarial Robustness Requires Revisiting Misclassified Examples, "
        "https://openreview.net/forum?id=rklOg6EFwS",
    ),
    "free": Entry(
        "bench.training.free:Free",
        "adversarial training at the price of standard training: one gradient moves weights and perturbations",
        FreeParams,
        norms=("linf", "l2"),
        paper="Shafahi et al. 2019, Adversarial Training for Free!, arXiv:1904.12843",
    ),
    "attack": Entry(
        "bench.training.attack:Attack",
        "adversarial training with any attack that a suite may name, ours or a library's",
        AttackParams,
        norms=("linf", "l2"),
        paper="Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv:1706.06083",
    ),
    "noise": Entry(
        "bench.training.noise:Noise",
        "minimises the cross-entropy on images with Gaussian noise",
        NoiseParams,
        paper="Cohen et al. 2019, Certified Adversarial Robustness via Randomized Smoothing, arXiv:1902.02918; Rusak et "
        "al. 2020, A Simple Way to Make Neural Networks Robust Against Diverse Image Corruptions, arXiv:2001.06057",
    ),
    "denoise": Entry(
        "bench.training.denoise:Denoise",
        "trains a denoiser: minimises the squared error between clean images and denoised ones",
        DenoiseParams,
        paper="Vincent et al. 2008, Extracting and Composing Robust Features with Denoising Autoencoders, "
        "doi:10.1145/1390156.1390294; Zhang et al. 2017, Beyond a Gaussian Denoiser, arXiv:1608.03981",
    ),
}
