"""State dicts: finding one inside a file, and loading it strictly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from bench.errors import ModelError

_USUAL = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "params",
    "weights",
    "ema",
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
)
"""Where people keep the weights in a checkpoint that holds more than them."""
_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
_SHOWN = 4


class Found(NamedTuple):
    """A state dict, the key that leads to it, and what a reader must know of the choice."""

    state: dict[str, Tensor]
    key: str
    note: str = ""


def find(content: Any, key: str | None, where: Path) -> Found:  # Any: whatever a file of weights held
    """The state dict inside the content of a file.

    Args:
        content: a state dict, or a dict or list that holds one, or a whole network.
        key: where it lies, such as ``state_dict.0``; looked for at the usual places where it is ``None``.
        where: the file, for messages.

    Raises:
        ModelError: if there is none at the key, none at all, or several.
    """
    if key is not None:
        value = _follow(content, key, where)
        state = _as_state(value)
        if state is None and isinstance(value, Mapping | list | tuple):
            return _search(value, where, prefix=key)
        if state is None:
            raise ModelError(f"{where}: key: {key} leads to {_describe(value)}, not to a state dict (name to tensor)")
        return Found(state, key)
    return _search(content, where, prefix="")


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Loads a state dict into a network; every tensor must have its place and every place its tensor.

    Prefixes that wrappers put before every name are taken off, and so is any other common prefix that makes the names
    fit exactly. Missing ``num_batches_tracked`` don't matter: eval mode doesn't use them.

    Args:
        network: gets the weights.
        state: name to tensor.
        where: the file and architecture, for messages.

    Raises:
        ModelError: naming what is missing, unexpected or of another shape.
    """
    own = network.state_dict()
    given = _unwrapped(state, own)
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in own]
    misshapen = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    if missing or unexpected or misshapen:
        kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        problems = "; ".join(f"{kind}: {_shortened(names)}" for kind, names in kinds if names)
        raise ModelError(f"{where}: the weights don't fit the architecture: {problems}")
    network.load_state_dict({**own, **given}, strict=True)


def _search(content: Any, where: Path, *, prefix: str) -> Found:  # Any: as above
    state = _as_state(content)
    if state is not None:
        return Found(state, prefix)
    if isinstance(content, list | tuple) and content and _as_state(content[0]) is not None:
        found = Found(_as_state(content[0]) or {}, f"{prefix}.0".lstrip("."))
        note = f"item 0 of {len(content)} state dicts in {where.name}" if len(content) > 1 else ""
        return found._replace(note=note)
    candidates = list(_candidates(content, where, prefix))
    if not candidates:
        raise ModelError(f"{where}: no state dict (name to tensor) found in {_describe(content)}; say where with key")
    if len(candidates) > 1:
        keys = ", ".join(candidate.key for candidate in candidates)
        raise ModelError(f"{where}: several state dicts; say which one with key (accepted: {keys})")
    return candidates[0]


def _candidates(content: Any, where: Path, prefix: str) -> Iterable[Found]:  # Any: as above
    if isinstance(content, Mapping):
        for name in _USUAL:
            value = content.get(name)
            if _holds_state(value):
                yield _search(value, where, prefix=f"{prefix}.{name}".lstrip("."))


def _holds_state(value: Any) -> bool:  # Any: as above
    """Whether a state dict lies in the value, at its first item, or one usual name below."""
    if _as_state(value) is not None:
        return True
    if isinstance(value, list | tuple):
        return bool(value) and _as_state(value[0]) is not None
    return isinstance(value, Mapping) and any(_as_state(value.get(name)) is not None for name in _USUAL)


def _as_state(value: Any) -> dict[str, Tensor] | None:  # Any: as above
    if isinstance(value, nn.Module):
        return dict(value.state_dict())
    if not isinstance(value, Mapping) or not value:
        return None
    if all(isinstance(name, str) and isinstance(item, Tensor) for name, item in value.items()):
        return {str(name): item.detach() for name, item in value.items()}
    return None


def _follow(content: Any, key: str, where: Path) -> Any:  # Any: as above
    """The value that a dotted key leads to; names may hold dots themselves."""
    value, rest, done = content, key, ""
    while rest:
        if isinstance(value, Mapping) and rest in value:
            return value[rest]
        step, _, after = rest.partition(".")
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list | tuple) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            place = f" under {done}" if done else ""
            raise ModelError(f"{where}: key: {key}: there is no {step!r}{place} (accepted: {_choices(value)})")
        done, rest = f"{done}.{step}".lstrip("."), after
    return value


def _unwrapped(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    given = dict(state)
    while prefix := next((p for p in _WRAPPERS if given and all(name.startswith(p) for name in given)), ""):
        given = {name.removeprefix(prefix): tensor for name, tensor in given.items()}
    prefix = next(iter(given), "").partition(".")[0] + "."
    stripped = {name.removeprefix(prefix): tensor for name, tensor in given.items() if name.startswith(prefix)}
    fits = len(stripped) == len(given) and stripped.keys() == own.keys()
    return stripped if fits else given


def _choices(value: Any) -> str:  # Any: as above
    if isinstance(value, Mapping):
        return _shortened([str(name) for name in value])
    if isinstance(value, list | tuple):
        return f"0 to {len(value) - 1}" if value else "nothing, the list is empty"
    return f"nothing, {_describe(value)} ends here"


def _describe(value: Any) -> str:  # Any: as above
    if isinstance(value, Mapping):
        return f"a dict with {_shortened([str(name) for name in value])}" if value else "an empty dict"
    return f"a {type(value).__name__}"


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
