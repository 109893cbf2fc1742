"""An attack that claims a success which isn't one makes an error cell: through the real adapters, with broken libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.backends.foolbox import foolbox
from bench.attacks.base import AttackResult, Samples
from bench.errors import AttackError
from bench.models.wrapper import CountedModel
from bench.runner.claims import keep_its_word
from bench.runner.judge import judge
from bench.runner.run import RunSummary
from bench.store.run_directory import RunDirectory
from bench.threat_models import build

Run = Callable[..., RunSummary]
NOTHING = "METRICS = {}\nATTACKS = {'other': object}"
Move = Callable[[Tensor], Tensor]


def lying(monkeypatch: pytest.MonkeyPatch, name: str, move: Move) -> None:
    """Makes an attack of foolbox return moved images and call all of them adversarial."""

    def call(self: object, model: object, x: Tensor, y: Tensor, *, epsilons: object) -> Any:
        return move(x), move(x), torch.ones(len(x), dtype=torch.bool)

    monkeypatch.setattr(getattr(foolbox().attacks, name), "__call__", call)


@pytest.mark.parametrize("attack", ["foolbox.LinfPGD", "pgd, backend: foolbox"])
@pytest.mark.parametrize(
    ("move", "what"),
    [
        (lambda x: x.clone(), "the clean image, untouched"),
        (lambda x: (x + 0.001).clamp(0, 1), "classified right"),
    ],
)
def test_a_claim_that_the_judge_denies_is_an_error(
    plugged: Run, monkeypatch: pytest.MonkeyPatch, attack: str, move: Move, what: str
) -> None:
    lying(monkeypatch, "LinfProjectedGradientDescentAttack", move)
    (result,) = plugged(NOTHING, attacks=f"{{name: {attack}, steps: 3}}", samples=5).results
    assert result.status == "error"
    assert "claims to have broken" in str(result.reason)
    assert what in str(result.reason)
    assert "and 2 more" in str(result.reason), "three samples are named"


def test_who_claims_nothing_is_believed(plugged: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = foolbox().attacks.LinfProjectedGradientDescentAttack
    monkeypatch.setattr(kind, "run", lambda self, model, inputs, criterion, **words: inputs)
    summary = plugged(NOTHING, attacks="{name: foolbox.LinfPGD, steps: 3}", samples=5)
    (result,) = summary.results
    assert result.status == "done", result.reason
    assert not RunDirectory(summary.directory).read_samples(result.cell)["success"].any()


def test_a_claim_beyond_eps_is_none_at_eps(plugged: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lying(monkeypatch, "LinfDeepFoolAttack", lambda x: 1 - x)
    (result,) = plugged(NOTHING, attacks="{name: foolbox.LinfDeepFoolAttack, steps: 3}", samples=5).results
    assert result.status == "done", result.reason


def test_the_official_code_is_held_to_what_it_changed(plugged: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyautoattack.square import SquareAttack

    monkeypatch.setattr(SquareAttack, "perturb", lambda self, x, y: (x + 0.001).clamp(0, 1))
    for attack in (
        "square, backend: autoattack",
        "autoattack, backend: autoattack, version: custom, attacks: [square]",
    ):
        (result,) = plugged(NOTHING, attacks=f"{{name: {attack}, n_queries: 20}}", samples=4).results
        assert result.status == "error"
        assert "claims to have broken 4 of 4 samples that it didn't break" in str(result.reason)


def test_success_must_be_told_of_each_sample(plugged: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = foolbox().attacks.LinfProjectedGradientDescentAttack
    monkeypatch.setattr(kind, "__call__", lambda self, model, x, y, epsilons: (x, x, None))
    (result,) = plugged(NOTHING, attacks="{name: foolbox.LinfPGD, steps: 3}", samples=3).results
    assert result.status == "error"
    assert "foolbox told the success of 3 samples as NoneType" in str(result.reason)


@pytest.mark.parametrize(("margin", "passes"), [(1e-6, True), (1e-2, False)])
def test_rounding_is_no_lie(margin: float, passes: bool) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0], [1.0 - margin]]))
    model, x, ball = CountedModel(network, num_classes=2), torch.ones(1, 1, 1, 1), build("linf", 0.1)
    samples = Samples(x, torch.tensor([0]), ("a",))
    found = AttackResult.untouched(samples)
    found.x_adv, found.claimed = x - 0.05, torch.tensor([True])
    correct = torch.tensor([True])
    verdict = judge(
        model, x, samples.y, found.x_adv, threat_model=ball, minimum_norm=False, batch_size=4, sample_ids=samples.ids
    )
    assert not verdict.prediction.fooled.any()
    if passes:
        keep_its_word(model, samples, found, verdict, correct, threat_model=ball, batch_size=4)
        return
    with pytest.raises(AttackError, match=r"1 of 1 samples that it didn't break: a \(classified right\)"):
        keep_its_word(model, samples, found, verdict, correct, threat_model=ball, batch_size=4)
