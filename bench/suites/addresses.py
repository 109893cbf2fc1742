"""What the items of a suite's lists answer to in ``--set``: the words that the file uses, and the ids that tables show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import ValidationError

from bench.suites.naming import attack_ids, defense_ids, model_ids
from bench.suites.nodes import Node
from bench.suites.paths import absolute
from bench.suites.references import MODEL_PATHS
from bench.suites.short_forms import each_eps, format_eps, model_id, parse_eps, split_model, split_threat_model
from bench.suites.spec import AttackSpec, DefenseSpec, ModelSpec, Spec

_S = TypeVar("_S", bound=Spec)
SECTIONS = ("attacks", "defenses", "models", "threat_models")
"""Lists whose items have ids."""


class Addresses:
    """The ids of a suite's items, as they are before the first change.

    They stay with their items: ``--set attacks.pgd-20.steps=50 --set attacks.pgd-20.loss=margin`` changes one attack.

    Args:
        root: the tree of the suite.
    """

    def __init__(self, root: Node) -> None:
        self._ids: dict[int, tuple[Node, list[str]]] = {}  # the node is kept so that its id() stays its own
        assert isinstance(root.value, dict)
        for section in SECTIONS:
            node = root.value.get(section)
            if node is not None:
                self.ids(node.value if isinstance(node.value, list) else [node], section)

    def ids(self, items: Sequence[Node], section: str) -> list[list[str]]:
        """The ids of each item; several for a threat model of several radii, none for what is wrong by itself."""
        if section not in SECTIONS:
            return [[] for _ in items]
        if any(id(item) not in self._ids for item in items):
            for item, found in zip(items, _derived(items, section), strict=True):
                self._ids.setdefault(id(item), (item, found))
        return [self._ids[id(item)][1] for item in items]

    def names(self, items: Sequence[Node], section: str) -> list[list[str]]:
        """All that each item answers to, ids first."""
        both = zip(self.ids(items, section), (_written(item, section) for item in items), strict=True)
        return [list(dict.fromkeys([*ids, *written])) for ids, written in both]

    def shown(self, items: Sequence[Node], section: str) -> list[str]:
        """What to name in a message: ids, else the first word that an item answers to."""
        ids = self.ids(items, section)
        return list(
            dict.fromkeys(name for own, item in zip(ids, items, strict=True) for name in own or _first(item, section))
        )

    def find(self, items: Sequence[Node], section: str, parts: list[str]) -> tuple[list[int], list[str]]:
        """The items that the first parts address, and the parts that are left; ids may hold dots, so the longest wins."""
        names = self.names(items, section)
        for length in range(len(parts), 0, -1):
            name = ".".join(parts[:length])
            wanted = {name, radius(name)} if section == "threat_models" else {name}
            found = [index for index, own in enumerate(names) if wanted & set(own)]
            if found:
                return found, parts[length:]
        if parts[0].isascii() and parts[0].isdigit() and int(parts[0][:9]) < len(items):
            return [int(parts[0][:9])], parts[1:]
        return [], parts


def radius(text: str) -> str:
    """``linf:16/510`` as ``linf:8/255``; what isn't a norm and a radius stays."""
    norm, colon, eps = text.partition(":")
    try:
        return f"{norm.strip().lower()}:{format_eps(parse_eps(eps))}" if colon else text
    except ValueError:
        return text


def place_of_radius(item: Node, name: str) -> int | None:
    """Where in a threat model's list of radii the one that ``name`` addresses stands; ``None`` where it has no such list."""
    eps = item.value.get("eps") if isinstance(item.value, dict) else None
    if eps is None or not isinstance(eps.value, list):
        return None
    found = [index for index, one in enumerate(_radii(item)) if one == radius(name)]
    return found[0] if found else None


def _derived(items: Sequence[Node], section: str) -> list[list[str]]:
    if section == "threat_models":
        return [_radii(item) for item in items]
    if section == "attacks":
        return _by_spec([_spec(item.plain(), AttackSpec) for item in items], attack_ids)
    if section == "defenses":
        return _by_spec([_spec(item.plain(), DefenseSpec) for item in items], defense_ids)
    return _by_spec([_model(item) for item in items], model_ids)


def _by_spec(specs: Sequence[_S | None], ids: Callable[[Sequence[_S]], list[str]]) -> list[list[str]]:
    made = iter(ids([spec for spec in specs if spec is not None]))
    return [[] if spec is None else [next(made)] for spec in specs]


def _spec(plain: object, kind: type[_S]) -> _S | None:
    try:
        return kind.model_validate(plain)
    except ValidationError:
        return None


def _model(item: Node) -> ModelSpec | None:
    """The model, its paths as they will be: folders tell files of the same name apart."""
    spec = _spec(item.plain(), ModelSpec)
    if spec is None:
        return None
    marks = item.value if isinstance(item.value, dict) else {}
    found = {
        key: absolute(value, marks.get(key, item).mark.directory)
        for key in MODEL_PATHS
        if (value := getattr(spec, key)) is not None
    }
    return spec.model_copy(update=found)


def _radii(item: Node) -> list[str]:
    """``linf:8/255``, one for each radius."""
    plain = item.plain()
    try:
        value = split_threat_model(plain) if isinstance(plain, str) else plain
    except ValueError:
        return []
    if not isinstance(value, dict):
        return []
    return [radius(f"{one.get('norm')}:{one.get('eps')}") for one in each_eps(value)]


def _first(item: Node, section: str) -> list[str]:
    return _written(item, section)[:1]


def _written(item: Node, section: str) -> list[str]:
    """The words of the file that an item answers to, the most usual first."""
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
