from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench import datasets
from bench.datasets.base import Dataset
from bench.errors import Interrupted, ModelError
from bench.models.architectures.mnist_cnn import mnist_cnn
from bench.suites.places import Places
from bench.training import checkpoint, loop
from bench.training.checkpoint import State
from bench.training.load import load
from bench.training.loop import EpochEnd, Saving
from bench.training.method import Outcome, Step
from bench.training.method_parameters import PGDParams
from bench.training.pgd import PGD
from bench.training.recipe import Recipe

CPU = torch.device("cpu")
IDENTITY = {"recipe": "r"}


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def build() -> nn.Module:
    # Dropout draws from the global generator, batch norm keeps statistics: both must come back after a resume.
    network = mnist_cnn(channels=(2, 4), hidden=8)
    return nn.Sequential(network[0], nn.BatchNorm2d(2), *network[1:7], nn.Dropout(0.2), network[7])


@pytest.fixture
def recipe(mini: Path) -> Recipe:
    return load(mini, overrides=["dataset.samples=100", "batch_size=40"])


@pytest.fixture
def images(recipe: Recipe) -> Dataset:
    return datasets.load(recipe.dataset, Places())


def fit(recipe: Recipe, images: Dataset, path: Path, *, kill_at: int | None = None, resume: bool = False) -> State:
    """Trains; with ``kill_at``, as if the process died in the middle of that step (from 0)."""
    assert isinstance(recipe.method, PGDParams)
    method, steps = PGD(recipe.method), 0
    state = loop.fresh(recipe, build, CPU)
    if resume:
        checkpoint.restore(path, state, identity=IDENTITY, device=CPU, epochs=recipe.epochs)
    original = method.loss

    def loss(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step) -> Outcome:
        nonlocal steps
        if steps == kill_at:
            raise Killed
        steps += 1
        return original(model, x, x_adv, y, step=step)

    method.loss = loss  # type: ignore[method-assign]
    saving = Saving(path, IDENTITY, every_seconds=0.0)
    loop.fit(recipe, state, images, method, device=CPU, saving=saving, report=lambda end: None)
    return state


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    recipe: Recipe, images: Dataset, tmp_path: Path
) -> None:
    first, again = (fit(recipe, images, tmp_path / "c") for _ in range(2))
    other = fit(recipe.model_copy(update={"seed": 4}), images, tmp_path / "c")
    assert same(loop.kept(first), loop.kept(again))
    assert not same(loop.kept(first), loop.kept(other))


@pytest.mark.parametrize("kill_at", [1, 2, 3, 5, 8])
def test_a_killed_training_goes_on_to_the_same_bits(
    recipe: Recipe, images: Dataset, tmp_path: Path, kill_at: int
) -> None:
    whole = fit(recipe, images, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(recipe, images, tmp_path / "killed", kill_at=kill_at)
    torch.manual_seed(99)
    resumed = fit(recipe, images, tmp_path / "killed", resume=True)
    assert same(loop.kept(whole), loop.kept(resumed))
    assert same(whole.model, resumed.model)
    assert (resumed.epoch, resumed.resumed, whole.resumed) == (3, 1, 0)
    assert float(whole.tally.loss) == float(resumed.tally.loss) == 0.0


def test_it_learns_and_reports(recipe: Recipe, images: Dataset, tmp_path: Path) -> None:
    ends: list[EpochEnd] = []
    long = recipe.model_copy(update={"epochs": 12, "batch_size": 10, "weight_average": 0.0})
    assert isinstance(long.method, PGDParams)
    state = loop.fresh(long, lambda: mnist_cnn(channels=(4, 8), hidden=16), CPU)
    loop.fit(
        long, state, images, PGD(long.method), device=CPU, saving=Saving(tmp_path / "c", IDENTITY), report=ends.append
    )
    assert [end.epoch for end in ends] == list(range(1, 13))
    assert ends[-1].loss < 0.9 * ends[0].loss
    assert ends[-1].accuracy > ends[0].accuracy
    assert ends[-1].seconds_left == 0
    assert 0 < ends[0].seconds <= ends[-1].seconds
    assert ends[-1].model is state.model


def test_the_average_lags_behind_the_weights(recipe: Recipe, images: Dataset, tmp_path: Path) -> None:
    state = fit(recipe, images, tmp_path / "c")
    assert loop.kept(state) is state.average
    assert state.average is not None
    assert not same(state.average, state.model)
    # Its statistics of batch norm are its own, those of the clean images under the averaged weights.
    with torch.no_grad():
        seen = state.average[0](images.batch(range(len(images))).x).mean((0, 2, 3))
    mean = state.average[1].running_mean  # type: ignore[index]
    assert torch.allclose(mean, seen, atol=0.02)  # type: ignore[arg-type]
    assert not torch.allclose(mean, state.model[1].running_mean, atol=1e-4)  # type: ignore[index, arg-type]


def test_the_global_generator_is_left_alone(recipe: Recipe, images: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fit(recipe, images, tmp_path / "c")
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_loss_that_is_not_finite_is_an_error(recipe: Recipe, images: Dataset, tmp_path: Path) -> None:
    wild = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"lr": 1e30})})
    with pytest.raises(ModelError, match=r"the loss is (nan|inf) in epoch 1; a lower optimizer\.lr"):
        fit(wild, images, tmp_path / "c")


def test_at_the_deadline_it_stops_saved_and_goes_on_to_the_same_bits(
    recipe: Recipe, images: Dataset, tmp_path: Path
) -> None:
    whole = fit(recipe, images, tmp_path / "whole")
    assert isinstance(recipe.method, PGDParams)
    state, method = loop.fresh(recipe, build, CPU), PGD(recipe.method)
    late = Saving(tmp_path / "late", IDENTITY, every_seconds=1000.0, deadline=time.monotonic())
    with pytest.raises(Interrupted, match="the time is up after 0 epochs"):
        loop.fit(recipe, state, images, method, device=CPU, saving=late, report=lambda end: None)
    assert same(loop.kept(whole), loop.kept(fit(recipe, images, tmp_path / "late", resume=True)))


def test_a_single_image_left_over_is_left_out(recipe: Recipe, images: Dataset, tmp_path: Path) -> None:
    seen: list[float] = []
    short = recipe.model_copy(update={"epochs": 1, "batch_size": 33})
    assert isinstance(short.method, PGDParams)
    state = loop.fresh(short, build, CPU)
    saving = Saving(tmp_path / "c", IDENTITY)
    loop.fit(
        short,
        state,
        images,
        PGD(short.method),
        device=CPU,
        saving=saving,
        report=lambda end: seen.append(end.accuracy * 99),
    )
    assert seen[0] == pytest.approx(round(seen[0]))


def test_threads_are_set_and_put_back() -> None:
    before = torch.get_num_threads()
    with loop.cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
