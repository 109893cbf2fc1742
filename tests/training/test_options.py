"""Options of a recipe that the loop carries out, each against what it means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bench import datasets
from bench.datasets.base import Dataset
from bench.errors import DatasetError, SuiteError
from bench.models.architectures.mnist_cnn import mnist_cnn
from bench.suites.places import Places
from bench.training import averages, checkpoint, loop, precision, validation
from bench.training.checkpoint import State
from bench.training.load import load
from bench.training.loop import EpochEnd, Saving
from bench.training.recipe import Recipe
from bench.training.train import Progress, method_of, train

CPU = torch.device("cpu")
KINDS = {"float32": "float32", "bfloat16": "bfloat16", "auto": ""}
SMALL = ["dataset.samples=100", "batch_size=40", "weight_average=0", "epochs=2"]


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def build() -> nn.Module:
    network = mnist_cnn(channels=(2, 4), hidden=8)
    return nn.Sequential(network[0], nn.BatchNorm2d(2), *network[1:7], nn.Dropout(0.2), network[7])


def fit(recipe: Recipe, path: Path, *, kill_at: int | None = None, resume: bool = False) -> State:
    """Trains; with ``kill_at``, as if the process died after that many saved steps."""
    images, method = datasets.load(recipe.dataset, Places()), method_of(recipe)
    architecture = build if recipe.accumulate == 1 else (lambda: mnist_cnn(channels=(2, 4), hidden=8))
    state, saves = loop.fresh(recipe, architecture, CPU), 0
    if resume:
        checkpoint.restore(path, state, identity={}, device=CPU, epochs=recipe.epochs)
        method.restore(state.method) if state.method else None
    kept = method.state

    def counting() -> dict[str, torch.Tensor]:
        nonlocal saves
        saves += 1
        if saves == kill_at:
            raise Killed
        return kept()

    method.state = counting  # type: ignore[method-assign]
    saving = Saving(path, {}, every_seconds=0.0)
    held_out = images if recipe.method.name == "fgsm" else None
    loop.fit(recipe, state, images, method, device=CPU, saving=saving, report=lambda end: None, held_out=held_out)
    return state


def same(a: nn.Module, b: nn.Module, tolerance: float = 0.0) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return all(torch.allclose(left[key].float(), right[key].float(), rtol=0, atol=tolerance) for key in left)


@pytest.mark.parametrize(
    "options",
    [
        ["average={name: swa, start: 0}"],
        ["precision=bfloat16"],
        ["accumulate=3"],
        ["awp={gamma: 0.01}"],
        ["mix='3:1'"],
        ["grad_clip=0.1"],
        ["optimizer={name: sgd, lr: 0.1, nesterov: true}"],
        ["augmentation={cutout: 8, hflip: true}"],
        ["method={name: free, eps: 0.1, replays: 3}", "strength={name: step, epochs: 1}"],
        ["method={name: fgsm, eps: 0.1, collapse: 1}"],
    ],
    ids=str,
)
def test_a_killed_training_goes_on_to_the_same_bits_with_every_option(
    mini: Path, tmp_path: Path, options: list[str]
) -> None:
    recipe = load(mini, overrides=[*SMALL, *options])
    whole = fit(recipe, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(recipe, tmp_path / "killed", kill_at=5)
    torch.manual_seed(99)
    resumed = fit(recipe, tmp_path / "killed", resume=True)
    assert same(loop.kept(whole), loop.kept(resumed))
    assert same(whole.model, resumed.model)
    without = load(mini, overrides=[*SMALL, *(["accumulate=3"] if options[0].startswith("acc") else [])])
    if not options[0].startswith("acc"):
        assert not same(loop.kept(whole), loop.kept(fit(without, tmp_path / "plain")))


def test_parts_of_a_batch_add_up_to_its_gradient(mini: Path, tmp_path: Path) -> None:
    plain = ["method={name: pgd, eps: 0.1, steps: 2}", "optimizer={name: sgd, lr: 0.1}", "epochs=1"]
    parts = fit(load(mini, overrides=[*SMALL, *plain, "accumulate=3"]), tmp_path / "c")
    two = fit(load(mini, overrides=[*SMALL, *plain, "accumulate=2"]), tmp_path / "c")
    assert same(parts.model, two.model, 1e-4)


def test_nesterov_s_momentum_looks_ahead(mini: Path, tmp_path: Path) -> None:
    said = "optimizer={{name: sgd, lr: 0.1, momentum: {momentum}, nesterov: {nesterov}}}"
    ends = {}
    for momentum, nesterov in [(0.9, "true"), (0.9, "false"), (1e-9, "true"), (1e-9, "false")]:
        recipe = load(mini, overrides=[*SMALL, "epochs=1", said.format(momentum=momentum, nesterov=nesterov)])
        ends[momentum, nesterov] = fit(recipe, tmp_path / "c").model
    assert not same(ends[0.9, "true"], ends[0.9, "false"])
    assert same(ends[1e-9, "true"], ends[1e-9, "false"], 1e-6)


def test_swa_is_the_mean_of_the_weights_after_its_epochs(mini: Path, tmp_path: Path) -> None:
    recipe = load(mini, overrides=[*SMALL, "epochs=3", "average={name: swa, start: 1}"])
    ends: list[dict[str, torch.Tensor]] = []
    images = datasets.load(recipe.dataset, Places())
    state = loop.fresh(recipe, build, CPU)

    def keep(end: EpochEnd) -> None:
        ends.append({name: weight.clone() for name, weight in state.model.named_parameters()})

    loop.fit(recipe, state, images, method_of(recipe), device=CPU, saving=Saving(tmp_path / "c", {}), report=keep)
    assert [averages.counts(recipe, epoch) for epoch in (1, 2, 3)] == [None, 0, 1]
    assert state.average is not None
    for name, weight in state.average.named_parameters():
        assert torch.allclose(weight, (ends[1][name] + ends[2][name]) / 2, atol=1e-6)
    # Its statistics of batch norm are its own, those of the clean images under the mean weights.
    seen = state.average[0](images.batch(range(100)).x)
    assert torch.allclose(state.average[1].running_mean, seen.mean((0, 2, 3)), atol=0.02)  # type: ignore[index, arg-type]


def test_bfloat16_passes_leave_weights_and_moments_in_float32(mini: Path, tmp_path: Path) -> None:
    state = fit(load(mini, overrides=[*SMALL, "precision=bfloat16"]), tmp_path / "c")
    kinds = {tensor.dtype for tensor in state.model.state_dict().values()}
    assert kinds == {torch.float32, torch.int64}


@pytest.mark.parametrize(("amx", "vectors"), [(False, False), (False, True), (True, False), (True, True)])
def test_auto_takes_bfloat16_where_a_cpu_multiplies_it(
    mini: Path, monkeypatch: pytest.MonkeyPatch, amx: bool, vectors: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: vectors, raising=False)
    said = {kind: precision.resolved(load(mini, overrides=[f"precision={kind}"]), CPU) for kind in KINDS}
    assert said == {**KINDS, "auto": "bfloat16" if amx or vectors else "float32"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("strength={name: linear, epochs: 3}", "give one of them"),
        ("average={name: ema, decay: 0.9}", "weight_average is short for average"),
        ("schedule={name: cosine, milestones: [3]}", "milestones belongs to step"),
        ("schedule=step", "step needs milestones"),
        ("precision=float16", "float32"),
        ("mix='0:0'", "adversarial"),
        ("average={name: swa, decay: 0.9}", "decay belongs to ema"),
        ("validation={samples: 20, threat_model: 'l1:3'}", "must be linf or l2"),
        ("validation={sample: 20}", "samples"),
    ],
)
def test_options_that_do_not_fit_are_refused(mini: Path, change: str, said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        load(mini, overrides=[change])


def test_a_key_at_its_default_leaves_the_digest(mini: Path) -> None:
    digest = load(mini).digest()
    assert load(mini, overrides=["precision=float32", "accumulate=1", "augmentation.cutout=0"]).digest() == digest
    assert load(mini, overrides=["precision=bfloat16"]).digest() != digest
    assert load(mini, overrides=["augmentation.cutout=4"]).digest() != digest


@pytest.fixture
def images(mini: Path) -> Dataset:
    return datasets.load(load(mini).dataset, Places())


def test_held_out_images_are_not_trained_on_and_repeat(mini: Path, images: Dataset) -> None:
    said = load(mini, overrides=["validation={samples: 50}"]).validation
    assert said is not None
    rest, held_out = validation.split(images, said, 3)
    assert (len(rest), len(held_out)) == (250, 50)
    assert not set(rest.sample_ids) & set(held_out.sample_ids)
    assert validation.split(images, said, 3)[1].sample_ids == held_out.sample_ids
    assert validation.split(images, said, 4)[1].sample_ids != held_out.sample_ids
    with pytest.raises(DatasetError, match="accepted: up to 150"):
        validation.split(images, said.model_copy(update={"samples": 200}), 3)


def test_the_best_weights_are_kept_and_patience_ends_the_training(mini: Path, tmp_path: Path) -> None:
    lines: list[Progress] = []
    # So high a rate that the network forgets again.
    wild = ["optimizer={name: adam, lr: 0.2}", "schedule=constant", "weight_average=0", "epochs=30"]
    result = train(
        mini,
        overrides=["validation={samples: 60, patience: 3}", "method=standard", "evaluation={}", *wild],
        output=tmp_path,
        device="cpu",
        progress=lines.append,
    )
    assert result is not None
    facts = result.card.training
    assert facts.epochs < 30
    assert facts.best_epoch == facts.epochs - 3
    assert "nothing better in 3 looks" in facts.stopped
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith("mini") and path != mini} == {
        "mini.safetensors", "mini.json", "mini_last.safetensors", "mini_last.json", "mini.log.jsonl"
    }  # fmt: skip
    assert "ends here" in next(line for line in reversed(lines) if line.phase == "train").text
