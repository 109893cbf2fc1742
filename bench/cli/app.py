"""The verbs of ``bench``."""

from __future__ import annotations

import typer

from bench.cli import (
    audit,
    clean,
    compare,
    doctor,
    explain,
    export,
    gate,
    history,
    list_names,
    merge,
    paper,
    plan,
    report,
    run,
    schema,
    show,
    submit,
    train,
    validate,
    verify,
)
from bench.cli.stopping import stoppable

EXIT_CODES = (
    "Exit codes: 0 all cells done; 2 the input can't work; 3 some cells are errors; 4 some models were unavailable; "
    "5 the results can't be written; 6 verification or audit failed; 7 the gate failed; 8 nobody said yes; "
    "130 interrupted (run the same command again to resume)."
)

app = typer.Typer(
    name="bench",
    help="How robust image models and defenses are, with numbers that can be defended.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("run", epilog=EXIT_CODES)(stoppable(run.run))
app.command("validate")(stoppable(validate.validate))
app.command("plan")(stoppable(plan.plan))
app.command("list")(stoppable(list_names.list_names))
app.command("show")(stoppable(show.show))
app.command("report")(stoppable(report.report))
app.command("explain")(stoppable(explain.explain))
app.command("paper")(stoppable(paper.paper))
app.command("export")(stoppable(export.export))
app.command("compare")(stoppable(compare.compare))
app.command("gate", epilog=EXIT_CODES)(stoppable(gate.gate))
app.command("history")(stoppable(history.history))
app.command("audit", epilog=EXIT_CODES)(stoppable(audit.audit))
app.command("submit")(stoppable(submit.submit))
app.command("verify", epilog=EXIT_CODES)(stoppable(verify.verify))
app.command("merge", epilog=EXIT_CODES)(stoppable(merge.merge))
app.command("clean", epilog=EXIT_CODES)(stoppable(clean.clean))
app.command("train")(stoppable(train.train))
app.command("schema")(stoppable(schema.schema))
app.command("doctor")(stoppable(doctor.doctor))


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from bench import __version__

        print(f"bench {__version__}")
        raise typer.Exit
