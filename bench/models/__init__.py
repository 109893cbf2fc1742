"""Models: images in [0, 1] to logits. One file per source of weights."""
