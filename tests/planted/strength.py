"""For :mod:`bench.audit.strength`: attacks that were too weak."""

from __future__ import annotations

from synthetic_audit import FGSM, PGD, ROW, WRONG, Edit, N, Probed
from synthetic_run import Planned

from planted.case import NO_WHITE_BOX, SQUARE, Case, Seen, adaptive, no_probes, not_run, seeing


def grown(half: int, once: int, twice: int, large: int) -> tuple[Probed, ...]:
    """How many images the growing radii break."""
    counts = {"growth:1/2": half, "growth:1": once, "growth:2": twice, "large-eps": large}
    return (Probed({name: range(count) for name, count in counts.items()}),)


def with_steps(steps: int) -> Edit:
    """Sets the steps of an attack."""
    return lambda result: result.model_copy(
        update={"attack": result.attack.model_copy(update={"args": {**result.attack.args, "steps": steps}})}
    )


CASES = [
    Case(
        "single-step-stronger",
        "seven images more",
        (
            Seen(
                "warning",
                r"^one step \(FGSM\) breaks more than many \(pgd-20\): 7 images against 0 \(p = 0\.0078, paired\)",
                evidence={"more": 7, "less": 0, "p": 0.0078125, "share": 0.0875},
            ),
        ),
        probed=seeing(single_step=range(47)),
    ),
    Case(
        "single-step-stronger",
        "a tenth of the images more",
        (Seen("invalid", "8 images against 0"),),
        probed=seeing(single_step=range(48)),
    ),
    Case(
        "single-step-stronger",
        "a tenth more, which the row's own FGSM broke as well",
        (Seen("warning", "8 images against 0"),),
        cells=(Planned(attack="fgsm", wrong=WRONG, broken=range(48)), PGD),
        probed=seeing(single_step=range(48)),
    ),
    Case(
        "single-step-stronger",
        "more than more steps, where there is no attack of several",
        (Seen("invalid", r"many \(the probe with more steps\): 10 images against 1"),),
        cells=(FGSM,),
        probed=seeing(more_steps=[*range(38), 60], single_step=range(48)),
    ),
    Case("single-step-stronger", "six images more", probed=seeing(single_step=range(46))),
    Case(
        "single-step-stronger",
        "other images, and no more of them",
        probed=seeing(single_step=range(10, 50)),
    ),
    *no_probes("single-step-stronger"),
    *not_run("single-step-stronger", "single-step"),
    Case(
        "only-single-step",
        "FGSM alone",
        (Seen("warning", "only attacks of a single step took gradients"),),
        cells=(FGSM,),
    ),
    Case(
        "only-single-step",
        "PGD of one step",
        (Seen("warning", "only attacks of a single step"),),
        edit={1: with_steps(1)},
    ),
    Case("only-single-step", "PGD of two steps", edit={1: with_steps(2)}),
    Case("only-single-step", "an ensemble", cells=(Planned(attack="autoattack", wrong=WRONG),)),
    Case(
        "only-single-step", "no gradients", (Seen("warning", "no attack of the suite took gradients"),), cells=(SQUARE,)
    ),
    Case(
        "only-single-step",
        "nothing finished",
        unchecked=NO_WHITE_BOX,
        cells=(Planned(attack="fgsm", status="error", reason="no"),),
    ),
    Case(
        "success-not-growing",
        "eps breaks seven fewer than half of it",
        (
            Seen(
                "warning",
                r"^a larger radius breaks fewer images: eps fewer than half eps, 7 images against 0 \(p = 0\.0078",
            ),
        ),
        probed=grown(27, 20, 40, 72),
    ),
    Case(
        "success-not-growing",
        "twice eps breaks seven fewer",
        (Seen("warning", "twice eps fewer than eps, 7 images against 0"),),
        probed=grown(20, 40, 33, 72),
    ),
    Case(
        "success-not-growing",
        "nothing more at a half",
        (
            Seen(
                "warning",
                "^success does not grow with eps: no more images are broken at 0.5 ",
                evidence={"half": 20, "large": 20},
            ),
        ),
        probed=grown(20, 20, 20, 20),
    ),
    Case("success-not-growing", "six fewer", probed=grown(26, 20, 40, 72)),
    Case("success-not-growing", "one more at a half", probed=grown(20, 20, 20, 21)),
    Case("success-not-growing", "all are broken at half eps", probed=grown(72, 72, 72, 72)),
    Case("success-not-growing", "a weak attack at a half that grew before", probed=grown(20, 40, 60, 20)),
    *no_probes("success-not-growing"),
    *not_run("success-not-growing", "growth:1/2"),
    *not_run("success-not-growing", "growth:1"),
    *not_run("success-not-growing", "growth:2"),
    *not_run("success-not-growing", "large-eps"),
    Case(
        "large-eps",
        "most stand",
        (
            Seen(
                "invalid",
                r"^pgd-20 leaves 64 % right at linf 0\.5, where a grey image lies inside every ball, whose one answer is right "
                r"of 50 % at most",
                evidence={"left": 51, "n": 80, "commonest": 0.5},
            ),
        ),
        probed=seeing(large_eps=range(21)),
    ),
    Case("large-eps", "half of the images have one label, and hardly more stand", probed=seeing(large_eps=range(22))),
    Case(
        "large-eps",
        "images of a single label: one answer may be right of all",
        probed=(Probed({"large-eps": ()}, positions=range(0, N, 2)),),
    ),
    Case(
        "large-eps",
        "a detector",
        unchecked="the defense may rightly reject a grey image, so that images may stand at any radius",
        cells=(adaptive("mahalanobis-1"),),
        probed=(Probed({"large-eps": ()}, defense="mahalanobis-1"),),
    ),
    *no_probes("large-eps"),
    *not_run("large-eps", "large-eps"),
    *[
        case
        for rule, probe, words in (
            ("more-steps-help", "more-steps", "more steps"),
            ("more-restarts-help", "more-restarts", "more restarts"),
        )
        for case in (
            Case(
                rule,
                "seven more",
                (
                    Seen(
                        "warning",
                        rf"^{words} \(pgd-20: steps 50\) break 7 of 32 images of the subset that the row calls robust",
                        evidence={"more": 7, "less": 0, "share": 0.0875},
                    ),
                ),
                probed=(Probed({probe: range(47)}),),
            ),
            Case(rule, "a tenth more", (Seen("invalid", "break 8 of 32"),), probed=(Probed({probe: range(48)}),)),
            Case(
                rule,
                "seven more and the others not",
                (Seen("warning", "7 of 32"),),
                probed=(Probed({probe: range(40, 47)}),),
            ),
            Case(rule, "six more", probed=(Probed({probe: range(46)}),)),
            Case(
                rule,
                "eight more, which another cell broke",
                cells=(*ROW, Planned(attack="square", wrong=WRONG, broken=range(48))),
                probed=(Probed({probe: range(48)}),),
            ),
            *no_probes(rule),
            *not_run(rule, probe),
        )
    ],
    Case(
        "worst-case-far-below",
        "each breaks what another leaves",
        (
            Seen(
                "warning",
                r"^the worst case lies 8\.8 points below the strongest single attack \(pgd-20\)",
                evidence={"more": 7, "less": 0},
            ),
        ),
        cells=(PGD, Planned(attack="cw", wrong=WRONG, broken=range(10, 47))),
    ),
    Case("worst-case-far-below", "six images", cells=(PGD, Planned(attack="cw", wrong=WRONG, broken=range(10, 46)))),
    Case(
        "worst-case-far-below",
        "significant, and 4.5 points",
        cells=(Planned(broken=range(40)), Planned(attack="cw", broken=range(15, 49))),
        probed=(),
        n=200,
    ),
    Case("worst-case-far-below", "one attack", unchecked="fewer than two attacks are finished", cells=(PGD,)),
    Case(
        "worst-case-far-below",
        "two attacks, of which one isn't finished",
        unchecked="fewer than two attacks are finished",
        cells=(PGD, Planned(attack="cw", rows=range(9))),
    ),
]
