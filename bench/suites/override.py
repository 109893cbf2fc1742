"""``--set attacks.pgd.steps=50``: changes to a suite from the command line.

The value is read as YAML. An item of a list is addressed by its index (from 0), by its id (given, or made as in the
tables: ``pgd-20``) or its ``name``; a threat model as ``linf:8/255`` or by its norm, a model also as ``zoo:mnist_pgd``.
Where several items match a name, all of them are changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.errors import Problem, SuiteError, nearest
from bench.suites.addresses import Addresses, place_of_radius
from bench.suites.nodes import Mark, Node, parse
from bench.suites.short_forms import LISTS, split_model, split_threat_model
from bench.suites.spec import AttackSpec, AuditOptions, DatasetSpec, DefenseSpec, RunOptions, Suite

_FORM = "key=value, such as attacks.pgd.steps=50 or dataset.samples=100"
_OWN = {
    "dataset": frozenset(DatasetSpec.model_fields),
    "attacks": frozenset(AttackSpec.model_fields),
    "defenses": frozenset(DefenseSpec.model_fields),
}
_OPTIONS: dict[str, tuple[str, ...]] = {
    "run": tuple(RunOptions.model_fields),
    "audit": tuple(AuditOptions.model_fields),
}
_MAPPINGS = ("dataset", *_OPTIONS)


def override(root: Node, settings: Sequence[str]) -> None:
    """Changes a suite's tree in place; later settings win.

    Args:
        root: a tree whose top level is a mapping.
        settings: texts such as ``attacks.pgd.steps=50``.

    Raises:
        SuiteError: for settings that aren't ``key=value`` or name something that the suite doesn't have.
    """
    problems: list[Problem] = []
    addresses = Addresses(root) if settings else None
    for setting in settings:
        assert addresses is not None
        try:
            _Setting(setting, addresses).apply(root)
        except SuiteError as error:
            problems += error.problems
    if problems:
        raise SuiteError(problems)


class _Setting:
    """One ``--set``."""

    def __init__(self, text: str, addresses: Addresses) -> None:
        self.addresses = addresses
        self.key, equals, self.value = text.partition("=")
        self.key = self.key.strip()
        self.mark = Mark(f"--set {text}", None, Path())
        if not equals:
            raise self._error("there is no =", _FORM)
        if not all(self.key.split(".")):
            raise self._error(f"{self.key!r} is not a place in a suite", _FORM)

    def _error(self, message: str, accepted: str) -> SuiteError:
        return SuiteError([Problem(message, self.mark.file, None, "", accepted)])

    def _node(self) -> Node:
        """A new node each time, so that no two places share one."""
        tree = parse(self.value, file=self.mark.file, directory=self.mark.directory, lines=False)
        return tree if tree is not None else Node(None, self.mark)

    def apply(self, root: Node) -> None:
        assert isinstance(root.value, dict)
        parts = self.key.split(".")
        section = parts[0]
        known = [*Suite.model_fields, "seeds"]
        if section not in known:
            hint = nearest(section, known, most=1)
            why = "it is read before --set" if section == "extends" else f"a suite has no {section!r}{hint}"
            raise self._error(why, ", ".join(known))
        if self.key in ("run.seed", "run.seeds", "seeds"):
            self._seeds(root)
        elif len(parts) == 1:
            root.value[section] = self._node()
        else:
            self._inside(root, section, parts[1:])

    def _seeds(self, root: Node) -> None:
        assert isinstance(root.value, dict)
        root.value.pop("seeds", None)
        run = root.value.setdefault("run", Node({}, self.mark))
        if isinstance(run.value, dict):
            run.value.pop("seed", None)
            run.value["seeds"] = self._node()

    def _inside(self, root: Node, section: str, parts: list[str]) -> None:
        assert isinstance(root.value, dict)
        node = root.value.get(section)
        if node is None or node.value is None:
            if section not in _MAPPINGS:
                raise self._error(f"the suite has no {section}", f"--set {section}=[...]")
            node = root.value[section] = Node({}, self.mark)
        if section in LISTS:
            if not isinstance(node.value, list):
                node = root.value[section] = Node([node], node.mark)
            self._list(node, section, parts, section)
        else:
            self._mapping(_widened(node, section), section, parts, section)

    def _list(self, node: Node, section: str, parts: list[str], place: str) -> None:
        assert isinstance(node.value, list)
        indices, rest = self.addresses.find(node.value, section, parts)
        if not indices:
            raise self._no_item(node.value, section, parts, place)
        for index in indices:
            item, here = node.value[index], parts[: len(parts) - len(rest)]
            one = place_of_radius(item, ".".join(here)) if section == "threat_models" else None
            if one is not None:
                self._radius(item, one, rest, f"{place}.{index}")
            elif not rest:
                node.value[index] = self._node()
            else:
                self._step(item, section, rest, ".".join([place, *here]))

    def _no_item(self, items: list[Node], section: str, parts: list[str], place: str) -> SuiteError:
        names = [name for own in self.addresses.names(items, section) for name in own]
        hint = nearest(parts[0], names, most=1)
        there = [
            *self.addresses.shown(items, section),
            "an index from 0" + (f" to {len(items) - 1}" if len(items) > 1 else ""),
        ]
        return self._error(
            f"{place} has no {parts[0]!r}{hint}", ", ".join(there) if items else f"nothing: {place} is empty"
        )

    def _radius(self, item: Node, index: int, rest: list[str], place: str) -> None:
        """One radius of a threat model that lists several: it has nothing else of its own."""
        assert isinstance(item.value, dict)
        if rest != ["eps"]:
            raise self._error(
                f"{self.key} is one of the radii of {place}, which share the rest", f"its eps, or {place}.norm"
            )
        radii = item.value["eps"].value
        assert isinstance(radii, list)
        radii[index] = self._node()

    def _step(self, node: Node, section: str, parts: list[str], place: str) -> None:
        widened = _widened(node, section)
        if isinstance(widened.value, list):
            self._list(widened, "", parts, place)
        else:
            self._mapping(widened, section, parts, place)

    def _mapping(self, node: Node, section: str, parts: list[str], place: str) -> None:
        if not isinstance(node.value, dict):
            raise self._error(f"{place} is {node.plain()!r}: there is nothing inside it to set", "a mapping or a list")
        mapping, name = node.value, parts[0]
        own = _OWN.get(section)
        if own is not None:
            mapping, name, parts = _parameter(node, own, parts)
        if len(parts) == 1:
            mapping[name] = self._node()
            return
        child = mapping.get(name)
        if child is None:
            known = ", ".join(mapping)
            fields = _OPTIONS.get(place, ()) if section == place else ()
            if fields and name not in fields:
                known = ", ".join(fields)
            if own is None and section != "models":
                raise self._error(f"{place} has no {name!r}", known)
            child = mapping[name] = Node({}, self.mark)
        self._step(child, "", parts[1:], f"{place}.{name}")


def _parameter(node: Node, own: frozenset[str], parts: list[str]) -> tuple[dict[str, Node], str, list[str]]:
    """The mapping that holds a parameter: ``args`` where it stands there already, else beside the name."""
    assert isinstance(node.value, dict)
    if parts[0] == "args" and len(parts) > 1:
        parts = parts[1:]
        if parts[0] in own:  # a parameter of the same name as a key of ours can only stand in args
            args = node.value.setdefault("args", Node({}, node.mark))
            return (args.value if isinstance(args.value, dict) else node.value), parts[0], parts
    args_node = node.value.get("args")
    inside = args_node.value if args_node is not None and isinstance(args_node.value, dict) else {}
    return (inside if parts[0] in inside else node.value), parts[0], parts


def _widened(node: Node, section: str) -> Node:
    """A short form, widened in place, so that something inside it can be set."""
    short: dict[str, Callable[[str], dict[str, str]]] = {
        "attacks": lambda text: {"name": text},
        "defenses": lambda text: {"name": text},
        "dataset": lambda text: {"name": text},
        "models": split_model,
        "threat_models": split_threat_model,
    }
    value = "none" if node.value is None and section == "defenses" else node.value
    if isinstance(value, str) and section in short:
        try:
            node.value = {key: Node(item, node.mark) for key, item in short[section](value).items()}
        except ValueError as error:
            raise SuiteError([Problem(str(error), node.mark.file, node.mark.line, section)]) from error
    return node
