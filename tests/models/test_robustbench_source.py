"""RobustBench's own loader: the local layout with real architectures, names, failures. Nothing is downloaded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench import _imports, models
from bench.errors import ModelError, ModelUnavailable, UnknownNameError, UnsafeWeights
from bench.models.base import Setting
from bench.suites.places import Places
from bench.suites.spec import ModelSpec

CIFAR10 = Setting("cifar10", "linf", 10, (3, 32, 32))


def robustbench(name: str = "Wong2020Fast", **spec: Any) -> ModelSpec:
    return ModelSpec(id="m", source="robustbench", name=name, **spec)


def places(directory: Path, **more: Any) -> Places:
    return Places(model_dir=directory, download=False, **more)


def architecture(name: str = "Wong2020Fast", threat_model: str = "Linf") -> nn.Module:
    enums = _imports.robustbench("robustbench.model_zoo.enums")
    zoo = _imports.robustbench("robustbench.model_zoo").model_dicts
    torch.manual_seed(0)
    network: nn.Module = zoo[enums.BenchmarkDataset.cifar_10][enums.ThreatModel(threat_model)][name]["model"]()
    return network


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The layout with Wong2020Fast's real architecture; its weights are random, its buffers missing as in the original."""
    folder = tmp_path / "cifar10" / "Linf"
    folder.mkdir(parents=True)
    state = architecture().state_dict()
    torch.save(
        {name: tensor for name, tensor in state.items() if name not in ("mu", "sigma")}, folder / "Wong2020Fast.pt"
    )
    return tmp_path


def test_the_local_layout_through_the_real_loader(directory: Path) -> None:
    located = models.locate(robustbench(), CIFAR10, places(directory))
    file = directory / "cifar10/Linf/Wong2020Fast.pt"
    assert located.path == file
    assert located.weights_digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert located.published == ("cifar10", "Linf", "Wong2020Fast")
    assert located.note == ""
    model = models.load(robustbench(), CIFAR10, places(directory), device="cpu")
    x = torch.rand(2, 3, 32, 32)
    model.check(x)
    with torch.no_grad():
        assert torch.equal(model(x), architecture().eval()(x))


def test_the_models_own_directory(directory: Path, tmp_path: Path) -> None:
    spec = robustbench(directory=str(directory))
    assert (
        models.locate(spec, CIFAR10, places(tmp_path / "elsewhere")).path == directory / "cifar10/Linf/Wong2020Fast.pt"
    )


def test_a_generic_dataset_names_the_list(directory: Path) -> None:
    setting = Setting("npz", "linf", 10, (3, 32, 32))
    with pytest.raises(ModelError, match=r"no models for npz \(args: dataset: accepted: cifar10, cifar100, imagenet\)"):
        models.locate(robustbench(), setting, places(directory))
    located = models.locate(robustbench(args={"dataset": "cifar10"}), setting, places(directory))
    assert located.published == ("cifar10", "Linf", "Wong2020Fast")


def test_missing_weights_say_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable) as error:
        models.locate(robustbench(), CIFAR10, places(tmp_path))
    for part in (
        str(tmp_path / "cifar10/Linf/Wong2020Fast.pt"),
        "downloads are off",
        "put the file there",
        "Google Drive",
    ):
        assert part in str(error.value)


def test_a_failed_download_says_why_and_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(
        ModelUnavailable, match=r"the download failed: .*Wong2020Fast|the download failed: HTTPSConnection"
    ):
        models.locate(robustbench(), CIFAR10, Places(model_dir=tmp_path))
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "cifar10/Linf/Wong2020Fast.pt").exists()


def test_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean Wong2020Fast"):
        models.locate(robustbench("Wong2020fast"), CIFAR10, places(tmp_path))
    with pytest.raises(ModelError, match="stands in RobustBench's cifar10 L2 list, not in Linf; say threat_model: L2"):
        models.locate(robustbench("Rony2019Decoupling"), CIFAR10, places(tmp_path))


def test_the_norm_chooses_the_list_unless_the_model_says(tmp_path: Path) -> None:
    l2 = Setting("cifar10", "l2", 10, (3, 32, 32))
    with pytest.raises(ModelUnavailable, match=r"cifar10/L2/Rony2019Decoupling\.pt"):
        models.locate(robustbench("Rony2019Decoupling"), l2, places(tmp_path))
    with pytest.raises(ModelUnavailable, match=r"cifar10/L2/Rony2019Decoupling\.pt"):
        models.locate(robustbench("Rony2019Decoupling", threat_model="L2"), CIFAR10, places(tmp_path))
    with pytest.raises(ModelError, match=r"no l1 list \(accepted: corruptions, L2, Linf\)|no l1 list"):
        models.locate(robustbench(), Setting("cifar10", "l1", 10, (3, 32, 32)), places(tmp_path))


def test_models_that_timm_or_torchvision_host(tmp_path: Path) -> None:
    imagenet = Setting("imagenet", "linf", 1000, (3, 224, 224))
    for name in ("Debenedetti2022Light_XCiT-S12", "Standard_R50"):
        with pytest.raises(ModelUnavailable, match="hosted by timm or torchvision; downloads are off"):
            models.locate(robustbench(name), imagenet, places(tmp_path))


def test_weights_that_do_not_fit(directory: Path) -> None:
    file = directory / "cifar10/Linf/Wong2020Fast.pt"
    state = torch.load(file, weights_only=True)
    del state["layer1.0.conv1.weight"]
    torch.save(state, file)
    with pytest.raises(ModelError, match=r"RobustBench can't load it: RuntimeError: .*layer1\.0\.conv1\.weight"):
        models.load(robustbench(), CIFAR10, places(directory), device="cpu")


def test_a_pickle_with_code_is_refused_unless_allowed(directory: Path) -> None:
    file = directory / "cifar10/Linf/Wong2020Fast.pt"
    state = torch.load(file, weights_only=True)
    torch.save({"state_dict": state, "arguments": Path("x")}, file)
    with pytest.raises(UnsafeWeights, match=r"pathlib\..*--allow-pickle"):
        models.locate(robustbench(), CIFAR10, places(directory))
    trusting = places(directory, allow_pickle=frozenset({file.resolve()}))
    assert models.load(robustbench(), CIFAR10, trusting, device="cpu")(torch.rand(1, 3, 32, 32)).shape == (1, 10)


def test_ensembles_are_several_files(tmp_path: Path) -> None:
    name = "Chen2020Adversarial"
    folder = tmp_path / "cifar10" / "Linf"
    folder.mkdir(parents=True)
    ensemble: Any = architecture(name)
    for index, member in enumerate(ensemble.models):
        torch.save(member.state_dict(), folder / f"{name}.pt_m{index}.pt")
    files = sorted(folder.iterdir())
    digests = "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    located = models.locate(robustbench(name), CIFAR10, places(tmp_path))
    assert len(files) > 1
    assert located.weights_digest == hashlib.sha256(digests.encode()).hexdigest()
    files[1].unlink()
    with pytest.raises(ModelUnavailable, match=f"{files[1].name} isn't there"):
        models.locate(robustbench(name), CIFAR10, places(tmp_path))


def test_another_preprocessing_is_noted(tmp_path: Path) -> None:
    (tmp_path / "imagenet" / "Linf").mkdir(parents=True)
    torch.save({"w": torch.ones(1)}, tmp_path / "imagenet" / "Linf" / "Mo2022When_ViT-B.pt")
    imagenet = Setting("imagenet", "linf", 1000, (3, 224, 224))
    located = models.locate(robustbench("Mo2022When_ViT-B"), imagenet, places(tmp_path))
    assert located.note == "RobustBench's figure is for preprocessing Res224"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"mean": (0.5,), "std": (0.5,)}, "mean: robustbench doesn't use it"),
        ({"architecture": "resnet18"}, "architecture: robustbench doesn't use it"),
        ({"args": {"dataset": "mnist"}}, "args: dataset: Input should be"),
        ({"args": {"dataset": "cifar100"}}, "cifar100 models tell 100 classes apart, cifar10 has 10"),
        ({"sha256": "0" * 64}, "sha256 is"),
    ],
)
def test_refusals(directory: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        models.locate(robustbench(**more), CIFAR10, places(directory))
