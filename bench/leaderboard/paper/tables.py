"""A run's tables as the literature prints them: LaTeX with booktabs, one file per threat model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from bench.leaderboard.grid import said
from bench.leaderboard.paper import pages, styles
from bench.leaderboard.paper.bibliography import Bibliography
from bench.leaderboard.paper.columns import WORST, Column, Entry, Line, chosen, columns, tell_apart
from bench.leaderboard.paper.legend import legend
from bench.leaderboard.paper.lines import lines
from bench.leaderboard.paper.naming import attack_names
from bench.leaderboard.paper.texts import GLYPH, breakable, cite, escape
from bench.leaderboard.records import Leaderboard, Note, Table
from bench.store.outcomes import RunOutcome
from bench.suites.spec import AttackSpec, DatasetSpec, ThreatModelSpec, format_eps

_NORMS = {"linf": r"\ell_\infty", "l2": r"\ell_2", "l1": r"\ell_1", "l0": r"\ell_0"}
_LONG = 26
"""Names longer than this may break into lines."""
_WIDTH = "1.7in"
"""What they get."""
_WIDE = 4
"""A table with more columns of numbers goes over both columns of a page."""
_CONTINUED = r"\ifdefined\ContinuedFloat\ContinuedFloat\else\addtocounter{table}{-1}\fi"
"""The next part has the number of the one before: what caption.sty does, and what does without it."""
_AGAIN = "What the marks mean stands below the first part."


def tables(outcome: RunOutcome, board: Leaderboard, choices: styles.Choices, cited: Bibliography) -> dict[str, str]:
    """The tables by the threat model's slug.

    Args:
        outcome: the rows of a run.
        board: its leaderboard.
        choices: what the user asked for.
        cited: collects what the tables cite.

    Raises:
        UnknownNameError: for a column that no table has.
        BenchError: for columns in which two rows would have the same name.
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
        self.lines = lines(outcome, table, self.threat_model, cited, grouped=choices.style == "defense")
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
        tell_apart(self.lines, shown)
        numbers = sum(not column.left for column in shown)
        environment = "table*" if numbers > _WIDE else "table"
        label = self.choices.label or f"tab:{self.board.suite}"
        slug = self.threat_model.slug.replace("_", "-")
        own = f"{label}-{slug}" if several or self.choices.label is None else label
        text = [
            f"% {self.board.suite}, run {self.board.run}: made by bench paper",
            r"% needs \usepackage[T1]{fontenc} and \usepackage{array,booktabs,graphicx}",
            GLYPH,
        ]
        caption, below = self.choices.caption or self._caption(), self._below(shown)
        found = self._parts(shown, environment, caption, below)
        text += self._float(environment, [rf"\caption{{{caption}}}", rf"\label{{{own}}}"], found[0], shown, below)
        again = rf"\caption[]{{(continued) {threat_model(self.threat_model)}.}}"
        for part in found[1:]:
            text += self._float(environment, [_CONTINUED, again], part, shown, [_AGAIN])
        return "\n".join(text) + "\n"

    def _parts(self, shown: Sequence[Column], environment: str, caption: str, below: Sequence[str]) -> list[range]:
        blocks = [self._block(line, shown) for line in self.lines]
        notes = {number: pages.written(said(note), environment) for number, note in self.marked.items()}
        around = pages.captioned(caption, environment) + self._heads(shown)
        first = around + sum(pages.written(text, environment) for text in below)
        later = pages.captioned("", environment) + self._heads(shown) + pages.written(_AGAIN, environment)
        return pages.parts(blocks, notes, first, later, most=self.choices.page_rows)

    def _float(
        self, environment: str, title: Sequence[str], part: range, shown: Sequence[Column], below: Sequence[str]
    ) -> list[str]:
        body = self._body(self.lines[part.start : part.stop], shown)
        marked = {number for line in self.lines[part.start : part.stop] for number in self._marks(line, shown)}
        letters = [
            rf"\textsuperscript{{{letter}}}\,{breakable(said(self.marked[number]))}."
            for number, letter in self.letters.items()
            if number in marked
        ]
        return [
            rf"\begin{{{environment}}}[tp]",
            r"\centering\footnotesize\setlength{\belowcaptionskip}{4pt}",
            *title,
            r"\setlength{\tabcolsep}{4.5pt}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{@{{}}{''.join(self._side(column) for column in shown)}@{{}}}}",
            r"\toprule",
            " & ".join(self._head(column, part) for column in shown) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            *(_small(text) for text in [*below, *letters]),
            rf"\end{{{environment}}}",
        ]

    def _heads(self, shown: Sequence[Column]) -> float:
        """What heads take beyond their first line, in pt."""
        return pages.LINE * max(column.head.count(r"\\") for column in shown)

    def _head(self, column: Column, part: range) -> str:
        """A part's head is as wide as the widest name of all parts, so that the columns of all are."""
        if len(part) == len(self.lines) or self._side(column) != "l":
            return column.head
        widest = max((column.entry(line).number for line in self.lines), key=pages.letters)
        return rf"\rlap{{{column.head}}}\hphantom{{{widest}}}"

    def _block(self, line: Line, shown: Sequence[Column]) -> pages.Block:
        """What a row takes of a page."""
        below = self.choices.intervals and any(column.entry(line).interval for column in shown)
        wide = [column for column in shown if column.left and self._side(column) != "l"]
        count = max([math.ceil(pages.letters(column.entry(line).number) / _LONG) for column in wide], default=1)
        if below:  # the second line of a name stands beside the intervals, unless there is a third
            count = max(2, count + (count > 2))
        return pages.Block(pages.LINE * count + 3, frozenset(self._marks(line, shown)))

    # -- rows ------------------------------------------------------------------------------------------------------

    def _body(self, rows: Sequence[Line], shown: Sequence[Column]) -> list[str]:
        body: list[str] = []
        before: Line | None = None
        for line in rows:
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
        where = _where(shown)
        dagger = column.name == where and line.row.best and not line.top
        letters = sorted(self._letter(one) for one in self._of(column, entry, line, shown))
        marks = r"$^{\dagger}$" * dagger + (rf"\textsuperscript{{{','.join(letters)}}}" if letters else "")
        if not marks:
            return entry.number
        return f"{entry.number}{marks}" if column.left else rf"{entry.number}\rlap{{{marks}}}"

    def _of(self, column: Column, entry: Entry, line: Line, shown: Sequence[Column]) -> list[int]:
        """The numbers of the notes that a place is marked with."""
        numbers = line.row.notes if column.name == _where(shown) else entry.marks
        return [one for one in numbers if self._told(self.marked[one], shown)]

    def _marks(self, line: Line, shown: Sequence[Column]) -> set[int]:
        return {one for column in shown for one in self._of(column, column.entry(line), line, shown)}

    def _told(self, note: Note, shown: Sequence[Column]) -> bool:
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
        """What a reader must know of all rows."""
        texts = [" ".join(legend(shown, self.lines, self.cited, intervals=self.choices.intervals))]
        used = [attack for attack in self.table.attacks if any(column.name == attack for column in shown)]
        specs = {(spec.id or spec.name): spec for spec in self.outcome.record.suite.attacks}
        told = [self._cited(attack, specs) for attack in used]
        if told:
            texts.append("Attacks: " + ", ".join(told) + ".")
        if self.board.note:
            texts.append(escape(f"Images: {self.board.note}."))
        if self.board.audit is None:
            texts.append("These numbers were not audited for signs of a weak evaluation.")
        elif self.board.audit.outdated:
            texts.append("Some of these numbers have changed since they were audited.")
        return texts

    def _cited(self, attack: str, specs: Mapping[str, AttackSpec]) -> str:
        spec = specs.get(attack)
        keys = () if spec is None else self.cited.attack(spec, self.threat_model.norm)
        return breakable(self.attacks.get(attack, attack)) + cite(keys)


def _where(shown: Sequence[Column]) -> str:
    """The column that bears what is said of the whole row."""
    return WORST if any(one.name == WORST for one in shown) else shown[0].name


def _name(column: Column, line: Line) -> str:
    return str(getattr(line.row, column.name, ""))


def _small(text: str) -> str:
    return rf"\par\smallskip{{\footnotesize\raggedright {text}\par}}"
