"""What planted evidence is, and what many rules need of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from synthetic_audit import FGSM, ROW, WRONG, Edit, N, Probed
from synthetic_run import Planned

from bench.audit.evidence import Verified
from bench.store.audit import Severity
from bench.store.records import Flag

Kind = Literal["fires", "quiet", "unchecked"]

SQUARE = Planned(attack="square", wrong=WRONG, broken=range(30))
JPEG = ("model-a", "jpeg-q75")
TABLE = {"row": ("", ""), "threat_model": "linf:8/255"}
RUN = {"row": ("", ""), "threat_model": ""}
NO_PROBES = "the probes are switched off (audit.samples: 0)"
NO_WHITE_BOX = "no white-box attack is finished"


@dataclass(frozen=True)
class Seen:
    """A finding as it must be."""

    severity: Severity
    message: str
    """a pattern that is in it"""
    cells: tuple[int, ...] = ()
    """places of its cells"""
    row: tuple[str, str] = ("model-a", "none")
    """model and defense; empty of tables and runs"""
    threat_model: str = "linf:8/255"
    evidence: Mapping[str, object] = field(default_factory=dict)
    """numbers that must be among its own"""


@dataclass(frozen=True)
class Case:
    """Planted evidence, and what a rule must say of it."""

    rule: str
    name: str
    seen: tuple[Seen, ...] = ()
    unchecked: str = ""
    """why it can't be checked"""
    cells: Sequence[Planned] = ROW
    probed: Sequence[Probed] = (Probed(),)
    verified: Callable[[Sequence[str]], Verified] = lambda ids: Verified()
    edit: Mapping[int, Edit] = field(default_factory=dict)
    stages: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    n: int = N
    meant: bool = True
    """whether the rule speaks of the row at all"""

    @property
    def kind(self) -> Kind:
        """Whether it plants a fault, nearly one, or takes the evidence away."""
        if self.unchecked:
            return "unchecked"
        return "fires" if any(one.severity != "info" for one in self.seen) else "quiet"


def flagged(rule: str, severity: Severity) -> tuple[Planned, ...]:
    """A row whose second cell the runner has flagged."""
    flag = Flag(rule=rule, severity=severity, message="the runner's words: 3 of 9", source="its own source")
    return (FGSM, Planned(attack="pgd-20", wrong=WRONG, broken=range(40), flags=(flag,)))


def lifted(rule: str, *flags: str, severity: Severity = "warning") -> list[Case]:
    """A rule takes over each of these flags as they are, and no others."""
    said = Seen(severity, "^the runner's words: 3 of 9$", (1,))
    cases = [Case(rule, f"flag {flag}", (said,), cells=flagged(flag, severity)) for flag in flags]
    info = Seen("info", "^the runner's words: 3 of 9$", (1,))
    return [
        *cases,
        Case(rule, f"flag {flags[0]} as an info", (info,), cells=flagged(flags[0], "info")),
        Case(rule, "flag of another rule", cells=flagged("other", "warning")),
    ]


def seeing(**broken: Sequence[int] | str | None) -> tuple[Probed, ...]:
    """A healthy row but for some probes; underscores in their names stand for dashes."""
    return (Probed({name.replace("_", "-"): found for name, found in broken.items()}),)


def defended(defense: str, *, adaptive: Planned | None = None, oblivious: int = 30) -> tuple[Planned, ...]:
    """The row of a defense beside the bare one: two cells, then the oblivious one, then what is adaptive."""
    blind = Planned(
        attack="pgd-20",
        wrong=WRONG,
        broken=range(oblivious),
        defense=defense,
        role="oblivious",
        adversary="oblivious",
    )
    return (*ROW, blind, *([] if adaptive is None else [adaptive]))


def adaptive(defense: str, broken: int = 40, attack: str = "pgd-20", **more: object) -> Planned:
    return Planned(attack=attack, wrong=WRONG, broken=range(broken), defense=defense, **more)  # type: ignore[arg-type]


def no_probes(*rules: str) -> list[Case]:
    """Rules that look at probes, without any."""
    return [Case(rule, "without probes", unchecked=NO_PROBES, probed=()) for rule in rules]


def not_run(rule: str, probe: str) -> list[Case]:
    """A rule that needs a probe which failed, or which the norm doesn't have."""
    failed = f"the probe {probe} failed: RuntimeError: out of memory"
    return [
        Case(rule, f"{probe} failed", unchecked=failed, probed=(Probed({probe: "RuntimeError: out of memory"}),)),
        Case(
            rule,
            f"without {probe}",
            unchecked=f"there is no probe {probe} under this norm",
            probed=(Probed({probe: None}),),
        ),
    ]
