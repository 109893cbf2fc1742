"""``bench list``: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

KINDS = ("models", "attacks", "defenses", "datasets", "metrics", "architectures", "rules")


def list_names(
    kind: Annotated[str, typer.Argument(help="One of: " + ", ".join(KINDS) + ".", metavar="KIND")],
) -> None:
    """List the known models, attacks, defenses, datasets, metrics or architectures, with their parameters.

    "rules" lists what the audit looks for: what each rule means, what to do, and its source.
    """
    import difflib
    import shutil
    import textwrap

    from bench.cli.parameters import defaults
    from bench.errors import UnknownNameError
    from bench.registry import ALL

    if kind not in KINDS:
        raise UnknownNameError("kind of thing", kind, difflib.get_close_matches(kind, KINDS), KINDS)
    width = shutil.get_terminal_size((100, 40)).columns

    def tell(text: str, first: str = "") -> None:
        print(textwrap.fill(text, max(width, 40), initial_indent=first, subsequent_indent="    "))

    if kind == "rules":
        from bench.audit.rules import RULES

        for rule in RULES:
            tell(f"{rule.id}: {rule.title}")
            tell(rule.means, "    ")
            tell(f"what to do: {rule.advice} [{rule.source}]", "    ")
        return
    for name, entry in ALL[kind].entries().items():
        norms = f" [{', '.join(entry.norms)}]" if entry.norms else ""
        tell(f"{name}{norms}: {entry.summary}")
        parameters = [f"{key}={default}" for key, default in defaults(entry).items()]
        if parameters:
            tell(", ".join(parameters), "    ")
        for inner, facts in entry.facts.get("models", {}).items():
            tell(f"{name}:{inner}: {facts.get('summary', '')}", "    ")
    if kind == "models":
        tell("robustbench: any entry of its leaderboards, such as robustbench:Wong2020Fast; timm: any of timm's models")
