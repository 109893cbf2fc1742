"""Faults of real evaluations, planted end to end: each is run, audited, and must be named by its rule.

The models wrap the zoo's digits as careless or hostile authors have wrapped theirs (Athalye et al. 2018, arXiv:1802.00420;
Carlini et al. 2019, arXiv:1902.06705; Tramer et al. 2020, arXiv:2002.08347); the attacks are a textbook PGD with one
mistake each. Numbers are those of the list of faults that the audit must catch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.registry import ALL
from bench.runner.audit import AuditSettings, audit_run
from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.store import parts
from bench.store.audit import AuditRecord
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

HEAD = '''
import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from bench.attacks.base import Attack, AttackResult
from bench.defenses.base import Purifier
from bench.models.architectures import building
from bench.models.zoo.cards import cards


class Digits(nn.Module):
    """The zoo's network for digits, to be wrapped."""

    def __init__(self):
        super().__init__()
        card = cards()["mnist_standard"]
        self.net = building.build(card.architecture, card.architecture_args, num_classes=10)
        self.net.load_state_dict(load_file(card.path))


class Steps(Attack):
    """A textbook PGD, to be spoiled."""

    kind = "white-box"
    norms = ("linf",)
    steps, alpha, sign = 10, 0.05, 1.0

    def run(self, model, samples, context):
        result = AttackResult.untouched(samples)
        point = samples.x.clone()
        for step in range(self.steps):
            here = point.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.loss(model(here), samples.y), here)
            result.forwards += 1
            result.backwards += 1
            move = self.sign * self.alpha * slope.sign()
            point = context.threat_model.project(self.moved(samples.x, point, move, step), samples.x)
        result.x_adv = self.returned(samples, point, context)
        return result

    def loss(self, logits, y):
        return F.cross_entropy(logits, y, reduction="sum")

    def moved(self, x, point, move, step):
        return point + move

    def returned(self, samples, point, context):
        return point

    def passes(self, num_classes):
        return float(self.steps), float(self.steps)


MODELS = {"digits": Digits}
'''
SUITE = """
name: planted
dataset: {{name: mnist, samples: {samples}}}
threat_models: ["{threat_model}"]
models: [{models}]
attacks: [{attacks}]
defenses: [{defenses}]
adversaries: [{adversaries}]
run: {{shard_size: 64, gradient_free_queries: {queries}}}
audit: {{samples: {probes}, queries: 150}}
plugins: [mine.py]
{more}
"""
USUAL: dict[str, object] = {
    "samples": 44,
    "probes": 32,
    "queries": 20,
    "threat_model": "linf:0.2",
    "models": "{source: mine}",
    "attacks": "{name: pgd, steps: 10}",
    "defenses": "none",
    "adversaries": "oblivious, adaptive",
    "more": "",
}
Tamper = Callable[[RunDirectory], None]


def model(forward: str, more: str = "") -> str:
    """A plugin with a model around the digits' network.

    Args:
        forward: the body of its forward pass.
        more: further methods.
    """
    body = "\n        ".join(forward.splitlines())
    return f"class Mine(Digits):\n    def forward(self, x):\n        {body}\n{more}\nMODELS['mine'] = Mine\n"


def attack(body: str) -> str:
    """A plugin with an attack.

    Args:
        body: of its class.
    """
    return f"class Mine(Steps):\n    {body}\n\n\nATTACKS = {{'mine': Mine}}\n"


def defense(body: str) -> str:
    """A plugin with a purifier.

    Args:
        body: of its class.
    """
    inside = "\n    ".join(body.splitlines())
    return f"class Mine(Purifier):\n    {inside}\n\n\nDEFENSES = {{'mine': Mine}}\n"


@dataclass(frozen=True)
class Fault:
    """A fault and what must be said of it.

    Attributes:
        number: in the list of faults.
        name: what was done.
        rules: all of these rules must fire.
        plugin: what is added to the head of the plugin file.
        words: of the suite, where they aren't the usual ones.
        tamper: what is done to the run before the audit.
        severities: one of which each of the rules must reach.
        ranked: whether every row keeps its rank; not looked at where it is ``None``.
        slow: whether it takes too long for every day.
    """

    number: int
    name: str
    rules: tuple[str, ...]
    plugin: str = ""
    words: Mapping[str, object] = field(default_factory=dict)
    tamper: Tamper | None = None
    severities: tuple[str, ...] = ("warning", "invalid")
    ranked: bool | None = False
    slow: bool = False


# -- files -------------------------------------------------------------------------------------------------------------


def _moved(run: RunDirectory) -> None:
    path = run.example_parts(run.read_run().cells[0])[0]
    kept = parts.read_examples(path)
    parts.write_examples(path, parts.Examples(kept.sample_ids, np.clip(kept.images + 0.5, 0, 1)))


def _edited(change: Callable[[dict[str, Any]], object]) -> Tamper:
    def tamper(run: RunDirectory) -> None:
        path = run.cell_path(run.read_run().cells[0])
        assert path is not None
        record = json.loads(path.read_text())
        change(record["provenance"])
        path.write_text(json.dumps(record))

    return tamper


def _right_when_wrong(run: RunDirectory) -> None:
    path = run.sample_parts(run.read_run().cells[0])[0]
    rows, reports = parts.read_rows(path)
    records = parts.to_records(rows)
    assert not all(record.clean_correct for record in records)
    parts.write_rows(path, [record._replace(correctness=1.0) for record in records], reports)


FILES = (
    Fault(1, "an example was moved", ("leaves-threat-model",), words={"models": "zoo:mnist_standard"}, tamper=_moved),
    Fault(
        24,
        "no weights, no version of torch",
        ("provenance",),
        words={"models": "zoo:mnist_standard"},
        tamper=_edited(lambda known: (known.pop("weights"), known["environment"]["versions"].pop("torch"))),
        ranked=None,
    ),
    Fault(
        24,
        "another torch",
        ("mixed-versions",),
        words={"models": "zoo:mnist_standard", "attacks": "fgsm, {name: pgd, steps: 10}"},
        tamper=_edited(lambda known: known["environment"]["versions"].update(torch="1.0")),
        ranked=None,
    ),
    Fault(
        25,
        "right under attack where the clean image is wrong",
        ("robust-above-clean", "records-disagree"),
        words={"models": "zoo:mnist_standard"},
        tamper=_right_when_wrong,
        severities=("invalid",),
    ),
)

# -- attacks -----------------------------------------------------------------------------------------------------------

WEAK = ("single-step-stronger", "more-steps-help", "gradient-free-stronger")
ATTACKS: tuple[Fault, ...] = (
    Fault(
        1, "leaves the ball", ("no-backward-pass",), attack("returned = lambda self, s, p, c: (s.x + 0.5).clamp(0, 1)")
    ),
    Fault(1, "leaves [0, 1]", ("no-backward-pass",), attack("returned = lambda self, s, p, c: s.x - 0.1")),
    Fault(1, "returns NaN", ("no-backward-pass",), attack("returned = lambda self, s, p, c: s.x * float('nan')")),
    Fault(3, "raises", ("no-backward-pass",), attack("def loss(self, logits, y): raise ValueError('no loss')")),
    Fault(
        3,
        "noise that calls itself white-box",
        ("no-backward-pass", "positive-control"),
        attack(
            "def run(self, model, samples, context):\n"
            "        result = AttackResult.untouched(samples)\n"
            "        model(samples.x)\n"
            "        result.forwards += 1\n"
            "        return result"
        ),
    ),
    Fault(
        5,
        "stops at the first success of any image",
        WEAK,
        attack(
            "def loss(self, logits, y):\n"
            "        self.over = getattr(self, 'over', False) or bool((logits.argmax(1) != y).any())\n"
            "        return super().loss(logits, y) * (0 if self.over else 1)"
        ),
    ),
    Fault(
        8,
        "starts at the clean image at every step",
        WEAK,
        attack("moved = lambda self, x, point, move, step: x + move / 2"),
    ),
    Fault(
        8,
        "steps too small to cross the ball",
        ("more-steps-help", "positive-control"),
        words={"models": "zoo:mnist_standard", "attacks": "{name: pgd, steps: 10, alpha: 0.0005, random_start: false}"},
    ),
    Fault(
        12,
        "less than noise",
        ("noise-stronger", "positive-control"),
        attack("sign = -1.0"),
        {"threat_model": "linf:0.5", "samples": 60, "probes": 60},
    ),
    Fault(
        21,
        "returns the last point, which isn't the best",
        ("silent-success",),
        attack("moved = lambda self, x, point, move, step: point + (move if step < 7 else -2 * move)"),
    ),
    Fault(22, "descends", ("positive-control", *WEAK), attack("sign = -1.0")),
    Fault(
        22,
        "takes eps for a number of 255",
        ("positive-control", *WEAK),
        attack("returned = lambda self, s, p, c: s.x + (p - s.x) / 255"),
    ),
    Fault(
        22,
        "attacks the class after the label",
        ("positive-control", *WEAK),
        attack("def loss(self, logits, y): return F.cross_entropy(logits, (y + 1) % 10, reduction='sum')"),
    ),
    Fault(
        25,
        "two attacks on half of the images each",
        ("worst-case-far-below",),
        attack("returned = lambda self, s, p, c: torch.where(s.x.flatten(1).sum(1).view(-1, 1, 1, 1) % 2 < 1, p, s.x)")
        + "class Other(Steps):\n"
        "    returned = lambda self, s, p, c: torch.where(s.x.flatten(1).sum(1).view(-1, 1, 1, 1) % 2 < 1, s.x, p)\n"
        "ATTACKS['other'] = Other\n",
        {"attacks": "mine, other", "threat_model": "linf:0.1"},
        ranked=None,
    ),
)
ATTACKS = tuple(
    dataclasses.replace(one, words={"models": "zoo:mnist_standard", "attacks": "mine", **one.words}) for one in ATTACKS
)

# -- models ------------------------------------------------------------------------------------------------------------

HOOKED = "x = x * 1\nif x.requires_grad:\n    x.register_hook(lambda slope: {})\nreturn self.net(x)"
MASKED = ("large-eps", "gradient-free-stronger")
MODELS = (
    Fault(
        2,
        "noise that hangs on the place in the batch",
        ("prediction-disagrees", "unmarked-randomness"),
        model("return self.net(x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))"),
        {"samples": 44},
    ),
    Fault(
        4,
        "another normalisation than in training",
        ("clean-accuracy",),
        model("return self.net((x - 0.5) / 0.1)"),
        {"models": "{source: mine, clean_accuracy: 98}"},
        ranked=None,
    ),
    Fault(
        4,
        "labels that are off by one",
        ("clean-accuracy",),
        model("return self.net(x).roll(1, 1)"),
        {"models": "{source: mine, clean_accuracy: 98}"},
        ranked=None,
    ),
    Fault(
        4,
        "labels that are off by one, and nothing declared",
        ("clean-accuracy",),
        model("return self.net(x).roll(1, 1)"),
        {"samples": 60},
        ranked=None,
    ),
    Fault(
        4,
        "dropout that ignores eval mode",
        ("clean-accuracy", "unmarked-randomness"),
        model(
            "return self.net(self.drop(x))",
            "    def __init__(self):\n        super().__init__()\n        self.drop = nn.Dropout(0.3)\n"
            "    def train(self, mode=True):\n        super().train(mode)\n        self.drop.train(True)\n"
            "        return self\n",
        ),
    ),
    Fault(
        5,
        "a comb of small waves before the network",
        ("single-step-stronger", "gradient-free-stronger"),
        model("return self.net(x + 0.05 * torch.sin(200 * x))"),
    ),
    Fault(7, "the gradient negated", ("large-eps",), model(HOOKED.format("-slope"))),
    Fault(6, "the gradient negated", ("success-not-growing", "rough-loss", *MASKED), model(HOOKED.format("-slope"))),
    Fault(
        9,
        "noise in the gradient, the same in every pass",
        ("more-restarts-help", "gradient-free-stronger", "rough-loss"),
        model(
            HOOKED.format(
                "slope + 5 * slope.abs().mean() * torch.randn(slope.shape, generator=torch.Generator().manual_seed(1))"
            )
        ),
        {"attacks": "{name: pgd, steps: 20}"},
    ),
    Fault(
        10,
        "the gradient of other pixels",
        ("gradient-free-stronger", "rough-loss"),
        model(HOOKED.format("slope.roll((7, 9), (2, 3))")),
    ),
    Fault(
        11,
        "falls to the examples of another model of the suite",
        ("transfer-stronger",),
        model(HOOKED.format("-slope")),
        {"models": "{source: mine}, zoo:mnist_standard"},
    ),
    Fault(
        11,
        "falls to another model's examples in the suite's own cells",
        ("transfer-stronger",),
        model("return self.net((7 * x).round() / 7)"),
        {"models": "{source: mine}, zoo:mnist_standard", "more": "transfer: all", "probes": 0},
    ),
    Fault(
        11,
        "logits so large that its own attack has no gradient, and another model's examples do",
        ("transfer-stronger",),
        model("return 1e5 * self.net(x)"),
        {
            "models": "{source: mine}, zoo:mnist_pgd, zoo:mnist_standard",
            "more": "transfer: {targets: mine}",
            "threat_model": "linf:0.1",
            "probes": 0,
        },
    ),
    Fault(13, "rounds without a gradient", ("zero-gradient", *MASKED), model("return self.net((7 * x).round() / 7)")),
    Fault(
        13,
        "a gradient that all but vanishes",
        ("zero-gradient",),
        model("return self.net(x.detach() + 1e-8 * (x - x.detach()))"),
        {"threat_model": "linf:0.08"},
    ),
    Fault(
        13,
        "answers with its decision",
        ("zero-gradient", "large-eps"),
        model("z = self.net(x)\nreturn 10 * F.one_hot(z.argmax(1), 10).float() + 0 * z"),
    ),
    Fault(13, "no gradient at all", ("no-backward-pass",), model("return self.net((7 * x).round().detach() / 7)")),
    Fault(
        14,
        "random gradients",
        ("rough-loss", "gradient-free-stronger"),
        model(HOOKED.format("torch.randn_like(slope)")),
    ),
    Fault(
        14,
        "two grey levels behind a straight-through estimator",
        ("rough-loss",),
        model("return self.net(x + ((x > 0.5).float() - x).detach())"),
        ranked=None,
        slow=True,
    ),
    Fault(
        15,
        "defensive distillation: logits at a temperature of 1000",
        ("saturated-logits", "zero-gradient", *MASKED),
        model("return 1000 * self.net(x)"),
    ),
    Fault(
        15,
        "a softmax inside",
        ("saturated-logits",),
        model("return self.net(x).softmax(1)"),
        {"threat_model": "linf:0.08", "probes": 0},
        ranked=None,
    ),
    Fault(
        16,
        "shifts the image at random",
        ("unmarked-randomness",),
        model("shift = np.random.randint(-2, 3, 2)\nreturn self.net(x.roll((int(shift[0]), int(shift[1])), (2, 3)))"),
        ranked=None,
    ),
    Fault(
        16,
        "another image when gradients are taken",
        ("unmarked-randomness", "gradient-free-stronger"),
        model("return self.net(x.flip(3) if x.requires_grad else x)"),
    ),
    Fault(
        16,
        "counts its calls in a buffer",
        ("no-backward-pass",),
        model(
            "self.calls += 1\nreturn self.net(x)",
            "    def __init__(self):\n        super().__init__()\n        self.register_buffer('calls', torch.zeros(()))\n",
        ),
    ),
    Fault(
        16,
        "optimises the image before it answers",
        ("unmarked-randomness",),
        model(
            "with torch.enable_grad():\n"
            "    moved = x.detach().clone().requires_grad_(True)\n"
            "    (slope,) = torch.autograd.grad(self.net(moved).logsumexp(1).sum(), moved)\n"
            "return self.net(x - 0.05 * slope.sign())"
        ),
        ranked=None,
    ),
    Fault(
        26,
        "hangs on less than a grey level",
        ("rounding",),
        model(
            "rest = 255 * x - (255 * x).round()\n"
            "extra = (rest * self.weight).flatten(1).sum(1, keepdim=True)\n"
            "return self.net(x) + torch.cat([extra, extra.new_zeros(len(x), 9)], 1)",
            "    def __init__(self):\n        super().__init__()\n"
            "        weight = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))\n"
            "        self.register_buffer('weight', weight)\n",
        ),
        {"threat_model": "linf:0.0015", "probes": 0},
        ranked=None,
    ),
)

# -- defenses and suites -----------------------------------------------------------------------------------------------

NOISE = "none, {name: random_noise, std: 0.2, eot_iter: 1, scoring_draws: 3}"
SUITES: tuple[Fault, ...] = (
    Fault(
        17,
        "one draw for every gradient",
        ("eot",),
        words={"defenses": NOISE, "threat_model": "linf:0.1", "samples": 16, "probes": 0},
        ranked=None,
    ),
    Fault(
        18,
        "the exact gradient of what has none",
        ("no-bpda", "zero-gradient"),
        words={"defenses": "none, {name: bit_depth, bits: 3, surrogate: exact}", "probes": 0},
    ),
    Fault(
        13,
        "a defense that says it is differentiable",
        ("zero-gradient", "transfer-stronger"),
        defense("differentiable = True\n\ndef purify(self, x):\n    return (7 * x).round() / 7"),
        {"defenses": "none, mine", "probes": 0},
    ),
    Fault(
        11,
        "a surrogate that points the wrong way",
        ("transfer-stronger",),
        defense(
            "differentiable = False\n\ndef purify(self, x):\n    return (7 * x).round() / 7\n\n"
            "def surrogate(self, x):\n    return 1 - x"
        ),
        {"defenses": "none, mine", "probes": 0, "threat_model": "linf:0.1"},
        ranked=None,
    ),
    Fault(
        19,
        "nobody who knows the defense",
        ("no-adaptive-attack", "no-bpda"),
        words={"defenses": "none, bit_depth", "adversaries": "oblivious", "threat_model": "linf:0.1", "probes": 0},
        ranked=None,
    ),
    Fault(
        20,
        "a detector that nobody attacks",
        ("not-joint", "no-adaptive-attack"),
        words={
            "defenses": "none, {name: feature_squeezing, fpr: 0.05}",
            "adversaries": "oblivious",
            "threat_model": "linf:0.1",
            "probes": 0,
        },
        ranked=None,
    ),
    Fault(
        22,
        "no harm to the bare model either",
        ("fails-undefended",),
        model("return 1000 * self.net(x)"),
        {"models": "{source: mine}", "defenses": "none, gaussian_blur", "samples": 24, "probes": 24},
        slow=True,
    ),
    Fault(
        5,
        "one step only",
        ("only-single-step", "more-steps-help"),
        words={"attacks": "fgsm", "threat_model": "linf:0.1"},
    ),
    Fault(
        26,
        "eps divided by 255 once more",
        ("rounding",),
        words={"threat_model": "linf:0.001", "probes": 0},
        ranked=None,
    ),
    Fault(
        23,
        "a dozen images",
        ("few-samples",),
        words={"samples": 12, "probes": 0},
        ranked=None,
    ),
    Fault(
        23,
        "two models of one kind",
        ("not-separable",),
        model("return self.net((x + 0.01).clamp(0, 1))"),
        {"models": "{source: mine}, zoo:mnist_standard", "threat_model": "linf:0.1", "probes": 0},
        severities=("info",),
        ranked=None,
    ),
)
SUITES = tuple(dataclasses.replace(one, words={"models": "zoo:mnist_standard", **one.words}) for one in SUITES)

FAULTS = (*FILES, *ATTACKS, *MODELS, *SUITES)


class Lab:
    """Runs and audits suites with a plugin; the same one only once."""

    def __init__(self, path: Path) -> None:
        self._path, self._known = path, dict[str, tuple[AuditRecord, RunDirectory]]()

    def audited(
        self, plugin: str, words: Mapping[str, object], tamper: Tamper | None = None
    ) -> tuple[AuditRecord, RunDirectory]:
        """What the audit says, and the run."""
        key = repr((plugin, words, tamper))
        if key not in self._known:
            folder = self._path / str(len(self._known))
            folder.mkdir()
            (folder / "mine.py").write_text(HEAD + plugin)
            (folder / "suite.yaml").write_text(SUITE.format(**{**USUAL, **words}))
            places = Places(download=False, allow_plugins=True)
            try:
                loaded = load_suite(folder / "suite.yaml")
                summary = run_suite(loaded, RunSettings(folder / "results", device="cpu", places=places))
                run = RunDirectory(summary.directory)
                if tamper is not None:
                    tamper(run)
                self._known[key] = audit_run(run.path, AuditSettings(places, "cpu")), run
            finally:
                for table in ALL.values():
                    table.remove(str(folder / "mine.py"))
        return self._known[key]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.fsync", lambda descriptor: None)  # nobody kills these runs
        yield Lab(tmp_path_factory.mktemp("planted"))


def _parameter(fault: Fault) -> Any:  # Any: pytest's own
    return pytest.param(fault, id=f"{fault.number}: {fault.name}", marks=[pytest.mark.slow] * fault.slow)


@pytest.mark.parametrize("fault", [_parameter(fault) for fault in FAULTS])
def test_a_planted_fault_is_named(lab: Lab, fault: Fault) -> None:
    record, run = lab.audited(fault.plugin, fault.words, fault.tamper)
    fired = {finding.rule for finding in record.findings if finding.severity in fault.severities}
    assert set(fault.rules) <= fired, [(one.severity, one.rule, one.message) for one in record.findings]
    if fault.ranked is not None:
        rows = read_outcomes(run).rows
        assert any(not row.complete for row in rows) != fault.ranked


def test_every_fault_of_the_list_is_planted() -> None:
    assert {fault.number for fault in FAULTS} == set(range(1, 27))


HEALTHY: dict[str, dict[str, object]] = {
    "linf": {"attacks": "{name: pgd, steps: 20}, {name: cw, steps: 20}", "threat_model": "linf:0.1"},
    "l2": {"attacks": "{name: apgd, steps: 30}, {name: pgd, steps: 20}", "threat_model": "l2:1"},
    "a defense": {"defenses": "none, gaussian_blur", "threat_model": "linf:0.12", "samples": 44, "probes": 16},
    "examples of other models": {
        "models": "zoo:mnist_pgd, zoo:mnist_standard",
        "defenses": "none, gaussian_blur",
        "attacks": "fgsm, {name: pgd, steps: 30}",
        "more": "transfer: all",
        "probes": 0,
    },
}
SLOW: dict[str, dict[str, object]] = {
    "l1": {"attacks": "{name: apgd, steps: 50, restarts: 3}", "threat_model": "l1:6"},
    "a minimum-norm attack": {"attacks": "{name: fmn, steps: 50}", "threat_model": "linf:0.1"},
    "an attack of a plugin": {"attacks": "mine", "threat_model": "linf:0.1"},
    "a large radius": {"threat_model": "linf:0.25", "models": "zoo:mnist_pgd", "attacks": "{name: pgd, steps: 40}"},
    "two models": {"models": "zoo:mnist_pgd, zoo:mnist_standard", "threat_model": "linf:0.1"},
    "autoattack": {"attacks": "autoattack", "threat_model": "linf:0.1"},
    "cascade": {"attacks": "cascade", "threat_model": "linf:0.2", "models": "zoo:mnist_pgd"},
    "jpeg": {"defenses": "none, jpeg", "attacks": "{name: pgd, steps: 40}", "threat_model": "linf:0.1"},
    "noise": {
        "defenses": "none, {name: random_noise, std: 0.1, eot_iter: 10, scoring_draws: 20}",
        "attacks": "{name: pgd, steps: 20}",
        "threat_model": "linf:0.1",
    },
    "a detector": {
        "defenses": "none, {name: feature_squeezing, fpr: 0.05}",
        "attacks": "{name: pgd, steps: 40}",
        "threat_model": "linf:0.1",
    },
}


@pytest.mark.parametrize("what", [*HEALTHY, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_healthy_evaluation_is_left_alone(lab: Lab, what: str) -> None:
    words = {"models": "zoo:mnist_standard", **{**HEALTHY, **SLOW}[what]}
    record, run = lab.audited(attack("alpha = 0.02\n    steps = 30"), words)
    assert [(one.rule, one.message) for one in record.findings if one.severity != "info"] == []
    assert all(row.complete for row in read_outcomes(run).rows)
