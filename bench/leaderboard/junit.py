"""A gate's checks as JUnit XML, which CI servers show as tests."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from bench.leaderboard.checks import Check, GateError, GateResult

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 can't hold, however they are written."""


def junit(result: GateResult) -> str:
    """One ``testsuite`` per row, one ``testcase`` per number and check."""
    root = ElementTree.Element(
        "testsuites", name=_clean(f"bench gate {result.suite}"), tests=str(len(result.checks)),
        failures=str(len(result.failed)),
    )  # fmt: skip
    rows: dict[str, list[Check]] = {}
    for check in result.checks:
        rows.setdefault(f"{check.threat_model} {check.row}".strip() or "run", []).append(check)
    for name, checks in rows.items():
        failures = sum(not check.passed for check in checks)
        suite = ElementTree.SubElement(
            root, "testsuite", name=_clean(name), tests=str(len(checks)), failures=str(failures)
        )
        for check in checks:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=_clean(f"{result.suite} {name}"),
                name=_clean(f"{check.number}: {check.check}"),
            )
            if not check.passed:
                failure = ElementTree.SubElement(case, "failure", message=_clean(check.message), type=check.check)
                failure.text = _clean(check.message)
            else:
                ElementTree.SubElement(case, "system-out").text = _clean(check.message)
    return _written(root)


def junit_error(error: GateError) -> str:
    """One ``testcase`` that says why the gate couldn't look."""
    root = ElementTree.Element("testsuites", name="bench gate", tests="1", failures="0", errors="1")
    suite = ElementTree.SubElement(root, "testsuite", name="run", tests="1", failures="0", errors="1")
    case = ElementTree.SubElement(suite, "testcase", classname=_clean(error.run), name="can be looked at")
    ElementTree.SubElement(case, "error", message=_clean(error.error), type="error").text = _clean(error.error)
    return _written(root)


def _written(root: ElementTree.Element) -> str:
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
