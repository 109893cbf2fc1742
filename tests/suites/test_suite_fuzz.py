"""Whatever a file holds: a suite, or a SuiteError that says where; nothing else ever escapes."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import SuiteError
from bench.suites.check import check
from bench.suites.expand import expand
from bench.suites.load import load_suite
from bench.suites.naming import resolve
from bench.suites.spec import Suite

SECTIONS: dict[str, Any] = {  # Any: YAML values
    "name": "demo",
    "description": "x",
    "dataset": {"name": "cifar10", "samples": 100, "layout": "nchw"},
    "threat_models": [{"norm": "linf", "eps": ["2/255", 0.1]}, "l2:0.5"],
    "models": [
        "zoo:small",
        {"source": "checkpoint", "weights": "w.pt", "architecture": "cnn", "mean": [0.5], "std": [0.2]},
    ],
    "attacks": ["fgsm", {"name": "pgd", "steps": 20, "args": {"loss": "margin"}}],
    "defenses": ["none", {"name": "jpeg", "quality": 75}],
    "adversaries": ["oblivious", "adaptive"],
    "metrics": ["clean_accuracy"],
    "include": [{"model": "*"}],
    "exclude": [{"attack": "fgsm", "defense": ["jpeg*"]}],
    "run": {"seeds": [0, 1], "search": "strongest", "shard_size": 16},
}
WORDS = [
    "fgsm",
    "pgd",
    "none",
    "linf",
    "linf:8/255",
    "zoo:small",
    "*",
    "",
    "no",
    "8/255",
    "../x",
    "a\nb",
    "\x85",
    "é",
    "x" * 300,
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*SECTIONS, "norm", "eps", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def outcome(text: str | bytes, *overrides: str) -> tuple[Suite | None, SuiteError | None]:
    """Loads, checks and expands a text; anything but a suite or a SuiteError with a place escapes."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "suite.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        error: SuiteError | None = None
        try:
            loaded = load_suite(path, overrides=overrides)
            check(loaded)
        except SuiteError as caught:
            error = caught
        if error is None:
            return loaded.suite, None
        assert error.problems
        for problem in error.problems:
            assert problem.message
            assert problem.file.startswith((str(path), "--set ")), problem
            assert problem.line is not None or problem.file.startswith("--set "), problem
        str(error).encode()
        return None, error


@settings(deadline=None, max_examples=100)
@given(text=st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text(text: str) -> None:
    outcome(text)


@settings(deadline=None, max_examples=80)
@given(raw=st.binary())
def test_any_bytes(raw: bytes) -> None:
    outcome(raw)


@settings(deadline=None, max_examples=100)
@given(text=st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \n\t\\0<", max_size=60))
def test_any_text_of_yamls_own_signs(text: str) -> None:
    outcome(text)


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_good_file_with_a_few_signs_changed(data: st.DataObject) -> None:
    text = yaml.safe_dump(SECTIONS)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        new = data.draw(
            st.sampled_from(["", "\t", "\n", ":", "- ", "]", "{", "'", "&a ", "*a", "!", "\x00", "é", "9", "~"])
        )
        text = text[:place] + new + text[place + data.draw(st.integers(0, 3)) :]
    outcome(text)


def _places(value: object, route: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in inner for place in [(*route, key), *_places(item, (*route, key))]]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(_places(SECTIONS)), value=VALUES)
def test_a_good_suite_with_one_value_exchanged(place: tuple[str | int, ...], value: object) -> None:
    changed = copy.deepcopy(SECTIONS)
    target: Any = changed  # Any: YAML values
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = value
    suite, _ = outcome(yaml.safe_dump(changed, allow_unicode=True))
    if suite is not None:
        cells = expand(suite)
        ids = [cell.id({"model": cell.model.id}) for cell in cells]
        assert cells
        assert len(set(ids)) == len(ids)
        assert resolve(resolve(suite)) == resolve(suite)
        assert Suite.model_validate_json(suite.model_dump_json()) == suite


@settings(deadline=None, max_examples=80)
@given(
    key=st.sampled_from([".".join(str(part) for part in place) for place in _places(SECTIONS)]) | st.text(max_size=10),
    value=VALUES.map(lambda value: yaml.safe_dump(value, default_flow_style=True, width=10**9)) | st.text(max_size=10),
)
def test_any_setting(key: str, value: str) -> None:
    outcome(yaml.safe_dump(SECTIONS), f"{key}={value}")


@settings(deadline=None, max_examples=100)
@given(dropped=st.sets(st.sampled_from([*SECTIONS])))
def test_a_suite_with_sections_missing_names_each(dropped: set[str]) -> None:
    suite, error = outcome(yaml.safe_dump({key: value for key, value in SECTIONS.items() if key not in dropped}))
    required = {"name", "dataset", "threat_models", "models", "attacks"} & dropped
    if required:
        assert error is not None
        assert required <= {problem.key for problem in error.problems}
    elif "defenses" in dropped:
        assert error is None or {problem.key for problem in error.problems} <= {"exclude.0.defense"}
    else:
        assert suite is not None


def test_the_unchanged_suite_is_good() -> None:
    suite, error = outcome(yaml.safe_dump(SECTIONS))
    assert error is None
    assert suite is not None


@pytest.mark.parametrize(
    "text",
    [
        "%YAML 3.0\n---\na: 1",
        "%TAG ! tag:x,2000:\n---\na: !x 1",
        "? a",
        "a: |\n  x",
        "&a : 1",
        "!!map {a: 1}",
        "{a: 1, a}",
    ],
)
def test_rare_forms_of_yaml(text: str) -> None:
    assert outcome(text)[0] is None
