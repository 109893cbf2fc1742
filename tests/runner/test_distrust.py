"""Plugins, models and data that would give a good-looking number, or a traceback, to whoever trusts them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import leaderboard
from bench.errors import BenchError, DatasetError, PluginError, SuiteError
from bench.models.zoo.cards import cards
from bench.registry import ALL
from bench.runner.options import RunSettings
from bench.runner.plan import estimate
from bench.runner.run import RunSummary, run_suite
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

Try = Callable[..., RunSummary]

HEAD = """
import sys
import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import nn
from bench.attacks.base import Attack, AttackResult
from bench.defenses.base import Defense, Purifier
from bench.store.records import Estimate


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(784, 10)

    def forward(self, x):
        return self.linear(x.flatten(1))
"""
SUITE = """
name: distrust
dataset: {dataset}
threat_models: [linf:0.15]
models: [{models}]
attacks: [{attacks}]
defenses: [{defenses}]
run: {{shard_size: 6, gradient_free_queries: {queries}}}
plugins: [mine.py]
{more}
"""


class Project:
    """A directory with a suite and a plugin file."""

    def __init__(self, path: Path) -> None:
        self.path, self.plugin, self.suite = path, path / "mine.py", path / "suite.yaml"
        self.places = Places(download=False, allow_plugins=True)
        self.settings = RunSettings(path / "results", device="cpu", places=self.places)

    def write(self, plugin: str, **words: object) -> Path:
        """Writes both files."""
        usual = {
            "dataset": "{name: mnist, samples: 12}",
            "models": "zoo:mnist_standard",
            "attacks": "fgsm",
            "defenses": "none",
            "queries": 0,
            "more": "",
        }
        self.plugin.write_text(HEAD + plugin)
        self.suite.write_text(SUITE.format(**{**usual, **words}))
        return self.suite

    def run(self, plugin: str, **words: object) -> RunSummary:
        """Writes and runs."""
        return run_suite(load_suite(self.write(plugin, **words)), self.settings)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    for table in ALL.values():
        table.remove(str(project.plugin))


def outcomes(summary: RunSummary) -> dict[str, tuple[str, str]]:
    """Status and reason by attack, of the suite's own cells."""
    return {result.attack_id: (result.status, result.reason) for result in summary.results if result.role == "suite"}


def rows(summary: RunSummary, attack: str) -> pd.DataFrame:
    cell = next(result.cell for result in summary.results if result.attack_id == attack)
    return RunDirectory(summary.directory).read_samples(cell)


# -- attacks -----------------------------------------------------------------------------------------------------------

ATTACK = """
class Mine(Attack):
    norms = ("linf", "l2")

    def run(self, model, samples, context):
        result = AttackResult.untouched(samples)
        {}
        return result


ATTACKS = {{"mine": Mine}}
"""

SPOILED = {
    "weights": ("next(model.parameters()).add_(1)", "other weights or buffers"),
    "weights in secret": ("next(model.parameters()).data.mul_(0)", "other weights or buffers"),
    "one weight": ("next(model.parameters()).data.view(-1)[7] += 1e-6", "other weights or buffers"),
    "mode": ("model.module.train()", "another mode"),
    "classes": ("model.num_classes = 3", "K = 3"),
    "weights, then raises": ("next(model.parameters()).add_(1); raise ValueError('no')", "ValueError: no"),
    "hook": ("model.module.register_forward_hook(lambda m, i, o: o * 0)", "other hooks"),
    "network": ("model.module = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))", "another mode"),
    "forward": ("model.module.forward = lambda x: torch.eye(10)[:1].repeat(len(x), 1)", "logits on a clean image"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_an_attack_that_spoils_the_model_spoils_only_its_own_cell(project: Project, what: str) -> None:
    body, reason = SPOILED[what]
    summary = project.run(ATTACK.format(body), attacks="{name: pgd, steps: 3}, mine, fgsm")
    found = outcomes(summary)
    assert found["mine"][0] == "error"
    assert reason in found["mine"][1]
    clean = project.run(
        "METRICS = {}\nATTACKS = {'other': Attack}", attacks="fgsm, {name: pgd, steps: 3}", more="# other"
    )
    for attack in ("fgsm", "pgd-3"):
        assert found[attack][0] == "done"
        assert rows(summary, attack).equals(rows(clean, attack))


RETURNED = {
    "a tensor": ("return samples.x", "returned Tensor (accepted: an AttackResult)"),
    "nothing": ("return None", "returned NoneType"),
    "bytes": ("result.x_adv = (255 * samples.x).byte()", "left the threat model"),
    "classes": ("result.x_adv = samples.x > 0.5", "left the threat model"),
    "too many": ("result.x_adv = torch.cat([samples.x, samples.x])", "returned shape"),
    "another shape": ("result.x_adv = samples.x[..., :27]", "returned shape"),
    "NaN passes": ("result.forwards += float('nan')", "finite numbers of at least 0"),
    "negative passes": ("result.forwards -= 3", "finite numbers of at least 0"),
    "an exit": ("sys.exit(0)", "SystemExit: 0"),
    "no memory": ("raise MemoryError", "MemoryError"),
    "an assertion": ("assert False, 'never'", "AssertionError: never"),
}


@pytest.mark.parametrize("what", RETURNED)
def test_what_an_attack_returns_is_not_believed(project: Project, what: str) -> None:
    body, reason = RETURNED[what]
    summary = project.run(ATTACK.format(body), attacks="mine, fgsm")
    found = outcomes(summary)
    assert found["mine"][0] == "error"
    assert reason in found["mine"][1]
    assert found["fgsm"] == ("done", "")
    assert summary.results[0].metrics == {}
    text = leaderboard.text(RunDirectory(summary.directory))
    assert re.search(r"–  +mnist_standard .*error .*≤", text), "the row has no rank, and its number is a bound"


def test_an_attack_that_claims_success_gets_none(project: Project) -> None:
    """Points that are no examples, labels overwritten, a stage that is said to have won."""
    body = "result.stage = ['won'] * len(samples); samples.y.add_(1); samples.x.mul_(0); result.iterations += 5"
    summary = project.run(ATTACK.format(body), attacks="mine, fgsm")
    frame = rows(summary, "mine")
    assert not frame["success"].any()
    assert frame["robust"].equals(frame["clean_correct"])
    assert set(frame["stage"]) == {""}
    assert rows(summary, "fgsm")["label"].equals(frame["label"])
    assert rows(summary, "fgsm")["success"].any()


def test_an_attack_that_switches_gradients_off_does_not_weaken_the_next(project: Project) -> None:
    summary = project.run(ATTACK.format("torch.set_grad_enabled(False)"), attacks="mine, {name: pgd, steps: 3}")
    assert rows(summary, "pgd-3")["success"].any()


def test_an_attack_that_throws_dice_is_the_same_when_resumed(project: Project) -> None:
    body = (
        "import random; noise = torch.rand_like(samples.x) + float(np.random.random()) + random.random(); "
        "result.x_adv = context.threat_model.project(samples.x + 0.3 * (noise - 1.5), samples.x)"
    )
    first = rows(project.run(ATTACK.format(body), attacks="mine"), "mine")
    assert first["linf"].max() > 0.1
    part = sorted((project.path / "results" / "distrust" / "default" / "samples").glob("*/*"))[1]
    part.unlink()
    again = rows(project.run(ATTACK.format(body), attacks="mine"), "mine")
    assert again.equals(first)


def test_changing_a_plugin_makes_new_cells(project: Project) -> None:
    first = project.run(ATTACK.format("pass"), attacks="mine")
    second = project.run(ATTACK.format("pass  # better"), attacks="mine")
    assert first.results[0].cell != second.results[0].cell


ADDED = "\n    def run(self): ...\n\nATTACKS = {'mine': A}\n"
REFUSED: dict[str, tuple[str, type[BenchError], str]] = {
    "no class": ("def f(): pass\nATTACKS = {'mine': f}", PluginError, "can't be made"),
    "no run": ("class A(Attack): pass\nATTACKS = {'mine': A}", PluginError, "abstract"),
    "raises": (
        "class A(Attack):\n    def __init__(self, p): raise ValueError('no')" + ADDED,
        PluginError,
        "ValueError: no",
    ),
    "no pydantic": ("class A(Attack):\n    Params = dict" + ADDED, PluginError, "must be a pydantic model"),
    "taken": ("ATTACKS = {'pgd': Attack}", PluginError, "already there .from bench.; rename yours"),
    "norm": ("class A(Attack):\n    norms = ('l1',)" + ADDED, SuiteError, "works under l1 only"),
    "list": ("ATTACKS = ['mine']", PluginError, "must be a dictionary of names"),
    "numbers": ("ATTACKS = {3: Attack}", PluginError, "must be a dictionary of names"),
    "nothing": ("x = 1", PluginError, "offers nothing"),
    "syntax": ("def (", PluginError, "SyntaxError"),
    "exit": ("sys.exit(0)", PluginError, "SystemExit"),
    "import": ("import no_such_module", PluginError, "No module named"),
    "needs k": (
        "class A(Attack):\n    class Params(BaseModel):\n        k: int" + ADDED,
        SuiteError,
        "'k' of the attack mine is missing",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_plugins_that_cannot_work_are_refused_before_anything_runs(project: Project, what: str) -> None:
    plugin, kind, words = REFUSED[what]
    with pytest.raises(kind, match=words) as found:
        project.run(plugin, attacks="mine")
    assert str(project.path) in str(found.value)
    assert not (project.path / "results").exists()


def test_plan_of_an_attack_that_does_not_tell_its_budget(project: Project) -> None:
    loaded = load_suite(project.write(ATTACK.format("pass"), attacks="mine, fgsm"))
    mine, fgsm = estimate(loaded, project.settings).rows
    assert (mine.forwards, mine.backwards, mine.seconds, mine.duration) == (None, None, None, "?")
    assert (fgsm.forwards, fgsm.backwards) == (12 * 4, 12)


# -- models ------------------------------------------------------------------------------------------------------------

MODEL = """
class Mine(Linear):
    def forward(self, x):
        {}


MODELS = {{"mine": Mine}}
"""
MODELS = {
    "an exit": ("def f(): sys.exit(0)\nMODELS = {'mine': f}", "SystemExit"),
    "an exit inside": (MODEL.format("sys.exit(0)"), "SystemExit"),
    "no module": ("MODELS = {'mine': lambda: 5}", "must give an nn.Module"),
    "other weights": (
        "MODELS = {'mine': lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))}",
        "other weights each time",
    ),
    "small batches": (MODEL.format("assert len(x) < 4, 'too many'; return super().forward(x)"), "too many"),
    "more classes": (MODEL.format("return super().forward(x).repeat(1, 1 + (len(x) > 3))"), "K = 10"),
    "more rows": (MODEL.format("return super().forward(x).repeat(1 + (len(x) > 3), 1)"), "for 6 images"),
    "doubles": ("MODELS = {'mine': lambda: Linear().double()}", "same dtype"),
    "infinity": (MODEL.format("return super().forward(x) * 1e300"), "infinite logits"),
}


@pytest.mark.parametrize("what", MODELS)
def test_models_that_misbehave_are_errors_and_the_others_go_on(project: Project, what: str) -> None:
    plugin, reason = MODELS[what]
    summary = project.run(plugin, models="{source: mine}, zoo:mnist_standard")
    mine, zoo = summary.results
    assert mine.status == "error"
    assert reason in mine.reason
    assert mine.metrics == {}
    assert zoo.status == "done"


@pytest.mark.parametrize(
    ("forward", "rule", "severity"),
    [
        ("x = (x - x.mean()) / x.std()", "batch-dependent", "warning"),
        ("x = nn.functional.dropout(x, 0.5, True)", "unmarked-randomness", "warning"),
        ("x = x.flip(3) if torch.is_grad_enabled() else x", "gradient-dependent", "invalid"),
        ("x = x.round()", "zero-gradient", "invalid"),
    ],
)
def test_models_whose_numbers_need_a_word_are_flagged(project: Project, forward: str, rule: str, severity: str) -> None:
    plugin = (
        f"class M(Linear):\n def forward(self, x):\n  {forward}\n  return super().forward(x)\nMODELS = {{'mine': M}}"
    )
    summary = project.run(plugin, models="{source: mine}", dataset="{name: mnist, samples: 40}")
    assert summary.results[0].metrics["clean_accuracy"].value
    assert [(flag.rule, flag.severity) for flag in summary.results[0].flags] == [(rule, severity)]
    board = leaderboard.text(RunDirectory(summary.directory))
    assert "⚑" in board
    assert ("≤" in board) == (severity == "invalid")


def test_one_model_under_two_names_is_refused(project: Project) -> None:
    """Their cells would be the same cells, and one of the two rows would be missing."""
    for name in ("a", "b"):
        shutil.copy(cards()["mnist_standard"].path, project.path / f"{name}.safetensors")
    models = ", ".join(
        f"{{id: {name}, source: checkpoint, architecture: mnist_cnn, weights: {name}.safetensors}}" for name in "ab"
    )
    with pytest.raises(SuiteError, match="the model b is the model a again") as found:
        project.run(ATTACK.format("pass"), models=models)
    assert f"{project.suite}:5: models.1" in str(found.value)


def test_models_that_are_not_here_keep_their_rows(project: Project) -> None:
    models = ", ".join(
        f"{{id: {name}, source: checkpoint, architecture: mnist_cnn, weights: {name}.pt}}" for name in ("one", "two")
    )
    summary = project.run(ATTACK.format("pass"), models=models)
    assert len({result.cell for result in summary.results}) == 2
    read = RunDirectory(summary.directory).read_cells()
    assert [(cell.model.id, cell.status) for cell in read] == [("one", "unavailable"), ("two", "unavailable")]


# -- defenses ----------------------------------------------------------------------------------------------------------

DEFENSE = """
class Mine(Purifier):
    differentiable = True

    def purify(self, x):
        {}


DEFENSES = {{"mine": Mine}}
"""

DEFENSES = {
    "random": ("return x + 0.1 * torch.rand_like(x)", "doesn't declare it (stochastic)"),
    "seldom random": (
        "return x + 0.1 * (torch.rand(len(x), 1, 1, 1) < 0.4) * (len(x) > 2)",
        "two passes on the same images differ on",
    ),
    "shape": ("return x[..., 1:]", "a purifier keeps the shape"),
    "NaN": ("return x * float('nan')", "aren't finite"),
    "exit": ("sys.exit(0)", "SystemExit"),
    "raises": ("raise ValueError('no')", "ValueError: no"),
    "memory": ("self.n = getattr(self, 'n', 0) + 1; return x if self.n < 9 else 1 - x", "logits on a clean image"),
    "no gradient": ("return x.detach()", "does not require grad"),
}


@pytest.mark.parametrize("what", DEFENSES)
def test_defenses_that_misbehave_are_errors(project: Project, what: str) -> None:
    body, reason = DEFENSES[what]
    summary = project.run(DEFENSE.format(body), attacks="{name: pgd, steps: 8}", defenses="none, mine")
    found = {(result.role, result.defense.name): result for result in summary.results}
    assert found["suite", "none"].status == "done"
    assert found["suite", "mine"].status == "error"
    assert reason in found["suite", "mine"].reason


def test_a_defense_that_works_in_place_sees_clean_images(project: Project) -> None:
    plugin = DEFENSE.format("return x.mul_(2).clamp_(0, 1)")
    first = project.run(plugin, attacks="fgsm, {name: pgd, steps: 3}", defenses="mine")
    frames = {name: rows(first, name) for name in ("fgsm", "pgd-3")}
    second = project.run(
        DEFENSE.format("return (x * 2).clamp(0, 1)"), attacks="fgsm, {name: pgd, steps: 3}", defenses="mine"
    )
    for name, frame in frames.items():
        assert frame.drop(columns="cell").equals(rows(second, name).drop(columns="cell"))
        assert frame["linf"].max() <= 0.15 + 1e-6


@pytest.mark.parametrize(
    ("plugin", "kind", "words"),
    [
        ("DEFENSES = {'mine': nn.Identity}", PluginError, "must be a Purifier, a Rewiring or a Detector"),
        ("class D(Defense):\n differentiable = True\nDEFENSES = {'mine': D}", PluginError, "Purifier"),
        ("class D(Purifier):\n def purify(self, x): return x\nDEFENSES = {'mine': D}", PluginError, "declares whether"),
        ("class D(Purifier):\n differentiable = True\nDEFENSES = {'mine': D}", PluginError, "abstract"),
    ],
)
def test_defenses_that_cannot_be_scored_are_refused(
    project: Project, plugin: str, kind: type[BenchError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        project.run(plugin, defenses="none, mine")


# -- datasets ----------------------------------------------------------------------------------------------------------

DATASET = """
rng = np.random.default_rng(0)


def load():
    return {}


DATASETS = {{"mine": load}}
MODELS = {{"linear": lambda: nn.Sequential(nn.Flatten(), Seeded())}}


class Seeded(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.LazyLinear(3)
        self.linear(torch.zeros(1, PIXELS))

    def forward(self, x):
        return self.linear(x - 0.5)
"""

IMAGES = {
    "in bytes as floats": ("255 * rng.random((8, 3, 2, 2)), rng.integers(0, 3, 8)", "divide by 255"),
    "normalised": ("rng.normal(size=(8, 3, 2, 2)), rng.integers(0, 3, 8)", "normalisation belongs to the model"),
    "NaN": ("np.nan * rng.random((8, 3, 2, 2)), rng.integers(0, 3, 8)", "NaN"),
    "float labels": ("rng.random((8, 3, 2, 2)), rng.random(8)", "labels of type float64"),
    "too few labels": ("rng.random((8, 3, 2, 2)), rng.integers(0, 3, 7)", "7 labels for 8 images"),
    "no images": ("np.zeros((0, 3, 2, 2)), np.zeros(0, int)", "empty"),
    "ragged": ("[[1], [2, 3]], [0, 1]", "ValueError"),
    "nothing": ("None", "NoneType"),
    "a mistake": ("1 / 0", "ZeroDivisionError"),
    "an exit": ("sys.exit(0)", "SystemExit"),
}


@pytest.mark.parametrize("what", IMAGES)
def test_images_that_cannot_be_right_are_refused(project: Project, what: str) -> None:
    given, words = IMAGES[what]
    with pytest.raises(DatasetError, match=words):
        project.run(DATASET.format(given).replace("PIXELS", "12"), dataset="mine", models="{source: linear}")


ODD = {
    "one image": ("rng.random((1, 3, 2, 2)), np.array([2])", 12),
    "one pixel": ("rng.random((8, 3, 1, 1)), np.arange(8) % 3", 3),
    "the same image again and again": ("np.full((8, 3, 2, 2), 0.3), np.arange(8) % 3", 12),
    "black": ("np.zeros((8, 3, 2, 2), np.uint8), np.arange(8) % 3", 12),
    "one label": ("rng.random((8, 3, 2, 2)), np.full(8, 2)", 12),
    "bytes": ("rng.integers(0, 256, (8, 3, 2, 2)).astype(np.uint8), np.arange(8) % 3", 12),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_images_give_the_numbers_that_torch_gives(project: Project, what: str) -> None:
    given, pixels = ODD[what]
    attacks = (
        "fgsm, {name: pgd, steps: 3}, {name: square, n_queries: 10}, {id: box, name: pgd, steps: 3, backend: foolbox}"
    )
    summary = project.run(
        DATASET.format(given).replace("PIXELS", str(pixels)), dataset="mine", models="{source: linear}", attacks=attacks
    )
    assert [result.reason for result in summary.results] == [""] * 4
    fgsm, pgd = rows(summary, "fgsm"), rows(summary, "pgd-3")
    assert fgsm["clean_correct"].equals(fgsm["clean_prediction"] == fgsm["label"])
    # On a linear model one step under Linf is the strongest attack there is on each pair of classes.
    assert pgd["robust"].sum() <= fgsm["clean_correct"].sum()
    assert fgsm["success"].equals(fgsm["clean_correct"] & (fgsm["adversarial_prediction"] != fgsm["label"]))
    if what == "the same image again and again":
        assert fgsm["clean_prediction"].nunique() == 1
        assert fgsm["sample_id"].nunique() == 8
    leaderboard.write(RunDirectory(summary.directory))


def test_a_model_that_is_never_right_is_not_robust(project: Project) -> None:
    """No clean-correct image: every attack gets an empty batch."""
    plugin = DATASET.format("wrong()").replace("PIXELS", "12")
    plugin += (
        "def wrong():\n"
        "    x = rng.random((9, 3, 2, 2)).astype(np.float32)\n"
        "    with torch.no_grad():\n"
        "        return x, (Seeded()(torch.tensor(x).flatten(1)).argmax(1).numpy() + 1) % 3\n"
    )
    attacks = (
        "fgsm, {name: pgd, steps: 2, restarts: 2}, {name: square, n_queries: 5}, {id: box, name: fgsm, backend: foolbox}, "
        "{id: art, name: fgsm, backend: art}, {name: cw, steps: 2}, "
        "{id: aa, name: autoattack, version: custom, attacks: [apgd-ce, fab, square]}"
    )
    summary = project.run(
        plugin, dataset="mine", models="{source: linear}", attacks=attacks, defenses="none, bit_depth", queries=5
    )
    for result in summary.results:
        assert result.status == "done", result.reason
        assert result.metrics["clean_accuracy"].value == 0
        assert result.metrics["robust_accuracy"].value == 0
        assert result.metrics["attack_success_rate"].value is None
    text = leaderboard.text(RunDirectory(summary.directory))
    assert "nan" not in text.lower()


def test_labels_that_changed_are_evaluated_again(project: Project) -> None:
    """The images are the same, so their digests are: only the labels tell."""
    for labels in (np.zeros(6, np.int64), np.arange(6) % 10):
        np.savez(project.path / "data.npz", x=np.full((6, 1, 28, 28), 0.5, np.float32), y=labels)
        summary = project.run(ATTACK.format("pass"), dataset="{name: npz, path: data.npz, num_classes: 10}")
        assert rows(summary, "fgsm")["label"].tolist() == labels.tolist()


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_a_metric_that_rewrites_the_rows_changes_nothing(project: Project) -> None:
    plugin = (
        "def mine(rows, *, norm):\n"
        "    rows['robust'] = True; rows['success'] = False; rows['clean_correct'] = True\n"
        "    return Estimate(value=0.5, n=len(rows))\n"
        "METRICS = {'mine': mine}\n"
    )
    summary = project.run(plugin, more="metrics: [mine, robust_accuracy, clean_accuracy]")
    found, frame = summary.results[0].metrics, rows(summary, "fgsm")
    assert found["mine"].value == 0.5
    assert found["robust_accuracy"].value == frame["robust"].mean() < 1
    assert found["clean_accuracy"].value == frame["clean_correct"].mean() < 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 0.99", "returned float"),
        ("return Estimate(value=float('nan'), n=1)", "isn't finite"),
        ("raise KeyError('x')", "KeyError"),
        ("sys.exit(0)", "SystemExit"),
    ],
)
def test_metrics_that_misbehave_are_errors(project: Project, body: str, words: str) -> None:
    plugin = f"def mine(rows, *, norm):\n    {body}\nMETRICS = {{'mine': mine}}\n"
    result = project.run(plugin, more="metrics: [mine, robust_accuracy]").results[0]
    assert result.status == "error"
    assert words in result.reason
    assert result.metrics == {}


# -- installed packages ------------------------------------------------------------------------------------------------


def install(site: Path, version: str, code: str, points: str) -> None:
    """Puts a distribution into a directory, as pip would."""
    info = site / f"mypackage-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mypackage\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(points)
    (site / "mypackage.py").write_text(HEAD + code)


def python(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, timeout=300)


PACKAGE = """
class Half(Purifier):
    differentiable = True

    def purify(self, x):
        return x / 2


def images():
    rng = np.random.default_rng(0)
    return rng.random((7, 1, 28, 28)), rng.integers(0, 10, 7)


images.num_classes = 10


def count(rows, *, norm):
    return Estimate(value=float(len(rows)), n=len(rows))
"""
RUN = """
import sys
from pathlib import Path
from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.registry import attacks
from bench.suites.load import load_suite

print(attacks.entry("own_attacks").origin, attacks.entry("fgsm").origin)
for one in run_suite(load_suite(sys.argv[1]), RunSettings(Path(sys.argv[2]), device="cpu")).results:
    print(one.cell, one.role, one.status, one.metrics["own_metrics"].value, one.reason)
"""


def test_installed_packages_add_names(project: Project, tmp_path: Path) -> None:
    points = {"attacks": "Mine", "defenses": "Half", "datasets": "images", "models": "Linear", "metrics": "count"}
    lines = [f"[bench.{kind}]\nown_{kind} = mypackage:{name}\n" for kind, name in points.items()]
    lines[0] += "fgsm = mypackage:Mine\n"
    suite = project.write(
        "",
        dataset="own_datasets",
        models="{source: own_models}",
        attacks="own_attacks, fgsm",
        defenses="none, own_defenses",
        more="metrics: [own_metrics]",
    )
    suite.write_text(suite.read_text().replace("plugins: [mine.py]", ""))
    cells = []
    for version in ("1.0", "1.1"):
        install(tmp_path / version, version, ATTACK.format("pass") + PACKAGE, "".join(lines))
        ended = python(tmp_path / version, "-c", RUN, str(suite), str(tmp_path / "results"))
        origins, *found = [line.split() for line in ended.stdout.splitlines()]
        assert origins == ["mypackage", "bench"], "bench's own fgsm stays"
        roles = ["suite"] * 4 + ["prerequisite"] * 2 + ["oblivious"] * 2
        assert [line[1:] for line in found] == [[role, "done", "7.0"] for role in roles], ended.stderr
        cells.append([line[0] for line in found])
    assert set(cells[0]).isdisjoint(cells[1]), "another release may give other verdicts"


def test_a_broken_package_is_named(tmp_path: Path) -> None:
    install(tmp_path, "1.0", "raise RuntimeError('half installed')", "[bench.attacks]\nmine = mypackage:Mine\n")
    ended = python(tmp_path, "-m", "bench", "list", "attacks")
    assert ended.returncode == 2
    assert "mypackage" in ended.stderr
    assert "half installed" in ended.stderr
    assert "Traceback" not in ended.stderr
