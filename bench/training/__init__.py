"""Training: recipes, the loop that follows them, one file per training method, and the card of what came out."""

from __future__ import annotations

from bench.registry import Entry
from bench.training.method_parameters import DenoiseParams, PGDParams, StandardParams

TABLE: dict[str, Entry] = {
    "standard": Entry(
        "bench.training.standard:Standard",
        "minimises the cross-entropy on clean images",
        StandardParams,
    ),
    "pgd": Entry(
        "bench.training.pgd:PGD",
        "adversarial training: minimises the cross-entropy on PGD's examples",
        PGDParams,
        norms=("linf", "l2"),
        paper="Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv:1706.06083",
    ),
    "denoise": Entry(
        "bench.training.denoise:Denoise",
        "trains a denoiser: minimises the squared error between clean images and denoised ones",
        DenoiseParams,
        paper="Vincent et al. 2008, Extracting and Composing Robust Features with Denoising Autoencoders, "
        "doi:10.1145/1390156.1390294",
    ),
}
