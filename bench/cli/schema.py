"""``bench schema``: a JSON Schema of suites, for editors."""

from __future__ import annotations


def schema() -> None:
    """Print the JSON Schema of suites.

    With it, an editor completes keys, names and parameters: save it as suite.schema.json and begin a suite with
    "# yaml-language-server: $schema=suite.schema.json".
    """
    import json

    from bench.suites.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
