"""From a suite to its cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import TypeAlias

from pydantic import ValidationError

from bench import registry
from bench.errors import Problem, SuiteError
from bench.registry import Registry
from bench.suites.added import against_detector, gradient_free
from bench.suites.cells import Attacker, Cell, Role
from bench.suites.combine import Combined, kept
from bench.suites.declared import certifies
from bench.suites.messages import problems_of
from bench.suites.naming import resolve, with_defaults
from bench.suites.sources import Loc, Sources
from bench.suites.spec import AttackSpec, DefenseSpec, ModelSpec, Search, Suite
from bench.suites.transfer_cells import NONE as NONE
from bench.suites.transfer_cells import Crossing, content, crossings, reusable


def expand(suite: Suite) -> tuple[Cell, ...]:
    """The cells of a suite, in the order in which they are run.

    Models come in the order of the suite, then threat models, defenses (the bare model first) and attacks. Beside what
    the suite asks for, a defended row gets one cell per attack that judges the examples made against the bare model
    (``oblivious``), the ``prerequisite`` cells that make those examples, shared by all defenses and placed before the
    first that reads them, its ``naive`` cells where the suite asks for that adversary, a ``certificate`` where the defense
    gives any, and one small gradient-free attack per seed; where the defense rejects, one with Adam's steps beside those that
    the suite asks for (:func:`bench.suites.added.against_detector`). An attack whose examples can't be reused
    (``reusable: False`` in its line of the table) gets neither. Where the suite's own cell of the bare model already
    spends the whole budget (``search: strongest``, of the run or of the attack), it is the prerequisite
    (:class:`Makers`). Two attacks that differ only in their search have the same examples, and share them.

    Where the suite asks for ``transfer``, the cells that try the examples of one model on the rows of the others come last,
    and a model has the prerequisites of those too.

    Raises:
        SuiteError: where a name or a parameter doesn't fit; :func:`bench.suites.check.check` finds all problems.
    """
    _refuse_unknown(suite)
    suite = resolve(suite)
    rows: defaultdict[tuple[int, int, int], list[Combined]] = defaultdict(list)
    combined = kept(suite)
    crossed = crossings(suite, combined)
    for one in combined:
        rows[id(one.model), id(one.threat_model), id(one.defense)].append(one)
    cells: list[Cell] = []
    for model in suite.models:
        for threat_model in suite.threat_models:
            made: list[Cell] = []
            there = set()
            for defense in sorted(suite.defenses, key=lambda one: one.name != "none"):
                row = rows[id(model), id(threat_model), id(defense)]
                for cell in _row(suite, row) if row else ():
                    if cell.role == "prerequisite" and _examples(cell) in there:
                        continue
                    made.append(cell)
                    if _makes_examples(cell):
                        there.add(_examples(cell))
            own = [
                one.source for one in crossed if (one.source.model, one.source.threat_model) == (model, threat_model)
            ]
            made += [cell for cell in _bare(suite, own) if _examples(cell) not in there]
            cells += made
    return (*cells, *_transferred(suite, crossed))


class Makers:
    """Which cells of a suite make the examples that others judge.

    Args:
        cells: of one suite.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._makers: dict[_Key, Cell] = {}
        self._read: set[_Key] = set()
        for cell in cells:
            if _makes_examples(cell):
                self._makers.setdefault(_examples(cell), cell)
            if cell.transferred:
                self._read.add(_examples(cell))

    def of(self, cell: Cell) -> Cell:
        """The cell whose examples an oblivious or a transfer cell judges.

        Raises:
            ValueError: if the cell attacks by itself, or nobody makes its examples.
        """
        if not cell.transferred:
            raise ValueError(f"only oblivious and transfer cells read another cell's examples, not {cell.label}")
        if _examples(cell) not in self._makers:
            raise ValueError(f"the prerequisite of {cell.label} is missing")
        return self._makers[_examples(cell)]

    def is_read(self, cell: Cell) -> bool:
        """Whether another cell judges this cell's examples: then every one is saved, those that failed included."""
        return _makes_examples(cell) and _examples(cell) in self._read


def _makes_examples(cell: Cell) -> bool:
    """Whether a cell attacks the bare model with the whole budget."""
    return cell.defense.name == "none" and cell.search == "strongest"


_Key: TypeAlias = "tuple[str, int, str, Fraction, str, str]"


def _examples(cell: Cell) -> _Key:
    """What the examples that a cell makes or judges depend on, within one suite."""
    ball, made_on = cell.threat_model, cell.source or cell.model
    return made_on.id, cell.seed, ball.norm, ball.eps, cell.precision, content(cell.attack)


def _row(suite: Suite, row: Sequence[Combined]) -> Iterator[Cell]:
    """The cells of one model and defense under one threat model."""
    adaptive = [one for one in row if one.adversary == "adaptive"]
    for one in adaptive:
        for seed in suite.run.seeds:
            yield _cell(suite, one, seed, "suite", search=one.attack.search or suite.run.search)
    if row[0].defense.name == "none":
        return
    adam = against_detector(suite, adaptive)
    if adam is not None:
        for seed in suite.run.seeds:
            yield _cell(suite, adaptive[0]._replace(attack=adam), seed, "suite", search="first_success")
    for one in row:
        for seed in suite.run.seeds if one.adversary == "naive" else ():
            yield _cell(suite, one, seed, "naive", search=one.attack.search or suite.run.search)
    oblivious = [one for one in row if one.adversary == "oblivious" and reusable(one.attack)]
    first = {content(one.attack): one for one in reversed(oblivious)}
    reused = [one for one in oblivious if first[content(one.attack)] is one]
    yield from _bare(suite, [one._replace(defense=NONE, adversary="adaptive") for one in reused])
    for one in reused:
        for seed in suite.run.seeds:
            yield _cell(suite, one, seed, "oblivious", search="strongest")
    attacked = bool(adaptive or reused) or any(one.adversary == "naive" for one in row)
    if attacked and certifies(row[0].defense, row[0].threat_model.norm):
        certificate = row[0]._replace(attack=AttackSpec(id="certified", name="certificate"), adversary="adaptive")
        yield _cell(suite, certificate, suite.run.seeds[0], "certificate", search="first_success")
    free = gradient_free(suite, adaptive)
    if free is not None:
        for seed in suite.run.seeds:
            yield _cell(suite, adaptive[0]._replace(attack=free), seed, "gradient_free", search="first_success")


def _bare(suite: Suite, wanted: Sequence[Combined]) -> list[Cell]:
    """The prerequisites of some bare models and attacks, each once."""
    found: dict[_Key, Cell] = {}
    for one in wanted:
        for seed in suite.run.seeds:
            cell = _cell(suite, one, seed, "prerequisite", search="strongest")
            found.setdefault(_examples(cell), cell)
    return list(found.values())


def _transferred(suite: Suite, crossed: Sequence[Crossing]) -> Iterator[Cell]:
    """The cells that judge the examples of other models."""
    for source, target in crossed:
        for seed in suite.run.seeds:
            yield _cell(suite, target, seed, "transfer", search="strongest", source=source.model)


def _cell(
    suite: Suite, combined: Combined, seed: int, role: Role, *, search: Search, source: ModelSpec | None = None
) -> Cell:
    adversary: Attacker = "transfer" if source is not None else combined.adversary
    return Cell(
        role,
        suite.dataset,
        combined.model,
        combined.defense,
        combined.threat_model,
        combined.attack,
        adversary,
        seed,
        search,
        suite.run.precision,
        source,
    )


def _refuse_unknown(suite: Suite) -> None:
    """Names and parameters that :func:`resolve` would have to leave as they are."""
    problems: list[Problem] = []
    named: list[tuple[Loc, AttackSpec | DefenseSpec, Registry[object]]] = [
        *((("attacks", index), attack, registry.attacks) for index, attack in enumerate(suite.attacks)),
        *(
            (("defenses", index, *(("chain", place) if defense.chain else ())), link, registry.defenses)
            for index, defense in enumerate(suite.defenses)
            for place, link in enumerate(defense.links)
        ),
    ]
    for place, spec, table in named:
        entry = table.entry(spec.name)
        try:
            with_defaults(entry.params, spec.args)
        except ValidationError as error:
            owner, base = f"the {table.kind} {spec.name}", (*place, "args")
            problems += problems_of(error, Sources(), model=entry.params or Suite, base=base, owner=owner)
    if problems:
        raise SuiteError(problems)
