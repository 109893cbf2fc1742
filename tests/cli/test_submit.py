"""``bench submit``: examples of our own PGD against runs that only FGSM attacked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bench import datasets, models
from bench.datasets.base import Dataset
from bench.models.base import Setting
from bench.runner.judge import exact_arithmetic
from bench.store.outcomes import RowOutcome, read_outcomes
from bench.store.run_directory import RunDirectory
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec, ModelSpec

Write = Callable[..., Path]
Images = npt.NDArray[np.float32]

pytestmark = pytest.mark.usefixtures("no_plots")

EPS = 0.1
HERE = ("--device", "cpu", "--offline")


def images(samples: int) -> Dataset:
    return datasets.load(DatasetSpec(name="mnist", samples=samples), Places(download=False))


def standard_model() -> Any:
    spec = ModelSpec.model_validate("zoo:mnist_standard")
    places, setting = Places(download=False), Setting("mnist", "linf", 10, (1, 28, 28))
    return models.load(spec, setting, places, device=torch.device("cpu"))


def pgd(samples: int, purify: Callable[[torch.Tensor], torch.Tensor] = lambda x: x) -> Images:
    """Forty steps on the cross-entropy; the gradient goes straight through what purifies."""
    x, y = images(samples).batch(range(samples))
    model, z = standard_model(), x.clone()
    for _ in range(40):
        point = purify(z).detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(point), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, point)
        z = (x + (z + 0.01 * gradient.sign() - x).clamp(-EPS, EPS)).clamp(0, 1)
    found: Images = z.numpy()
    return found


def right(x: Images, samples: int) -> npt.NDArray[np.bool_]:
    """Which images the bare model gets right, by itself."""
    with torch.no_grad(), exact_arithmetic():
        predicted = standard_model()(torch.from_numpy(x)).argmax(1).numpy()
    verdicts: npt.NDArray[np.bool_] = predicted == images(samples).labels
    return verdicts


def row(directory: Path, defense: str = "none") -> RowOutcome:
    return next(one for one in read_outcomes(RunDirectory(directory)).rows if one.defense == defense)


def worst(directory: Path, defense: str = "none") -> float:
    """As the leaderboard on the disk has it."""
    board = json.loads((directory / "leaderboard.json").read_text())
    return next(one["worst"]["value"] for one in board["tables"][0]["rows"] if one["defense"] == defense)  # type: ignore[no-any-return]


def notes(directory: Path) -> list[str]:
    board = json.loads((directory / "leaderboard.json").read_text())
    return [note["text"] for note in board["tables"][0]["notes"]]


def save(path: Path, x_adv: npt.NDArray[Any], **more: npt.NDArray[Any]) -> Path:
    np.savez(path, x_adv=x_adv, **more)  # type: ignore[arg-type]
    return path


@pytest.fixture
def run(bench: Any, suite: Write) -> Callable[..., Path]:
    """A run of FGSM alone."""

    def go(**more: Any) -> Path:
        path = suite(eps=str(EPS), **more)
        ended = bench("run", path, "--results", path.parent / "results", *HERE)
        assert ended.code == 0, ended.err
        return path.parent / "results" / "small" / "default"

    return go


def test_successes_lower_the_worst_case_of_a_bare_row(bench: Any, run: Callable[..., Path], tmp_path: Path) -> None:
    n = 12
    directory = run(samples=n)
    by_fgsm, clean = row(directory).worst, row(directory).clean_correct
    file = save(tmp_path / "mine.npz", pgd(n))
    ended = bench("submit", directory, file, "--author", "Ann Lee", "--note", "PGD-40", *HERE)
    assert ended.code == 0, ended.err

    broken = clean & ~right(pgd(n), n)
    alone = broken & by_fgsm
    assert alone.sum() >= 1
    assert row(directory).worst.tolist() == (by_fgsm & ~broken).tolist()
    before, after = by_fgsm.mean(), (by_fgsm & ~broken).mean()
    assert worst(directory) == pytest.approx(after)
    assert f"Ann Lee against mnist_standard under Linf 0.1: {n} examples" in ended.out
    assert f"inside the threat model: {n}; outside, which is no success: 0" in ended.out
    assert f"successes: {broken.sum()}; on images that nothing else had broken: {alone.sum()}" in ended.out
    assert f"worst case: {100 * before:.1f} % without them, {100 * after:.1f} % with them" in ended.out
    said = f"{broken.sum()} image(s) broken by examples that Ann Lee submitted (PGD-40), {alone.sum()} of them by nothing else"
    assert said in notes(directory)

    (cell,) = row(directory).of("submitted")
    assert cell.attack == "Ann-Lee"
    assert cell.status == "done"
    stored = RunDirectory(directory)
    rows = stored.read_samples(cell.id)
    assert rows["success"].tolist() == broken.tolist()
    kept = stored.read_examples(cell.id)
    assert list(kept.sample_ids) == rows["sample_id"][broken].tolist()
    np.testing.assert_allclose(kept.images, pgd(n)[broken], atol=1e-6)
    record = stored.read_cell(cell.id)
    assert record is not None
    assert (record.role, record.adversary, record.samples) == ("submitted", "adaptive", n)
    assert record.attack.args["note"] == "PGD-40"
    assert stored.read_run().cells[-1] == cell.id


def test_a_point_outside_is_no_success_and_loses_no_other(bench: Any, run: Callable[..., Path], tmp_path: Path) -> None:
    directory = run()
    clean, x = row(directory).clean_correct, pgd(8)
    inside = clean & ~right(x, 8)
    place = int(np.flatnonzero(inside)[0])
    original = images(8).batch(range(8)).x.numpy()
    x[place] = np.where(original[place] < 0.5, original[place] + 0.5, original[place] - 0.5)
    ended = bench("submit", directory, save(tmp_path / "far.npz", x), "--author", "ann", *HERE)
    assert ended.code == 0, ended.err
    assert "inside the threat model: 7; outside, which is no success: 1" in ended.out
    inside[place] = False
    assert f"successes: {inside.sum()};" in ended.out
    rows = RunDirectory(directory).read_samples(row(directory).of("submitted")[0].id)
    assert rows["success"].tolist() == inside.tolist()
    assert rows["raw_distance"][place] == pytest.approx(0.5, abs=1e-5)
    assert rows["linf"][place] == 0


def test_some_images_in_any_order_and_layout(bench: Any, run: Callable[..., Path], tmp_path: Path) -> None:
    directory = run()
    x, order = pgd(8), [5, 1, 6]
    broken = row(directory).clean_correct & ~right(x, 8)
    expected = [place in order and bool(broken[place]) for place in range(8)]
    ids = np.array([images(8).sample_ids[place] for place in order])
    by_id = save(tmp_path / "ids.npz", x[order], sample_ids=ids)
    by_position = save(tmp_path / "positions.npz", x[order].transpose(0, 2, 3, 1), positions=np.array(order))
    found = []
    for author, file in (("ann", by_id), ("bob", by_position)):
        ended = bench("submit", directory, file, "--author", author, *HERE)
        assert ended.code == 0, ended.err
        assert f"{author} against mnist_standard under Linf 0.1: 3 examples" in ended.out
        cell = next(one for one in row(directory).of("submitted") if one.attack == author)
        found.append(RunDirectory(directory).read_samples(cell.id))
    for rows in found:
        assert rows["success"].tolist() == expected
        assert (rows["iterations"] == -1).tolist() == [place in order for place in range(8)]
        left = ~rows["position"].isin(order)
        assert (rows["robust"][left] == rows["clean_correct"][left]).all()
        assert (rows["linf"][left] == 0).all()
    assert found[0]["adversarial_margin"].tolist() == found[1]["adversarial_margin"].tolist()


def test_bytes_are_the_images_that_the_dataset_would_make_of_them(
    bench: Any, run: Callable[..., Path], tmp_path: Path
) -> None:
    directory = run()
    stored = np.rint(255 * pgd(8)).astype(np.uint8)
    assert bench("submit", directory, save(tmp_path / "bytes.npz", stored), "--author", "ann", *HERE).code == 0
    rows = RunDirectory(directory).read_samples(row(directory).of("submitted")[0].id)
    steps = np.abs(stored.astype(int) - np.rint(255 * images(8).batch(range(8)).x.numpy()).astype(int)).reshape(8, -1)
    # 0.1 is 25.5/255: a point that rounding has carried to 26 steps lies outside.
    assert rows["raw_distance"].tolist() == pytest.approx((steps.max(1) / 255).tolist(), abs=1e-6)
    expected = row(directory).clean_correct & ~right((stored / 255).astype(np.float32), 8) & (steps.max(1) <= 25)
    assert rows["success"].tolist() == expected.tolist()


def wrong(x: Images) -> dict[str, tuple[dict[str, npt.NDArray[Any]], tuple[str, ...]]]:
    """What a file may hold, and what is said of it."""
    ids = np.array(images(8).sample_ids)
    nan, far = x.copy(), x.copy()
    nan[3, 0, 4, 4] = np.nan
    far[2] += 0.5
    return {
        "nan": ({"x_adv": nan}, ("x_adv", "1 images hold NaN", "image 3")),
        "range": ({"x_adv": far}, ("x_adv", "accepted: [0, 1]")),
        "shape": ({"x_adv": x[:, :, :20]}, ("(8, 1, 20, 28)", "(M, 1, 28, 28)", "(M, 28, 28, 1)")),
        "none": ({"x_adv": x[:0]}, ("x_adv", "M at least 1")),
        "type": ({"x_adv": x.astype(np.int64)}, ("x_adv", "int64", "uint8")),
        "key": ({"adv": x}, ("x_adv: missing", "keys there: adv")),
        "misspelled": ({"x_adv": x, "sample_id": ids}, ("'sample_id'", "accepted: x_adv, sample_ids, positions")),
        "both": ({"x_adv": x, "sample_ids": ids, "positions": np.arange(8)}, ("both sample_ids and positions",)),
        "fewer": ({"x_adv": x[:5]}, ("5 images for the run's 8 samples", "sample_ids or positions")),
        "unknown": ({"x_adv": x[:2], "sample_ids": np.array([ids[0], "cat"])}, ("sample_ids", "'cat'", "mnist5k")),
        "position": ({"x_adv": x[:2], "positions": np.array([0, 8])}, ("positions", "first 8", "1 of 2")),
        "twice": ({"x_adv": x[:2], "sample_ids": ids[[4, 4]]}, ("sample_ids", ids[4], "twice")),
        "count": ({"x_adv": x, "sample_ids": ids[:7]}, ("sample_ids", "8 texts")),
        "floats": ({"x_adv": x, "positions": np.arange(8.0)}, ("positions", "float64", "8 integers")),
        "objects": ({"x_adv": x, "sample_ids": ids.astype(object)}, ("object array or pickle",)),
    }


def test_what_cant_be_judged_is_2_and_changes_nothing(bench: Any, run: Callable[..., Path], tmp_path: Path) -> None:
    directory = run()
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != ".lock"}
    for name, (arrays, words) in wrong(pgd(8)).items():
        np.savez(tmp_path / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        ended = bench("submit", directory, tmp_path / f"{name}.npz", "--author", "ann", *HERE)
        assert ended.code == 2, name
        assert f"{name}.npz" in ended.err
        for word in words:
            assert word in ended.err, (name, ended.err)
    (tmp_path / "text.npz").write_text("no archive")
    assert bench("submit", directory, tmp_path / "text.npz", "--author", "ann", *HERE).code == 2
    missing = bench("submit", directory, tmp_path / "nowhere.npz", "--author", "ann", *HERE)
    assert (missing.code, "no such file" in missing.err) == (2, True)
    nameless = bench("submit", directory, save(tmp_path / "good.npz", pgd(8)), "--author", " / ", *HERE)
    assert (nameless.code, "--author" in nameless.err) == (2, True)
    assert {
        path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != ".lock"
    } == before


def test_the_same_file_twice_changes_nothing(bench: Any, run: Callable[..., Path], tmp_path: Path) -> None:
    directory = run()
    file = save(tmp_path / "mine.npz", pgd(8))
    first = bench("submit", directory, file, "--author", "ann", *HERE)
    cells = RunDirectory(directory).read_run().cells
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != ".lock"}
    again = bench("submit", directory, file, "--author", "bob", "--note", "other words", *HERE)
    assert again.code == 0, again.err
    assert "this file has been submitted before, by ann: nothing changes" in again.out
    assert again.out.splitlines()[1:] == first.out.splitlines()
    assert RunDirectory(directory).read_run().cells == cells
    assert {
        path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != ".lock"
    } == before


def test_two_submissions_count_together(bench: Any, run: Callable[..., Path], tmp_path: Path) -> None:
    directory = run()
    x = pgd(8)
    for author, places in (("ann", slice(0, 4)), ("bob", slice(4, 8))):
        file = save(tmp_path / f"{author}.npz", x[places], positions=np.arange(8)[places])
        assert bench("submit", directory, file, "--author", author, *HERE).code == 0
    found = row(directory)
    assert [cell.attack for cell in found.of("submitted")] == ["ann", "bob"]
    (fgsm,) = found.of("suite")
    assert found.worst.tolist() == (fgsm.robust & right(x, 8)).tolist()


def test_a_later_run_keeps_it(bench: Any, run: Callable[..., Path], suite: Write, tmp_path: Path) -> None:
    directory = run()
    broken = row(directory).clean_correct & ~right(pgd(8), 8)
    assert bench("submit", directory, save(tmp_path / "mine.npz", pgd(8)), "--author", "ann", *HERE).code == 0
    (cell,) = row(directory).of("submitted")
    files = [path for path in directory.rglob("*") if path.is_file() and cell.id in str(path)]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    assert len(files) == 5  # the record, and of each of the two shards rows and examples
    after = worst(directory)

    def again(**more: Any) -> None:
        path = suite(eps=str(EPS), **more)
        ended = bench("run", path, "--results", path.parent / "results", *HERE)
        assert ended.code == 0, ended.err

    again()
    assert worst(directory) == after
    # Another attack, a defense and four more images: the submission says nothing of those, and the row stays complete.
    again(samples=12, attacks="fgsm, {name: pgd, steps: 2}", defenses="none, bit_depth")
    found = row(directory)
    assert found.complete
    assert found.of("submitted")[0].known.tolist() == [True] * 8 + [False] * 4
    assert not (found.worst[:8] & broken).any()
    assert row(directory, "bit_depth").of("submitted") == ()
    # Without the row it isn't shown; it comes back with it.
    again(models="zoo:mnist_pgd")
    assert all(not one.of("submitted") for one in read_outcomes(RunDirectory(directory)).rows)
    again()
    assert worst(directory) == after
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == before


def test_other_weights_under_the_same_name_lose_it(
    bench: Any, run: Callable[..., Path], suite: Write, tmp_path: Path
) -> None:
    directory = run(models="{id: mine, source: zoo, name: mnist_standard}")
    assert bench("submit", directory, save(tmp_path / "mine.npz", pgd(8)), "--author", "ann", *HERE).code == 0
    path = suite(eps=str(EPS), models="{id: mine, source: zoo, name: mnist_pgd}")
    ended = bench("run", path, "--results", path.parent / "results", *HERE)
    assert "examples that ann submitted against mine under Linf 0.1 aren't counted" in ended.err
    assert row(directory).of("submitted") == ()
    # Another name for the same weights is the same row.
    path = suite(eps=str(EPS), models="{id: yours, source: zoo, name: mnist_standard}")
    ended = bench("run", path, "--results", path.parent / "results", *HERE)
    assert "aren't counted" not in ended.err
    assert [one.model for one in read_outcomes(RunDirectory(directory)).rows] == ["yours"]
    (cell,) = row(directory).of("submitted")
    assert cell.id.startswith("submitted-yours-linf-0.1-ann-s0-")
    assert cell.status == "done"


def test_lost_records_are_no_robustness(bench: Any, run: Callable[..., Path], tmp_path: Path) -> None:
    directory = run()
    file = save(tmp_path / "mine.npz", pgd(8))
    assert bench("submit", directory, file, "--author", "ann", *HERE).code == 0
    after = worst(directory)
    (cell,) = row(directory).of("submitted")
    for part in (directory / "samples" / cell.id).glob("*.parquet"):
        part.unlink()
    (found,) = row(directory).of("submitted")
    assert (found.status, found.reason) == ("partial", "8 of its records are gone; submit the file again")
    assert not row(directory).complete
    assert bench("submit", directory, file, "--author", "ann", *HERE).code == 0
    assert row(directory).complete
    assert worst(directory) == after
    (directory / "cells" / f"{cell.id}.json").unlink()
    (found,) = row(directory).of("submitted")  # by its name alone
    assert (found.status, found.attack, found.robust.tolist()) == ("missing", "ann", cell.robust.tolist())
    assert not row(directory).complete


def test_a_defended_row(bench: Any, run: Callable[..., Path], tmp_path: Path) -> None:
    directory = run(defenses="none, bit_depth")

    def quantised(x: torch.Tensor) -> torch.Tensor:
        return (x * 7).round() / 7  # three bits, the default

    x = pgd(8, quantised)
    bare, before = row(directory).worst, row(directory, "bit_depth").worst
    file = save(tmp_path / "mine.npz", x)
    unsaid = bench("submit", directory, file, "--author", "ann", *HERE)
    assert unsaid.code == 2
    assert "--model mnist_standard --defense bit_depth --threat-model linf:0.1" in unsaid.err
    other = bench("submit", directory, file, "--author", "ann", "--threat-model", "linf:0.2", *HERE)
    assert (other.code, "no row of the run is meant" in other.err) == (2, True)
    ended = bench(
        "submit", directory, file, "--author", "ann", "--model", "mnist_standard", "--defense", "bit_depth",
        "--threat-model", "linf:0.1", *HERE,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    found = row(directory, "bit_depth")
    broken = found.clean_correct & ~right(quantised(torch.from_numpy(x)).numpy(), 8)
    assert broken.sum() >= 4
    assert found.worst.tolist() == (before & ~broken).tolist()
    assert row(directory).worst.tolist() == bare.tolist()
    board = json.loads((directory / "leaderboard.json").read_text())
    shown = next(one for one in board["tables"][0]["rows"] if one["defense"] == "bit_depth")["broken"]["submitted"]
    assert shown == {"count": int(broken.sum()), "alone": int((broken & before).sum())}
    assert "by submitted" in (directory / "leaderboard.md").read_text()


def test_a_stochastic_and_a_rejecting_row(bench: Any, run: Callable[..., Path], tmp_path: Path) -> None:
    directory = run(
        defenses="{id: noise, name: random_noise, std: 0.1, eot_iter: 2, scoring_draws: 9}, feature_squeezing"
    )
    file = save(tmp_path / "mine.npz", pgd(8))
    for defense in ("noise", "feature_squeezing"):
        ended = bench("submit", directory, file, "--author", "ann", "--defense", defense, *HERE)
        assert ended.code == 0, ended.err

    noisy = row(directory, "noise")
    (mine,) = noisy.of("submitted")
    rows = RunDirectory(directory).read_samples(mine.id)
    shares = 9 * rows["correctness"].to_numpy()
    np.testing.assert_allclose(shares, shares.round(), atol=1e-9)
    assert rows["success"].tolist() == (rows["clean_correct"] & (rows["correctness"] < 0.5)).tolist()
    (fgsm,) = noisy.of("suite")
    assert mine.clean_correctness.tolist() == fgsm.clean_correctness.tolist()
    assert rows["success"].any()

    # The points fool the classifier, but a detector that rejects them has defended.
    rejecting = row(directory, "feature_squeezing")
    (mine,) = rejecting.of("submitted")
    rows = RunDirectory(directory).read_samples(mine.id)
    fooled = rows["adversarial_prediction"] != rows["label"]
    assert (rows["rejected"] & fooled).any()
    assert rows["success"].tolist() == (rows["clean_correct"] & fooled & ~rows["rejected"]).tolist()


def test_a_recorded_suite_has_all_defaults_and_several_eps(
    bench: Any, run: Callable[..., Path], suite: Write, tmp_path: Path
) -> None:
    """Some defaults that a record spells out would be refused in a suite: they do nothing under its norm."""
    directory = run(attacks="fgsm, {name: cw, steps: 2}")
    path = suite(eps=f"[0.05, {EPS}]", attacks="fgsm, {name: cw, steps: 2}")
    assert bench("run", path, "--results", path.parent / "results", *HERE).code == 0
    before, clean = row(directory).worst, row(directory).clean_correct
    assert row(directory).threat_model.label == "Linf 0.05"
    x, y = pgd(8), images(8).batch(range(8)).x.numpy()
    file = save(tmp_path / "mine.npz", y + (x - y) / 2)
    ended = bench("submit", directory, file, "--author", "ann", "--threat-model", "linf:0.05", *HERE)
    assert ended.code == 0, ended.err
    broken = clean & ~right(y + (x - y) / 2, 8)
    assert row(directory).worst.tolist() == (before & ~broken).tolist()
    larger = read_outcomes(RunDirectory(directory)).rows[1]
    assert (larger.threat_model.label, larger.of("submitted")) == ("Linf 0.1", ())
    assert bench("submit", directory, file, "--author", "ann", "--threat-model", "linf:0.1", *HERE).code == 0
    assert len(read_outcomes(RunDirectory(directory)).rows[1].of("submitted")) == 1


def test_plugins_need_permission(bench: Any, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("DATASETS = {'of_a_plugin_for_submit': lambda: None}\n")
    path = tmp_path / "small.yaml"
    path.write_text(
        f"name: small\nplugins: [{plugin}]\ndataset: {{name: mnist, samples: 4}}\n"
        f"threat_models: [{{norm: linf, eps: {EPS}}}]\nmodels: ['zoo:mnist_standard']\nattacks: [fgsm]\n"
    )
    assert bench("run", path, "--results", tmp_path / "results", "--allow-plugins", *HERE).code == 0
    words = ("submit", tmp_path / "results" / "small", save(tmp_path / "mine.npz", pgd(4)), "--author", "ann", *HERE)
    refused = bench(*words)
    assert (refused.code, "--allow-plugins" in refused.err) == (2, True)
    assert bench(*words, "--allow-plugins").code == 0


def test_changed_images_are_refused_by_name(bench: Any, tmp_path: Path) -> None:
    some = images(8)
    data = tmp_path / "data.npz"
    np.savez(data, x=some.images, y=some.labels)
    path = tmp_path / "small.yaml"
    path.write_text(
        f"name: small\ndataset: {{name: npz, path: {data}, num_classes: 10}}\n"
        f"threat_models: [{{norm: linf, eps: {EPS}}}]\nmodels: ['zoo:mnist_standard']\nattacks: [fgsm]\n"
    )
    assert bench("run", path, "--results", tmp_path / "results", *HERE).code == 0
    directory = tmp_path / "results" / "small" / "default"
    np.savez(data, x=some.images[::-1], y=some.labels[::-1])
    file = save(tmp_path / "mine.npz", pgd(8))
    ended = bench("submit", directory, file, "--author", "ann", *HERE)
    assert ended.code == 2
    assert "mnist_standard | Linf 0.1 | fgsm: not the cell that was run: the dataset had the digest" in ended.err
    np.savez(data, x=some.images, y=some.labels)
    assert bench("submit", directory, file, "--author", "ann", *HERE).code == 0


def test_another_process_that_writes_is_waited_for(bench: Any, run: Callable[..., Path], tmp_path: Path) -> None:
    directory = run()
    file = save(tmp_path / "mine.npz", pgd(8))
    with RunDirectory(directory).locked():
        ended = bench("submit", directory, file, "--author", "ann", *HERE)
    assert (ended.code, "is writing into this run" in ended.err) == (2, True)
    assert bench("submit", tmp_path, file, "--author", "ann", *HERE).code == 2
