"""``--set attacks.pgd.steps=50``: changes to a suite from the command line.

The value is read as YAML. An item of a list is addressed by its index (from 0), or by its ``id`` or ``name``; a
threat model also by its norm or as ``linf:8/255``, a model also as ``zoo:mnist_pgd``. Where several items match a name,
all of them are changed.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.errors import Problem, SuiteError
from bench.suites.nodes import Mark, Node, parse
from bench.suites.short_forms import LISTS, model_id, split_model, split_threat_model
from bench.suites.spec import AttackSpec, DatasetSpec, DefenseSpec, RunOptions, Suite

_FORM = "key=value, such as attacks.pgd.steps=50 or dataset.samples=100"
_OWN = {
    "dataset": frozenset(DatasetSpec.model_fields),
    "attacks": frozenset(AttackSpec.model_fields),
    "defenses": frozenset(DefenseSpec.model_fields),
}
_MAPPINGS = ("dataset", "run")


def override(root: Node, settings: Sequence[str]) -> None:
    """Changes a suite's tree in place; later settings win.

    Args:
        root: a tree whose top level is a mapping.
        settings: texts such as ``attacks.pgd.steps=50``.

    Raises:
        SuiteError: for settings that aren't ``key=value`` or name something that the suite doesn't have.
    """
    problems: list[Problem] = []
    for setting in settings:
        try:
            _Setting(setting).apply(root)
        except SuiteError as error:
            problems += error.problems
    if problems:
        raise SuiteError(problems)


class _Setting:
    """One ``--set``."""

    def __init__(self, text: str) -> None:
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
            near = difflib.get_close_matches(section, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
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
        indices, rest = _items(node.value, section, parts)
        if not indices:
            names = [_names(item, section) for item in node.value]
            known = list(dict.fromkeys(name for one in names for name in one[:1]))
            near = difflib.get_close_matches(parts[0], [name for one in names for name in one], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            there = [*known, "an index from 0" + (f" to {len(names) - 1}" if len(names) > 1 else "")] if names else []
            raise self._error(f"{place} has no {parts[0]!r}{hint}", ", ".join(there) or f"nothing: {place} is empty")
        for index in indices:
            if not rest:
                node.value[index] = self._node()
            else:
                self._step(node.value[index], section, rest, f"{place}.{parts[0]}")

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
            if section == "run" and place == "run" and name not in RunOptions.model_fields:
                known = ", ".join(RunOptions.model_fields)
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


def _items(items: list[Node], section: str, parts: list[str]) -> tuple[list[int], list[str]]:
    """The items that the first parts address, and the parts that are left; ids may hold dots, so the longest wins."""
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        found = [index for index, item in enumerate(items) if name in _names(item, section)]
        if found:
            return found, parts[length:]
    if parts[0].isascii() and parts[0].isdigit() and int(parts[0][:9]) < len(items):
        return [int(parts[0][:9])], parts[1:]
    return [], parts


def _names(item: Node, section: str) -> list[str]:
    """What an item of a list answers to, the most usual first."""
    plain = item.plain()
    if section == "models":
        value = split_model(plain) if isinstance(plain, str) else plain
        if not isinstance(value, dict):
            return []
        given = [value.get("id") or model_id(value), value.get("name"), plain]
    elif section == "threat_models" and isinstance(plain, dict):
        given = [f"{plain.get('norm')}:{plain.get('eps')}", plain.get("norm")]
    elif section == "threat_models":
        given = [plain, str(plain).partition(":")[0]]
    else:
        given = [plain.get("id"), plain.get("name")] if isinstance(plain, dict) else [plain]
    return [name for name in given if isinstance(name, str)]
