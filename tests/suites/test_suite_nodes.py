"""Reading YAML: what is refused and how it is said, and which types a plain value has."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.errors import Problem, SuiteError
from bench.suites.nodes import MAX_BYTES, MAX_DEPTH, parse, read


def refused(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(SuiteError) as caught:
        read(path)
    return caught.value.problems


def refused_text(tmp_path: Path, text: str | bytes) -> tuple[Problem, ...]:
    path = tmp_path / "suite.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    problems = refused(path)
    assert all(problem.file == str(path) for problem in problems)
    return problems


def plain(text: str) -> object:
    tree = parse(text, file="f", directory=Path())
    return None if tree is None else tree.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("none", "none"),
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("012", 12),
        ("0o12", 10),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("8/255", "8/255"),
        ("2024-01-01", "2024-01-01"),
        (".5", 0.5),
        ("+5", 5),
        ("-.inf", float("-inf")),
        ("'1'", "1"),
        ('"no"', "no"),
        ("!!str 1", "1"),
        ("!!int '3'", 3),
        ("!!float 3", 3.0),
        ("nullable", "nullable"),
        ("1.5.2", "1.5.2"),
        ("é漢字🙂", "é漢字🙂"),
        ("-", [None]),
    ],
)
def test_plain_values_have_the_types_of_yaml_1_2(text: str, value: object) -> None:
    assert plain(text) == value
    assert type(plain(text)) is type(value)


def test_an_integer_too_long_for_python_stays_text() -> None:
    assert plain("9" * 5000) == "9" * 5000


def test_lines_are_those_of_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# comment\na: 1\nb:\n  - x\n  -\n    c: 2\n")
    tree = read(path)
    assert isinstance(tree.value, dict)
    assert tree.value["a"].mark.line == 2
    items = tree.value["b"].value
    assert isinstance(items, list)
    assert [item.mark.line for item in items] == [4, 6]


@pytest.mark.parametrize(
    ("text", "line", "words", "accepted"),
    [
        ("", 1, "the file is empty", "a mapping"),
        ("# nothing\n\n", 1, "the file is empty", "a mapping"),
        ("---\n", 1, "the file is empty", "a mapping"),
        ("- a\n- b\n", 1, "the top level is a list", "a mapping"),
        ("hello\n", 1, "the top level is 'hello'", "a mapping"),
        ("a: 1\nb: [1, 2\n", 3, "not valid YAML, column 1", "valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "a tab, column 1", "spaces"),
        ("a: 1\n b: 2\n", 2, "not valid YAML, column 3", "valid YAML"),
        ("a: 'x\n", 2, "not valid YAML", "valid YAML"),
        ("a: *b\n", 1, "undefined alias 'b'", "valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "a second document", "one document"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            1,
            "the tag !!python/object/apply:os.system is not allowed",
            "plain",
        ),
        ("a: !include b.yaml\n", 1, "the tag !include is not allowed", "plain"),
        ("a: !!binary aGk=\n", 1, "the tag !!binary is not allowed", "plain"),
        ("a: !!set {x}\n", 1, "the tag !!set is not allowed", "plain"),
        ("a: !!int x\n", 1, "'x' is not a !!int", "plain"),
        ("a: 1\n3: 2\n", 2, "a key must be text, got 3", "text"),
        ("a: 1\n? [x]\n: 2\n", 2, "a key must be text, not a list", "text"),
        ("null: 2\n", 1, "a key must be text, got null", "text"),
        ('a: "\\ud800"\n', 1, "not a character of Unicode", "UTF-8"),
        ("a: 1\nb: \x07\n", 2, "U+0007 is not allowed", "UTF-8"),
        ('a: "\\UFFFFFFFF"\n', 1, "not valid YAML", "valid YAML"),
        (b"a: 1\nb: \xff\xfe\n", 2, "the byte 0xff is not UTF-8", "UTF-8"),
        ("a: 1\n".encode("utf-16"), 1, "the byte 0xff is not UTF-8", "UTF-8"),
        (b"\x00\x01\x02", 1, "U+0000 is not allowed", "UTF-8"),
        ("a: {<<: 3}\n", 1, "<< must name a mapping", "<<: *anchor"),
    ],
)
def test_broken_text_is_refused(tmp_path: Path, text: str | bytes, line: int, words: str, accepted: str) -> None:
    (problem,) = refused_text(tmp_path, text)
    assert words in problem.message
    assert accepted in problem.accepted
    assert problem.line == line
    assert str(problem).startswith(f"{tmp_path / 'suite.yaml'}:{line}: ")


def test_every_duplicate_key_is_named_with_both_lines(tmp_path: Path) -> None:
    first, second = refused_text(tmp_path, "a: 1\nb: {c: 1, d: 2, c: 3}\na: 2\n")
    assert (first.line, first.key) == (2, "b.c")
    assert (second.line, second.key) == (3, "a")
    assert second.message == "the key 'a' is there twice, first in line 1"


def test_billion_laughs_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    start = time.perf_counter()
    (problem,) = refused_text(tmp_path, "\n".join(lines))
    assert "expand without end" in problem.message
    assert time.perf_counter() - start < 5


def test_an_alias_inside_itself_is_refused(tmp_path: Path) -> None:
    (problem,) = refused_text(tmp_path, "a: &a [1, *a]\n")
    assert "expand without end" in problem.message
    assert problem.key == "a.1"


def test_a_chain_of_anchors_may_not_get_round_the_depth(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100)]
    (problem,) = refused_text(tmp_path, "\n".join(lines))
    assert f"nested at most {MAX_DEPTH}" in problem.accepted


DEEP = "".join(" " * depth + "b:\n" for depth in range(300))


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{b: " * 2000, "- " * 3000, DEEP])
def test_deep_nesting_is_refused(tmp_path: Path, text: str) -> None:
    (problem,) = refused_text(tmp_path, text)
    assert "levels deep" in problem.message


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    (problem,) = refused_text(tmp_path, b"a: 1 # " + b"x" * MAX_BYTES)
    assert problem.message == "too large for a suite"
    assert problem.accepted == "at most 256 KiB"


def test_missing_file_and_directory(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path / "no.yaml")
    assert problem.message == "can't be read: No such file or directory"
    assert problem.file == str(tmp_path / "no.yaml")
    (problem,) = refused(tmp_path)
    assert problem.message == "this is a directory"
    (problem,) = refused(Path("a\0b"))
    assert "can't be read" in problem.message


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read(path).plain() == {"a": 1, "b": 2}


def test_anchors_and_merge_keys_work() -> None:
    text = "base: &base {steps: 20, loss: ce}\none: {<<: *base, loss: margin}\n"
    text += "two: {<<: [{a: 1}, {a: 2, b: 3}]}\nthree: {'<<': x}"
    assert plain(text) == {
        "base": {"steps": 20, "loss": "ce"},
        "one": {"steps": 20, "loss": "margin"},
        "two": {"a": 1, "b": 3},
        "three": {"<<": "x"},
    }
