"""Defenses that name files and models: what is missing stops one row, what is in them is in the ids, ensembles end to end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

import bench
from bench import models
from bench.cli.app import app
from bench.errors import AttackError, SuiteError
from bench.models.base import Setting
from bench.models.zoo.cards import cards
from bench.runner.build_check import build_all
from bench.runner.options import RunSettings
from bench.runner.preflight import Plan, preflight
from bench.runner.run import RunSummary, run_suite
from bench.runner.worker import Worker
from bench.suites.load import load_suite
from bench.suites.places import Places
from bench.suites.spec import ModelSpec

Write = Callable[..., Path]
HERE = Places(download=False)
MEMBER = "{source: checkpoint, architecture: ARCHITECTURE, weights: member.safetensors}"


def run(path: Path) -> RunSummary:
    return run_suite(load_suite(path), RunSettings(path.parent / "results", device="cpu", places=HERE))


def plan(path: Path) -> Plan:
    return preflight(load_suite(path), HERE)


def ids(path: Path, name: str = "ensemble") -> list[str]:
    return [one.id for one in plan(path).cells if one.cell.defense.name == name]


@pytest.fixture
def member(suite: Write, tmp_path: Path) -> str:
    """The PGD-trained model of the zoo as a file beside the suite."""
    card = cards()["mnist_pgd"]
    shutil.copy(card.path, tmp_path / "member.safetensors")
    assert not card.architecture_args
    return MEMBER.replace("ARCHITECTURE", card.architecture)


def test_a_row_without_its_file_is_an_error_and_the_others_go_on(suite: Write) -> None:
    path = suite(
        samples=8,
        attacks="fgsm",
        defenses="none, {name: dncnn, weights: nowhere.pt}, "
        "{chain: [{name: bit_depth}, {name: denoising_autoencoder, weights: none.pt}]}, bit_depth, "
        "{name: ensemble, members: [{source: checkpoint, architecture: resnet18, weights: gone.pt}]}",
    )
    summary = run(path)
    status = {(one.defense.name, one.defense_id): set[str]() for one in summary.results}
    for one in summary.results:
        status[one.defense.name, one.defense_id].add(one.status)
    assert [found for _, found in sorted(status.items())] == [
        {"done"},  # bit_depth
        {"error"},  # the chain
        {"error"},  # dncnn
        {"unavailable"},
        {"done"},  # none
    ]
    reasons = {one.defense.name: one.reason for one in summary.results}
    assert reasons["dncnn"] == "the defense dncnn-weightsnowhere: nowhere.pt: no such file of weights"
    assert "gone.pt: no such file of weights" in reasons["ensemble"]
    assert "the member gone of the defense ensemble" in reasons["ensemble"]


def test_validate_names_the_line_of_the_missing_file(suite: Write) -> None:
    path = suite(samples=4, defenses="none,\n  {chain: [{name: jpeg}, {name: dncnn, weights: nowhere.pt}]}")
    found = CliRunner().invoke(app, ["validate", str(path)], catch_exceptions=True)
    assert found.exit_code != 0
    text = str(found.exception) + found.output
    assert f"{path}:9: defenses.1.chain.1.weights" in text
    assert "nowhere.pt: no such file of weights" in text
    member = "{source: checkpoint, architecture: resnet18, weights: gone.pt}"
    found = CliRunner().invoke(app, ["validate", str(suite(defenses=f"{{name: ensemble, members: [{member}]}}"))])
    assert found.exit_code == 0
    assert (
        "unavailable here: the member gone of the defense ensemble-membersgone: gone.pt: no such file" in found.output
    )


def test_members_that_do_not_fit_are_found_by_validate(suite: Write, member: str) -> None:
    wrong = member.replace("weights", "architecture_args: {}, mean: [0.1, 0.2], std: [1, 1], weights")
    path = suite(samples=4, defenses=f"{{name: ensemble, members: [{wrong}]}}")
    with pytest.raises(SuiteError, match=r":8: defenses\.0: member: mean: 2 numbers for images of 1 channels"):
        build_all(plan(path), load_suite(path), HERE, torch.device("cpu"))


def test_an_id_changes_with_the_weights_of_a_member_and_not_with_their_place(
    suite: Write, member: str, tmp_path: Path
) -> None:
    path = suite(samples=4, attacks="fgsm", defenses=f"{{name: ensemble, members: [{member}]}}")
    first = ids(path)
    assert len(first) == 3
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "member.safetensors", tmp_path / "elsewhere")
    path.write_text(path.read_text().replace("weights: member", "weights: elsewhere/member"))
    assert ids(path) == first
    state = load_file(tmp_path / "elsewhere" / "member.safetensors")
    next(iter(state.values())).view(-1)[0] += 1
    save_file(state, tmp_path / "elsewhere" / "member.safetensors")
    assert not set(ids(path)) & set(first)


def test_two_files_that_are_one_are_refused(suite: Write, member: str, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "member.safetensors", tmp_path / "copy.safetensors")
    other = member.replace("member.", "copy.")
    defenses = f"{{name: ensemble, members: [{member}]}}, {{name: ensemble, members: [{other}]}}"
    with pytest.raises(
        SuiteError, match="the defense ensemble-memberscopy is the defense ensemble-membersmember again"
    ):
        plan(suite(samples=4, attacks="fgsm", defenses=defenses))


def test_ensembles_run_end_to_end(suite: Write) -> None:
    members = "members: [zoo:mnist_pgd]"
    kinds = ("mean_probability", "mean_logits", "vote")
    path = suite(
        samples=32,
        eps="0.15",
        attacks="{name: apgd, steps: 20}",
        defenses=", ".join(f"{{name: ensemble, {members}, combine: {kind}}}" for kind in kinds),
        shard_size=32,
        more="adversaries: [oblivious, adaptive]",
    )
    summary = run(path)
    assert {one.status for one in summary.results} == {"done"}
    frame = pd.read_parquet(summary.directory / "samples")
    robust = frame.groupby("cell")["robust"].mean()
    for kind in kinds:
        cells = {one.role: one for one in summary.results if one.defense.args.get("combine") == kind}
        assert set(cells) == {"suite", "oblivious", "gradient_free"}
        assert robust[cells["suite"].cell] <= robust[cells["oblivious"].cell]
        assert robust[cells["suite"].cell] < robust[cells["gradient_free"].cell]
        worst = frame[frame["cell"].isin([one.cell for one in cells.values()])].groupby("position")["robust"].all()
        assert worst.mean() <= robust[cells["oblivious"].cell]
        rows = frame[frame["cell"] == cells["suite"].cell]
        assert (rows["forwards"] % 2 == 0).all()  # each question goes through two networks
        assert (rows["backwards"].max(), rows["backwards"].sum()) == (40, cells["suite"].cost.backwards)


@pytest.mark.parametrize("keep", [False, True])
def test_an_attack_that_changes_a_member_is_found_out(suite: Write, keep: bool) -> None:
    found = plan(suite(samples=4, attacks="fgsm", defenses="{name: ensemble, members: [zoo:mnist_pgd]}"))
    cell = next(one.cell for one in found.cells if one.cell.defense.name == "ensemble")
    worker = Worker(found.dataset, HERE, torch.device("cpu"), batch_size=16)
    if keep:
        bare = models.load(cell.model, worker.setting("linf"), HERE, device="cpu")
        worker.adopt(cell.model, bare, keep=True)
    x = found.dataset.batch(range(4)).x
    before = worker.target(cell)(x)
    with pytest.raises(AttackError, match="other weights or buffers"), worker.guarded(cell), torch.no_grad():
        next(worker.target(cell).members[0].parameters()).add_(1.0)
    assert torch.equal(worker.target(cell)(x), before)


def test_passes_of_members_count_as_the_rows(suite: Write) -> None:
    found = plan(suite(samples=4, attacks="fgsm", defenses="{name: ensemble, members: [zoo:mnist_pgd, zoo:mnist_pgd]}"))
    cell = next(one.cell for one in found.cells if one.cell.defense.name == "ensemble")
    worker = Worker(found.dataset, HERE, torch.device("cpu"), batch_size=16)
    target = worker.attacked(cell)
    before = target.passes.snapshot()
    x = found.dataset.batch(range(4)).x.requires_grad_()
    target(x).sum().backward()
    after = target.passes.snapshot()
    assert (after.forward - before.forward, after.backward - before.backward) == (12, 12)


def zoo(name: str) -> nn.Module:
    setting = Setting("mnist", "linf", 10, (1, 28, 28))
    return models.load(ModelSpec.model_validate(f"zoo:{name}"), setting, HERE, device="cpu")


def test_evaluate_takes_an_ensemble(suite: Write) -> None:
    images = plan(suite(samples=16)).dataset.batch(range(16))
    found = bench.evaluate(
        zoo("mnist_standard"),
        images.x,
        images.y,
        "linf:0.2",
        ["fgsm"],
        defense={"name": "ensemble", "members": ["zoo:mnist_pgd"], "combine": "vote"},
        device="cpu",
    )
    assert list(found.table["status"].unique()) == ["done"]
    worst = float(found.table["robust_accuracy"].iloc[-1])
    assert worst <= float(found.table["robust_accuracy"][:-1].min())
    broken = bench.evaluate(
        zoo("mnist_standard"),
        images.x,
        images.y,
        "linf:0.2",
        ["fgsm"],
        defense={
            "name": "ensemble",
            "members": [{"source": "checkpoint", "architecture": "resnet18", "weights": "no.pt"}],
        },
        device="cpu",
    )
    assert set(broken.table["status"][:-1]) == {"error"}
    assert "no.pt: no such file of weights" in broken.flags[0]
    with pytest.raises(SuiteError, match="zoo has no model 'pgd'"):
        bench.evaluate(
            zoo("mnist_standard"),
            images.x,
            images.y,
            attacks=["fgsm"],
            defense={"name": "ensemble", "members": ["zoo:pgd"]},
        )
