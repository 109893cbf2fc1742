"""What a paper must cite: the entries of ``literature.bib`` that a run's attacks, defenses, models and data rest on.

An attack or defense is joined to its entries by what its line in the table of names says of its paper: the arXiv number or
the title. What has no entry (a plugin's paper) is cited by that text, and a model of RobustBench by what its leaderboard
says of it; nothing is made up.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import NamedTuple

from bench import registry
from bench.leaderboard.paper.texts import escape
from bench.store import published
from bench.suites.naming import entry_of
from bench.suites.spec import AttackSpec, DatasetSpec, DefenseSpec

_ENTRY = re.compile(r"^@(\w+)\{([^,\s]+),\n(.*?)^\}$", re.S | re.M)
_FIELD = re.compile(r"^ {2}(\w+) = \{(.*)\},$", re.M)
_ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})")
_LIBRARIES = {
    "foolbox": ("rauber2017foolbox", "rauber2020foolbox"),
    "art": ("nicolae2018adversarial",),
    "autoattack": ("croce2020reliable",),
}
_SOURCES = {"robustbench": ("croce2021robustbench",), "timm": ("wightman2019pytorch",)}
_DATASETS = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "ImageNet": "imagenet"}


class Reference(NamedTuple):
    """One entry of the literature."""

    key: str
    kind: str
    fields: dict[str, str]
    text: str

    @property
    def title(self) -> str:
        """Without the braces that keep capitals."""
        return self.fields["title"].replace("{", "").replace("}", "")


@cache
def literature() -> dict[str, Reference]:
    """The entries of the package by their keys, which never change."""
    text = resources.files("bench.leaderboard.paper").joinpath("literature.bib").read_text(encoding="utf-8")
    found = [Reference(match[2], match[1], dict(_FIELD.findall(match[3])), match[0]) for match in _ENTRY.finditer(text)]
    return {reference.key: reference for reference in found}


def named_in(paper: str) -> tuple[str, ...]:
    """The keys of the entries that a text names, by arXiv number or title, in the order of the literature."""
    numbers, lower = set(re.findall(r"\d{4}\.\d{4,5}", paper)), paper.lower()
    return tuple(
        key
        for key, reference in literature().items()
        if reference.fields.get("eprint") in numbers or reference.title.lower() in lower
    )


class Bibliography:
    """Collects what is cited; each method gives the keys for ``\\cite``."""

    def __init__(self) -> None:
        self._cited: dict[str, str] = {}

    def cite(self, *keys: str) -> tuple[str, ...]:
        """Entries of the literature."""
        for key in keys:
            self._cited.setdefault(key, literature()[key].text)
        return keys

    def attack(self, spec: AttackSpec, norm: str) -> tuple[str, ...]:
        """The papers of an attack, and of the library that runs it."""
        entry = entry_of(registry.attacks, spec.name)
        keys = self._paper("attack", spec.name, "" if entry is None else entry.paper)
        if norm != "l1":
            keys = tuple(key for key in keys if key != "croce2021mind")
        if spec.name == "fgsm" and spec.args.get("random_start"):
            keys += self.cite("wong2020fast")
        return tuple(dict.fromkeys(keys + self.cite(*_LIBRARIES.get(spec.backend or "", ()))))

    def defense(self, spec: DefenseSpec) -> tuple[str, ...]:
        """The papers of a defense, or of all of a chain."""
        keys: tuple[str, ...] = ()
        for link in spec.links:
            entry = entry_of(registry.defenses, link.name)
            keys += self._paper("defense", link.name, "" if entry is None else entry.paper)
        return tuple(dict.fromkeys(keys))

    def dataset(self, spec: DatasetSpec) -> tuple[str, ...]:
        """The paper of a dataset; RobustBench's, which the table names for ImageNet's selection, is cited elsewhere."""
        entry = entry_of(registry.datasets, spec.name)
        keys = self._paper("dataset", spec.name, "" if entry is None else entry.paper)
        return tuple(key for key in keys if key != "croce2021robustbench")

    def model(self, source: str, entry: tuple[str, str, str] | None) -> tuple[str, ...]:
        """The entry of RobustBench's leaderboard that a model is, and where its weights come from.

        Args:
            source: of the model.
            entry: dataset, threat model and name on the leaderboard, where it is one.
        """
        found = None if entry is None else published.table().get((entry[0].lower(), entry[1].lower(), entry[2]))
        keys = () if found is None else self._model(found)
        return keys or self.cite(*_SOURCES.get(source, ()))

    def text(self) -> str:
        """``references.bib``: everything that was cited, in the order of the keys."""
        return "\n\n".join(self._cited[key] for key in sorted(self._cited, key=str.lower)) + "\n"

    def __contains__(self, key: str) -> bool:
        return key in self._cited

    def _paper(self, kind: str, name: str, paper: str) -> tuple[str, ...]:
        if not paper.strip():
            return ()
        known = named_in(paper)
        if known:
            return self.cite(*known)
        key = f"{kind}-{_slug(name)}"
        self._cited.setdefault(key, _misc(key, {"key": escape(name), "note": escape(paper), **_arxiv(paper)}))
        return (key,)

    def _model(self, found: published.Published) -> tuple[str, ...]:
        key = f"robustbench-{_slug(found.dataset)}-{_slug(found.threat_model)}-{_slug(found.entry)}"
        dataset = next((name for name, own in _DATASETS.items() if own == found.dataset.lower()), found.dataset)
        where = f"{{{escape(dataset)}}}, {{{escape(found.threat_model)}}}"
        title = f"{{{escape(found.entry)}}}: an entry of {{RobustBench}}, {where}"
        fields = {"key": escape(found.entry), "title": title}
        if found.venue not in ("", "N/A"):
            dated = re.fullmatch(r"(.*?),? (\d{4})", found.venue)
            fields["howpublished"] = f"{{{escape(dated[1] if dated else found.venue)}}}"
            fields |= {"year": dated[2]} if dated else {}
        number = _ARXIV.search(found.link)
        if number:
            fields |= {"eprint": number[1], "archiveprefix": "arXiv"}
        self._cited.setdefault(key, _misc(key, {**fields, "url": _url(found.link)}))
        return (key,)


def _misc(key: str, fields: dict[str, str]) -> str:
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@misc{{{key},\n{lines}}}"


def _arxiv(paper: str) -> dict[str, str]:
    number = re.search(r"arXiv:(\d{4}\.\d{4,5})", paper)
    return {"eprint": number[1], "archiveprefix": "arXiv"} if number else {}


def _slug(name: str) -> str:
    """What a key may hold."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-") or "unnamed"


def _url(link: str) -> str:
    """A link without what would end its field or its argument; no published one has any."""
    return re.sub(r"[{}\\\s%#^~]", "", link)
