"""RobustBench's model zoo (Croce et al. 2021, arXiv:2010.09670), through its own loader."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import io
import os
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from bench import _imports
from bench.digests import value_digest
from bench.errors import ModelError, ModelUnavailable, UnknownNameError, UnsafeWeights
from bench.models import weights
from bench.models.architectures.building import release
from bench.models.base import Located, Setting
from bench.models.weights import tensors_digest
from bench.suites.places import Places
from bench.suites.spec import ModelSpec

_THREAT_MODELS = {"linf": "Linf", "l2": "L2"}
_LOADING = (RuntimeError, LookupError, TypeError, AttributeError, ValueError, EOFError)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A model in one of RobustBench's lists.

    ``files`` are where its weights lie; there are none where timm or torchvision host them. ``note`` says so where
    RobustBench's own figure is for another preprocessing than its usual one.
    """

    dataset: str
    threat_model: str
    name: str
    directory: Path
    files: tuple[Path, ...]
    drive_ids: tuple[str, ...]
    note: str = ""


class Robustbench:
    """``robustbench:NAME``; the list is that of the suite's dataset and norm, unless the model says otherwise."""

    name: ClassVar[str] = "robustbench"

    def locate(self, spec: ModelSpec, setting: Setting, places: Places) -> Located:
        """Finds ``<directory>/<dataset>/<threat model>/<name>.pt``, or lets RobustBench download it."""
        listed = _find(spec, setting, places)
        versions = {library: release(library) for library in ("robustbench", "timm")}
        code = value_digest({**versions, "model": [listed.dataset, listed.threat_model, listed.name]})
        published = (listed.dataset, listed.threat_model, listed.name)
        if not listed.files:
            if not places.download:
                raise ModelUnavailable(f"robustbench:{listed.name}: hosted by timm or torchvision; downloads are off")
            return Located(None, tensors_digest(_load(listed, places).state_dict()), code, published)
        for path, drive_id in zip(listed.files, listed.drive_ids, strict=True):
            if not path.is_file():
                _download(listed, path, drive_id, places)
        return Located(listed.files[0], _files_digest(listed, spec, places), code, published, listed.note)

    def build(self, spec: ModelSpec, setting: Setting, places: Places, located: Located) -> nn.Module:
        """The network as RobustBench gives it; its normalisation is inside."""
        return _load(_find(spec, setting, places), places)


def _files_digest(listed: _Listed, spec: ModelSpec, places: Places) -> str:
    """The sha256 of the file, or of the digests of an ensemble's files; every file must be loadable."""
    if len(listed.files) == 1:
        digest = weights.require(listed.files[0], spec.sha256)
    else:
        digests = [weights.require(path, None) for path in listed.files]
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
        if spec.sha256 is not None and digest != spec.sha256.lower():
            raise ModelError(f"{spec.id}: sha256: the digest of its {len(digests)} files' digests is {digest}")
    for path in listed.files:
        weights.read(path, places)
    return digest


def _find(spec: ModelSpec, setting: Setting, places: Places) -> _Listed:
    """The model's place in RobustBench's lists.

    Raises:
        ModelError: where there is no list for the dataset or norm, or the classes differ.
        UnknownNameError: with the nearest names, and the lists that have it.
    """
    dataset = str(spec.args.get("dataset") or setting.dataset)
    lists = {key.value: table for key, table in _imports.robustbench("robustbench.model_zoo").model_dicts.items()}
    if dataset not in lists:
        accepted = ", ".join(lists)
        raise ModelError(f"{spec.id}: RobustBench has no models for {dataset} (args: dataset: accepted: {accepted})")
    threat_model = spec.threat_model or _THREAT_MODELS.get(setting.norm, setting.norm)
    tables = {key.value: table for key, table in lists[dataset].items()}
    if threat_model not in tables:
        raise ModelError(f"{spec.id}: RobustBench has no {threat_model} list (accepted: {', '.join(tables)})")
    _check_classes(dataset, setting)
    name, directory = str(spec.name), Path(spec.directory).expanduser() if spec.directory else places.model_dir
    if _hosted_by_timm(name, dataset, threat_model):
        return _Listed(dataset, threat_model, name, directory, (), ())
    if name not in tables[threat_model]:
        raise _unknown(name, dataset, threat_model, tables)
    drive, note = tables[threat_model][name]["gdrive_id"], _preprocessing_note(tables[threat_model][name], dataset)
    path = directory / dataset / threat_model / f"{name}.pt"
    if isinstance(drive, list):
        files = tuple(path.with_name(f"{path.name}_m{index}.pt") for index in range(len(drive)))
        return _Listed(dataset, threat_model, name, directory, files, tuple(drive), note)
    hosted = dataset == "imagenet" and "Standard" in name  # RobustBench takes torchvision's weights for these
    return _Listed(dataset, threat_model, name, directory, () if hosted else (path,), () if hosted else (drive,), note)


def _preprocessing_note(entry: dict[str, Any], dataset: str) -> str:
    """What to know where a model isn't evaluated with the images' usual preprocessing."""
    preprocessing = entry.get("preprocessing")
    if dataset != "imagenet" or preprocessing in (None, "Res256Crop224"):
        return ""
    return f"RobustBench's figure is for preprocessing {preprocessing}"


def _hosted_by_timm(name: str, dataset: str, threat_model: str) -> bool:
    """RobustBench registers some models with timm, which downloads them (the rule of its load_model)."""
    registered = f"{name.lower().replace('-', '_')}_{dataset}_{threat_model.lower()}"
    return bool(_imports.timm().is_model(registered))


def _check_classes(dataset: str, setting: Setting) -> None:
    classes = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}[dataset]
    if classes != setting.num_classes:
        there = f"{setting.dataset} has {setting.num_classes}"
        raise ModelError(f"RobustBench's {dataset} models tell {classes} classes apart, {there}")


def _unknown(name: str, dataset: str, threat_model: str, tables: dict[str, Any]) -> UnknownNameError | ModelError:
    """Where else the name stands, or the names that look like it."""
    elsewhere = [key for key, table in tables.items() if name in table]
    if elsewhere:
        there = " and ".join(elsewhere)
        return ModelError(
            f"robustbench:{name} stands in RobustBench's {dataset} {there} list, not in {threat_model};"
            f" say threat_model: {elsewhere[0]} to evaluate it all the same"
        )
    known = sorted(tables[threat_model])
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return UnknownNameError(f"model of RobustBench's {dataset} {threat_model} list", name, nearest, known)


def _download(listed: _Listed, path: Path, drive_id: str, places: Places) -> None:
    """RobustBench's own download of one file.

    Raises:
        ModelUnavailable: where it isn't allowed, or fails; says where the file belongs.
    """
    hint = f"put the file there (it is Google Drive's {drive_id}), or name its directory with directory"
    if not places.download:
        raise ModelUnavailable(f"robustbench:{listed.name}: {path} isn't there, and downloads are off; {hint}")
    exceptions = importlib.import_module("gdown.exceptions")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _silent():
            _imports.robustbench("robustbench.utils").download_gdrive_new(drive_id, path)
    except (OSError, RuntimeError, exceptions.FileURLRetrievalError) as error:
        reason = str(error).strip().partition("\n")[0]
        text = f"robustbench:{listed.name}: {path} isn't there, and the download failed: {reason}; {hint}"
        raise ModelUnavailable(text) from error
    if not path.is_file():
        raise ModelUnavailable(f"robustbench:{listed.name}: the download gave no file; {hint}")


def _load(listed: _Listed, places: Places) -> nn.Module:
    """RobustBench's load_model.

    Raises:
        UnsafeWeights: where a file would have to be unpickled.
        ModelUnavailable: where timm's or torchvision's weights can't be had.
        ModelError: where the weights don't fit.
    """
    where = f"robustbench:{listed.name}"
    trusted = any(path.resolve() in places.allow_pickle for path in listed.files)
    load_model = _imports.robustbench("robustbench.utils").load_model
    try:
        with _silent(), _imports.quiet(), _unpickling(trusted):
            network: nn.Module = load_model(
                listed.name, model_dir=str(listed.directory), dataset=listed.dataset, threat_model=listed.threat_model
            )
    except pickle.UnpicklingError as error:
        raise UnsafeWeights(f"{where}: {error}") from error
    except OSError as error:
        raise ModelUnavailable(f"{where}: the weights can't be had: {error}") from error
    except _LOADING as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{where}: RobustBench can't load it: {type(error).__name__}: {reason}") from error
    return network.eval()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Swallows what RobustBench and gdown print."""
    swallowed = io.StringIO()
    with contextlib.redirect_stdout(swallowed), contextlib.redirect_stderr(swallowed):
        yield


@contextlib.contextmanager
def _unpickling(trusted: bool) -> Iterator[None]:
    """Lets torch.load, which RobustBench calls without weights_only, unpickle a file that the user trusts."""
    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    if trusted:
        os.environ[name] = "1"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=f"Environment variable {name}", category=UserWarning)
            yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
