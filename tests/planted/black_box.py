"""For :mod:`bench.audit.black_box`: attacks without gradients that do better."""

from __future__ import annotations

from synthetic_audit import ROW, WRONG, Probed
from synthetic_run import Planned

from planted.case import JPEG, NO_WHITE_BOX, SQUARE, Case, Seen, adaptive, defended, lifted, no_probes, not_run, seeing


def crossed(source: str, broken: range) -> Planned:
    """Examples of another model on the row."""
    return Planned(wrong=WRONG, broken=broken, role="transfer", adversary="transfer", source=source)


CASES = [
    Case(
        "gradient-free-stronger",
        "a cell of the suite",
        (
            Seen(
                "warning",
                r"^the gradient-free attack \(Square\) broke more images than all white-box attacks together: 7 that they "
                r"don't, against 0 \(p = 0\.0078, paired\); the gradients are masked$",
                evidence={"more": 7, "less": 0, "share": 0.0875},
            ),
        ),
        cells=(*ROW, Planned(attack="square", wrong=WRONG, broken=range(47))),
    ),
    Case(
        "gradient-free-stronger",
        "the harness's own cell on a defense",
        (Seen("warning", "7 that they don't, against 0", row=JPEG),),
        cells=(adaptive("jpeg-q75"), adaptive("jpeg-q75", 47, "square", role="gradient_free")),
        probed=(),
    ),
    Case(
        "gradient-free-stronger",
        "a probe",
        (
            Seen(
                "warning",
                r"^a gradient-free probe \(Square\) broke more images of the subset than all white-box .* 7 that",
            ),
        ),
        probed=seeing(gradient_free=range(47)),
    ),
    Case(
        "gradient-free-stronger",
        "a probe that refutes the number",
        (Seen("invalid", "a gradient-free probe"),),
        probed=seeing(gradient_free=range(48)),
    ),
    Case(
        "gradient-free-stronger",
        "a cell, and a probe that says the same",
        (Seen("warning", r"^the gradient-free attack"),),
        cells=(*ROW, Planned(attack="square", wrong=WRONG, broken=range(50))),
        probed=seeing(gradient_free=range(50)),
    ),
    Case(
        "gradient-free-stronger",
        "a cell, and a probe that refutes the row all the same",
        (Seen("warning", r"^the gradient-free attack"), Seen("invalid", "^a gradient-free probe")),
        cells=(*ROW, Planned(attack="square", wrong=WRONG, broken=range(50))),
        probed=seeing(gradient_free=range(58)),
    ),
    Case(
        "gradient-free-stronger",
        "what only an ensemble's Square broke is nothing that gradients did",
        (Seen("warning", "10 that they don't, against 1"),),
        cells=(
            Planned(attack="autoattack", wrong=WRONG, broken=range(40)),
            Planned(attack="square", wrong=WRONG, broken=range(1, 40)),
        ),
        stages={0: {**dict.fromkeys(range(30), "apgd-ce"), **dict.fromkeys(range(30, 40), "square")}},
        probed=seeing(gradient_free=None),
    ),
    *lifted("gradient-free-stronger", "autoattack-square", "autoattack-check"),
    Case(
        "gradient-free-stronger",
        "six more in a cell and in the probe",
        cells=(*ROW, Planned(attack="square", wrong=WRONG, broken=range(46))),
        probed=seeing(gradient_free=range(46)),
    ),
    Case(
        "gradient-free-stronger",
        "a large Square cell takes the place of the probe",
        cells=(*ROW, SQUARE),
        probed=seeing(gradient_free=None),
    ),
    Case("gradient-free-stronger", "no gradients", unchecked=NO_WHITE_BOX, cells=(SQUARE,)),
    *no_probes("gradient-free-stronger"),
    *not_run("gradient-free-stronger", "gradient-free"),
    Case(
        "transfer-stronger",
        "examples of the bare model, as a cell",
        (
            Seen(
                "warning",
                "^examples made against the bare model broke more images than all white-box attacks together: 7 that",
                row=JPEG,
            ),
        ),
        cells=defended("jpeg-q75", adaptive=adaptive("jpeg-q75"), oblivious=47),
        probed=(Probed({"transfer:model-b": range(5)}),),
    ),
    Case(
        "transfer-stronger",
        "examples of another model",
        (Seen("warning", "^examples made against model-b broke more images of the subset .*: 7 that they don't"),),
        probed=(Probed({"transfer:model-b": range(47), "transfer:model-c": range(46)}),),
    ),
    Case(
        "transfer-stronger",
        "they refute the number",
        (Seen("invalid", "examples made against model-b"),),
        probed=(Probed({"transfer:model-b": range(48)}),),
    ),
    Case(
        "transfer-stronger",
        "cells of other models together",
        (
            Seen(
                "warning",
                "^examples made against model-b and model-c broke more images than all white-box attacks together: 7 that they "
                r"don't, against 0 \(p = 0.0078, paired\); the gradients are masked$",
                evidence={"more": 7, "less": 0, "share": 0.0875},
            ),
        ),
        cells=(*ROW, crossed("model-b", range(43)), crossed("model-c", range(43, 47))),
        probed=(Probed({"transfer:model-b": range(43)}),),
    ),
    Case(
        "transfer-stronger",
        "cells of many models",
        (Seen("warning", "^examples made against 4 other models broke"),),
        cells=(*ROW, *(crossed(f"model-{name}", range(47)) for name in "bcde")),
        probed=(),
    ),
    Case(
        "transfer-stronger",
        "cells of other models that break six more",
        cells=(*ROW, crossed("model-b", range(43)), crossed("model-c", range(43, 46))),
        probed=(),
    ),
    Case(
        "transfer-stronger",
        "cells of another model, and no gradients",
        unchecked=NO_WHITE_BOX,
        cells=(SQUARE, crossed("model-b", range(47))),
        probed=(),
    ),
    Case(
        "transfer-stronger",
        "six more",
        cells=defended("jpeg-q75", adaptive=adaptive("jpeg-q75"), oblivious=46),
        probed=(
            Probed({"transfer:model-b": range(46)}),
            Probed({"transfer:model-a": range(46)}, defense="jpeg-q75"),
        ),
    ),
    Case(
        "transfer-stronger",
        "one model",
        unchecked="there is no other model in the suite, and no bare model behind a defense",
    ),
    *no_probes("transfer-stronger"),
    Case(
        "transfer-stronger",
        "a probe that failed",
        unchecked="the probe transfer:model-b failed: RuntimeError: no examples of model-b could be made",
        probed=(Probed({"transfer:model-b": "RuntimeError: no examples of model-b could be made"}),),
    ),
    Case(
        "transfer-stronger",
        "only an oblivious adversary",
        unchecked=NO_WHITE_BOX,
        cells=defended("jpeg-q75", oblivious=47)[2:],
        probed=(),
    ),
    Case(
        "noise-stronger",
        "seven images more",
        (Seen("warning", "^random noise broke more images of the subset than all white-box attacks together: 7 that"),),
        probed=seeing(noise=range(47)),
    ),
    Case("noise-stronger", "it refutes the number", (Seen("invalid", "random noise"),), probed=seeing(noise=range(48))),
    Case(
        "noise-stronger",
        "three images where the attacks break none",
        (Seen("warning", "^random noise breaks 3 images of the subset, and the white-box attacks break none at all$"),),
        cells=(Planned(wrong=WRONG),),
        probed=seeing(noise=range(3)),
    ),
    Case(
        "noise-stronger",
        "two images where they break none",
        cells=(Planned(wrong=WRONG),),
        probed=seeing(noise=range(2)),
    ),
    Case(
        "noise-stronger",
        "many images where they break none, said once",
        (Seen("invalid", "broke more images of the subset than all white-box attacks together: 9 that"),),
        cells=(Planned(wrong=WRONG),),
        probed=seeing(noise=range(9)),
    ),
    Case("noise-stronger", "six images more", probed=seeing(noise=range(46))),
    *no_probes("noise-stronger"),
    *not_run("noise-stronger", "noise"),
    Case("noise-stronger", "no gradients", unchecked=NO_WHITE_BOX, cells=(SQUARE,)),
]
