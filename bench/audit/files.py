"""What is on disk: examples that aren't adversarial, records that don't fit, runs that can't be reproduced."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from bench import registry
from bench.audit.evidence import CannotCheck, Evidence, FileProblem
from bench.audit.rule import Found
from bench.store.records import CellResult

OUTSIDE = ("outside", "not-finite")
DISAGREE = ("prediction", "success")
UNFINISHED = ("missing", "not-verifiable")
"""Kinds that speak of cells without a number, and of models that aren't here."""
ELSEWHERE = "corrupted-image"
"""Kind that speaks of libraries here, which may round a pixel otherwise; what the model says of it is looked at, too."""
_VERSIONS = ("robustness-bench", "torch", "torchvision", "numpy", "python")
_MINOR = ("numpy", "python")
HALF_A_LEVEL = Fraction(1, 510)
"""An image of 8 bits, changed by less than this and rounded, is the same again."""
_LARGE = 0.5
"""Beyond this share of successes that vanish under rounding, the rate is a warning."""


def leaves_the_ball(evidence: Evidence) -> Iterable[Found]:
    """Saved examples that aren't finite, or lie outside the threat model."""
    yield from _problems(evidence, lambda problem: problem.kind in OUTSIDE)
    _judged(evidence)


def disagrees(evidence: Evidence) -> Iterable[Found]:
    """Saved examples that the real model predicts otherwise than the records say."""
    yield from _problems(evidence, lambda problem: problem.kind in DISAGREE)
    _judged(evidence)


def hairline(evidence: Evidence) -> Iterable[Found]:
    """Verdicts that the last bits decide."""
    if evidence.verified.failed:
        raise CannotCheck(evidence.verified.failed)
    for cell, count in evidence.verified.hairline.items():
        if count:
            text = f"{count} verdict(s) hang on a margin of nearly 0: other hardware may decide them otherwise"
            yield Found("info", text, (cell,), {"hairline": count})
    _judged(evidence)


def records_disagree(evidence: Evidence) -> Iterable[Found]:
    """Files that the verifier refuses for any other reason."""
    known = (*OUTSIDE, *DISAGREE, *UNFINISHED, ELSEWHERE)
    yield from _problems(evidence, lambda problem: problem.kind not in known)


def _judged(evidence: Evidence) -> None:
    """Whether the examples of all finished cells were judged.

    Raises:
        CannotCheck: where some couldn't be.
    """
    done = {cell.id for row in evidence.rows for cell in row.row.cells if cell.status == "done"}
    blocked = [one for one in evidence.verified.problems if one.kind == "not-verifiable" and one.cell in {"", *done}]
    if blocked:
        more = f" (and so {len(blocked) - 1} more)" if len(blocked) > 1 else ""
        raise CannotCheck(f"{blocked[0].cell}: {blocked[0].message}{more}".removeprefix(": "))


def _problems(evidence: Evidence, wanted: object) -> Iterable[Found]:
    verified = evidence.verified
    if verified.failed:
        raise CannotCheck(verified.failed)
    assert callable(wanted)
    for problem in verified.problems:
        if wanted(problem):
            yield _found(problem)


def _found(problem: FileProblem) -> Found:
    cells = (problem.cell,) if problem.cell else ()
    return Found("invalid", problem.message, cells, {"kind": problem.kind, "count": problem.number})


def _below_a_level(evidence: Evidence) -> Iterable[Found]:
    """Radii at which nothing that is stored in 8 bits can be changed: most often a number that was divided by 255 twice."""
    for threat_model in evidence.outcome.threat_models:
        if threat_model.norm == "linf" and threat_model.eps < HALF_A_LEVEL:
            text = (
                f"{threat_model.label} is less than half of one of 255 grey levels: every change vanishes when the image is "
                "rounded to 8 bits; was eps divided by 255 twice?"
            )
            yield Found("warning", text, (), {"eps": str(threat_model.eps)})


def rounding(evidence: Evidence) -> Iterable[Found]:
    """Successes that are none any more when the image is rounded to 8 bits."""
    yield from _below_a_level(evidence)
    if evidence.verified.failed:
        raise CannotCheck(evidence.verified.failed)
    if not evidence.verified.rounding:
        raise CannotCheck("no adversarial examples were saved (run.save_adversarial)")
    for cell, rounded in evidence.verified.rounding.items():
        lost = rounded.successes - rounded.left
        if not rounded.successes:
            continue
        share = lost / rounded.successes
        text = (
            f"{lost} of {rounded.successes} successes ({100 * share:.0f} %) vanish when the image is rounded to 8 bits: "
            "as files they would fool nobody"
        )
        evidence_ = {"successes": rounded.successes, "left": rounded.left}
        yield Found("warning" if share > _LARGE and lost >= 5 else "info", text, (cell,), evidence_)


def provenance(evidence: Evidence) -> Iterable[Found]:
    """Records from which the run couldn't be repeated."""
    for result in _results(evidence):
        known = result.provenance
        environment = known.get("environment") or {}
        missing = [name for name in ("dataset", "weights", "architecture", "environment") if not known.get(name)]
        names = ("robustness-bench", "torch") if environment else ()
        missing += [f"the version of {name}" for name in names if not _version(environment, name)]
        missing += _parameters(result)
        if result.status == "done" and missing:
            text = f"the record lacks {', '.join(missing)}: nobody can repeat this number"
            yield Found("warning", text, (result.cell,), {"missing": missing})


def mixed(evidence: Evidence) -> Iterable[Found]:
    """Cells of one run that other versions or other code made."""
    versions: dict[str, dict[str, list[str]]] = {}
    for result in _results(evidence):
        environment = result.provenance.get("environment") or {}
        for name in _VERSIONS:
            value = _version(environment, name)
            if value:
                versions.setdefault(name, {}).setdefault(value, []).append(result.cell)
    for name, found in versions.items():
        if len(found) > 1:
            counts = ", ".join(f"{value} ({len(cells)} cells)" for value, cells in found.items())
            text = f"the cells of this run were made with several versions of {name}: {counts}"
            yield Found("info" if name in _MINOR else "warning", text, (), {"versions": found})


def _parameters(result: CellResult) -> list[str]:
    """Parameters of a known attack that the record doesn't tell."""
    entry = registry.attacks.entries().get(result.attack.name)
    if entry is None or entry.params is None or result.role == "submitted":
        return []
    return [f"attack.args.{name}" for name in entry.params.model_fields if name not in result.attack.args]


def _results(evidence: Evidence) -> Iterable[CellResult]:
    seen = set()
    for row in evidence.rows:
        for cell in row.row.cells:
            if cell.result is not None and cell.id not in seen:
                seen.add(cell.id)
                yield cell.result


def _version(environment: dict[str, object], name: str) -> str:
    """A version, wherever the environment keeps it."""
    versions = environment.get("versions")
    value = environment.get(name) or (versions.get(name) if isinstance(versions, dict) else None)
    return str(value) if value else ""
