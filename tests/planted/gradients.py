"""For :mod:`bench.audit.gradients`, and for the flags that a rule only takes over."""

from __future__ import annotations

from synthetic_audit import SMOOTH, N, Probed

from planted.case import Case, Seen, adaptive, lifted, no_probes


def looking(**changed: float | None) -> tuple[Probed, ...]:
    """A healthy row but for its gradients."""
    return (Probed(gradients=SMOOTH.model_copy(update=changed)),)


CASES = [
    *lifted("zero-gradient", "zero-gradient", severity="invalid"),
    *[
        Case(
            "zero-gradient",
            f"{name} {share}",
            (Seen(severity, words, evidence={"share": share}),),
            probed=looking(**{name: share}),
        )
        for name, share, severity, words in (
            ("missing", 1 / 72, "warning", "^no finite gradient reaches the image on 1 of 72 images"),
            ("missing", 0.5, "invalid", "on 36 of 72 images: gradient attacks can't work there"),
            ("zero", 0.10, "warning", "exactly zero on 7 of 72 images: masked gradients, not robustness"),
            ("zero", 0.5, "invalid", "exactly zero on 36 of 72 images"),
            ("vanishing", 0.10, "warning", "all but vanishes on 7 of 72 images: taken as linear"),
            ("vanishing", 0.5, "invalid", "all but vanishes on 36 of 72 images"),
        )
    ],
    Case(
        "zero-gradient",
        "all three",
        (Seen("warning", "no finite"), Seen("warning", "exactly zero"), Seen("warning", "vanishes")),
        probed=looking(missing=0.1, zero=0.2, vanishing=0.3),
    ),
    Case("zero-gradient", "less than a tenth", probed=looking(zero=0.099, vanishing=0.099, zero_loss=1.0)),
    Case(
        "rough-loss",
        "shattered gradients",
        (Seen("warning", r"agree to 0\.29 only \(median cosine\)$", evidence={"cosine": 0.29}),),
        probed=looking(noise_cosine=0.29),
    ),
    Case(
        "rough-loss",
        "another function's gradient",
        (Seen("warning", r"it is wrong by 51 % \(median\)", evidence={"error": 0.51}),),
        probed=looking(slope_error=0.51),
    ),
    Case(
        "rough-loss",
        "both",
        (Seen("warning", "agree to -0.10 only"), Seen("warning", "wrong by 100 %")),
        probed=looking(noise_cosine=-0.1, slope_error=1.0),
    ),
    Case("rough-loss", "at both thresholds", probed=looking(noise_cosine=0.30, slope_error=0.50)),
    Case("rough-loss", "nothing to measure beside the cosine", probed=looking(slope_error=None)),
    Case(
        "rough-loss",
        "a defense that says it isn't differentiable",
        cells=(adaptive("jpeg-q75"),),
        probed=(Probed(gradients=SMOOTH.model_copy(update={"slope_error": 0.9}), defense="jpeg-q75"),),
    ),
    Case(
        "rough-loss",
        "no gradients at all",
        unchecked="there are no gradients to look at",
        probed=looking(zero=0.5, missing=0.5, noise_cosine=None, slope_error=None),
    ),
    Case(
        "rough-loss",
        "gradients on the clean images alone",
        unchecked="there are no gradients to look at",
        probed=looking(noise_cosine=None, slope_error=None),
    ),
    *lifted("saturated-logits", "probabilities"),
    Case(
        "saturated-logits",
        "no gradient of the cross-entropy",
        (
            Seen(
                "warning",
                "a gradient of exactly zero on 7 of 72 images, where the margin still has one",
                evidence={"share": 0.1},
            ),
        ),
        probed=looking(zero_loss=0.1),
    ),
    Case("saturated-logits", "less than a tenth", probed=looking(zero_loss=0.099, zero=1.0)),
    *[
        case
        for rule in ("zero-gradient", "rough-loss", "saturated-logits")
        for case in (
            *no_probes(rule),
            Case(
                rule,
                "they couldn't be taken",
                unchecked="gradients: RuntimeError: no backward",
                probed=(Probed(gradients=None, failed="gradients: RuntimeError: no backward"),),
            ),
            Case(
                rule,
                "no image is right",
                unchecked="no sample of the subset is right when clean",
                probed=(Probed(gradients=None, wrong=range(N)),),
            ),
        )
    ],
    *lifted(
        "unmarked-randomness",
        "unmarked-randomness",
        "batch-dependent",
        "gradient-dependent",
        "test-time-optimisation",
    ),
    *lifted("eot", "no-eot", "eot-convergence"),
    *lifted("silent-success", "silent-success"),
    *lifted("no-distance-found", "no-distance-found"),
]
