"""The page: everything that it shows, put into its template."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.leaderboard.audited import audit_grid, audit_heading
from bench.leaderboard.table import make
from bench.report.classes import labels
from bench.report.curves import against_passes, certified, certified_grid, passes_grid
from bench.report.heat import corruption_part, transfer_parts
from bench.report.pairs import pairs
from bench.report.pictures import galleries
from bench.report.provenance import downloads, provenance
from bench.report.sections import row_outcomes, sections
from bench.report.sentences import summary
from bench.report.series import series
from bench.report.tables import PLAIN, boards, label, number, worst
from bench.store.outcomes import RunOutcome
from bench.store.run_directory import RunDirectory

_SCRIPTS = ("chart.umd.min.js", "charts.js", "page.js")
_STYLE = "page.css"


def page(run: RunDirectory, outcome: RunOutcome) -> str:
    """The HTML text of a run's page.

    Args:
        run: the run.
        outcome: its rows.

    Raises:
        StoreError: where the records can't be read.
    """
    board = make(run, outcome)
    described = sections(outcome, board, labels(run, outcome))
    spent, certain = against_passes(outcome), certified(outcome)
    scripts, style = [asset(name) for name in _SCRIPTS], asset(_STYLE)
    compared = [
        {
            "title": table.threat_model,
            "rows": [
                {"label": label(row), "clean": number(row.clean).text, "worst": worst(row).text} for row in table.rows
            ],
            "pairs": pairs(row_outcomes(outcome, table)),
        }
        for table in board.tables
    ]
    return _environment().get_template("page.html").render(
        board=board,
        attacked=bool(board.tables) or board.corruptions is None,
        summary=summary(board),
        tables=boards(board),
        defenses=list(dict.fromkeys(row.defense for table in board.tables for row in table.rows)),
        sections=described,
        about={section.label: section.id for section in described},
        transfers=transfer_parts(board),
        corruptions=corruption_part(board),
        gallery=galleries(run, outcome),
        audit=None if board.audit is None else audit_grid(board.audit, PLAIN),
        audit_heading="" if board.audit is None else audit_heading(board.audit),
        provenance=provenance(outcome.record),
        downloads=downloads(board, outcome),
        data={"series": series(outcome, spent, certain, board.corruptions), "compared": compared},
        passes=passes_grid(spent) if spent else None,
        certified={norm: certified_grid(certain, norm) for norm in dict.fromkeys(curve.panel for curve in certain)},
        policy=_policy(scripts, style),
        scripts=scripts,
        style=style,
    )  # fmt: skip


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def asset(name: str) -> Markup:
    """A script or the style, to stand in the page as it is: it is ours, and nothing of a run is in it."""
    return Markup(resources.files("bench.report").joinpath("assets", name).read_text(encoding="utf-8"))


def _policy(scripts: list[Markup], style: Markup) -> str:
    """Only these very scripts and this style run, images are those inside the page, and nothing else is loaded."""
    allowed = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
