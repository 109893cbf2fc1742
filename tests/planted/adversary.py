"""For :mod:`bench.audit.adversary`: who attacked, and whether the attacks work at all."""

from __future__ import annotations

from synthetic_audit import PGD, WRONG, Control, Probed
from synthetic_run import Planned

from bench.store.records import CellResult, Flag
from planted.case import JPEG, NO_PROBES, Case, Seen, adaptive, defended, lifted, no_probes

BLUR = ("model-a", "gaussian_blur")


def controlled(**controls: Control) -> tuple[Probed, ...]:
    """A healthy row but for its controls."""
    return (Probed(controls={name.replace("_", "-"): control for name, control in controls.items()}),)


def with_surrogate(result: CellResult) -> CellResult:
    return result.model_copy(update={"defense": result.defense.model_copy(update={"surrogate": "exact"})})


def bare_breaks(count: int, *, noise: int, large: int = 72) -> dict[str, object]:
    """A defended row beside a bare model that its attacks hardly break."""
    cells = (
        Planned(attack="pgd-20", wrong=WRONG, broken=range(count)),
        Planned(attack="pgd-20", wrong=WRONG, broken=range(count), defense="jpeg-q75"),
    )
    return {
        "cells": cells,
        "probed": (Probed({"noise": range(noise), "large-eps": range(large)}), Probed(defense="jpeg-q75")),
    }


CASES = [
    Case(
        "no-bpda",
        "only an oblivious adversary",
        (Seen("warning", "isn't differentiable, and no attack with BPDA is finished on it", row=JPEG),),
        cells=defended("jpeg-q75"),
    ),
    Case(
        "no-bpda",
        "the exact gradient of what has none",
        (Seen("warning", "^surrogate: exact takes the gradient of a defense that has none", (3,), row=JPEG),),
        cells=defended("jpeg-q75", adaptive=adaptive("jpeg-q75")),
        edit={2: with_surrogate, 3: with_surrogate},
    ),
    Case(
        "no-bpda",
        "an attack that takes no gradient has none to replace",
        (Seen("warning", "no attack with BPDA is finished on it", row=JPEG),),
        cells=defended("jpeg-q75", adaptive=adaptive("jpeg-q75", attack="square")),
    ),
    Case("no-bpda", "an adaptive attack", cells=defended("jpeg-q75", adaptive=adaptive("jpeg-q75"))),
    Case("no-bpda", "the bare model", meant=False),
    Case("no-bpda", "a differentiable defense", cells=defended("gaussian_blur")[2:], probed=(), meant=False),
    Case(
        "no-bpda",
        "nothing is finished",
        unchecked="no cell of the row is finished",
        cells=(adaptive("jpeg-q75", recorded=False, rows=range(9)),),
        probed=(),
    ),
    Case(
        "not-joint",
        "only an oblivious adversary",
        (
            Seen(
                "warning",
                "no attack on the detector and the classifier together is finished",
                row=("model-a", "mahalanobis-1"),
            ),
        ),
        cells=defended("mahalanobis-1"),
    ),
    Case("not-joint", "an adaptive attack", cells=defended("mahalanobis-1", adaptive=adaptive("mahalanobis-1"))),
    Case("not-joint", "no detector", cells=defended("jpeg-q75")[2:], probed=(), meant=False),
    Case(
        "not-joint",
        "nothing is finished",
        unchecked="no cell of the row is finished",
        cells=(adaptive("mahalanobis-1", recorded=False, rows=range(9)),),
        probed=(),
    ),
    *lifted("no-adaptive-attack", "no-adaptive-attack", "no-gradient-free-attack", "no-detector-attack"),
    Case(
        "no-adaptive-attack",
        "the suite leaves it out of one row",
        (Seen("warning", "^no attack by anybody who knows the defense is finished on it$", row=BLUR),),
        cells=defended("gaussian_blur"),
    ),
    Case(
        "no-adaptive-attack",
        "a naive attacker doesn't know the defense",
        (Seen("warning", "^no attack by anybody who knows the defense", row=BLUR),),
        cells=(adaptive("gaussian_blur", role="naive", adversary="naive"),),
        probed=(),
    ),
    Case(
        "no-adaptive-attack",
        "the runner has said so",
        (Seen("warning", "^the runner's words", (0,), row=BLUR),),
        cells=(
            adaptive(
                "gaussian_blur",
                role="oblivious",
                adversary="oblivious",
                flags=(Flag(rule="no-adaptive-attack", severity="warning", message="the runner's words"),),
            ),
        ),
        probed=(),
    ),
    *[
        Case(
            "no-adaptive-attack",
            f"{role} is enough",
            cells=defended("gaussian_blur", adaptive=adaptive("gaussian_blur", role=role)),
        )
        for role in ("suite", "gradient_free", "submitted")
    ],
    Case(
        "no-adaptive-attack",
        "nothing is finished",
        unchecked="no cell of the row is finished",
        cells=(adaptive("gaussian_blur", recorded=False, rows=range(9)),),
        probed=(),
    ),
    Case(
        "positive-control",
        "the only attack",
        (
            Seen(
                "invalid",
                "^pgd-20 fails its positive control: it breaks 71 of 80 images of a linear model that are known to be",
                (1,),
                evidence={"broken": 71},
            ),
        ),
        probed=controlled(pgd_20=Control(broken=range(71))),
    ),
    Case(
        "positive-control",
        "one of two",
        (Seen("warning", "^fgsm fails its positive control: it breaks 8 of 10 ", (0,)),),
        probed=controlled(fgsm=Control(broken=range(8), breakable=range(10)), pgd_20=Control()),
    ),
    Case(
        "positive-control",
        "both",
        (Seen("invalid", "^fgsm fails", (0,)), Seen("invalid", "^pgd-20 fails", (1,))),
        probed=controlled(fgsm=Control(broken=()), pgd_20=Control(broken=range(40))),
    ),
    Case(
        "positive-control",
        "one raised",
        (Seen("warning", "^fgsm fails its positive control: it raised on a linear model: ValueError: no$", (0,)),),
        probed=controlled(fgsm=Control(failed="ValueError: no"), pgd_20=Control()),
    ),
    Case(
        "positive-control",
        "all raised",
        (Seen("warning", "^fgsm fails", (0,)), Seen("warning", "^pgd-20 fails", (1,))),
        probed=controlled(fgsm=Control(failed="ValueError: no"), pgd_20=Control(failed="ValueError: no")),
    ),
    Case("positive-control", "nine tenths", probed=controlled(pgd_20=Control(broken=range(72)))),
    Case(
        "positive-control",
        "what isn't known to be breakable doesn't count",
        probed=controlled(pgd_20=Control(broken=range(30), breakable=range(33))),
    ),
    Case(
        "positive-control",
        "nine breakable images",
        unchecked="too few images of the linear control are breakable at this radius, or there is no white-box attack",
        probed=controlled(pgd_20=Control(broken=(), breakable=range(9))),
    ),
    *no_probes("positive-control"),
    Case(
        "fails-undefended",
        "no more than noise, at any radius",
        (
            Seen(
                "warning",
                "^the same attacks break 7 of 72 images of the undefended model, no more than noise does",
                row=JPEG,
                evidence={"broken": 7, "correct": 72},
            ),
        ),
        **bare_breaks(7, noise=7, large=20),  # type: ignore[arg-type]
    ),
    Case(
        "fails-undefended",
        "no more than noise, but at a large radius everything",
        (Seen("info", "break 7 of 72 images", row=JPEG),),
        **bare_breaks(7, noise=7),  # type: ignore[arg-type]
    ),
    Case(
        "fails-undefended",
        "no more than noise, and a large radius leaves half of the probes' images, of far more in all",
        (Seen("warning", "break 7 of 400 images", row=JPEG),),
        cells=(Planned(broken=range(7)), Planned(broken=range(7), defense="jpeg-q75")),
        probed=(
            Probed({"noise": range(7), "large-eps": range(40)}, wrong=()),
            Probed(defense="jpeg-q75", wrong=()),
        ),
        n=400,
    ),
    Case("fails-undefended", "a tenth of the images", **bare_breaks(8, noise=8, large=20)),  # type: ignore[arg-type]
    Case("fails-undefended", "far more than noise", **bare_breaks(7, noise=0, large=20)),  # type: ignore[arg-type]
    Case("fails-undefended", "the bare model", meant=False),
    Case(
        "fails-undefended",
        "the suite has no bare model",
        unchecked="the bare model isn't in the suite (defenses: [none, ...])",
        cells=(adaptive("jpeg-q75"),),
        probed=(),
    ),
    Case(
        "fails-undefended",
        "nothing is finished",
        unchecked="no cell of the row is finished",
        cells=(PGD, adaptive("jpeg-q75", recorded=False, rows=range(9))),
    ),
    Case(
        "fails-undefended",
        "the bare model was not probed",
        unchecked=NO_PROBES,
        cells=(Planned(wrong=WRONG, broken=range(3)), adaptive("jpeg-q75")),
        probed=(),
    ),
]
