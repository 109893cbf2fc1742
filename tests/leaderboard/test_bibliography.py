"""Every citation has its entry, every attack and defense its literature, and nothing is made up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from paper_run import paper_run

from bench import registry
from bench.leaderboard.paper import contents
from bench.leaderboard.paper.bibliography import Bibliography, literature, named_in
from bench.leaderboard.paper.styles import STYLES, Choices
from bench.registry import Entry
from bench.store import published
from bench.suites.spec import AttackSpec, DatasetSpec, DefenseSpec


def keys_of(bib: str) -> list[str]:
    return re.findall(r"^@\w+\{([^,]+),$", bib, re.M)


@pytest.mark.parametrize("key", literature())
def test_entries_are_whole(key: str) -> None:
    found = literature()[key]
    surname, year, word = re.fullmatch(r"([a-z]+)(\d{4})([a-z]+)", key).groups()  # type: ignore[union-attr]
    assert {"author", "title", "year"} <= set(found.fields)
    assert found.fields["year"] == year
    first = re.sub(r"[^a-z]", "", found.fields["author"].split(",")[0].lower())
    assert first.startswith(surname) or surname in first
    assert word in re.sub(r"[^a-z]", "", found.title.lower())
    where = {"inproceedings": "booktitle", "article": "journal", "techreport": "institution", "misc": "howpublished"}
    assert where[found.kind] in found.fields
    number = found.fields.get("eprint")
    assert number is None or re.fullmatch(r"\d{4}\.\d{4,5}", number)
    assert found.text.count("{") == found.text.count("}")
    assert found.text.isascii()


def test_no_entry_is_there_twice() -> None:
    text = (Path(__file__).parents[2] / "bench/leaderboard/paper/literature.bib").read_text(encoding="utf-8")
    assert keys_of(text) == list(literature())
    assert len(set(keys_of(text))) == len(keys_of(text)) > 50
    numbers = [found.fields["eprint"] for found in literature().values() if "eprint" in found.fields]
    assert len(set(numbers)) == len(numbers)


def test_keys_that_papers_may_have_in_their_text() -> None:
    wanted = {
        "goodfellow2015explaining", "madry2018towards", "carlini2017towards", "croce2020reliable", "croce2021robustbench",
        "rauber2017foolbox", "nicolae2018adversarial", "krizhevsky2009learning", "lecun1998gradient", "russakovsky2015imagenet",
        "carlini2019evaluating", "athalye2018obfuscated", "tramer2020adaptive", "mcnemar1947note", "holm1979simple",
        "wilson1927probable", "cohen2019certified",
    }  # fmt: skip
    assert wanted <= set(literature())


def _of_bench(table: registry.Registry) -> list[tuple[str, Entry]]:  # type: ignore[type-arg]
    return [(name, entry) for name, entry in table.entries().items() if entry.origin == "bench" and entry.paper]


@pytest.mark.parametrize(
    ("name", "paper"),
    [
        (name, entry.paper)
        for table in (registry.attacks, registry.defenses, registry.datasets)
        for name, entry in _of_bench(table)
    ],
)
def test_everything_that_has_a_paper_has_an_entry(name: str, paper: str) -> None:
    """What fails here needs an entry in literature.bib."""
    numbers = set(re.findall(r"arXiv:(\d{4}\.\d{4,5})", paper))
    found = named_in(paper)
    assert found, name
    assert numbers <= {literature()[key].fields.get("eprint") for key in found}


@pytest.mark.parametrize("style", STYLES)
def test_every_citation_has_its_entry(tmp_path: Path, style: str) -> None:
    texts = contents(paper_run(tmp_path, several=True), Choices(style=style))
    cited = {
        key
        for name, text in texts.items()
        if name.endswith(".tex")
        for keys in re.findall(r"\\cite\{([^}]*)\}", text)
        for key in keys.split(",")
    }
    entries = keys_of(texts["references.bib"])
    assert len(entries) == len(set(entries))
    assert cited <= set(entries)
    assert {
        key for keys in re.findall(r"\[(@[^\]]+)\]", texts["appendix.md"]) for key in keys.replace("@", "").split("; ")
    } <= set(entries)
    assert {
        "madry2018towards",
        "croce2020reliable",
        "robustbench-cifar10-Linf-Wong2020Fast",
        "krizhevsky2009learning",
    } <= cited


def test_a_published_model_says_what_the_leaderboard_says() -> None:
    cited = Bibliography()
    assert cited.model("robustbench", ("cifar10", "Linf", "Wong2020Fast")) == ("robustbench-cifar10-Linf-Wong2020Fast",)
    text = cited.text()
    assert "author" not in text
    assert "  howpublished = {{ICLR}},\n  year = {2020},\n" in text
    assert "  eprint = {2001.03994},\n" in text
    assert "  url = {https://arxiv.org/abs/2001.03994},\n" in text


def test_all_published_models_have_keys_of_their_own() -> None:
    cited = Bibliography()
    for entry in published.table().values():
        cited.model("robustbench", (entry.dataset, entry.threat_model, entry.entry))
    assert len(keys_of(cited.text())) == len(published.table())
    for entry in published.table().values():
        assert entry.link in cited.text()


def test_unknown_papers_are_cited_as_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("x:y", "", paper="Doe 2031, 100 % Sure, arXiv:3101.00001", origin="plugin.py")
    monkeypatch.setitem(registry.attacks.entries(), "sure", entry)
    cited = Bibliography()
    assert cited.attack(AttackSpec(name="sure"), "linf") == ("attack-sure",)
    assert "  note = {Doe 2031, 100 \\% Sure, arXiv:3101.00001},\n  eprint = {3101.00001},\n" in cited.text()
    assert cited.attack(AttackSpec(name="nothing_known"), "linf") == ()


def test_what_a_run_adds_to_its_papers() -> None:
    cited = Bibliography()
    assert cited.attack(AttackSpec(name="apgd"), "linf") == ("croce2020reliable",)
    assert cited.attack(AttackSpec(name="apgd"), "l1") == ("croce2020reliable", "croce2021mind")
    assert cited.attack(AttackSpec(name="pgd", backend="art"), "l2") == ("madry2018towards", "nicolae2018adversarial")
    assert cited.attack(AttackSpec(name="fgsm", args={"random_start": True}), "linf")[-1] == "wong2020fast"
    chain = DefenseSpec(name="chain", chain=(DefenseSpec(name="jpeg"), DefenseSpec(name="bilateral_blur")))
    assert cited.defense(chain) == ("dziugaite2016study", "tomasi1998bilateral")
    assert cited.dataset(DatasetSpec(name="imagenet")) == ("russakovsky2015imagenet",)
    assert cited.model("timm", None) == ("wightman2019pytorch",)
    assert cited.model("checkpoint", None) == ()
