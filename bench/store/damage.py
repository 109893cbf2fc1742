"""What is wrong with a damaged JSON file, in a line that a person can act on."""

from __future__ import annotations

from pydantic import ValidationError

_MOST = 3
"""So many places are named: a file of another kind is wrong everywhere."""


def damage(error: ValidationError) -> str:
    """The keys that don't fit and why, on one line.

    Args:
        error: what pydantic raised.
    """
    places = error.errors(include_url=False, include_context=False, include_input=False)
    said = []
    for place in places[:_MOST]:
        key, why = ".".join(map(str, place["loc"])), place["msg"]
        said.append(f"{key}: {why[:1].lower()}{why[1:]}" if key else why)
    more = f"; and {len(places) - _MOST} more" if len(places) > _MOST else ""
    return "; ".join(said) + more
