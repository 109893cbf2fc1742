"""``bench list``: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.registry import Entry

KINDS = ("models", "attacks", "defenses", "datasets", "metrics", "architectures", "methods", "rules")


def _what(entry: Entry) -> str:
    """Norms, and of an attack what it asks for and what it looks for."""
    words = [", ".join(entry.norms)] if entry.norms else []
    if "backends" in entry.facts:
        smallest = entry.facts.get("minimum_norm")
        only = f" under {' and '.join(smallest)}" if isinstance(smallest, tuple) else ""
        words += [str(entry.facts.get("kind")), f"minimum-norm{only}" if smallest else "fixed-eps"]
    return f" [{'; '.join(words)}]" if words else ""


def list_names(
    kind: Annotated[str, typer.Argument(help="One of: " + ", ".join(KINDS) + ".", metavar="KIND")],
) -> None:
    """List the known models, attacks, defenses, datasets, metrics, architectures or training methods, with their parameters.

    Of an attack it says the norms that it runs under, whether it is white-box or asks for scores or decisions only, and
    whether it works at eps or looks for the smallest perturbation (minimum-norm).

    "rules" lists what the audit looks for: what each rule means, what to do, and its source.
    """
    import difflib
    import shutil
    import textwrap

    from bench.cli.parameters import defaults
    from bench.errors import UnknownNameError
    from bench.registry import LISTED

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
    for name, entry in LISTED[kind].entries().items():
        if "alias" in entry.facts:
            tell(f"{name}: another name for {entry.facts['alias']}")
            continue
        tell(f"{name}{_what(entry)}: {entry.summary}")
        parameters = [f"{key}={default}" for key, default in defaults(entry).items()]
        if parameters:
            tell(", ".join(parameters), "    ")
        for inner, facts in entry.facts.get("models", {}).items():
            tell(f"{name}:{inner}: {facts.get('summary', '')}", "    ")
    refused = LISTED[kind].refused
    for why in dict.fromkeys(refused.values()):
        tell(f"not here, because {why}: {', '.join(name for name in refused if refused[name] == why)}")
    if kind == "models":
        tell("robustbench: any entry of its leaderboards, such as robustbench:Wong2020Fast; timm: any of timm's models")
