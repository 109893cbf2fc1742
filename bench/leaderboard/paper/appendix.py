"""A reproducibility appendix: everything that a run's numbers hang on, from its records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import yaml

from bench import registry
from bench.leaderboard.adversaries import attacker
from bench.leaderboard.grid import said
from bench.leaderboard.paper.bibliography import Bibliography
from bench.leaderboard.paper.columns import entry_of
from bench.leaderboard.paper.naming import attack_names, defense_names
from bench.leaderboard.paper.sections import Item, Items, Lines, Listing, Paragraph, Section
from bench.leaderboard.paper.tables import images
from bench.leaderboard.paper.texts import Cite, Code, Part, Text
from bench.leaderboard.records import Leaderboard
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.store.records import CellResult
from bench.suites.naming import entry_of as name_of
from bench.suites.spec import AttackSpec, DefenseSpec, ModelSpec, format_eps

TITLE = "Reproducibility"
_ADVERSARIES = {
    "oblivious": "attacks the bare model; the defense is added afterwards",
    "naive": "attacks the defended model as if it were any other: no BPDA, no EOT, blind to rejection",
    "adaptive": "attacks the whole defended model and knows everything about it",
}


def sections(outcome: RunOutcome, board: Leaderboard, cited: Bibliography) -> list[Section]:
    """The sections of the appendix.

    Args:
        outcome: the rows of a run.
        board: its leaderboard.
        cited: collects what is cited.
    """
    return [
        _data(outcome, cited),
        _models(outcome, cited),
        _threats(outcome),
        _attacks(outcome, cited),
        *_defenses(outcome, cited),
        _numbers(outcome, cited),
        _cost(outcome),
        _machine(outcome, cited),
        _audit(board, cited),
        Section("The suite as resolved", [Listing(_suite(outcome))]),
    ]


def _data(outcome: RunOutcome, cited: Bibliography) -> Section:
    spec, known = outcome.record.suite.dataset, outcome.record.dataset
    name: list[Part] = [f"{spec.name}, split {spec.split}", Cite(cited.dataset(spec))]
    selection = images(outcome) + (f", seed {spec.seed}" if spec.select != "first" else "")
    items = [
        Item("Dataset", tuple(name)),
        Item("Images", (f"{selection}: positions {_ranges(outcome.record.positions)}",)),
    ]
    if known.get("digest"):
        items.append(Item("Digest", ("SHA-256 of the whole split as loaded: ", Code(str(known["digest"])))))
    if known.get("shape"):
        shape = " × ".join(str(size) for size in known["shape"])
        items.append(Item("Shape", (f"{shape} (channels, height, width), values in [0, 1]",)))
    if known.get("num_classes"):
        items.append(Item("Classes", (str(known["num_classes"]),)))
    for term, value in (("Source", spec.source), ("File", spec.path), ("Parameters", _args(spec.args))):
        if value:
            items.append(Item(term, (Code(str(value)),)))
    if known.get("note"):
        items.append(Item("Note", (str(known["note"]),)))
    return Section("Images", [Items(tuple(items))])


def _models(outcome: RunOutcome, cited: Bibliography) -> Section:
    items = []
    for spec in outcome.record.suite.models:
        rows = [row for row in outcome.rows if row.model == spec.id]
        items.append(Item(spec.id, _model(spec, rows, cited)))
    return Section("Models", [Items(tuple(items))])


def _model(spec: ModelSpec, rows: Sequence[RowOutcome], cited: Bibliography) -> Text:
    parts: list[Part] = [f"source {spec.source}" + (f", {spec.name}" if spec.name and spec.name != spec.id else "")]
    entry = next((found for row in rows if (found := entry_of(row)) is not None), None)
    if entry is not None:
        parts.append(f", RobustBench's entry {entry[2]} ({entry[0]}, {entry[1]})")
    parts.append(Cite(cited.model(spec.source, entry)))
    if spec.architecture:
        parts.append(
            f", architecture {spec.architecture}"
            + (f" ({_args(spec.architecture_args)})" if spec.architecture_args else "")
        )
    if spec.mean is not None or spec.std is not None:
        parts.append(f", normalised with mean {_numbers_of(spec.mean)} and standard deviation {_numbers_of(spec.std)}")
    provenance = [cell.result.provenance for row in rows for cell in row.cells if cell.result is not None]
    for term, key in (("weights", "weights"), ("architecture's code", "architecture")):
        digests = list(dict.fromkeys(str(one[key]) for one in provenance if one.get(key)))
        for digest in digests:
            parts += [f"; SHA-256 of the {term}: ", Code(digest)]
    notes = list(dict.fromkeys(str(one["model_note"]) for one in provenance if one.get("model_note")))
    parts += [f"; {note}" for note in notes]
    return tuple(parts)


def _threats(outcome: RunOutcome) -> Section:
    rows = tuple(
        ((spec.norm.capitalize(),), (format_eps(spec.eps),), (str(spec.eps),), (_decimal(spec.eps),))
        for spec in outcome.record.suite.threat_models
    )
    text = (
        "An adversarial example keeps the distance eps from its image, in the units of images in [0, 1], and lies in [0, 1]. "
        "The point that an attack returns is measured as it is, projected, and predicted again in float32; only then it counts."
    )
    return Section("Threat models", [Paragraph((text,)), Lines(("norm", "eps", "exact", "decimal"), "lrrr", rows)])


def _attacks(outcome: RunOutcome, cited: Bibliography) -> Section:
    suite = outcome.record.suite
    names = attack_names(suite.attacks)
    specs: dict[str, AttackSpec] = {(spec.id or spec.name): spec for spec in suite.attacks}
    results = [cell.result for row in outcome.rows for cell in row.cells if cell.result is not None]
    for result in results:
        if result.role in ("suite", "gradient_free", "prerequisite"):  # those that the harness adds
            specs.setdefault(result.attack_id, result.attack)
    libraries = _libraries(results)
    norms = {spec.norm for spec in suite.threat_models}
    norm = "l1" if norms == {"l1"} else "linf"
    items = [
        Item(
            names.get(one, one),
            _attack(one, spec, cited.attack(spec, norm), libraries.get(one, ""), spec.search or suite.run.search),
        )
        for one, spec in specs.items()
    ]
    seeds = ", ".join(str(seed) for seed in suite.run.seeds)
    text = (
        f"Seeds: {seeds}; randomness is drawn per image from the seed, the attack, the stage and the image's id, so that it "
        "does not hang on the device, the batch size or the number of workers."
    )
    if suite.run.reuse == "smaller_eps" and len(suite.threat_models) > len(norms):
        text += " Images that a smaller eps of the same norm had broken were judged again, and not attacked again."
    return Section("Attacks", [Items(tuple(items)), Paragraph((text,))])


def _attack(one: str, spec: AttackSpec, keys: tuple[str, ...], libraries: str, search: str) -> Text:
    parts: list[Part] = [Code(one), Cite(keys)]
    entry = name_of(registry.attacks, spec.name)
    if entry is not None and "alias" in entry.facts:
        parts += [", another name for ", Code(str(entry.facts["alias"]))]
    run_by = (spec.backend or "the default") + (f" ({libraries})" if libraries else "")
    parts.append(f", implementation: {run_by}, search: {search}")
    return (*parts, "; ", Code(_args(spec.args))) if spec.args else tuple(parts)


def _libraries(results: Iterable[CellResult]) -> dict[str, str]:
    """By attack, the libraries that ran it, in every version."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        known = dict(result.provenance.get("facts") or {}).get("attack_libraries") or {}
        found.setdefault(result.attack_id, {}).update({f"{name} {version}": None for name, version in known.items()})
    return {one: " and ".join(versions) for one, versions in found.items()}


def _defenses(outcome: RunOutcome, cited: Bibliography) -> list[Section]:
    suite = outcome.record.suite
    names = defense_names(suite.defenses)
    items = [
        Item(names.get(spec.id or spec.name, spec.name), _defense(spec, cited))
        for spec in suite.defenses
        if spec.name != "none"
    ]
    if not items:
        return []
    own = [Item(name, (_ADVERSARIES[name],)) for name in suite.adversaries]
    queries = suite.run.gradient_free_queries
    extra = (
        f"Every defended row is also attacked without gradients ({queries:,} queries of Square"
        if queries
        else "The gradient-free attack on defended rows was switched off"
    )
    cite: list[Part] = [extra, Cite(cited.cite("andriushchenko2020square")), ")."] if queries else [extra + "."]
    advice: Text = (
        " How defenses are attacked follows",
        Cite(cited.cite("athalye2018obfuscated", "tramer2020adaptive")),
        ".",
    )
    return [
        Section("Defenses", [Items(tuple(items))]),
        Section("Adversaries", [Items(tuple(own)), Paragraph((*cite, *advice))]),
    ]


def _defense(spec: DefenseSpec, cited: Bibliography) -> Text:
    parts: list[Part] = [Code(spec.id or spec.name), Cite(cited.defense(spec))]
    for link in spec.links:
        told = f"{link.name}: {_args(link.args)}" if spec.chain else _args(link.args)
        parts += ["; ", Code(told)] if told else []
    parts.append(f"; attacked through: {attacker(spec)}")
    if spec.scoring_draws:
        parts.append(f"; scored by {spec.scoring_draws} fresh draws an image")
        parts.append(Cite(cited.cite("athalye2018synthesizing")) if (spec.eot_iter or 1) > 1 else "")
    return tuple(part for part in parts if part)


def _numbers(outcome: RunOutcome, cited: Bibliography) -> Section:
    draws = any(spec.scoring_draws for spec in outcome.record.suite.defenses)
    more: Text = (
        (
            " Of stochastic defenses both are means over scoring draws, with a bootstrap interval",
            Cite(cited.cite("efron1979bootstrap")),
            ".",
        )
        if draws
        else ()
    )
    text: Text = (
        "Clean accuracy is correct / all images; robust accuracy is clean-correct and unbroken / all images. Errors and "
        "abstentions on clean images count against the model. A robust accuracy is an upper bound, whatever its interval: a "
        "stronger attack can only lower it. Intervals are Wilson's at 95 %",
        Cite(cited.cite("wilson1927probable")),
        " and cover the sampling of images only.",
        *more,
        " Rows are compared on the same images by McNemar's exact test",
        Cite(cited.cite("mcnemar1947note")),
        ", all pairs with Holm's correction at 5 %",
        Cite(cited.cite("holm1979simple")),
        ("; a randomisation test that flips signs takes its place where a defense is stochastic." if draws else "."),
        " The evaluation follows",
        Cite(cited.cite("carlini2019evaluating")),
        ".",
    )
    return Section("Numbers and statistics", [Paragraph(text)])


def _cost(outcome: RunOutcome) -> Section:
    names = defense_names(outcome.record.suite.defenses)
    rows: list[tuple[Text, ...]] = []
    for row in outcome.rows:
        results = [cell.result for cell in row.cells if cell.result is not None]
        costs = [result.cost for result in results if result.cost is not None]
        numbers = (
            f"{sum(cost.seconds for cost in costs):,.1f}",
            f"{sum(cost.forwards for cost in costs):,.0f}",
            f"{sum(cost.backwards for cost in costs):,.0f}",
        )
        precision = sorted({result.precision for result in results if result.precision})
        rows.append(
            (
                (row.threat_model.label,),
                (row.model,),
                (names.get(row.defense, row.defense),),
                *((one,) for one in numbers),
                (", ".join(precision) or "–",),
            )
        )
    headers = ("threat model", "model", "defense", "seconds", "forward", "backward", "precision")
    text = "Per row, over all its cells: seconds, and passes of single images. Verdicts are always float32."
    return Section("Cost", [Paragraph((text,)), Lines(headers, "lllrrrr", tuple(rows))])


def _machine(outcome: RunOutcome, cited: Bibliography) -> Section:
    record = outcome.record
    where: list[Mapping[str, Any]] = [record.environment]
    results = [cell.result for row in outcome.rows for cell in row.cells if cell.result is not None]
    where += [found for result in results if isinstance(found := result.provenance.get("environment"), Mapping)]
    items = [
        Item("Devices", (_distinct(where, "device"),)),
        Item("Platform", (_distinct(where, "platform"),)),
        Item("Python", (_distinct(where, "python"),)),
        Item("CUDA", (_distinct(where, "cuda") or "none",)),
        Item("Packages", _versions(where, results, cited)),
        Item("Commit", (Code(_distinct(where, "git_commit") or "none"),)),
        Item("Command", (Code(record.command),)),
        Item("When", (f"{record.started} to {record.finished or 'now: the run is not finished'}",)),
        Item("Precision", (f"{record.suite.run.precision} (of the attacks' passes)",)),
    ]
    return Section("Software and hardware", [Items(tuple(item for item in items if item.text != ("",)))])


def _distinct(where: Iterable[Mapping[str, Any]], key: str) -> str:
    return "; ".join(dict.fromkeys(str(one[key]) for one in where if one.get(key)))


def _versions(where: Sequence[Mapping[str, Any]], results: Sequence[CellResult], cited: Bibliography) -> Text:
    found: dict[str, dict[str, None]] = {}
    for one in where:
        for name, version in dict(one.get("versions") or {}).items():
            found.setdefault(str(name), {})[str(version)] = None
    told = ", ".join(f"{name} {' and '.join(versions)}" for name, versions in found.items())
    return (told, Cite(cited.cite("paszke2019pytorch"))) if "torch" in found and results else (told,)


def _audit(board: Leaderboard, cited: Bibliography) -> Section:
    title = "Audit"
    if board.audit is None:
        return Section(title, [Paragraph(("The run was not audited for signs of a weak evaluation.",))])
    audit = board.audit
    checked = [rule for rule in audit.rules if rule.checked]
    outdated = f" {audit.outdated} cells have changed since." if audit.outdated else ""
    probes = f"probes attacked {audit.samples:,} images" if audit.samples else "without probes"
    text: Text = (
        f"{len(audit.rules)} rules looked for known signs of a weak evaluation",
        Cite(cited.cite("carlini2019evaluating", "athalye2018obfuscated", "tramer2020adaptive")),
        f" ({audit.made}, {probes}); {len(checked)} of them had something to look at.{outdated} A rule that found nothing "
        "proves nothing.",
    )
    rows: list[tuple[Text, ...]] = []
    for rule in audit.rules:
        why = "; ".join(f"{reason} ({len(of)})" for reason, of in rule.unchecked.items())
        rows.append(((rule.rule,), (rule.title,), (why or "–",), (str(rule.checked),), (str(rule.findings),)))
    parts: list[Paragraph | Items | Lines | Listing] = [
        Paragraph(text),
        Lines(("rule", "what it looks for", "not checked", "checked", "found"), "lllrr", tuple(rows)),
    ]
    for table in board.tables:
        notes = [note for note in table.notes if note.severity != "info"]
        if notes:
            parts.append(Paragraph((f"What speaks against the numbers under {table.threat_model}:",)))
            parts.append(Items(tuple(Item(note.severity, (f"{said(note)} ({note.rule})",)) for note in notes)))
    return Section(title, parts)


def _suite(outcome: RunOutcome) -> tuple[str, ...]:
    """The suite as YAML, without what is empty."""
    found = outcome.record.suite.model_dump(mode="json", exclude_none=True)
    text = yaml.safe_dump(_lean(found), sort_keys=False, allow_unicode=True, default_flow_style=None, width=90)
    return tuple(text.rstrip("\n").split("\n"))


def _lean(value: Any) -> Any:  # Any: JSON values
    if isinstance(value, dict):
        return {key: _lean(one) for key, one in value.items() if one not in ([], {}, "")}
    return [_lean(one) for one in value] if isinstance(value, list) else value


def _args(args: Mapping[str, Any]) -> str:  # Any: JSON values
    return ", ".join(f"{key}={_value(value)}" for key, value in args.items())


def _value(value: Any) -> str:  # Any: a JSON value
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "default"}[value]
    return str(value)


def _numbers_of(values: tuple[float, ...] | None) -> str:
    return "–" if values is None else "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _decimal(eps: Fraction) -> str:
    return f"{float(eps):.10g}"


def _ranges(positions: Sequence[int], most: int = 12) -> str:
    """``0–99``, and so on."""
    ranges: list[list[int]] = []
    for position in sorted(positions):
        if ranges and position == ranges[-1][1] + 1:
            ranges[-1][1] = position
        else:
            ranges.append([position, position])
    texts = [str(low) if low == high else f"{low}–{high}" for low, high in ranges]
    more = len(texts) - most
    return (", ".join(texts[:most]) or "–") + (f" and {more} more ranges, as run.json lists them" if more > 0 else "")
