"""How the literature spells attacks and defenses: ``PGD-20`` and ``C&W-20``, not ``pgd-20`` and ``cw-20``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from bench import registry
from bench.suites.naming import attack_ids, defense_ids, entry_of, with_defaults
from bench.suites.spec import AttackSpec, DefenseSpec

Args = Mapping[str, Any]  # Any: the parameters of any attack

_LOSSES = {"ce": "CE", "dlr": "DLR", "margin": "margin"}
_VERSIONS = {
    "standard": "AutoAttack",
    "plus": "AutoAttack+",
    "rand": "AutoAttack (rand)",
    "custom": "AutoAttack (custom)",
}
_ATTACKS: dict[str, Callable[[Args], str]] = {
    "fgsm": lambda args: "FGSM-RS" if args["random_start"] else "FGSM",
    "pgd": lambda args: f"PGD-{args['steps']}" + _times(args),
    "bim": lambda args: f"BIM-{args['steps']}",
    "mi_fgsm": lambda args: f"MI-FGSM-{args['steps']}",
    "adam_pgd": lambda args: f"Adam-PGD-{args['steps']}" + _times(args),
    "cw": lambda args: f"C&W-{args['steps']}" + _times(args),
    "ddn": lambda args: f"DDN-{args['steps']}",
    "fmn": lambda args: f"FMN-{args['steps']}",
    "deepfool": lambda _: "DeepFool",
    "apgd": lambda args: f"APGD-{_LOSSES.get(str(args['loss']), str(args['loss']))}",
    "apgd_targeted": lambda _: "APGD-T",
    "malt": lambda _: "MALT",
    "fab": lambda _: "FAB",
    "fab_targeted": lambda _: "FAB-T",
    "autoattack": lambda args: _VERSIONS.get(str(args["version"]), "AutoAttack"),
    "cascade": lambda _: "Cascade",
    "square": lambda _: "Square",
}
_BACKENDS = {"foolbox": "Foolbox", "art": "ART", "autoattack": "official"}
_DEFENSES = {
    "none": "none",
    "jpeg": "JPEG",
    "bit_depth": "Bit depth",
    "non_local_means": "Non-local means",
    "dncnn": "DnCNN",
    "random_resize_pad": "Random resizing and padding",
    "lid": "LID",
    "kwta": "k-WTA",
    "test_time_augmentation": "Test-time augmentation",
    "smoothing": "Randomized smoothing",
}


def attack_names(attacks: Iterable[AttackSpec]) -> dict[str, str]:
    """The literature's spelling by id; the id itself where a user chose it, or where two would be spelled alike."""
    ids = {attack.id or attack.name: attack for attack in attacks}
    names = {one: _attack(one, attack) for one, attack in ids.items()}
    spelled = [name.lower() for name in names.values()]
    return {one: name if spelled.count(name.lower()) == 1 else one for one, name in names.items()}


def defense_names(defenses: Iterable[DefenseSpec]) -> dict[str, str]:
    """The same of defenses: ``JPEG (quality 75)`` for ``jpeg-quality75``."""
    ids = {defense.id or defense.name: defense for defense in defenses}
    names = {one: _defense(one, defense) for one, defense in ids.items()}
    spelled = [name.lower() for name in names.values()]
    return {one: name if spelled.count(name.lower()) == 1 else one for one, name in names.items()}


def _times(args: Args) -> str:
    restarts = args.get("restarts", 1)
    return f"×{restarts}" if restarts != 1 else ""


def _attack(own: str, attack: AttackSpec) -> str:
    entry, spell = entry_of(registry.attacks, attack.name), _ATTACKS.get(attack.name)
    if entry is None or spell is None or entry.origin != "bench":
        return own
    try:
        args = with_defaults(entry.params, attack.args)
    except ValidationError:
        return own
    (made,) = attack_ids((attack.model_copy(update={"id": None}),))
    more = _more(own, made)
    if more is None:
        return own
    library = _BACKENDS.get(attack.backend or "", "")
    differs = [part for part in more.split("-") if part and not part.startswith(("backend", "restarts"))]
    told = [library, *differs] if library else differs
    return spell(args) + (f" ({', '.join(told)})" if told else "")


def _defense(own: str, defense: DefenseSpec) -> str:
    if defense.chain or (entry_of(registry.defenses, defense.name) is None and defense.name != "none"):
        return own
    if defense.name == "none":
        return _DEFENSES["none"]
    (made,) = defense_ids((DefenseSpec(name=defense.name),))
    more = _more(own, made)
    if more is None:
        return own
    parts = [_spaced(part, defense.args) for part in more.split("-") if part]
    library, _, theirs = defense.name.partition(".")
    if theirs:
        return f"{theirs} ({', '.join([_BACKENDS.get(library, library), *parts])})"
    name = _DEFENSES.get(defense.name, defense.name.replace("_", " ").capitalize())
    return f"{name} ({', '.join(parts)})" if parts else name


def _more(own: str, made: str) -> str | None:
    """What an id has beyond the one that bench makes; ``None`` where a user chose another."""
    if not own.startswith(made) or re.match(r"[A-Za-z0-9]", own[len(made) :]):
        return None
    return own[len(made) :].lstrip("-")


def _spaced(part: str, args: Args) -> str:
    """``quality75`` as ``quality 75``."""
    key = next((key for key in sorted(args, key=len, reverse=True) if part.startswith(key)), "")
    return f"{key.replace('_', ' ')} {part[len(key) :].lstrip('=')}".strip() if key else part
