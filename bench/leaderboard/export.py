"""Entries for RobustBench's leaderboard, from a run's bare rows.

RobustBench takes one JSON file per model, ``model_info/<dataset>/<threat model>/<model>.json`` (Croce et al. 2021,
arXiv:2010.09670; its contribution guide). :class:`ModelInfo` was made from the structure of the 236 entries of RobustBench
1.1.1, and holds each of them. What a run can't know, its authors say; what they don't say stays empty, and is warned of.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.errors import StoreError, UnknownNameError
from bench.store import published
from bench.store.cell_outcome import CellOutcome
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.suites.spec import ModelSpec, format_eps

_IMAGES = {"cifar10": 10_000, "cifar100": 10_000, "imagenet": 5_000}
"""How many test images a number on the leaderboard is made of."""
_THREAT_MODELS: dict[tuple[str, str], tuple[str, Fraction]] = {
    ("cifar10", "linf"): ("Linf", Fraction(8, 255)),
    ("cifar10", "l2"): ("L2", Fraction(1, 2)),
    ("cifar100", "linf"): ("Linf", Fraction(8, 255)),
    ("imagenet", "linf"): ("Linf", Fraction(4, 255)),
}
"""By dataset and norm, the leaderboard's list and its radius."""
_STANDARD: dict[str, Any] = {"version": "standard", "n_queries": 5000, "eot_iter": None}  # Any: JSON values

Number = Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,2})?$")]


class ModelInfo(BaseModel):
    """One entry of RobustBench's leaderboard; accuracies are texts, in %."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    link: str
    name: str
    """title of the paper"""
    authors: str
    additional_data: bool
    number_forward_passes: int = Field(ge=1)
    dataset: Literal["cifar10", "cifar100", "imagenet"]
    venue: str
    architecture: str
    eps: Annotated[str, Field(pattern=r"^(\d+/255|\d\.\d{1,3})$")] | None
    clean_acc: Number
    reported: Annotated[str, Field(pattern=r"^(|null|\d{1,3}(\.\d{1,2})?)$")] | None
    autoattack_acc: Number | None = None
    external: Number | None = None
    """what a stronger attack left"""
    footnote: str | None = None
    unreliable: bool | None = None
    corruptions_acc: Number | None = None
    corruptions_mce: Number | None = None
    corruptions_acc_3d: Number | None = None
    corruptions_mce_3d: Number | None = None

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if self.autoattack_acc is None and self.corruptions_acc is None:
            raise ValueError("an entry has autoattack_acc or corruptions_acc")
        if self.autoattack_acc is not None and self.eps is None:
            raise ValueError("autoattack_acc goes with eps")
        return self


class Said(NamedTuple):
    """What a run can't know; ``None`` where nothing was said."""

    authors: str | None = None
    link: str | None = None
    venue: str | None = None
    name: str | None = None
    architecture: str | None = None
    additional_data: bool | None = None
    reported: str | None = None
    footnote: str | None = None
    number_forward_passes: int = 1

    @property
    def anything(self) -> bool:
        """Whether anything was said that only one model can have."""
        return any(value is not None for value in self[:8]) or self.number_forward_passes != 1


class Exported(NamedTuple):
    """One entry."""

    path: str
    """of the file: ``model_info/<dataset>/<threat model>/<model>.json``"""
    info: ModelInfo
    missing: tuple[str, ...]
    """keys that are empty, and that the leaderboard needs"""

    @property
    def text(self) -> str:
        """The file."""
        return json.dumps(self.info.model_dump(exclude_unset=True), indent=2, ensure_ascii=False) + "\n"


class Refused(NamedTuple):
    """A row that can't be an entry."""

    row: str
    reason: str


class Export(NamedTuple):
    """All bare rows of a run at the leaderboard's radii."""

    entries: tuple[Exported, ...]
    refused: tuple[Refused, ...]


def export(outcome: RunOutcome, said: Said, *, model: str | None = None, allow_subset: bool = False) -> Export:
    """The entries of a run's bare rows.

    Args:
        outcome: the rows of the run.
        said: what the run can't know.
        model: only this model.
        allow_subset: take numbers that aren't of the whole test set, and say so in the footnote.

    Raises:
        StoreError: where no row can be an entry, for a reason that is the run's.
        UnknownNameError: for a model that has no bare row.
    """
    dataset = outcome.record.suite.dataset
    if dataset.name not in _IMAGES:
        raise StoreError(f"RobustBench has no leaderboard for {dataset.name} (it has: {', '.join(_IMAGES)})")
    if dataset.split == "train":
        raise StoreError("RobustBench's numbers are of test images; these are of the train split")
    bare = [row for row in outcome.rows if row.bare and model in (None, row.model)]
    names = tuple(dict.fromkeys(row.model for row in outcome.rows if row.bare))
    if model is not None and not bare:
        raise UnknownNameError("model with a bare row", model, (), names)
    rows = [row for row in bare if _listed(dataset.name, row) is not None]
    if not rows:
        wanted = ", ".join(
            f"{norm} {format_eps(eps)}" for (own, _), (norm, eps) in _THREAT_MODELS.items() if own == dataset.name
        )
        raise StoreError(f"no bare row is at a radius of RobustBench's {dataset.name} leaderboards ({wanted})")
    if said.anything and len({row.model for row in rows}) > 1:
        raise StoreError(
            "authors, links and the like are of one model, and this run has several: name it with --model "
            f"({', '.join(dict.fromkeys(row.model for row in rows))})"
        )
    subset = _subset(outcome)
    if subset and not allow_subset:
        raise StoreError(f"{subset}; run them all, or use --allow-subset, which says so in the footnote")
    entries, refused = [], []
    for row in rows:
        found = _cell(row)
        if isinstance(found, str):
            refused.append(Refused(f"{row.label}, {row.threat_model.label}", found))
        else:
            entries.append(_entry(outcome, row, found, said, subset))
    return Export(tuple(entries), tuple(refused))


def write(directory: Path, found: Export) -> list[Path]:
    """Writes the files of the entries.

    Raises:
        StoreError: where a file can't be written.
    """
    from bench.store.atomic import write_text

    paths = [directory / entry.path for entry in found.entries]
    for path, entry in zip(paths, found.entries, strict=True):
        write_text(path, entry.text)
    return paths


def _listed(dataset: str, row: RowOutcome) -> str | None:
    """The list that a row belongs to, where its radius is exactly that of the leaderboard."""
    found = _THREAT_MODELS.get((dataset, row.threat_model.norm))
    return found[0] if found is not None and found[1] == row.threat_model.eps else None


def _subset(outcome: RunOutcome) -> str:
    """Why these images aren't RobustBench's; empty where nothing is known against them."""
    spec, all_of_them = outcome.record.suite.dataset, _IMAGES[outcome.record.suite.dataset.name]
    how = {"first": "the first ", "random": "a random ", "stratified": "a stratified "}[spec.select]
    texts = []
    if outcome.samples != all_of_them:
        texts.append(f"Evaluated on {how}{outcome.samples:,} of the {all_of_them:,} test images")
    note = " ".join(str(outcome.record.dataset.get("note") or "").split())
    return ". ".join([*texts, f"Images: {note}"] if note else texts)


def _cell(row: RowOutcome) -> CellOutcome | str:
    """The finished cell of standard AutoAttack, of several seeds the one that leaves least; else why there is none."""
    cells = [cell for cell in row.of("suite") if cell.result is not None and cell.result.attack.name == "autoattack"]
    if not cells:
        return "the suite has no AutoAttack; autoattack_acc comes from nothing else"
    standard = [cell for cell in cells if _is_standard(cell)]
    if not standard:
        return f"its AutoAttack isn't the standard one ({', '.join(sorted({cell.attack for cell in cells}))})"
    done = [cell for cell in standard if cell.valid]
    if not done:
        cell = standard[0]
        return (
            f"AutoAttack is {cell.status if cell.status != 'done' else 'invalid'}: {cell.reason or 'see bench explain'}"
        )
    return min(done, key=lambda cell: float(cell.correctness.mean()))


def _is_standard(cell: CellOutcome) -> bool:
    args = {} if cell.result is None else cell.result.attack.args
    return all(args.get(key, value) == value for key, value in _STANDARD.items())


def _entry(outcome: RunOutcome, row: RowOutcome, cell: CellOutcome, said: Said, subset: str) -> Exported:
    dataset = outcome.record.suite.dataset.name
    listed = str(_listed(dataset, row))
    spec = next(
        (spec for spec in outcome.record.suite.models if spec.id == row.model), ModelSpec(id=row.model, source="?")
    )
    texts = {**_known(row, spec), **{key: value for key, value in said._asdict().items() if isinstance(value, str)}}
    robust, worst = float(cell.correctness.mean()), float(row.worst_correctness.mean())
    info = {
        "link": texts.get("link", ""),
        "name": texts.get("name", ""),
        "authors": texts.get("authors", ""),
        "additional_data": bool(said.additional_data),
        "number_forward_passes": said.number_forward_passes,
        "dataset": dataset,
        "venue": texts.get("venue", ""),
        "architecture": texts.get("architecture", ""),
        "eps": format_eps(row.threat_model.eps),
        "clean_acc": _percent(float(row.clean_correctness.mean())),
        "reported": texts.get("reported", ""),
        "autoattack_acc": _percent(robust),
        "unreliable": _doubtful(row, cell),
    }
    if _percent(worst) != _percent(robust):
        info["external"] = _percent(worst)
    footnote = " ".join(text for text in (texts.get("footnote", ""), f"{subset}." if subset else "") if text)
    if footnote:
        info["footnote"] = footnote
    needed = ("link", "name", "authors", "venue", "architecture")
    missing = [key for key in needed if not info[key]]
    missing += ["additional_data"] if said.additional_data is None else []
    path = f"model_info/{dataset}/{listed}/{row.model}.json"
    return Exported(path, ModelInfo.model_validate(info), tuple(missing))


def _known(row: RowOutcome, spec: ModelSpec) -> dict[str, str]:
    """What the suite says of a model, and the leaderboard where the model stands on it already."""
    found = {"architecture": spec.architecture} if spec.architecture else {}
    for cell in row.cells:
        entry = None if cell.result is None else cell.result.provenance.get("published")
        if entry:
            dataset, threat_model, name = (str(part) for part in entry)
            known = published.table().get((dataset.lower(), threat_model.lower(), name))
            if known is not None:
                return {**found, "link": known.link, "venue": known.venue, "architecture": known.architecture}
    return found


def _doubtful(row: RowOutcome, cell: CellOutcome) -> bool:
    """Whether a warning speaks of AutoAttack's number or of the row as a whole."""
    severities = [flag.severity for flag in (() if cell.result is None else cell.result.flags)]
    severities += [finding.severity for finding in (*cell.findings, *row.findings)]
    return any(severity != "info" for severity in severities)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
