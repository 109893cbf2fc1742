"""A YAML file as a tree that remembers where everything stands.

YAML is read with the core schema of YAML 1.2: ``no``, ``on`` and ``yes`` are text, ``1e-3`` is a number, ``012`` is
twelve. Nothing is constructed but text, numbers, booleans, null, lists and mappings; duplicate keys, foreign tags and
anchors that blow up are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml

from bench.errors import Problem, SuiteError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000

Scalar: TypeAlias = "str | int | float | bool | None"

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII
)
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value was written.

    Attributes:
        file: the file, or the text of a ``--set``.
        line: from 1; ``None`` for a ``--set``.
        directory: where relative paths written there start.
    """

    file: str
    line: int | None
    directory: Path


@dataclass(slots=True)
class Node:
    """A value and the place of its key, or of the item itself in a list."""

    value: dict[str, Node] | list[Node] | Scalar
    mark: Mark

    def plain(self) -> object:
        """The value as plain Python."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value


class _Loader(yaml.SafeLoader):
    """PyYAML with the types of YAML 1.2 and a limit on the depth."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"nested more than {MAX_DEPTH} levels deep", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _name, _pattern, _first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern.pattern})$", _pattern.flags), _first)


class _Stop(Exception):  # noqa: N818
    """The rest of the file makes no sense any more; the problem is recorded."""


class _Converter:
    """Turns PyYAML's nodes into ours and collects what is wrong."""

    def __init__(self, file: str, directory: Path, *, lines: bool) -> None:
        self.file, self.directory, self.lines = file, directory, lines
        self.problems: list[Problem] = []
        self.repeated: list[Problem] = []
        self._budget = MAX_NODES
        self._active: list[yaml.Node] = []

    def mark(self, node: yaml.Node) -> Mark:
        return Mark(self.file, self._line(node), self.directory)

    def refuse(self, node: yaml.Node, key: str, message: str, accepted: str = "") -> None:
        self.problems.append(Problem(message, self.file, self._line(node), key, accepted))

    def _line(self, node: yaml.Node) -> int | None:
        return node.start_mark.line + 1 if self.lines else None

    def convert(self, node: yaml.Node, mark: Mark, key: str) -> Node:
        self._budget -= 1
        if self._budget < 0 or len(self._active) > MAX_DEPTH or any(node is one for one in self._active):
            limit = f"at most {MAX_NODES:,} values, nested at most {MAX_DEPTH} deep, none inside itself"
            self.refuse(node, key, "too much: the anchors of this file expand without end, or the file is huge", limit)
            raise _Stop
        if isinstance(node, yaml.ScalarNode):
            return Node(self._scalar(node, key), mark)
        self._active.append(node)
        value: dict[str, Node] | list[Node]
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            value = self._mapping(node, key)
        elif isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            value = [self.convert(item, self.mark(item), _join(key, index)) for index, item in enumerate(node.value)]
        else:
            self.refuse(node, key, f"the tag {_shown_tag(node.tag)} is not allowed", "plain values without tags")
            value = {}
        self._active.pop()
        return Node(value, mark)

    def _mapping(self, node: yaml.MappingNode, key: str) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key_node, value_node in node.value:
            name = self._key(key_node, key)
            if name is None:
                continue
            if name == "<<" and key_node.style is None:
                for child_key, child in self._merge(value_node, key):
                    merged.setdefault(child_key, child)
                continue
            child = self.convert(value_node, self.mark(key_node), _join(key, name))
            if name in own:
                message = f"the key {name!r} is there twice, first in line {own[name].mark.line}"
                self.repeated.append(Problem(message, self.file, self._line(key_node), _join(key, name), "once"))
                continue
            own[name] = child
        return {**merged, **own}

    def _merge(self, node: yaml.Node, key: str) -> Iterator[tuple[str, Node]]:
        """The keys that ``<<: *anchor`` brings in; of several anchors the first wins."""
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode):
                self.refuse(source, _join(key, "<<"), "<< must name a mapping", "<<: *anchor")
                continue
            converted = self.convert(source, self.mark(source), key).value
            if isinstance(converted, dict):
                yield from converted.items()

    def _key(self, node: yaml.Node, key: str) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self.refuse(node, key, "a key must be text, not a list or a mapping", "text")
            return None
        if node.tag != _TAG + "str":
            self.refuse(node, _join(key, node.value), f"a key must be text, got {node.value or 'nothing'}", "text")
            return None
        return str(self._scalar(node, key))

    def _scalar(self, node: yaml.ScalarNode, key: str) -> Scalar:
        text: str = node.value
        if _SURROGATE.search(text):
            self.refuse(node, key, f"not a character of Unicode: {text!r}", "text in UTF-8")
            return ""
        try:
            return _construct(node.tag, text)
        except ValueError:
            self.refuse(node, key, f"{text!r} is not a {_shown_tag(node.tag)}", "plain values without tags")
        except KeyError:
            self.refuse(node, key, f"the tag {_shown_tag(node.tag)} is not allowed", "plain values without tags")
        return ""


def _construct(tag: str, text: str) -> Scalar:
    kind = tag.removeprefix(_TAG)
    if kind == "str":
        return text
    pattern = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT}[kind]
    if not pattern.fullmatch(text):
        raise ValueError(text)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        if len(text) > 100:
            return text
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _shown_tag(tag: str) -> str:
    return tag.replace(_TAG, "!!")


def _join(key: str, part: str | int) -> str:
    return f"{key}.{part}" if key else str(part)


def parse(
    text: str, *, file: str, directory: Path, lines: bool = True, repeated: list[Problem] | None = None
) -> Node | None:
    """The tree of a YAML text.

    Args:
        text: the YAML.
        file: its name in messages.
        directory: where relative paths in it start.
        lines: whether its lines are worth naming; those of a ``--set`` aren't.
        repeated: gets the keys that stand twice, so that a suite's other problems can be told with them; without it they
            are errors at once.

    Returns:
        The tree, with the first value of a key that stands twice; ``None`` where there is nothing in it.

    Raises:
        SuiteError: with everything that is wrong with it.
    """
    converter = _Converter(file, directory, lines=lines)
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SuiteError([_broken(error, file, mark.line + 1 if mark and lines else None)]) from error
    except yaml.reader.ReaderError as error:
        at = text.count("\n", 0, error.position) + 1 if lines else None
        shown = f"the character U+{int(error.character):04X}"
        raise SuiteError([Problem(f"{shown} is not allowed in YAML", file, at, "", "text in UTF-8")]) from error
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode, such as "\U99999999"
        raise SuiteError([Problem(f"not valid YAML: {error}", file, 1 if lines else None, "", "valid YAML")]) from error
    if root is None:
        return None
    try:
        tree = converter.convert(root, converter.mark(root), "")
    except _Stop:
        tree = Node(None, converter.mark(root))
    if converter.problems or (converter.repeated and repeated is None):
        found = [*converter.problems, *converter.repeated]
        raise SuiteError(sorted(found, key=lambda problem: problem.line or 0))
    if repeated is not None:
        repeated += converter.repeated
    return tree


def _broken(error: yaml.MarkedYAMLError, file: str, line: int | None) -> Problem:
    """What is wrong with text that isn't YAML, in words."""
    message = str(error.problem or error.context or error)
    mark = error.problem_mark or error.context_mark
    column = f", column {mark.column + 1}" if mark else ""
    if "'\\t'" in message:
        return Problem(f"a tab{column}: YAML is indented with spaces", file, line, "", "spaces")
    if "found another document" in message:
        return Problem("a second document begins here (---)", file, line, "", "one document per file")
    context = f" ({error.context})" if error.context and error.context != message else ""
    return Problem(f"not valid YAML{column}: {message}{context}", file, line, "", "valid YAML")


def read(path: Path, repeated: list[Problem] | None = None) -> Node:
    """The tree of a suite's file; its top level is a mapping.

    Args:
        path: the file.
        repeated: as in :func:`parse`.

    Raises:
        SuiteError: if it can't be read, isn't UTF-8, isn't YAML, is empty, or isn't a mapping.
    """
    file = str(path)
    if os.path.isdir(path):
        raise SuiteError([Problem("this is a directory", file, None, "", "a YAML file")])
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SuiteError([Problem(f"can't be read: {reason}", file, None, "", "a YAML file")]) from error
    if len(raw) > MAX_BYTES:
        raise SuiteError([Problem("too large for a suite", file, None, "", f"at most {MAX_BYTES // 1024} KiB")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        shown = f"the byte 0x{raw[error.start]:02x} is not UTF-8"
        raise SuiteError([Problem(shown, file, line, "", "text saved as UTF-8")]) from error
    tree = parse(text, file=file, directory=path.parent, repeated=repeated)
    if tree is None or tree.value is None:
        raise SuiteError([Problem("the file is empty", file, 1, "", "a mapping with name, dataset, models, ...")])
    if not isinstance(tree.value, dict):
        what = "a list" if isinstance(tree.value, list) else repr(tree.value)
        message = f"the top level is {what}, not a mapping"
        raise SuiteError([Problem(message, file, tree.mark.line, "", "a mapping with name, dataset, models, ...")])
    return tree
