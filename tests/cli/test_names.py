"""``bench list``, ``show``, ``schema`` and ``doctor``: everything that there is can be shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from bench.cli import doctor as doctor_module
from bench.models.zoo.cards import Card, cards
from bench.registry import ALL, Entry
from bench.training import TABLE

NAMES = [(kind, name) for kind, table in ALL.items() for name in table.entries()]


@pytest.mark.parametrize("kind", ALL)
def test_list_names_everything(bench: object, kind: str) -> None:
    ended = bench("list", kind)  # type: ignore[operator]
    assert ended.code == 0
    for name, entry in ALL[kind].entries().items():
        assert f"\n{name}" in "\n" + ended.out
        for parameter in entry.params.model_fields if entry.params is not None else ():
            assert f"{parameter}=" in ended.out
    assert "Undefined" not in ended.out
    assert max(map(len, ended.out.splitlines())) <= 120


def test_list_models_names_the_zoo(bench: object) -> None:
    out = bench("list", "models").out  # type: ignore[operator]
    classifiers = [name for name, card in cards().items() if card.task == "classification"]
    assert len(classifiers) >= 2
    assert [name for name in classifiers if f"zoo:{name}:" not in out] == []


def test_training_methods_are_listed_and_explained(bench: object) -> None:
    listed = bench("list", "methods")  # type: ignore[operator]
    assert listed.code == 0
    assert [name for name in TABLE if not re.search(rf"^{name}\b", listed.out, re.MULTILINE)] == []
    shown = bench("show", "trades").out  # type: ignore[operator]
    assert shown.startswith("trades (training method, from bench): the cross-entropy on clean images plus")
    assert "arXiv:1901.08573" in shown
    assert "    alpha: Fraction | null = null  step size" in shown
    assert "    beta: float = 6.0  weight of the robust term" in shown
    assert "fgsm (attack, " in bench("show", "fgsm").out  # type: ignore[operator]
    assert "fgsm (training method, " in bench("show", "fgsm").out  # type: ignore[operator]


def test_an_unknown_kind(bench: object) -> None:
    ended = bench("list", "attack")  # type: ignore[operator]
    assert ended.code == 2
    assert "did you mean attacks" in ended.err


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_show_explains_everything(bench: object, kind: str, name: str) -> None:
    ended = bench("show", name)  # type: ignore[operator]
    entry = ALL[kind].entry(name)
    assert ended.code == 0
    assert entry.summary in ended.out
    assert entry.paper in ended.out
    for norm in entry.norms:
        assert norm in ended.out
    for parameter, field in entry.params.model_fields.items() if entry.params is not None else ():
        line = next(line for line in ended.out.splitlines() if line.startswith(f"    {parameter}: "))
        assert (field.description or "") in line
    for ugly in ("Undefined", "<class", "typing.", "{'", "None"):
        assert ugly not in ended.out


@pytest.mark.parametrize("name", ["mnist_standard", "zoo:mnist_standard"])
def test_show_explains_a_model_of_the_zoo(bench: object, name: str) -> None:
    ended = bench("show", name)  # type: ignore[operator]
    assert ended.code == 0
    assert cards()["mnist_standard"].description in ended.out
    assert "1, 28, 28" in ended.out


def test_an_unknown_name_gets_the_nearest(bench: object) -> None:
    ended = bench("show", "autoatack")  # type: ignore[operator]
    assert ended.code == 2
    assert "did you mean autoattack" in ended.err
    assert ended.out == ""


def test_parameters_of_a_plugin_without_default(bench: object, monkeypatch: pytest.MonkeyPatch) -> None:
    class Params(BaseModel):
        budget: int = Field(description="how many")
        sizes: list[int] = Field(default_factory=lambda: [1, 2])

    monkeypatch.setitem(ALL["attacks"].entries(), "mine", Entry("nowhere:Mine", "mine", Params, origin="a plugin"))
    assert "budget=required, sizes=1, 2" in bench("list", "attacks").out  # type: ignore[operator]
    shown = bench("show", "mine").out  # type: ignore[operator]
    assert "    budget: int = required  how many\n" in shown
    assert "from a plugin" in shown


def test_schema_is_a_json_schema(bench: object) -> None:
    ended = bench("schema")  # type: ignore[operator]
    schema = json.loads(ended.out)
    assert ended.code == 0
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"name", "dataset", "models", "attacks"} <= set(schema["properties"])


def test_names_need_no_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch on this laptop')")
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from bench.cli.app import app\n"
        "for words in (['list', 'attacks'], ['list', 'models'], ['list', 'datasets'], ['list', 'architectures'],\n"
        "              ['show', 'autoattack'], ['schema']):\n"
        "    app(words, standalone_mode=False)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr


def test_doctor_finds_everything_here(bench: object) -> None:
    ended = bench("doctor")  # type: ignore[operator]
    assert ended.code == 0, ended.out
    assert f"torch {metadata.version('torch')}" in ended.out
    for name in ("torchvision", "robustbench", "pyautoattack", "foolbox", "art", "timm"):
        assert f"import {name}: fine" in ended.out
    assert "device: " in ended.out
    for name, card in cards().items():
        assert f"zoo:{name}: {card.weights_sha256[:12]}" in ended.out
    assert "everything that bench needs is here" in ended.out


def test_doctor_names_what_is_missing(bench: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing distribution, a wrong version, damaged weights, a place that can't be written: all at once."""
    real = metadata.version

    def version(name: str) -> str:
        if name == "foolbox":
            raise metadata.PackageNotFoundError(name)
        return "9.9.9" if name == "robustbench" else real(name)

    card = cards()["mnist_standard"]
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not these weights")
    wrong: Card = card.model_copy(update={"weights": str(damaged)})
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr("bench.models.zoo.cards.cards", lambda: {"broken": wrong})
    monkeypatch.setattr(doctor_module, "_imports", lambda: iter(()))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").write_text("a file")
    ended = bench("doctor")  # type: ignore[operator]
    assert ended.code == 2
    assert "4 problems" in ended.out
    assert "foolbox is missing: pip install 'foolbox" in ended.out
    assert "robustbench 9.9.9 doesn't fit" in ended.out
    assert "zoo:broken" in ended.out
    assert "damaged" in ended.out
    assert "results can't be written" in ended.out


def test_doctor_works_without_torch(tmp_path: Path) -> None:
    """Where everything is broken, doctor is what a user runs."""
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.99 not found')")
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bench.cli.app import app; app(['doctor'])"
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert ended.returncode == 2
    assert "libcudart.so.99" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert "zoo:mnist_standard" in ended.stdout
