"""For :mod:`bench.audit.claims`: accuracies, images and ranks, and cells that failed."""

from __future__ import annotations

from synthetic_audit import FGSM, WRONG
from synthetic_run import Planned

from planted.case import TABLE, Case, Seen, adaptive, flagged, lifted

CASES = [
    *lifted("no-backward-pass", "no-backward-pass", severity="invalid"),
    Case(
        "no-backward-pass",
        "an attack raised",
        (Seen("invalid", "^pgd-20 has no number, because it failed: left the ball$", (1,)),),
        cells=(FGSM, Planned(attack="pgd-20", status="error", reason="left the ball", rows=range(5))),
    ),
    Case(
        "no-backward-pass",
        "a model that isn't here",
        cells=(FGSM, Planned(attack="pgd-20", status="unavailable", reason="no weights", rows=())),
    ),
    *[
        Case(
            "clean-accuracy",
            f"flag {flag}, and a published accuracy that fits",
            (Seen("warning", "^the runner's words: 3 of 9$", (1,)),),
            cells=tuple(
                Planned(
                    attack=one.attack,
                    wrong=WRONG,
                    broken=one.broken,
                    flags=one.flags,
                    published=("cifar10", "Linf", "Wong2020Fast"),
                )
                for one in flagged(flag, "warning")
            ),
        )
        for flag in ("training-mode", "clean-accuracy")
    ],
    Case(
        "clean-accuracy",
        "far below the published one",
        (
            Seen(
                "warning",
                r"^clean accuracy 67\.5 % is far from the published 83\.34 %",
                evidence={"correct": 54, "n": 80, "published": 83.34},
            ),
        ),
        cells=(Planned(wrong=range(26), published=("cifar10", "Linf", "Wong2020Fast")),),
    ),
    Case(
        "clean-accuracy",
        "nearly as far",
        cells=(Planned(wrong=range(25), published=("cifar10", "Linf", "Wong2020Fast")),),
    ),
    Case(
        "clean-accuracy",
        "far above it",
        (Seen("warning", r"^clean accuracy 100\.0 %"),),
        cells=(Planned(published=("cifar10", "Linf", "Wong2020Fast")),),
    ),
    Case(
        "clean-accuracy",
        "images without a record are none that are wrong",
        cells=(Planned(published=("cifar10", "Linf", "Wong2020Fast"), status="error", reason="x", rows=range(20)),),
    ),
    Case(
        "clean-accuracy",
        "no image has a record",
        cells=(Planned(published=("cifar10", "Linf", "Wong2020Fast"), status="unavailable", reason="x", rows=()),),
        probed=(),
    ),
    Case(
        "clean-accuracy",
        "as often right as one of two labels",
        (
            Seen(
                "warning",
                r"^clean accuracy 50\.0 %, no better than one answer to every",
                evidence={"correct": 40, "n": 80},
            ),
        ),
        cells=(Planned(wrong=range(40)),),
        unchecked="there is no published clean accuracy",
    ),
    Case(
        "clean-accuracy",
        "once more than that",
        cells=(Planned(wrong=range(39)),),
        unchecked="there is no published clean accuracy",
    ),
    Case(
        "clean-accuracy",
        "never, on few images",
        cells=(Planned(wrong=range(49)),),
        probed=(),
        n=49,
        unchecked="there is no published clean accuracy",
    ),
    Case("clean-accuracy", "nobody publishes that of a defended row", cells=(adaptive("jpeg-q75"),), probed=()),
    Case("clean-accuracy", "nobody published one", unchecked="there is no published clean accuracy"),
    Case(
        "clean-accuracy",
        "an entry that the table doesn't have",
        unchecked="there is no published clean accuracy",
        cells=(Planned(published=("cifar10", "Linf", "Nobody2099Nothing")),),
    ),
    Case(
        "few-samples",
        "38 images",
        (Seen("warning", "^38 images: a robust accuracy near 50 % is known to ±15 points only$", **TABLE),),
        cells=(Planned(),),
        probed=(),
        n=38,
    ),
    Case("few-samples", "39 images", cells=(Planned(),), probed=(), n=39),
    Case(
        "not-separable",
        "two of three rows",
        (Seen("info", "^2 of 3 rows share a range of ranks: on 80 images", evidence={"rows": ["a", "b"]}, **TABLE),),
        cells=(Planned("a", broken=range(10)), Planned("b", broken=range(12)), Planned("c", broken=range(60))),
        probed=(),
    ),
    Case(
        "not-separable", "far apart", cells=(Planned("a", broken=range(10)), Planned("b", broken=range(60))), probed=()
    ),
    Case("not-separable", "one row", unchecked="fewer than two rows are ranked"),
    Case(
        "not-separable",
        "one ranked row",
        unchecked="fewer than two rows are ranked",
        cells=(Planned("a"), Planned("b", rows=range(9))),
        probed=(),
    ),
    Case(
        "robust-above-clean",
        "draws that are right under attack only",
        (Seen("invalid", r"^robust accuracy \(50\.0 %\) above clean accuracy \(0\.0 %\)", (0,)),),
        cells=(Planned(wrong=range(80), correctness=dict.fromkeys(range(40), 1.0)),),
    ),
    Case("robust-above-clean", "an attack that breaks nothing", cells=(Planned(wrong=WRONG),)),
    Case("robust-above-clean", "no rows at all", cells=(Planned(rows=(), recorded=False),), probed=()),
]
