"""A run's tables as the literature prints them: LaTeX with booktabs, one file per threat model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from bench.leaderboard.grid import said
from bench.leaderboard.paper import styles
from bench.leaderboard.paper.bibliography import Bibliography
from bench.leaderboard.paper.columns import WORST, Column, Entry, Line, chosen, columns, entry_of
from bench.leaderboard.paper.naming import attack_names, defense_names
from bench.leaderboard.paper.texts import GLYPH, breakable, cite, escape
from bench.leaderboard.records import Leaderboard, Note, Row, Table
from bench.store.outcomes import RunOutcome
from bench.suites.spec import AttackSpec, DatasetSpec, DefenseSpec, ThreatModelSpec, format_eps

_NORMS = {"linf": r"\ell_\infty", "l2": r"\ell_2", "l1": r"\ell_1", "l0": r"\ell_0"}
_LONG = 26
"""Names longer than this may break into lines."""
_WIDTH = "1.7in"
"""What they get."""
_WIDE = 4
"""A table with more columns of numbers goes over both columns of a page."""


def tables(outcome: RunOutcome, board: Leaderboard, choices: styles.Choices, cited: Bibliography) -> dict[str, str]:
    """The tables by the threat model's slug.

    Args:
        outcome: the rows of a run.
        board: its leaderboard.
        choices: what the user asked for.
        cited: collects what the tables cite.

    Raises:
        UnknownNameError: for a column that no table has.
    """
    attacks = attack_names(outcome.record.suite.attacks)
    made = [_Drawn(outcome, board, table, choices, cited, attacks) for table in board.tables]
    everywhere = [name for one in made for name in one.known]
    several = len(made) > 1
    return {one.threat_model.slug: one.text(everywhere, several=several) for one in made}


def threat_model(spec: ThreatModelSpec) -> str:
    """Norm and radius in LaTeX."""
    return rf"${_NORMS[spec.norm]}$, $\varepsilon = {format_eps(spec.eps)}$"


def images(outcome: RunOutcome) -> str:
    """Which images, for people."""
    spec: DatasetSpec = outcome.record.suite.dataset
    how = {"first": "the first ", "random": "a random sample of ", "stratified": "a stratified sample of "}[spec.select]
    count = f"{outcome.samples:,} image{'' if outcome.samples == 1 else 's'}"
    return f"{how if spec.samples is not None else ''}{count}"


class _Drawn:
    """One table on its way to LaTeX."""

    def __init__(
        self,
        outcome: RunOutcome,
        board: Leaderboard,
        table: Table,
        choices: styles.Choices,
        cited: Bibliography,
        attacks: Mapping[str, str],
    ) -> None:
        self.outcome, self.board, self.table, self.choices, self.cited = outcome, board, table, choices, cited
        self.attacks = attacks
        self.threat_model = next(
            one for one in outcome.threat_models if (one.norm, one.eps) == (table.norm, Fraction(table.eps))
        )
        self.lines = self._lines()
        self.known = columns(table, self.lines, attacks)
        self.letters: dict[int, str] = {}
        self.marked: dict[int, Note] = {note.number: note for note in table.notes}

    def text(self, everywhere: Sequence[str], *, several: bool) -> str:
        """The file's content."""
        names = self.choices.columns or styles.default(
            self.choices.style,
            list(self.known.values()),
            models=len({line.row.model for line in self.lines}),
            defended=any(not line.outcome.bare for line in self.lines),
            attacks=self.table.attacks,
        )
        shown = chosen(self.known, names, everywhere)
        body = self._body(shown)
        numbers = sum(not column.left for column in shown)
        environment = "table*" if numbers > _WIDE else "table"
        label = self.choices.label or f"tab:{self.board.suite}"
        slug = self.threat_model.slug.replace("_", "-")
        own = f"{label}-{slug}" if several or self.choices.label is None else label
        lines = [
            f"% {self.board.suite}, run {self.board.run}: made by bench paper",
            r"% needs \usepackage[T1]{fontenc} and \usepackage{array,booktabs,graphicx}",
            GLYPH,
            rf"\begin{{{environment}}}[t]",
            r"\centering\footnotesize\setlength{\belowcaptionskip}{4pt}",
            rf"\caption{{{self.choices.caption or self._caption()}}}",
            rf"\label{{{own}}}",
            r"\setlength{\tabcolsep}{4.5pt}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{@{{}}{''.join(self._side(column) for column in shown)}@{{}}}}",
            r"\toprule",
            " & ".join(column.head for column in shown) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            *self._below(shown),
            rf"\end{{{environment}}}",
        ]
        return "\n".join(lines) + "\n"

    # -- rows ------------------------------------------------------------------------------------------------------

    def _lines(self) -> list[Line]:
        by_label = {(row.model, row.defense): row for row in self.outcome.under(self.threat_model)}
        specs = {(spec.id or spec.name): spec for spec in self.outcome.record.suite.defenses}
        names = defense_names(specs.values())
        models = {spec.id: spec.source for spec in self.outcome.record.suite.models}
        highest = max((_value(row) for row in self.table.rows if row.rank is not None), default=-1.0)
        found = []
        for row in self.table.rows:
            outcome = by_label[row.model, row.defense]
            keys = self.cited.model(models.get(row.model, ""), entry_of(outcome))
            defense = specs.get(row.defense, DefenseSpec(name="none"))
            model, spelled = breakable(row.model) + cite(keys), breakable(names.get(row.defense, row.defense))
            found.append(
                Line(
                    row,
                    outcome,
                    model,
                    spelled + cite(self.cited.defense(defense)),
                    row.rank is not None and _value(row) >= highest,
                )
            )
        return self._grouped(found) if self.choices.style == "defense" else found

    def _grouped(self, lines: Sequence[Line]) -> list[Line]:
        """By model and then by defense, in the suite's order."""
        order = {(row.model, row.defense): place for place, row in enumerate(self.outcome.under(self.threat_model))}
        models = list(dict.fromkeys(model for model, _ in order))
        return sorted(lines, key=lambda line: (models.index(line.row.model), order[line.row.model, line.row.defense]))

    def _body(self, shown: Sequence[Column]) -> list[str]:
        body: list[str] = []
        before: Line | None = None
        for line in self.lines:
            same = before is not None and self.choices.style == "defense" and before.row.model == line.row.model
            if before is not None:
                body.append(self._gap(before, line, same=same))
            body += self._row(line, shown, named=not same)
            before = line
        return body

    def _gap(self, before: Line, line: Line, *, same: bool) -> str:
        if self.choices.style == "defense":
            return r"\addlinespace[2pt]" if same else r"\midrule"
        return r"\midrule" if before.row.rank is not None and line.row.rank is None else r"\addlinespace[2pt]"

    def _row(self, line: Line, shown: Sequence[Column], *, named: bool) -> list[str]:
        entries = [column.entry(line) for column in shown]
        below = self.choices.intervals and any(entry.interval for entry in entries)
        first = [
            ""
            if column.name == "model" and not named
            else self._beside(column, self._number(column, entry, line, shown), line, below=below)
            for column, entry in zip(shown, entries, strict=True)
        ]
        rows = [" & ".join(first) + r" \\"]
        if below:
            intervals = [rf"{{\scriptsize {entry.interval}}}" if entry.interval else "" for entry in entries]
            rows[0] += r"[-1pt]"
            rows.append(" & ".join(intervals) + r" \\")
        return rows

    def _beside(self, column: Column, text: str, line: Line, *, below: bool) -> str:
        """A name that takes two lines goes on beside the intervals, and makes the row no taller."""
        if not below or not column.left or not _LONG < len(_name(column, line)) <= 2 * _LONG:
            return text
        return rf"\smash{{\parbox[t]{{{_WIDTH}}}{{\raggedright {text}}}}}"

    def _number(self, column: Column, entry: Entry, line: Line, shown: Sequence[Column]) -> str:
        """A number with its marks, which stand outside of the column, so that the numbers stay below each other."""
        where = WORST if any(one.name == WORST for one in shown) else shown[0].name
        dagger = column.name == where and line.row.best and not line.top
        numbers = line.row.notes if column.name == where else entry.marks
        letters = sorted(self._letter(one) for one in numbers if self._told(self.marked[one], column, shown))
        marks = r"$^{\dagger}$" * dagger + (rf"\textsuperscript{{{','.join(letters)}}}" if letters else "")
        if not marks:
            return entry.number
        return f"{entry.number}{marks}" if column.left else rf"{entry.number}\rlap{{{marks}}}"

    def _told(self, note: Note, column: Column, shown: Sequence[Column]) -> bool:
        """Whether a note belongs below a paper's table: what speaks against a number, and what makes it another's."""
        if note.severity != "info" or note.rule == "submitted":
            return True
        return note.rule.startswith("published") and any(one.name == "published" for one in shown)

    def _letter(self, number: int) -> str:
        if number not in self.letters:
            place = len(self.letters)
            self.letters[number] = (chr(96 + place // 26) if place >= 26 else "") + chr(97 + place % 26)
        return self.letters[number]

    def _side(self, column: Column) -> str:
        if not column.left:
            return "c"
        long = any(len(_name(column, line)) > _LONG for line in self.lines)
        return rf">{{\raggedright\arraybackslash}}p{{{_WIDTH}}}" if long else "l"

    # -- around the rows -------------------------------------------------------------------------------------------

    def _caption(self) -> str:
        spec = self.outcome.record.suite.dataset
        dataset = f"the {escape(self.board.dataset)} set" + cite(self.cited.dataset(spec))
        single = {line.row.model for line in self.lines}
        of = ""
        if len(single) == 1 and any(not line.outcome.bare for line in self.lines):
            of = f" of {self.lines[0].model}"
        return (
            rf"Clean and robust accuracy (\%){of} on {escape(images(self.outcome))} of {dataset} "
            f"under {threat_model(self.threat_model)}."
        )

    def _below(self, shown: Sequence[Column]) -> list[str]:
        notes = [_small(" ".join(self._legend(shown)))]
        used = [attack for attack in self.table.attacks if any(column.name == attack for column in shown)]
        specs = {(spec.id or spec.name): spec for spec in self.outcome.record.suite.attacks}
        told = [self._cited(attack, specs) for attack in used]
        if told:
            notes.append(_small("Attacks: " + ", ".join(told) + "."))
        if self.board.note:
            notes.append(_small(escape(f"Images: {self.board.note}.")))
        for number, letter in self.letters.items():
            notes.append(_small(rf"\textsuperscript{{{letter}}}\,{escape(said(self.marked[number]))}."))
        if self.board.audit is None:
            notes.append(_small("These numbers were not audited for signs of a weak evaluation."))
        elif self.board.audit.outdated:
            notes.append(_small("Some of these numbers have changed since they were audited."))
        return notes

    def _cited(self, attack: str, specs: Mapping[str, AttackSpec]) -> str:
        spec = specs.get(attack)
        keys = () if spec is None else self.cited.attack(spec, self.threat_model.norm)
        return escape(self.attacks.get(attack, attack)) + cite(keys)

    def _legend(self, shown: Sequence[Column]) -> list[str]:
        names, rows = {column.name for column in shown}, [line.row for line in self.lines]
        texts = ["Robust accuracies are upper bounds: images that no verified adversarial example broke."]
        if self.choices.intervals:
            keys = cite(self.cited.cite("wilson1927probable"))
            texts.append(rf"Below each number its 95\,\% interval over the sampling of images{keys}.")
        if WORST in names:
            texts.append("Worst case: per image the worst of everything that attacked the row.")
        if "adaptive" in names and "worst-case" in names:
            texts.append("Adaptive: the worst of the attacks that know the defense.")
        ranked = sum(row.rank is not None for row in rows)
        if ranked > 1:
            texts.append("Bold: the highest worst case.")
        if any(row.best and not line.top for row, line in zip(rows, self.lines, strict=True)):
            keys = cite(self.cited.cite("mcnemar1947note", "holm1979simple"))
            texts.append(rf"$\dagger$: paired tests on the same images can't tell the row from the best ones{keys}.")
        if any(not row.complete for row in rows):
            texts.append(r"$\leq$: at most that, since a cell is missing, failed or invalid; such rows are not ranked.")
        if "published" in names:
            keys = cite(self.cited.cite("croce2021robustbench"))
            texts.append(f"Published: clean and best known robust accuracy on RobustBench{keys}.")
        if "certified" in names:
            texts.append("Certified: a lower bound.")
        return texts


def _name(column: Column, line: Line) -> str:
    return str(getattr(line.row, column.name, ""))


def _value(row: Row) -> float:
    return -1.0 if row.worst is None or row.worst.value is None else row.worst.value


def _small(text: str) -> str:
    return rf"\par\smallskip{{\footnotesize\raggedright {text}\par}}"
