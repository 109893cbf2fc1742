"""Training: recipes, the loop that follows them, one file per training method, and the card of what came out."""

from __future__ import annotations

from bench.registry import Entry
from bench.training.parameters import PGDParams, StandardParams

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
}
