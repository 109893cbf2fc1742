"""What would make a number stronger: everything that a careful evaluation has and this row lacks."""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from bench import registry
from bench.leaderboard.explanation import Suggestion
from bench.leaderboard.records import Row
from bench.stats import wilson
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.store.records import CellResult, Estimate, RunRecord
from bench.suites.added import ADAM
from bench.suites.declared import declared
from bench.suites.naming import entry_of
from bench.suites.spec import AttackSpec, DefenseSpec, RunOptions, format_eps

_FEW_STEPS = 20
_CHEAP = 600.0
"""More seeds are suggested where all cells of the row took less than so many seconds."""
_HALF = 0.02
"""Half the width of the interval that so many images are to give."""
_NORMS = ("linf", "l2", "l1")
"""Norms that AutoAttack and Square know."""


def suggestions(outcome: RunOutcome, row: RowOutcome, numbers: Row, place: str) -> tuple[Suggestion, ...]:
    """What is not there, the most important first.

    Args:
        outcome: all rows of the run.
        row: the row.
        numbers: the same as its table shows it.
        place: the run's directory, as commands name it.
    """
    case = _Case(outcome, row, numbers, place)
    lost = row.complete and numbers.worst is not None and numbers.worst.value == 0
    checks = (*_FIRST, *(() if lost else _STRENGTH), _images)
    return tuple(suggestion for check in checks for suggestion in check(case))


def kind(attack: AttackSpec) -> str:
    """What the table of attacks says: ``white-box``, ``ensemble``, ``score``; empty where nobody knows the attack."""
    entry = entry_of(registry.attacks, attack.name)
    return "" if entry is None else str(entry.facts.get("kind", ""))


def images_for(estimate: Estimate, half: float = _HALF) -> int | None:
    """How many images give a 95 % interval of so much to either side; ``None`` where there are enough or none at all.

    Args:
        estimate: the number, with the interval over the images that there are; Wilson's is taken where it has none.
        half: half the width of the interval that is wanted.
    """
    if estimate.value is None or not estimate.n:
        return None
    count = estimate.value * estimate.n
    if abs(count - round(count)) < 1e-6 or estimate.low is None or estimate.high is None:
        if _width(estimate.value, estimate.n) <= half:
            return None
        return next(n for n in itertools.count(100, 100) if n > estimate.n and _width(estimate.value, n) <= half)
    width = (estimate.high - estimate.low) / 2  # of a bootstrap, which falls with the root of the number
    return None if width <= half else math.ceil(estimate.n * (width / half) ** 2 / 100) * 100


def _width(share: float, n: int) -> float:
    """Half the width of Wilson's interval."""
    low, high = wilson(round(share * n), n)
    return (high - low) / 2


@dataclass(frozen=True)
class _Case:
    """A row, and what the checks ask of it."""

    outcome: RunOutcome
    row: RowOutcome
    numbers: Row
    place: str

    @property
    def record(self) -> RunRecord:
        return self.outcome.record

    @cached_property
    def knowing(self) -> tuple[CellResult, ...]:
        """The finished cells of whoever knows the model and its defense."""
        return tuple(cell.result for cell in self.row.of("suite") if cell.status == "done" and cell.result is not None)

    @cached_property
    def kinds(self) -> set[str]:
        return {kind(result.attack) for result in self.knowing}

    @cached_property
    def defense(self) -> DefenseSpec:
        results = [cell.result for cell in self.row.cells if cell.result is not None and cell.role != "prerequisite"]
        return results[0].defense if results and not self.row.bare else DefenseSpec(name="none")

    def again(self, setting: str = "") -> str:
        """The command that made the run, with one more setting."""
        command = " ".join(self.record.command.split())
        plain = command.startswith("bench run ") and re.fullmatch(r"[\w./:=,+@%~ -]+", command)
        run = "" if self.record.run == "default" else f" --run {self.record.run}"
        command = command if plain else f"bench run SUITE{run}"
        if not setting:
            return command
        key = re.escape(setting.partition("=")[0])
        return re.sub(rf" --set {key}=\S+", "", command) + f" --set {setting}"


def _unfinished(case: _Case) -> Iterable[Suggestion]:
    """Cells without a number."""
    count = sum(cell.status != "done" for cell in case.row.cells)
    if count:
        text = f"{count} cell{'s have' if count > 1 else ' has'} no number, so that the row has no rank"
        yield Suggestion(
            text=f"{text}: see why above, and run the suite again, which tries only those", do=case.again()
        )


def _audit(case: _Case) -> Iterable[Suggestion]:
    command = f"bench audit {shlex.quote(case.place)}"
    if case.outcome.audited is None:
        text = "nobody has looked at the run for the known signs of a bad evaluation: audit it"
        yield Suggestion(text=text, do=command)
    elif case.outcome.outdated:
        yield Suggestion(text="the audit is out of date, since cells have changed: audit the run again", do=command)


def _advice(case: _Case) -> Iterable[Suggestion]:
    """What the audit says to do, each once."""
    said: dict[str, list[str]] = {}
    findings = [*case.row.findings, *(finding for cell in case.row.cells for finding in cell.findings)]
    for finding in findings:
        if finding.advice and finding.severity != "info":
            said.setdefault(" ".join(finding.advice.split()), []).append(finding.rule)
    for advice, rules in said.items():
        yield Suggestion(text=f"the audit's advice on {', '.join(dict.fromkeys(rules))}: {advice}", do="")


def _adaptive(case: _Case) -> Iterable[Suggestion]:
    if not case.row.bare and not case.row.of("suite") and not case.row.of("gradient_free"):
        yield Suggestion(
            text="nobody who knows the defense has attacked it: let the adaptive adversary do so",
            do="adversaries: [oblivious, adaptive]",
        )


def _ensemble(case: _Case) -> Iterable[Suggestion]:
    if "ensemble" in case.kinds or case.row.threat_model.norm not in _NORMS or not _attacked(case):
        return
    left_out = [attack.id or attack.name for attack in case.record.suite.attacks if kind(attack) == "ensemble"]
    if left_out:
        yield Suggestion(
            text=f"no ensemble of attacks has a number here, though the suite has {left_out[0]}: let it attack this row, too "
            "(take out what keeps it from it in include or exclude)",
            do=case.again(),
        )
        return
    rand = "{name: autoattack, version: rand}" if declared(case.defense).stochastic else "autoattack"
    yield Suggestion(
        text="no ensemble of attacks is among them: AutoAttack needs no parameters and often breaks what single attacks leave",
        do=f"attacks: [..., {rand}]",
    )


def _gradient_free(case: _Case) -> Iterable[Suggestion]:
    if case.kinds & {"score", "ensemble"} or case.row.of("gradient_free") or case.row.threat_model.norm not in _NORMS:
        return
    if not case.row.bare and case.record.suite.run.gradient_free_queries == 0 and case.row.of("suite"):
        yield Suggestion(
            text="no attack without gradients is among them, so that masked gradients would go unnoticed: switch it on again",
            do=case.again("run.gradient_free_queries=500"),
        )
    elif _attacked(case):
        yield Suggestion(
            text="no attack without gradients is among them, so that masked gradients would go unnoticed: add Square",
            do="attacks: [..., {name: square, n_queries: 5000}]",
        )


def _detector(case: _Case) -> Iterable[Suggestion]:
    """Detectors that look at pixels know signed steps, which change each of them by as much."""
    attacks = {result.attack.name for result in case.knowing}
    if not declared(case.defense).rejects or case.row.threat_model.norm != "linf" or ADAM in attacks:
        return
    if case.record.suite.run.detector_steps == 0 and _attacked(case):
        yield Suggestion(
            text="the defense rejects, and no attack of it takes steps of unequal size: have Adam's added, which left a sixth "
            "of what signed ones left of a detector on pixels",
            do=case.again("run.detector_steps=200"),
        )


def _steps(case: _Case) -> Iterable[Suggestion]:
    """Attacks of one step, or of few."""
    white = [result.attack for result in case.knowing if kind(result.attack) == "white-box"]
    if not white or "ensemble" in case.kinds:
        return
    most = max(white, key=_steps_of)
    if _steps_of(most) == 1:
        yield Suggestion(
            text="every attack that takes gradients takes a single step: add one of many steps",
            do="attacks: [..., {name: pgd, steps: 40, restarts: 5}]",
        )
    elif _steps_of(most) < _FEW_STEPS:
        name = most.id or most.name
        yield Suggestion(
            text=f"few steps: the longest attack, {name}, takes {_steps_of(most)}; take at least {_FEW_STEPS}, and more "
            "until the number stands",
            do=case.again(f"attacks.{name}.steps=40"),
        )


def _steps_of(attack: AttackSpec) -> int:
    """Gradient steps; 1 of an attack that has none."""
    entry = entry_of(registry.attacks, attack.name)
    fields = {} if entry is None or entry.params is None else entry.params.model_fields
    steps = attack.args.get("steps", fields["steps"].get_default() if "steps" in fields else 1)
    return steps if isinstance(steps, int) else 1


def _seeds(case: _Case) -> Iterable[Suggestion]:
    restarts = [result.attack.args.get("restarts", 1) for result in case.knowing]
    if not case.knowing or len(case.record.suite.run.seeds) > 1 or any(one != 1 for one in restarts):
        return
    if case.numbers.seconds <= _CHEAP:
        text = (
            f"one seed and no restarts: all cells took {_seconds(case.numbers.seconds)}, so that more of them are cheap"
        )
        yield Suggestion(text=text, do=case.again("run.seeds='[0, 1, 2]'"))


def _draws(case: _Case) -> Iterable[Suggestion]:
    """Fewer draws than by default, of a stochastic defense."""
    if not declared(case.defense).stochastic:
        return
    name = case.defense.id or case.defense.name
    for key, what in (("eot_iter", "each gradient is averaged over"), ("scoring_draws", "each image is scored by")):
        now, usual = getattr(case.defense, key), _usual(case.defense, key)
        if now is not None and now < usual:
            yield Suggestion(
                text=f"{what} {now} draw{'s' * (now != 1)}: the default is {usual}",
                do=case.again(f"defenses.{name}.{key}={usual}"),
            )


def _usual(defense: DefenseSpec, key: str) -> int:
    """The default of a run, or what the defense brings: one whose single draw is a vote has fewer."""
    default = int(RunOptions.model_fields[key].default)
    entries = [entry for link in defense.links if (entry := entry_of(registry.defenses, link.name)) is not None]
    return min((int(one.facts.get(key, default)) for one in entries if one.facts.get("stochastic")), default=default)


def _images(case: _Case) -> Iterable[Suggestion]:
    worst = case.numbers.worst
    wanted = None if worst is None else images_for(worst)
    if worst is not None and wanted is not None:
        yield Suggestion(
            text=f"few images: about {wanted:,} instead of {worst.n:,} would give an interval of ±{100 * _HALF:.0f} points, "
            "if the dataset has that many; those that are done are not attacked again",
            do=case.again(f"dataset.samples={wanted}"),
        )


def _larger_eps(case: _Case) -> Iterable[Suggestion]:
    """Whether anything shows that the attacks reach 0 % where they must."""
    ball = case.row.threat_model
    enough = min(2 * ball.eps, Fraction(1, 2)) if ball.norm == "linf" else 2 * ball.eps
    larger = [one for one in case.outcome.threat_models if one.norm == ball.norm and one.eps >= enough]
    probed = case.outcome.audited is not None and case.outcome.audited.samples > 0
    if larger or probed or not _attacked(case):
        return
    far = format_eps(8 * ball.eps) if ball.norm != "linf" or 8 * ball.eps < 0.5 else "0.5"
    yield Suggestion(
        text="no larger eps shows that the attacks break every image where they must",
        do=f"threat_models: [..., {{norm: {ball.norm}, eps: [{format_eps(ball.eps)}, {far}]}}]",
    )


def _submitted(case: _Case) -> Iterable[Suggestion]:
    if case.row.bare or case.row.of("submitted"):
        return
    row = case.row
    address = f"{row.threat_model.norm}:{format_eps(row.threat_model.eps)}"
    yield Suggestion(
        text="nobody has attacked this defense with an attack made for it: take in the examples of yours",
        do=f"bench submit {shlex.quote(case.place)} mine.npz --author NAME --model {row.model} --defense {row.defense} "
        f"--threat-model {address}",
    )


def _attacked(case: _Case) -> bool:
    """Whether whoever knows the row attacked it at all: else that comes first."""
    return bool(case.row.of("suite") or case.row.bare)


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


_FIRST: tuple[Callable[[_Case], Iterable[Suggestion]], ...] = (_unfinished, _audit, _advice)
_STRENGTH: tuple[Callable[[_Case], Iterable[Suggestion]], ...] = (
    _adaptive,
    _ensemble,
    _gradient_free,
    _detector,
    _steps,
    _draws,
    _seeds,
    _larger_eps,
    _submitted,
)
"""What may lower a number that isn't 0 yet."""
