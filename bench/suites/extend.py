"""``extends``: a suite that builds on others. Mappings are merged key by key, everything else is replaced."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import Problem, SuiteError, nearest
from bench.suites.nodes import MAX_DEPTH, Node, read


def read_extended(path: Path, repeated: list[Problem] | None = None, *, _children: tuple[Path, ...] = ()) -> Node:
    """The tree of a suite with everything that it extends merged in.

    Later files of a list win over earlier ones, and the suite itself over all of them. Every value keeps the mark of
    the file that it really came from.

    Args:
        path: the suite.
        repeated: gets the keys that stand twice in one file; without it they are errors at once.

    Raises:
        SuiteError: if a file can't be read, or extends itself.
    """
    root = read(path, repeated)
    assert isinstance(root.value, dict)
    bases = root.value.pop("extends", None)
    merged: Node | None = None
    children = (*_children, _real(path))
    if bases is not None:
        for base, node in _bases(bases):
            _refuse_cycle(base, node, children)
            extended = read_extended(base, repeated, _children=children)
            merged = extended if merged is None else merge(merged, extended)
    return _own_seeds(root) if merged is None else merge(merged, _own_seeds(root))


def _bases(node: Node) -> list[tuple[Path, Node]]:
    items = node.value if isinstance(node.value, list) else [node]
    found: list[tuple[Path, Node]] = []
    for item in items:
        mark = item.mark
        if not isinstance(item.value, str) or not item.value:
            message = f"extends must name a file, got {item.plain()!r}"
            raise SuiteError([Problem(message, mark.file, mark.line, "extends", "a YAML file or a list of them")])
        path = mark.directory / item.value
        if not os.path.exists(path):
            siblings = sorted(other.name for other in mark.directory.glob("*.y*ml"))
            hint = nearest(item.value, siblings, most=1)
            message = f"no such file: {item.value!r}, looked for {path}{hint}"
            raise SuiteError([Problem(message, mark.file, mark.line, "extends", "a path relative to this file")])
        found.append((path, item))
    return found


def _refuse_cycle(base: Path, node: Node, children: tuple[Path, ...]) -> None:
    mark = node.mark
    if _real(base) in children:
        route = " -> ".join(path.name for path in (*children[children.index(_real(base)) :], base))
        message = f"{node.value!r} extends itself: {route}"
        raise SuiteError([Problem(message, mark.file, mark.line, "extends", "a file that doesn't lead back here")])
    if len(children) > MAX_DEPTH:
        message = f"more than {MAX_DEPTH} files extend each other"
        raise SuiteError([Problem(message, mark.file, mark.line, "extends", f"at most {MAX_DEPTH}")])


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _own_seeds(root: Node) -> Node:
    """Brings ``seeds`` and ``run.seed`` to ``run.seeds``, so that they replace those of a base; both stay, to be refused."""
    assert isinstance(root.value, dict)
    run = root.value.get("run")
    if "seeds" in root.value and (
        run is None or (isinstance(run.value, dict) and not run.value.keys() & {"seed", "seeds"})
    ):
        seeds = root.value.pop("seeds")
        if run is None:
            root.value["run"] = Node({"seeds": seeds}, seeds.mark)
        elif isinstance(run.value, dict):
            run.value["seeds"] = seeds
    if run is not None and isinstance(run.value, dict) and "seed" in run.value and "seeds" not in run.value:
        run.value["seeds"] = run.value.pop("seed")
    return root


def merge(base: Node, own: Node, *, key: str = "") -> Node:
    """The deep merge of two trees; what ``own`` says wins."""
    below = _named(base) if key == "dataset" and isinstance(own.value, dict) else base
    above = _named(own) if key == "dataset" and isinstance(below.value, dict) else own
    if not (isinstance(below.value, dict) and isinstance(above.value, dict)):
        return own
    merged = dict(below.value)
    for name, child in above.value.items():
        merged[name] = merge(merged[name], child, key=name) if name in merged else child
    return Node(merged, own.mark)


def _named(node: Node) -> Node:
    """``cifar10`` as ``{name: cifar10}``."""
    return Node({"name": Node(node.value, node.mark)}, node.mark) if isinstance(node.value, str) else node
