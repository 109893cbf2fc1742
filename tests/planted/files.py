"""For :mod:`bench.audit.files`: what the verifier says, and what the records lack."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from synthetic_audit import FGSM, PROVENANCE, ROW, Edit, Probed
from synthetic_run import Planned

from bench.audit.evidence import FileProblem, Rounding, Verified
from planted.case import RUN, Case, Seen


def problem(kind: str, cell: int | None = 1) -> Callable[[Sequence[str]], Verified]:
    """The verifier refuses something."""
    return lambda ids: Verified((FileProblem(kind, "" if cell is None else ids[cell], 3, f"3 samples: {kind}"),))


def without_provenance(*names: str) -> Edit:
    """Takes something from a cell's record."""
    return lambda result: result.model_copy(
        update={"provenance": {key: value for key, value in result.provenance.items() if key not in names}}
    )


def of_version(name: str, version: str) -> Edit:
    """A cell that another version of something made."""
    environment = PROVENANCE["environment"]
    changed = {**environment, "versions": {**environment["versions"], name: version}}
    if name == "python":
        changed = {**environment, "python": version}
    return lambda result: result.model_copy(update={"provenance": {**result.provenance, "environment": changed}})


CASES = [
    Case(
        "leaves-threat-model",
        "outside",
        (Seen("invalid", "3 samples: outside", (1,), **RUN),),
        verified=problem("outside"),
    ),
    Case(
        "leaves-threat-model",
        "infinite",
        (Seen("invalid", "3 samples", (0,), **RUN),),
        verified=problem("not-finite", 0),
    ),
    Case("leaves-threat-model", "another prediction", verified=problem("prediction")),
    Case("leaves-threat-model", "no images", unchecked="no data", verified=lambda ids: Verified(failed="no data")),
    Case(
        "prediction-disagrees",
        "prediction",
        (Seen("invalid", "3 samples", (1,), **RUN),),
        verified=problem("prediction"),
    ),
    Case("prediction-disagrees", "success", (Seen("invalid", "3 samples", (1,), **RUN),), verified=problem("success")),
    Case(
        "hairline",
        "two of one cell",
        (Seen("info", r"^2 verdict\(s\) hang on a margin of nearly 0", (0,), evidence={"hairline": 2}, **RUN),),
        verified=lambda ids: Verified(hairline={ids[0]: 2, ids[1]: 0}),
    ),
    Case("hairline", "none", verified=lambda ids: Verified(hairline={ids[0]: 0})),
    Case("hairline", "no model", unchecked="no weights", verified=lambda ids: Verified(failed="no weights")),
    Case(
        "prediction-disagrees", "no model", unchecked="no weights", verified=lambda ids: Verified(failed="no weights")
    ),
    *[
        Case(
            rule,
            "the suite can't be had",
            unchecked="3 samples: not-verifiable",
            verified=problem("not-verifiable", None),
        )
        for rule in ("leaves-threat-model", "prediction-disagrees")
    ],
    *[
        case
        for rule in ("leaves-threat-model", "prediction-disagrees")
        for case in (
            Case(
                rule,
                "finished cells can't be judged again",
                unchecked=r"(?:model-a-linf-8_255-fgsm-s0-\w+): no weights \(and so 1 more\)",
                verified=lambda ids: Verified(
                    tuple(FileProblem("not-verifiable", cell, 1, "no weights") for cell in ids)
                ),
            ),
            Case(
                rule,
                "a cell without a number needs no judge",
                cells=(FGSM, Planned(attack="pgd-20", status="error", reason="broke", rows=())),
                probed=(),
                verified=problem("not-verifiable"),
            ),
        )
    ],
    Case("records-disagree", "the suite can't be had", verified=problem("not-verifiable", None)),
    Case("records-disagree", "seal", (Seen("invalid", "3 samples: seal", (1,), **RUN),), verified=problem("seal")),
    Case("records-disagree", "whole run", (Seen("invalid", "3 samples", **RUN),), verified=problem("identity", None)),
    Case("records-disagree", "an unfinished cell", verified=problem("missing")),
    Case("records-disagree", "another model's", verified=problem("not-verifiable")),
    Case("records-disagree", "a moved example", verified=problem("outside")),
    Case("records-disagree", "no data", unchecked="no data", verified=lambda ids: Verified(failed="no data")),
    Case(
        "rounding",
        "most vanish",
        (Seen("warning", r"^21 of 40 successes \(52 %\) vanish", (1,), evidence={"successes": 40, "left": 19}, **RUN),),
        verified=lambda ids: Verified(rounding={ids[1]: Rounding(40, 19)}),
    ),
    Case(
        "rounding",
        "half vanish",
        (Seen("info", r"^20 of 40 successes \(50 %\)", (1,), **RUN),),
        verified=lambda ids: Verified(rounding={ids[1]: Rounding(40, 20)}),
    ),
    Case(
        "rounding",
        "all four vanish",
        (Seen("info", r"^4 of 4 successes", (1,), **RUN),),
        verified=lambda ids: Verified(rounding={ids[1]: Rounding(4, 0)}),
    ),
    Case(
        "rounding",
        "eps below half a grey level",
        (
            Seen("warning", "is less than half of one of 255 grey levels", **RUN),
            Seen("info", r"^4 of 4 successes", (1,), **RUN),
        ),
        cells=tuple(dataclasses.replace(one, threat_model="linf:1/511") for one in ROW),
        probed=(Probed(threat_model="linf:1/511"),),
        verified=lambda ids: Verified(rounding={ids[1]: Rounding(4, 0)}),
    ),
    Case(
        "rounding",
        "eps of half a grey level",
        (Seen("info", r"^4 of 4 successes", (1,), **RUN),),
        cells=tuple(dataclasses.replace(one, threat_model="linf:1/510") for one in ROW),
        probed=(Probed(threat_model="linf:1/510"),),
        verified=lambda ids: Verified(rounding={ids[1]: Rounding(4, 0)}),
    ),
    Case("rounding", "nothing saved", unchecked="no adversarial examples were saved (run.save_adversarial)"),
    Case("rounding", "no data", unchecked="no data", verified=lambda ids: Verified(failed="no data")),
    Case(
        "provenance",
        "no digest of the weights",
        (
            Seen(
                "warning", "the record lacks weights: nobody can repeat", (1,), evidence={"missing": ["weights"]}, **RUN
            ),
        ),
        edit={1: without_provenance("weights")},
    ),
    Case(
        "provenance",
        "no version",
        (Seen("warning", "lacks the version of torch:", (0,), **RUN),),
        edit={0: of_version("torch", "")},
    ),
    Case(
        "provenance",
        "no environment",
        (Seen("warning", "lacks environment:", (0,), **RUN),),
        edit={0: without_provenance("environment")},
    ),
    Case(
        "provenance",
        "parameters of an older version",
        (Seen("warning", r"lacks .*attack\.args\.steps", (1,), **RUN),),
        edit={1: lambda result: result.model_copy(update={"attack": result.attack.model_copy(update={"args": {}})})},
    ),
    Case("provenance", "all is there"),
    Case(
        "provenance",
        "a cell that failed lacks everything",
        cells=(FGSM, Planned(attack="pgd-20", status="error", reason="broke", rows=())),
        edit={1: without_provenance("weights", "environment")},
    ),
    Case(
        "mixed-versions",
        "two versions of torch",
        (Seen("warning", r"several versions of torch: 2\.12\.0 \(1 cells\), 2\.13\.0 \(1 cells\)$", **RUN),),
        edit={0: of_version("torch", "2.12.0")},
    ),
    Case(
        "mixed-versions",
        "two versions of bench",
        (Seen("warning", "several versions of robustness-bench", **RUN),),
        edit={0: of_version("robustness-bench", "0.0.9")},
    ),
    Case(
        "mixed-versions",
        "two versions of numpy",
        (Seen("info", "several versions of numpy", **RUN),),
        edit={0: of_version("numpy", "2.3.0")},
    ),
    Case(
        "mixed-versions",
        "two versions of Python",
        (Seen("info", "several versions of python", **RUN),),
        edit={0: of_version("python", "3.12.1")},
    ),
    Case("mixed-versions", "one version"),
]
