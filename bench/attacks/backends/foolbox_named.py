"""Every attack of foolbox by its own name."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from bench.attacks.backends.asked import Asked
from bench.attacks.backends.chunk import Found
from bench.attacks.backends.foolbox import called, foolbox
from bench.attacks.backends.named import NamedAttack, by_name
from bench.attacks.base import AttackContext, Samples
from bench.attacks.libraries.foolbox import LINES
from bench.errors import AttackError


class FoolboxNamed(NamedAttack):
    """One of foolbox's attacks."""

    package: ClassVar[str] = "foolbox"
    library: ClassVar[tuple[str, ...]] = ("foolbox",)

    def search(self, model: Asked, samples: Samples, context: AttackContext, seed: int) -> Found:
        """foolbox's ``run``: at eps, or as near as it comes."""
        library = foolbox()
        attack = self._attack(library, self.arguments(context), context)
        wrapped = library.PyTorchModel(model, bounds=(0, 1), device=samples.x.device)
        if self.line.name == "DatasetAttack":
            attack.feed(wrapped, samples.x)
        return called(attack, wrapped, samples, eps=None if self.minimum_norm else context.threat_model.radius)

    def _attack(self, library: Any, args: dict[str, Any], context: AttackContext) -> Any:  # Any: an untyped library
        kind = getattr(library.attacks, self.line.name)
        takes = inspect.signature(kind).parameters
        norm = context.threat_model.norm
        if "distance" in takes:
            args["distance"] = getattr(library.distances, norm)
        if "constraint" in takes:
            args["constraint"] = norm
        if args.get("init_attack") is not None:
            args["init_attack"] = _initial(library, args["init_attack"], norm)
        return kind(**args)


def _initial(library: Any, given: str | dict[str, Any], norm: str) -> Any:  # Any: an untyped library
    """The attack that finds a starting point.

    Raises:
        AttackError: for one that foolbox hasn't under this norm, and for parameters that it doesn't take.
    """
    own = {"name": given} if isinstance(given, str) else dict(given)
    name = str(own.pop("name", "")).removeprefix("foolbox.")
    there = {line.name for line in LINES if line.minimum_norm and norm in line.norms}
    if name not in there:
        raise AttackError(f"init_attack: {name!r} (accepted: {', '.join(sorted(there))})")
    kind = getattr(library.attacks, name)
    takes = inspect.signature(kind).parameters
    unknown = [key for key in own if key not in takes]
    if unknown:
        raise AttackError(f"init_attack: {name} has no {unknown[0]!r} (accepted: {', '.join(takes)})")
    if "distance" in takes:
        own["distance"] = getattr(library.distances, norm)
    return kind(**own)


def __getattr__(name: str) -> type[NamedAttack]:
    return by_name(FoolboxNamed, LINES, name)
