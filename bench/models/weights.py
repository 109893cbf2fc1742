"""Files of weights: safetensors, or ``.pt`` loaded without running the code that a pickle can carry.

What a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import hashlib
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from bench.digests import file_digest
from bench.errors import ModelError, ModelUnavailable, UnsafeWeights
from bench.suites.places import Places

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_DAMAGED = (
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    OSError,
    ImportError,
)
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights themselves (git lfs pull fetches them)"),
    (b"<!", "an HTML page, not weights (a download that failed?)"),
    (b"<html", "an HTML page, not weights (a download that failed?)"),
    (b"\x89HDF", "an HDF5 file (Keras), not weights of a PyTorch model"),
)
_ACCEPTED = "accepted: safetensors, or a state dict saved with torch.save"


def require(path: Path, sha256: str | None) -> str:
    """The sha256 of a file of weights.

    Args:
        path: the file.
        sha256: what it must be, in hex; ``None`` where nothing is asked for.

    Raises:
        ModelUnavailable: if there is no such file.
        ModelError: if it can't be read, or has another digest.
    """
    if not path.exists():
        raise ModelUnavailable(f"{path}: no such file of weights")
    try:
        digest = file_digest(path)
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from error
    if sha256 is not None and digest != sha256.lower():
        raise ModelError(f"{path}: sha256 is {digest}, it must be {sha256.lower()}: not the weights that are asked for")
    return digest


def tensors_digest(state: Mapping[str, Tensor]) -> str:
    """The sha256 of named tensors: names, types, shapes and bytes, names sorted."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def read(path: Path, places: Places) -> Any:  # Any: what the file holds; state_dict.find looks for the weights in it
    """What a file of weights holds.

    Args:
        path: the file.
        places: says whether the user trusts this file to be unpickled.

    Raises:
        UnsafeWeights: if it would have to be unpickled and the user hasn't allowed that; names what it asks for.
        ModelError: if it is empty, truncated, damaged, or something else.
    """
    head = _head(path)
    if not head:
        raise ModelError(f"{path}: the file is empty ({_ACCEPTED})")
    for start, what in _FOREIGN:
        if head.lstrip().lower().startswith(start.lower()):
            raise ModelError(f"{path}: {what} ({_ACCEPTED})")
    if _is_safetensors(head, path):
        return _read_safetensors(path)
    if path.suffix == ".safetensors":
        raise ModelError(f"{path}: not a safetensors file, or a damaged one, whatever its name says")
    if _is_torchscript(path):
        raise ModelError(f"{path}: a TorchScript archive; save its state_dict() instead ({_ACCEPTED})")
    return _read_pickle(path, trusted=path.resolve() in places.allow_pickle)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except FileNotFoundError:
        raise ModelUnavailable(f"{path}: no such file of weights") from None
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from error


def _is_safetensors(head: bytes, path: Path) -> bool:
    """Eight bytes of length, then a JSON object."""
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < max(path.stat().st_size, 1 << 27)


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: truncated or damaged safetensors file: {error}") from error


def _read_pickle(path: Path, *, trusted: bool) -> Any:  # Any: whatever was pickled
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            return torch.load(path, map_location="cpu", weights_only=not trusted)
    except pickle.UnpicklingError as error:
        raise _refusal(path, error, trusted) from error
    except torch.OutOfMemoryError:
        raise
    except _DAMAGED as error:
        seen = str(error).strip().partition("\n")[0][:200]
        reason = f"{type(error).__name__}: {seen}" if seen else type(error).__name__
        raise ModelError(f"{path}: not a file of weights, or truncated or damaged: {reason} ({_ACCEPTED})") from error


def _refusal(path: Path, error: pickle.UnpicklingError, trusted: bool) -> ModelError:
    """Why torch would not unpickle a file."""
    wanted = _GLOBAL.findall(str(error)) or _pickled_names(path)
    if trusted or not wanted:
        return ModelError(f"{path}: not a file of weights, or truncated or damaged ({_ACCEPTED})")
    names = ", ".join(dict.fromkeys(wanted[:3]))
    return UnsafeWeights(
        f"{path}: not only tensors: unpickling it would call {names}, and a pickle can run any code. Save the"
        f" state_dict alone (torch.save or safetensors), or, if you trust this file, add --allow-pickle {path}"
    )


def _pickled_names(path: Path) -> list[str]:
    """The names that a bare pickle looks up (found by reading its opcodes, not by running it); none if it is no pickle."""
    names: list[str] = []
    strings: list[str] = []
    try:
        with path.open("rb") as file:
            if file.read(1) != b"\x80":
                return []
            file.seek(0)
            for opcode, argument, _ in _opcodes(file):
                if opcode == "GLOBAL":
                    names.append(str(argument).replace(" ", "."))
                elif opcode == "STACK_GLOBAL":
                    names.append(".".join(strings[-2:]))
                elif "UNICODE" in opcode:
                    strings.append(str(argument))
    except (ValueError, OSError):
        return []
    return names


def _opcodes(file: Any) -> Iterator[tuple[str, object, int | None]]:  # Any: a binary file, as pickletools takes it
    for opcode, argument, position in pickletools.genops(file):
        yield opcode.name, argument, position
