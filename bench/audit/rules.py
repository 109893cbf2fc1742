"""All rules of the audit, in the order of the documentation."""

from __future__ import annotations

from bench.audit import adversary, black_box, claims, files, gradients, strength
from bench.audit.rule import ATHALYE, CARLINI, CROCE, PINTOR, TRAMER, Rule, both, lifted

_MASKED = (
    "run AutoAttack and a gradient-free attack with more queries, and attack the model adaptively before you believe the "
    "number"
)

RULES: tuple[Rule, ...] = (
    Rule(
        "leaves-threat-model",
        "an example leaves the ball or [0, 1], or isn't finite",
        "A saved example, measured again, lies outside the threat model. During a run that makes the cell an error; here the "
        "file isn't what was judged.",
        "compute the cell again; don't use the file",
        CARLINI,
        files.leaves_the_ball,
        "run",
    ),
    Rule(
        "prediction-disagrees",
        "re-prediction disagrees with the record",
        "The real model, asked again in float32, says something else of a saved example than the record.",
        "run `bench verify` and see which file differs; the weights or the records have changed",
        CARLINI,
        files.disagrees,
        "run",
    ),
    Rule(
        "hairline",
        "verdicts on a margin of nearly 0",
        "The last bits decide: other hardware may say otherwise. Never more than an info.",
        "don't build on single images of these",
        CARLINI,
        files.hairline,
        "run",
    ),
    Rule(
        "records-disagree",
        "files that don't fit each other",
        "A file is damaged, missing, from another cell, or was changed after the cell was finished.",
        "run `bench verify` for the list; delete what it names and run the suite again",
        CARLINI,
        files.records_disagree,
        "run",
    ),
    Rule(
        "no-backward-pass",
        "a white-box attack made no backward pass, or raised",
        "An attack that takes gradients took none: it attacked nothing. An attack that raised has no number at all.",
        "mend the attack, and run the suite again: failed cells are tried again",
        CARLINI,
        both(lifted("no-backward-pass"), claims.failed),
    ),
    Rule(
        "clean-accuracy",
        "model not in eval mode, or clean accuracy far from the declared or published one",
        "Layers that ignore eval mode, or a clean accuracy that would be seen less than once in 1,000 times with the "
        "right weights, preprocessing and images (exact binomial test); or a bare model that is right no more often than the "
        "images have their commonest label.",
        "check weights, normalisation (mean, std) and images",
        CARLINI,
        both(lifted("training-mode", "clean-accuracy"), claims.no_better_than_chance, claims.published_clean),
    ),
    Rule(
        "single-step-stronger",
        "single-step stronger than multi-step",
        "FGSM breaks significantly more of the subset than the row's strongest attack of several steps. Where FGSM "
        "leaves at least ten points less than the row's number, the number is refuted (invalid).",
        _MASKED,
        f"{ATHALYE}; {CARLINI}",
        strength.single_step_stronger,
        strength=True,
    ),
    Rule(
        "only-single-step",
        "only single-step attacks",
        "Nothing but attacks of one step took gradients, or nothing did.",
        "add `{name: pgd, steps: 40}` and `autoattack` to the suite",
        CARLINI,
        strength.only_single_step,
        strength=True,
    ),
    Rule(
        "success-not-growing",
        "success not growing with eps",
        "The same attack breaks significantly fewer images at a larger radius (half, once, twice eps), or no more at "
        "Linf 1/2 than at half eps though images are left.",
        _MASKED,
        CARLINI,
        strength.grows,
        strength=True,
    ),
    Rule(
        "large-eps",
        "robust accuracy above chance at Linf 1/2 or the norm's equivalent",
        "Where a grey image lies inside every ball, no model can be right more often than the images have their commonest "
        "label; an attack that leaves significantly more has failed (exact binomial test). Not of defenses that reject: they "
        "may reject grey.",
        _MASKED,
        f"{ATHALYE}; {CARLINI}",
        strength.stands_at_large_eps,
        strength=True,
    ),
    Rule(
        "more-steps-help",
        "more steps still change the result",
        "The row's strongest attack with at least twice its steps (Auto-PGD on the margin in the place of an ensemble) breaks "
        "significantly more of what the row calls robust; invalid from ten points.",
        "raise steps until the number stands, or use `autoattack`",
        f"{CARLINI}; {TRAMER}",
        strength.more_steps,
        strength=True,
    ),
    Rule(
        "more-restarts-help",
        "more restarts still help",
        "The same with three times its restarts.",
        "raise restarts (or `run.seeds`), or use `autoattack`",
        CARLINI,
        strength.more_restarts,
        strength=True,
    ),
    Rule(
        "gradient-free-stronger",
        "a gradient-free attack beats the white-box ones",
        "Square breaks significantly more than all white-box attacks together, as a cell of the suite or as a probe; "
        "or it breaks what AutoAttack's gradient stages left.",
        _MASKED,
        f"{CARLINI}; {CROCE}",
        both(black_box.gradient_free, lifted("autoattack-square", "autoattack-check")),
        strength=True,
    ),
    Rule(
        "transfer-stronger",
        "transfer beats white-box",
        "Examples made against the bare model, or against other models of the suite (its `transfer` cells together, or a "
        "probe), break significantly more than all white-box attacks together.",
        _MASKED,
        f"{ATHALYE}; {CARLINI}; {TRAMER}",
        black_box.transfer,
        strength=True,
    ),
    Rule(
        "noise-stronger",
        "random noise beats a white-box attack",
        "Any of 20 random points of the ball breaks significantly more than all white-box attacks together, or does "
        "real harm where they do none.",
        _MASKED,
        f"{CARLINI}; {ATHALYE}",
        black_box.noise,
        strength=True,
    ),
    Rule(
        "zero-gradient",
        "zero, missing or vanishing gradients",
        "Gradients that are exactly zero, not finite, not there, or too small for the ball to matter; with the share "
        "of the images. Invalid where that is half of them, or all that an attack left.",
        "attack the margin in place of the cross-entropy, take BPDA for what isn't differentiable, add a gradient-free attack",
        f"{ATHALYE}; {PINTOR}",
        both(lifted("zero-gradient"), gradients.masked),
        strength=True,
    ),
    Rule(
        "rough-loss",
        "loss rough under tiny noise, or a gradient that isn't the model's",
        "The gradients at a point and a hundredth of eps beside it have little in common (median cosine below 0.3), or "
        "a step along the gradient doesn't do what the gradient says (median error above 50 %).",
        "smooth the loss (EOT over tiny noise), or take BPDA for the part that isn't differentiable, and add a "
        "gradient-free attack",
        f"{ATHALYE}; {PINTOR}",
        gradients.rough,
        strength=True,
    ),
    Rule(
        "saturated-logits",
        "outputs look like probabilities, or logits are saturated",
        "A softmax inside the model, or logits so large that the cross-entropy's gradient is exactly zero in float32.",
        "give the harness logits; attack the margin (`cw`, `apgd` with `loss: margin`), whose gradient no scaling removes",
        "Carlini & Wagner 2017, arXiv:1608.04644",
        both(lifted("probabilities"), gradients.saturated),
        strength=True,
    ),
    Rule(
        "unmarked-randomness",
        "unmarked randomness, changing state, test-time optimisation",
        "Two clean passes differ though nothing declares it, an image's verdict hangs on its batch, gradients see "
        "another model, or the forward pass itself takes gradients. A state that an attack leaves changed makes the "
        "cell an error.",
        "declare what is random (a defense with stochastic: true gets EOT and scoring draws); attack through the optimisation",
        f"{ATHALYE}; Croce et al. 2022, arXiv:2202.13711",
        lifted("unmarked-randomness", "batch-dependent", "gradient-dependent", "test-time-optimisation"),
    ),
    Rule(
        "eot",
        "stochastic without EOT, or EOT not converged",
        "An attack took single draws of a stochastic defense, or the gradients of two halves of its draws hardly agree.",
        "raise `eot_iter` until the number stands",
        "Athalye et al. 2018, arXiv:1707.07397",
        lifted("no-eot", "eot-convergence"),
        strength=True,
    ),
    Rule(
        "no-bpda",
        "non-differentiable without BPDA",
        "The defense declares that it isn't differentiable, and no attack replaces its gradient.",
        "let the adaptive adversary attack it, with a surrogate that is better than the identity where there is one",
        ATHALYE,
        adversary.without_bpda,
        strength=True,
    ),
    Rule(
        "no-adaptive-attack",
        "only an oblivious adversary",
        "Nobody who knows the defense attacked it, or an attack that the harness adds is switched off.",
        "`adversaries: [oblivious, adaptive]`, and leave `run.gradient_free_queries` and `run.detector_steps` above 0",
        TRAMER,
        both(
            lifted("no-adaptive-attack", "no-gradient-free-attack", "no-detector-attack"),
            adversary.only_blind,
        ),
        strength=True,
    ),
    Rule(
        "not-joint",
        "detector not attacked jointly",
        "Only attacks that are blind to the detector are finished on the row.",
        "`adversaries: [oblivious, adaptive]` with white-box attacks, ours or a library's: they attack both together",
        "Carlini & Wagner 2017, arXiv:1705.07263",
        adversary.not_joint,
        strength=True,
    ),
    Rule(
        "silent-success",
        "silent success",
        "A point that the attack visited was adversarial, and the point that it returned is not.",
        "return the best point, or use our own implementation (`backend: bench`)",
        PINTOR,
        lifted("silent-success"),
        strength=True,
    ),
    Rule(
        "positive-control",
        "the attack fails where success is certain",
        "The attack breaks less than nine tenths of the images of a random linear model that are known to be "
        "breakable in this ball.",
        "give it steps enough to cross the ball, and check its sign and its loss",
        CARLINI,
        adversary.control,
        strength=True,
    ),
    Rule(
        "fails-undefended",
        "the same attack fails on the undefended model",
        "On the bare model of a defended row, the attacks break less than a tenth of the images, and no more than "
        "noise. An info where they do break it at a large radius: then it is the radius, or the model is robust.",
        "take a larger eps or stronger attacks",
        f"{CARLINI}; {TRAMER}",
        adversary.fails_undefended,
        strength=True,
    ),
    Rule(
        "no-distance-found",
        "a minimum-norm attack found no distance",
        "With its whole budget it broke some images at no distance at all.",
        "give it more steps, or use another minimum-norm attack beside it",
        CARLINI,
        lifted("no-distance-found"),
    ),
    Rule(
        "few-samples",
        "too few samples",
        "The interval of a number near 50 % is wider than ±15 points.",
        "evaluate more images: 1,000 give ±3 points",
        CARLINI,
        claims.few_samples,
        "table",
    ),
    Rule(
        "not-separable",
        "ranking not separable",
        "Rows share a range of ranks: all-pairs McNemar tests with Holm's correction can't tell them apart.",
        "claim no order among them, or evaluate more images",
        "McNemar 1947; Holm 1979",
        claims.not_separable,
        "table",
    ),
    Rule(
        "provenance",
        "seeds, parameters or versions missing",
        "A finished cell's record lacks what is needed to repeat it.",
        "compute the cell again with this version",
        CARLINI,
        files.provenance,
        "run",
    ),
    Rule(
        "mixed-versions",
        "mixed versions in one run",
        "Cells of one run were made with different versions of bench, torch or torchvision (warning), Python or numpy (info).",
        "run the suite into a fresh directory (`--run NAME`)",
        CARLINI,
        files.mixed,
        "run",
    ),
    Rule(
        "robust-above-clean",
        "robust accuracy above clean accuracy",
        "An attack may always return the clean image, so that can't be.",
        "the records are wrong: run `bench verify`, and compute the cell again",
        CARLINI,
        strength.robust_above_clean,
    ),
    Rule(
        "worst-case-far-below",
        "a worst case far below every single attack",
        "The union of the attacks breaks at least five points more than the strongest of them: each fails on images "
        "that another breaks.",
        "add `autoattack`, and raise steps and restarts",
        CARLINI,
        strength.far_below,
        strength=True,
    ),
    Rule(
        "rounding",
        "success that vanishes when the image is rounded to 8 bits",
        "The rate is always reported; above one half it is a warning, and so is an Linf radius below half a grey level. "
        "The verdicts stay: the threat model is one of real numbers.",
        "say in the paper that images aren't rounded, or evaluate with `search: strongest`",
        CARLINI,
        files.rounding,
        "run",
    ),
)
"""Every rule once."""
