from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks.backends.foolbox import foolbox
from bench.attacks.pgd import PGD
from bench.datasets.base import Dataset
from bench.errors import AttackError
from bench.stats import BoolArray
from bench.suites.spec import AttackSpec, ThreatModelSpec
from bench.training import measure, measuring
from bench.training.method_parameters import PGDParams
from bench.training.verdicts import SavedVerdicts

CPU = torch.device("cpu")
EPS = Fraction(1, 20)


class Linear(nn.Module):
    """Four classes, of which only the first two can win: the robust images are known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[3.0, -1.0, 2.0, 0.5], [1.0, 2.0, -1.0, 0.0], [0.0] * 4, [0.0] * 4]))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + torch.tensor([0.0, 1.0, -50.0, -60.0])


@pytest.fixture
def images() -> Dataset:
    generator = np.random.default_rng(0)
    pixels = generator.uniform(0.3, 0.7, (300, 1, 2, 2)).astype(np.float32)
    labels = Linear()(torch.from_numpy(pixels)).argmax(1).numpy()
    labels[::10] = 1 - labels[::10]
    ids = tuple(f"made/{number}" for number in range(300))
    return Dataset("made", pixels, labels, ids, np.arange(300), 4, (), "0" * 64)


def known_robust(images: Dataset) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    model = Linear()
    logits = model(torch.from_numpy(np.asarray(images.images)))[:, :2]
    sign = torch.from_numpy(1 - 2 * images.labels).float()
    margin = (logits[:, 0] - logits[:, 1]) * sign
    reach = float(EPS) * (model.weight[0] - model.weight[1]).abs().sum()
    return (margin > reach).numpy()


def test_clean_counts_what_is_classified_correctly(images: Dataset) -> None:
    correct = measure.clean(Linear(), images, CPU)
    assert correct.tolist() == [index % 10 != 0 for index in range(300)]


def test_a_claim_that_the_judge_denies_is_no_robust_accuracy(images: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(self: object, model: object, x: Tensor, y: Tensor, *, epsilons: object) -> object:
        return x, x, torch.ones(len(x), dtype=torch.bool)

    monkeypatch.setattr(foolbox().attacks.LinfFastGradientAttack, "__call__", lying)
    network = Linear()
    with pytest.raises(AttackError, match=r"claims to have broken .* untouched"):
        measure.attacked(
            network,
            images,
            measure.clean(network, images, CPU),
            attack=AttackSpec(name="fgsm", backend="foolbox"),
            threat_model=ThreatModelSpec(norm="linf", eps=EPS),
            device=CPU,
            report=lambda finished, robust: None,
        )


@pytest.mark.parametrize(
    "attack",
    [
        AttackSpec(name="pgd", args={"steps": 40}),
        AttackSpec(name="autoattack", args={"version": "custom", "attacks": ["apgd-ce", "square"], "n_queries": 20}),
    ],
    ids=lambda spec: spec.name,
)
def test_the_robust_images_of_a_linear_model_are_the_known_ones(images: Dataset, attack: AttackSpec) -> None:
    network = Linear()
    correct = measure.clean(network, images, CPU)
    told: list[tuple[int, int]] = []
    result = measure.attacked(
        network,
        images,
        correct,
        attack=attack,
        threat_model=ThreatModelSpec(norm="linf", eps=EPS),
        device=CPU,
        report=lambda finished, robust: told.append((finished, robust)),
    )
    expected = known_robust(images)
    assert 20 < expected.sum() < 250
    assert (result.robust == expected).all()
    assert [finished for finished, _ in told] == [256, 300]
    assert told[-1][1] == expected.sum()
    assert result.attack.id == ("pgd-40" if attack.name == "pgd" else "autoattack")


def test_a_long_measurement_says_now_and_then_what_is_at_work(images: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    network, lines = Linear(), list[str]()
    monkeypatch.setattr(measuring, "QUIET_SECONDS", 0.0)
    spec = AttackSpec(name="autoattack", args={"version": "custom", "attacks": ["apgd-ce", "square"], "n_queries": 20})
    measure.attacked(
        network,
        images,
        measure.clean(network, images, CPU),
        attack=spec,
        threat_model=ThreatModelSpec(norm="linf", eps=EPS),
        device=CPU,
        report=lambda finished, robust: None,
        listener=measuring.Slowly(lines.append, "autoattack under Linf 1/20"),
    )
    assert re.fullmatch(r"autoattack under Linf 1/20: \d+ of those under attack robust so far, in apgd-ce", lines[0])
    assert lines[-1].endswith("robust so far, in square")
    lines.clear()
    monkeypatch.setattr(measuring, "QUIET_SECONDS", 60.0)
    slowly = measuring.Slowly(lines.append, "pgd")
    slowly(3, 20)
    assert not lines


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def watched(monkeypatch: pytest.MonkeyPatch, *, kill_at: int | None = None) -> list[int]:
    """How many images each attacked shard has; with ``kill_at``, as if the process died in that one."""
    shards: list[int] = []
    real = measure._unbroken

    def counting(*args: Any) -> BoolArray:
        if len(shards) + 1 == kill_at:
            raise Killed
        shards.append(len(args[2]))
        return real(*args)

    monkeypatch.setattr(measure, "_unbroken", counting)
    monkeypatch.setattr(measure, "SHARD", 100)
    return shards


def pgd(images: Dataset, saved: SavedVerdicts, *, steps: int = 5, samples: int = 300) -> measure.Attacked:
    network, some = Linear(), replace(images, images=images.images[:samples], labels=images.labels[:samples])
    some = replace(some, sample_ids=images.sample_ids[:samples])
    return measure.attacked(
        network,
        some,
        measure.clean(network, some, CPU),
        attack=AttackSpec(name="pgd", args={"steps": steps}),
        threat_model=ThreatModelSpec(norm="linf", eps=EPS),
        device=CPU,
        report=lambda finished, robust: None,
        saved=saved,
    )


def test_a_killed_measurement_goes_on_with_the_next_shard(
    images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saved(weights: str = "a", data: str = "b", code: str = "c") -> SavedVerdicts:
        return SavedVerdicts(tmp_path / "x.measured", weights=weights, architecture=code, images=data, device=CPU)

    with monkeypatch.context() as patch:
        watched(patch, kill_at=3)
        with pytest.raises(Killed):
            pgd(images, saved())
    with monkeypatch.context() as patch:
        shards = watched(patch)
        result = pgd(images, saved())
        assert shards == [90]
        assert (result.robust == known_robust(images) & measure.clean(Linear(), images, CPU)).all()
        again = pgd(images, saved())
        assert shards == [90]
        assert again.seconds == pytest.approx(result.seconds)
        # Another shard, other steps, weights, code or images are other verdicts.
        assert (pgd(images, saved(), samples=150).robust == result.robust[:150]).all()
        assert shards == [90, 45]
        pgd(images, saved(), steps=6)
        pgd(images, saved("b"))
        pgd(images, saved(data="a"))
        pgd(images, saved(code="a"))
        monkeypatch.setattr(PGD, "revision", PGD.revision + 1)
        pgd(images, saved())
        assert shards == [90, 45, *[90] * 15]
    saved().forget()
    assert not (tmp_path / "x.measured").exists()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a": 1}', '{"a": {"unbroken": "01"}}', '{"a": {"unbroken": "0", "seconds": "x"}}']
)
def test_verdicts_that_can_t_be_read_are_measured_anew(
    images: Dataset, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.measured"
    path.write_text(text)
    shards = watched(monkeypatch)
    pgd(images, SavedVerdicts(path, weights="a", architecture="c", images="b", device=CPU))
    assert shards == [90] * 3
    assert "x.measured can't be read" in caplog.text


@pytest.mark.parametrize("unbroken", ["1", "", "1" * 89, "1" * 91, "x" * 90])
def test_what_can_t_be_a_shard_s_verdicts_is_measured_anew(
    images: Dataset, tmp_path: Path, unbroken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.measured"

    def saved() -> SavedVerdicts:
        return SavedVerdicts(path, weights="a", architecture="c", images="b", device=CPU)

    shards = watched(monkeypatch)
    right = pgd(images, saved())
    shards.clear()
    wrong = {key: {"unbroken": unbroken, "seconds": 1.0} for key in json.loads(path.read_text())}
    path.write_text(json.dumps(wrong))
    assert (pgd(images, saved()).robust == right.robust).all()
    assert shards == [90] * 3


def test_watch_looks_and_leaves_the_mode(images: Dataset) -> None:
    network = Linear()
    assert measure.watch(network, images, None, CPU) == (pytest.approx(0.9), None)
    clean, robust = measure.watch(network, images, PGDParams(name="pgd", eps=EPS), CPU)
    assert clean == pytest.approx(0.9)
    assert robust == pytest.approx(known_robust(images).mean(), abs=0.02)
    assert network.training
