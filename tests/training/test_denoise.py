from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from bench import datasets
from bench.datasets.base import Dataset
from bench.digests import file_digest
from bench.errors import Interrupted, ModelError, SuiteError
from bench.models.architectures.denoising_autoencoder import denoising_autoencoder
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec
from bench.training import psnr
from bench.training.card import DenoiserCard
from bench.training.denoise import Denoise, with_noise
from bench.training.draws import BatchDraws
from bench.training.load import load
from bench.training.method import Step
from bench.training.method_parameters import DenoiseParams
from bench.training.train import Progress, TrainingResult, train

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
ZOO = ROOT / "bench" / "models" / "zoo"
MINI = """\
name: mini
dataset: {name: mnist, samples: 200, select: stratified}
test: {name: mnist, samples: 40}
architecture: {name: denoising_autoencoder, width: 4, depth: 1, mean: 0.13}
method: {name: denoise, std: 0.3}
epochs: 3
batch_size: 50
optimizer: {name: adam, lr: 0.01}
augmentation: {shift: 1}
weight_average: 0.5
threads: 1
evaluation: {samples: 10}
"""


@pytest.fixture
def mini(written: Callable[[str], Path]) -> Path:
    return written(MINI)


def run(mini: Path, output: Path, *overrides: str, **options: object) -> TrainingResult:
    return train(mini, overrides=overrides, output=output, device="cpu", **options)  # type: ignore[arg-type]


def card_of(result: TrainingResult) -> DenoiserCard:
    assert isinstance(result.card, DenoiserCard)
    return result.card


class Seen(nn.Module):
    """Gives the image back and remembers it."""

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x


def place(count: int) -> Step:
    """The first step of a training, with this many images."""
    return Step(0.0, 3, BatchDraws(torch.Generator().manual_seed(2), count, 0, count, CPU), 0.0, 1.0)


def test_noise_is_gaussian_and_clamped() -> None:
    x = torch.full((4, 1, 100, 100), 0.5)
    noise = 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    noisy = with_noise(x, noise)
    assert float((noisy - x).std()) == pytest.approx(0.1, rel=0.02)
    assert float((noisy - x).mean()) == pytest.approx(0, abs=0.002)
    black = with_noise(0 * x, noise)
    assert torch.equal(black, (noisy - 0.5).clamp(min=0)) or torch.allclose(
        black, (noisy - 0.5).clamp(min=0), atol=1e-6
    )


def test_the_loss_is_the_squared_error_of_what_the_network_makes_of_the_noisy_image() -> None:
    network, x = Seen(), torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    method, step, y = Denoise(DenoiseParams(name="denoise", std=0.3)), place(5), torch.zeros(5).long()
    outcome = method.loss(network, x, method.examples(network, x, y, step=step), y, step=step)
    assert outcome.logits is None
    assert float(outcome.loss) == pytest.approx(float(np.mean((network.x.numpy() - x.numpy()) ** 2)), rel=1e-5)


def test_in_a_range_every_image_has_its_own_level() -> None:
    network, x = Seen(), torch.full((200, 1, 40, 40), 0.5)
    method = Denoise(DenoiseParams(name="denoise", std=0.1, std_min=0.02))
    noisy = method.examples(network, x, torch.zeros(200).long(), step=place(200))
    levels = (noisy - x).flatten(1).std(1)
    assert 0.018 < levels.min() < 0.025
    assert 0.095 < levels.max() < 0.105
    assert float(levels.mean()) == pytest.approx(0.06, abs=0.006)


def test_psnr_against_the_formula_and_never_infinite() -> None:
    x = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    expected = [10 * np.log10(1 / np.mean((a - b) ** 2)) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    assert psnr.psnr(x, y).tolist() == pytest.approx(expected, rel=1e-5)
    assert psnr.psnr(x, x).tolist() == pytest.approx([100.0] * 3)


def test_the_measured_noise_is_the_stated_one_and_the_mode_is_left() -> None:
    images = Dataset(
        "grey", np.full((300, 1, 16, 16), 0.5, np.float32), np.zeros(300, np.int64),
        tuple(map(str, range(300))), np.arange(300), 10, (), "0" * 64,
    )  # fmt: skip
    network = Seen().train()
    found = psnr.denoised(network, images, 0.1, CPU)
    assert found.noisy.shape == (300,)
    assert np.array_equal(found.noisy, found.denoised)
    assert found.noisy.mean() == pytest.approx(20.0, abs=0.1)  # 10 log10(1 / 0.1^2)
    assert network.training


def test_a_recipe_becomes_a_denoiser_and_its_card(mini: Path, tmp_path: Path) -> None:
    lines: list[Progress] = []
    result = run(mini, tmp_path, "epochs=15", "evaluation.std=0.2", progress=lines.append)
    card = json.loads(result.card_path.read_text())
    assert card == result.card.model_dump(mode="json")
    assert (card["task"], card["input_shape"]) == ("restoration", [1, 28, 28])
    assert not {"num_classes", "clean_accuracy", "robust_accuracy"} & set(card)
    assert card["recipe"]["evaluation"]["attacks"] == []
    assert card["weights_sha256"] == file_digest(result.weights)

    epochs = [line for line in lines if line.phase == "train"]
    losses = [line.loss or 0 for line in epochs]
    assert losses[-1] < 0.5 * losses[0]
    assert all(line.clean_accuracy is None and line.psnr is not None for line in epochs)
    assert "PSNR" in epochs[0].text
    assert lines[-1].text.endswith("under noise of 0.2, mean over 40 test images")

    network = denoising_autoencoder(width=4, depth=1)
    network.load_state_dict(safetensors.torch.load_file(result.weights))
    images = datasets.load(DatasetSpec(name="mnist", samples=40), Places())
    found = psnr.denoised(network, images, 0.2, CPU)
    said = card_of(result).denoising
    assert (said.std, said.psnr_noisy.n) == (0.2, 40)
    assert said.psnr_noisy.value == pytest.approx(found.noisy.mean(), abs=1e-3)
    assert said.psnr_denoised.value == pytest.approx(found.denoised.mean(), abs=1e-3)
    assert said.psnr_denoised.low < said.psnr_denoised.value < said.psnr_denoised.high  # type: ignore[operator]


def test_the_same_recipe_gives_the_same_file_and_an_interruption_changes_nothing(mini: Path, tmp_path: Path) -> None:
    whole = run(mini, tmp_path / "a")
    assert run(mini, tmp_path / "b", "evaluation.samples=0").weights.read_bytes() == whole.weights.read_bytes()
    assert run(mini, tmp_path / "c", "seed=4").card.weights_sha256 != whole.card.weights_sha256
    with pytest.raises(Interrupted):
        run(mini, tmp_path / "d", time_budget=0.0)
    resumed = run(mini, tmp_path / "d")
    assert resumed.card.training.resumed == 1
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()


def test_networks_and_methods_that_do_not_fit_are_refused(mini: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"output of shape \(1, 10\); the method denoise needs images to images"):
        run(mini, tmp_path, "architecture=mnist_cnn")
    with pytest.raises(ModelError, match="doesn't take images of shape"):
        run(mini, tmp_path, "architecture.in_channels=3")
    with pytest.raises(ModelError, match=r"gives logits of shape \(1, 1, 28, 28\)"):
        run(mini, tmp_path, "method=standard")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.std=0", "method.std: out of range, got 0 (accepted: above 0)"),
        ("method={name: denoise}", "'std' of the training method denoise is missing"),
        ("method.std_min=0.5", "std_min must not be above std: 0.5 and 0.3"),
        ("evaluation.threat_models=['linf:0.1']", "a denoiser is measured under noise (evaluation.std)"),
        ("evaluation.attacks=[pgd]", "a denoiser is measured under noise (evaluation.std)"),
        ("label_smoothing=0.1", "a denoiser has no labels"),
        ("method={name: pgd, eps: 0.1}", None),
        ("evaluation={std: 0}", "evaluation.std: out of range"),
    ],
)
def test_what_a_recipe_of_a_denoiser_may_not_say(mini: Path, override: str, message: str | None) -> None:
    if message is None:
        assert load(mini, overrides=[override]).evaluation.attacks
        return
    with pytest.raises(SuiteError) as caught:
        load(mini, overrides=[override])
    assert message in str(caught.value)


def test_the_noise_of_the_measurement_is_for_denoisers(mini: Path) -> None:
    assert load(mini).measured_std == 0.3
    assert load(mini, overrides=["evaluation.std=0.1"]).measured_std == 0.1
    with pytest.raises(SuiteError, match=r"evaluation.std belongs to the method denoise, not to standard"):
        load(mini, overrides=["method=standard", "evaluation.std=0.1"])
    with pytest.raises(TypeError, match="standard trains no denoiser"):
        _ = load(mini, overrides=["method=standard"]).measured_std


def shipped() -> nn.Module:
    network = denoising_autoencoder()
    network.load_state_dict(safetensors.torch.load_file(ZOO / "mnist_denoiser.safetensors"))
    return network


def test_the_zoo_s_denoiser_is_that_of_its_card_and_recipe() -> None:
    card = json.loads((ZOO / "mnist_denoiser.json").read_text())
    assert card["weights_sha256"] == file_digest(ZOO / "mnist_denoiser.safetensors")
    assert card["weights_bytes"] < 500_000
    assert card["recipe_sha256"] == load(ROOT / "recipes" / "mnist_denoiser.yaml").digest()
    images = datasets.load(DatasetSpec(name="mnist"), Places())
    assert images.digest == card["test_images"]["sha256"]
    found = psnr.denoised(shipped(), images, 0.3, CPU)
    said = card["denoising"]
    assert found.noisy.mean() == pytest.approx(said["psnr_noisy"]["value"], abs=0.01)
    assert found.denoised.mean() == pytest.approx(said["psnr_denoised"]["value"], abs=0.01)
    assert found.denoised.mean() > found.noisy.mean() + 7
    assert (found.denoised > found.noisy).mean() > 0.99


@pytest.mark.slow
def test_the_recipe_gives_the_zoo_s_denoiser_again(tmp_path: Path) -> None:
    card = json.loads((ZOO / "mnist_denoiser.json").read_text())
    result = train(ROOT / "recipes" / "mnist_denoiser.yaml", output=tmp_path, device="cpu")
    if card["training"]["processor"] == result.card.training.processor and card["versions"] == result.card.versions:
        assert result.card.weights_sha256 == card["weights_sha256"]
    found = card_of(result).denoising.psnr_denoised.value
    assert found == pytest.approx(card["denoising"]["psnr_denoised"]["value"], abs=0.3)


def test_the_numbers_in_the_docs_are_those_of_the_card() -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    said = json.loads((ZOO / "mnist_denoiser.json").read_text())["denoising"]
    shown = [
        f"{one['value']:.2f} ({one['low']:.2f}–{one['high']:.2f})"
        for one in (said["psnr_noisy"], said["psnr_denoised"])
    ]
    assert f"| mnist_denoiser | {said['std']:g} | {' | '.join(shown)} |" in page
