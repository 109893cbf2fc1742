"""``verify_run`` on real runs of small suites: what was run is sound, and whatever somebody changes in it is found."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from bench import datasets, models, registry
from bench.errors import StoreError
from bench.models.base import Setting
from bench.models.zoo.cards import cards
from bench.runner.judge import exact_arithmetic
from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.runner.submit import Wanted, submit
from bench.runner.verify import Verification, VerifyProblem, replay, verify_run
from bench.store.parts import Examples, read_examples, write_examples
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.naming import with_defaults
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec, ModelSpec

Write = Callable[..., Path]
PLACES = Places(download=False)
LOW, HIGH = 0.1, 0.2

SUITE = """
name: small
dataset: {{name: mnist, samples: {samples}}}
threat_models: [{{norm: {norm}, eps: {eps}}}]
models: [{models}]
attacks: [{attacks}]
defenses: [{defenses}]
run: {{shard_size: 8, gradient_free_queries: 20, detector_steps: 5, eot_iter: 2, scoring_draws: 5{run}}}
"""


def write(folder: Path, **words: object) -> Path:
    usual: dict[str, object] = {
        "samples": 20,
        "norm": "linf",
        "eps": f"[{LOW}, {HIGH}]",
        "models": "zoo:mnist_standard",
        "attacks": "fgsm, {name: pgd, steps: 3}",
        "defenses": "none",
        "run": "",
    }
    path = folder / "small.yaml"
    path.write_text(SUITE.format(**{**usual, **words}))
    return path


def run(path: Path, *overrides: str) -> RunSummary:
    settings = RunSettings(results=path.parent / "results", device="cpu", places=PLACES)
    return run_suite(load_suite(path, overrides=overrides), settings)


def verified(directory: Path) -> Verification:
    """A verification that leaves every byte as it is."""
    before = contents(directory)
    found = verify_run(directory, places=PLACES, device="cpu")
    assert contents(directory) == before
    return found


def contents(directory: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.rglob("*") if path.is_file()}


def kinds(found: Verification, cell: str | None = None) -> set[str]:
    return {one.kind for one in found.problems if cell is None or one.cell == cell}


def problem(found: Verification, kind: str, cell: str | None = None) -> VerifyProblem:
    (one,) = (one for one in found.problems if one.kind == kind and (cell is None or one.cell == cell))
    return one


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two attacks at two eps on a bare model, the larger built on the smaller; not to be changed."""
    return run(write(tmp_path_factory.mktemp("plain"))).directory


@pytest.fixture
def plain(plain_run: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(plain_run, tmp_path / "run"))


def cell_of(directory: Path, attack: str, eps: float = LOW, **wanted: object) -> str:
    """Id of a cell."""
    (cell,) = (
        result.cell
        for result in RunDirectory(directory).read_cells()
        if result.attack_id == attack
        and float(result.threat_model.eps) == eps
        and all(getattr(result, key) == value for key, value in wanted.items())
    )
    return cell


def part(directory: Path, cell: str, number: int = 0) -> Path:
    return RunDirectory(directory).sample_parts(cell)[number]


def example_part(directory: Path, cell: str, number: int = 0) -> Path:
    return RunDirectory(directory).example_parts(cell)[number]


def edit_rows(path: Path, change: Callable[[pd.DataFrame], None]) -> None:
    """Changes rows as somebody would who knows the format: types and metadata stay."""
    table = pq.ParquetFile(path).read()
    frame = table.to_pandas()
    change(frame)
    changed = pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path, compression="zstd")


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value, indent=1) + "\n")


def reseal(directory: Path, cell: str) -> None:
    """Seals what lies there now, as whoever changed it would."""
    store = RunDirectory(directory)
    path = store.cell_path(cell)
    assert path is not None
    seals = {name: hashlib.sha256(one.read_bytes()).hexdigest() for name, one in store.parts_of(cell).items()}
    edit_json(path, lambda value: value["provenance"].update(parts=seals))


def rows_of(directory: Path, cell: str) -> pd.DataFrame:
    return RunDirectory(directory).read_samples(cell)


# -- what was run is sound ---------------------------------------------------------------------------------------------


def test_a_run_is_sound(plain: Path) -> None:
    for path in (plain, *plain.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    found = verified(plain)
    assert (found.problems, found.sound, found.directory) == ((), True, plain)
    assert [cell.cell for cell in found.cells] == list(RunDirectory(plain).read_run().cells)
    for cell in found.cells:
        rows = rows_of(plain, cell.cell)
        assert (cell.status, cell.rows, cell.unchecked) == ("done", 20, ())
        assert cell.examples == cell.successes == rows["success"].sum() > 0
        assert cell.rounded is not None
    assert found.examples == sum(cell.examples for cell in found.cells)
    assert all(problem.kind == "borderline" for problem in found.hairline)
    json.dumps(found.as_json())
    for path in (plain, *plain.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_rounding_is_that_of_an_image_file(plain: Path) -> None:
    """Counted again by hand, with the bare model."""
    spec, setting = ModelSpec.model_validate("zoo:mnist_standard"), Setting("mnist", "linf", 10, (1, 28, 28))
    model = models.load(spec, setting, PLACES, device="cpu")
    labels = dict(zip(*[images(20).sample_ids, images(20).labels.tolist()], strict=True))
    for cell in verified(plain).cells:
        examples = RunDirectory(plain).read_examples(cell.cell)
        stored = np.rint(255 * examples.images).astype(np.uint8)
        with torch.no_grad(), exact_arithmetic():
            predicted = model(torch.from_numpy(stored).float() / 255).argmax(1).tolist()
        broken = sum(one != labels[sample] for one, sample in zip(predicted, examples.sample_ids, strict=True))
        assert cell.rounded == broken
        assert cell.rounded_rate == pytest.approx(broken / len(predicted))


def images(samples: int) -> Any:
    return datasets.load(DatasetSpec(name="mnist", samples=samples), PLACES)


@pytest.fixture(scope="session")
def defended_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A purifier, a stochastic one and a detector, attacked by both adversaries, and a submission; not to be changed."""
    folder = tmp_path_factory.mktemp("defended")
    defenses = "none, bit_depth, {name: random_noise, std: 0.1}, feature_squeezing"
    path = write(folder, eps=HIGH, attacks="{name: pgd, steps: 3}", defenses=defenses)
    directory = run(path).directory
    bare = cell_of(directory, "pgd-3", HIGH, role="suite", defense_id="none")
    examples = RunDirectory(directory).read_examples(bare)
    np.savez(folder / "mine.npz", x_adv=examples.images, sample_ids=np.array(examples.sample_ids))
    for defense in ("none", "random_noise-std0.1"):
        submit(directory, folder / "mine.npz", "Ann", Wanted(defense=defense), places=PLACES, device="cpu")
    return directory


@pytest.fixture
def defended(defended_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(defended_run, tmp_path / "defended"))


def test_defended_rows_are_sound(defended: Path) -> None:
    found = verified(defended)
    assert found.problems == ()
    by_id = {cell.cell: cell for cell in found.cells}
    seen = set()
    for result in RunDirectory(defended).read_cells():
        cell, rows = by_id[result.cell], rows_of(defended, result.cell)
        seen.add((result.role, result.defense.name))
        whole = result.role in ("oblivious", "prerequisite")
        assert cell.examples == (20 if whole else rows["success"].sum())
        assert cell.successes == rows["success"].sum()
    assert {("oblivious", "random_noise"), ("oblivious", "feature_squeezing"), ("submitted", "random_noise")} <= seen
    assert {("gradient_free", "bit_depth"), ("prerequisite", "none"), ("submitted", "none")} <= seen


def test_certificates_are_sound(tmp_path: Path) -> None:
    smoothing = "{name: smoothing, sigma: 0.25, n: 12, n0: 12, n_certify: 32}"
    summary = run(write(tmp_path, norm="l2", eps=0.5, samples=9, attacks="fgsm", defenses=smoothing))
    assert {result.role for result in summary.results} >= {"certificate", "suite", "oblivious"}
    found = verified(summary.directory)
    assert found.problems == ()
    (certificate,) = (cell for cell in found.cells if "certificate" in cell.label)
    assert certificate.unchecked == ("certificates aren't computed again",)
    cell = next(result.cell for result in summary.results if result.role == "certificate")

    def certify(rows: pd.DataFrame) -> None:
        rows["robust"] = ~rows["robust"]

    edit_rows(part(summary.directory, cell), certify)
    reseal(summary.directory, cell)
    found = verified(summary.directory)
    assert {"row", "metrics"} <= kinds(found, cell)


def test_more_and_fewer_samples_are_sound(tmp_path: Path) -> None:
    path = write(tmp_path, samples=10, eps=HIGH)
    run(path)
    directory = run(path, "dataset.samples=20").directory
    found = verified(directory)
    assert (found.problems, [cell.rows for cell in found.cells]) == ((), [20, 20])
    run(path, "dataset.samples=10")
    found = verified(directory)
    assert (found.problems, [cell.rows for cell in found.cells]) == ((), [10, 10])
    for cell in found.cells:
        ids = RunDirectory(directory).read_examples(cell.cell).sample_ids
        later = len(set(ids) - set(images(10).sample_ids))
        assert later > 0
        assert cell.unchecked == (f"{later} examples of samples that the suite doesn't ask for",)


def test_a_repaired_part_is_sealed_again(tmp_path: Path) -> None:
    path = write(tmp_path)
    directory = run(path).directory
    cell = cell_of(directory, "fgsm")
    before = RunDirectory(directory).read_cell(cell)
    part(directory, cell, 1).unlink()
    run(path)
    after = RunDirectory(directory).read_cell(cell)
    assert before is not None
    assert after is not None
    seals = (before.provenance["parts"], after.provenance["parts"])
    assert (
        seals[0]["samples/part-00001.parquet"] != seals[1]["samples/part-00001.parquet"]
    )  # another time, another cost
    assert seals[0]["samples/part-00000.parquet"] == seals[1]["samples/part-00000.parquet"]
    assert verified(directory).sound
    run(path, "models.mnist_standard.id=another")
    found = verified(directory)
    assert found.problems == ()
    assert all(cell.label.startswith("another") for cell in found.cells)


def test_whoever_runs_the_suite_again_vouches_for_nothing(tmp_path: Path) -> None:
    """A finished cell that is read back keeps its seals, so that what changed in between is still found."""
    path = write(tmp_path, eps=HIGH)
    directory = run(path).directory
    cell = cell_of(directory, "fgsm", HIGH)
    record = directory / "cells" / f"{cell}.json"
    before = record.read_bytes()
    edit_rows(part(directory, cell), lambda rows: rows.__setitem__("iterations", 7))
    run(path)
    assert record.read_bytes() == before
    found = verified(directory)
    assert kinds(found) == {"seal"}
    assert problem(found, "seal").cell == cell


def test_a_run_from_before_facts_and_seals_is_checked_through_its_suite(plain: Path) -> None:
    for path in (plain / "cells").glob("*.json"):
        edit_json(path, lambda value: [value["provenance"].pop(key) for key in ("facts", "parts", "precision")])
    found = verified(plain)
    assert found.problems == ()
    assert all(cell.unchecked == ("its record is from before the files' digests were kept",) for cell in found.cells)
    edit_json(plain / "run.json", lambda value: value["suite"]["threat_models"][0].update(eps="1/20"))
    found = verified(plain)
    told = problem(found, "identity", cell_of(plain, "fgsm"))
    assert "run.json: its suite has threat_model.eps 1/20, the cell was run with 1/10" in told.message


def test_a_submission_under_another_name_and_with_more_images_is_sound(tmp_path: Path) -> None:
    """What a submission rests on stays what it was: its images, its digests, what its id is made of."""
    path = write(tmp_path, samples=10, eps=HIGH, attacks="fgsm")
    directory = run(path).directory
    examples = RunDirectory(directory).read_examples(cell_of(directory, "fgsm", HIGH))
    np.savez(tmp_path / "mine.npz", x_adv=examples.images, sample_ids=np.array(examples.sample_ids))
    submit(directory, tmp_path / "mine.npz", "Ann", places=PLACES, device="cpu")
    run(path, "dataset.samples=16", "models.mnist_standard.id=another", "metrics=[robust_accuracy]")
    found = verified(directory)
    assert found.problems == ()
    fgsm, mine = found.cells
    assert (mine.label, mine.rows, mine.successes) == ("another | Linf 0.2 | Ann (submitted)", 10, len(examples.images))
    assert (fgsm.rows, fgsm.label) == (16, "another | Linf 0.2 | fgsm")


def test_every_name_is_read_back_as_the_same_cell() -> None:
    """What a record's JSON does to parameters must not change an id."""
    from fractions import Fraction

    from bench.runner.verify.identity import recorded_cell
    from bench.store.records import CellResult
    from bench.suites.cells import Cell
    from bench.suites.spec import AttackSpec, DefenseSpec, ThreatModelSpec

    def specs(table: Any, kind: Any) -> list[Any]:
        made = []
        for name, entry in table.entries().items():
            try:
                made.append(kind(id=name, name=name, args=with_defaults(entry.params, {})))
            except ValidationError:  # one that needs a file
                continue
        return made

    attacks, defenses = specs(registry.attacks, AttackSpec), specs(registry.defenses, DefenseSpec)
    assert len(attacks) > 10
    assert len(defenses) > 15
    pairs = [(one, DefenseSpec(name="none")) for one in attacks] + [(attacks[0], one) for one in defenses]
    for attack, defense in pairs:
        ball = ThreatModelSpec(norm="linf", eps=Fraction(8, 255))
        model, data = ModelSpec.model_validate("zoo:mnist_standard"), DatasetSpec(name="mnist")
        cell = Cell("suite", data, model, defense, ball, attack, "adaptive", 1, "first_success", "auto")
        facts = {"weights": "0" * 64, "attack_libraries": {"foolbox": "3.3.4"}, "defense_revision": [1, 2]}
        record = CellResult(
            cell=cell.id(facts), role="suite", status="done", dataset=data, model=model, defense=defense, threat_model=ball,
            attack=attack, adversary="adaptive", seed=1, search="first_success", precision="float32", samples=1,
            provenance={"facts": facts, "precision": "auto"},
        )  # fmt: skip
        again = CellResult.model_validate_json(record.model_dump_json())
        assert recorded_cell(again, "").id(again.provenance["facts"]) == record.cell


RANDOM = """
import torch
from torch import nn


class Dice(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(784, 10)

    def forward(self, x):
        return self.linear(x.flatten(1) + 0.3 * torch.randn_like(x.flatten(1)))


MODELS = {"dice_for_verify": Dice}
"""


def test_a_model_that_throws_dice_cant_be_verified(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RANDOM)
    path = write(tmp_path, models="{source: dice_for_verify}", eps=HIGH, attacks="fgsm")
    path.write_text(path.read_text() + "plugins: [mine.py]\n")
    places = Places(download=False, allow_plugins=True)
    settings = RunSettings(results=tmp_path / "results", device="cpu", places=places)
    try:
        directory = run_suite(load_suite(path), settings).directory
        found = verify_run(directory, places=places, device="cpu")
    finally:
        for table in registry.ALL.values():
            table.remove(str(tmp_path / "mine.py"))
    assert "not-verifiable" in kinds(found)
    assert "the model is random" in problem(found, "not-verifiable").message


def test_nothing_kept_is_said(tmp_path: Path) -> None:
    directory = run(write(tmp_path, eps=HIGH, attacks="fgsm", run=", save_adversarial: none")).directory
    found = verified(directory)
    (cell,) = found.cells
    assert (found.problems, cell.examples, cell.rounded) == ((), 0, None)
    broken = rows_of(directory, cell.cell)["success"].sum()
    assert cell.unchecked == (f"no examples are kept (run.save_adversarial): {broken} successes aren't judged again",)


# -- what somebody changes is found ------------------------------------------------------------------------------------


def first(rows: pd.DataFrame, mask: pd.Series) -> int:
    return int(np.flatnonzero(mask.to_numpy(dtype=bool))[0])


def robust_again(rows: pd.DataFrame) -> None:
    """A success that never was, consistent with itself in every column."""
    at = first(rows, rows["success"])
    label = int(rows.loc[at, "label"])
    changed = {
        "success": False, "robust": True, "adversarial_prediction": label, "adversarial_margin": 1.0, "stage": "",
        "correctness": 1.0, "even_correctness": 1.0, "odd_correctness": 1.0,
    }  # fmt: skip
    for name, value in changed.items():
        rows.loc[at, name] = value


def broken_too(rows: pd.DataFrame) -> None:
    """A success that nobody found."""
    at = first(rows, rows["robust"])
    changed = {
        "success": True, "robust": False, "adversarial_prediction": (int(rows.loc[at, "label"]) + 1) % 10,
        "adversarial_margin": -1.0, "correctness": 0.0, "even_correctness": 0.0, "odd_correctness": 0.0,
    }  # fmt: skip
    for name, value in changed.items():
        rows.loc[at, name] = value


def column(name: str, change: Callable[[Any], Any], on: str = "success") -> Callable[[pd.DataFrame], None]:
    def edit(rows: pd.DataFrame) -> None:
        at = first(rows, rows[on])
        rows.loc[at, name] = change(rows.loc[at, name])

    return edit


EDITS: dict[str, tuple[Callable[[pd.DataFrame], None], set[str], str]] = {
    "success hidden": (robust_again, {"success", "prediction", "metrics"}, "success isn't what the model says"),
    "success invented": (broken_too, {"missing-example", "metrics"}, "a success without its example"),
    "success alone": (column("success", lambda old: False), {"row", "success"}, "success isn't what the predictions say"),
    "margin": (column("adversarial_margin", lambda old: old - 0.01), {"prediction"}, "adversarial_margin isn't the model's"),
    "clean margin": (column("clean_margin", lambda old: old + 0.01, "robust"), {"prediction"}, "clean_margin"),
    "confidence": (column("clean_confidence", lambda old: old / 2), {"prediction", "metrics"}, "clean_confidence"),
    "linf": (column("linf", lambda old: old / 2), {"distance"}, "linf isn't that of the saved example"),
    "l2": (column("l2", lambda old: old * 0.9), {"distance"}, "l2"),
    "beyond eps": (column("linf", lambda old: 0.3, "robust"), {"row"}, "lies beyond eps"),
    "clean prediction": (
        column("clean_prediction", lambda old: (old + 1) % 10),
        {"prediction", "row"},
        "clean_prediction isn't what the model says",
    ),
    "adversarial prediction": (
        column("adversarial_prediction", lambda old: 9 - old),
        {"prediction"},
        "adversarial_prediction isn't what the model says",
    ),
    "label": (column("label", lambda old: (old + 1) % 10), {"clean-image"}, "the label isn't the dataset's"),
    "digest": (column("sample_digest", lambda old: old[::-1]), {"clean-image"}, "the digest isn't that"),
    "position": (column("position", lambda old: 4000), {"clean-image"}, "the position isn't the sample's"),
    "sample": (column("sample_id", lambda old: f"{old}x"), {"clean-image", "row"}, "the position is another sample's"),
    "passes": (column("forwards", lambda old: old / 2), {"metrics"}, "forwards is"),
    "cell": (column("cell", lambda old: "other-0123456789ab"), {"row"}, "rows of another cell, other-0123456789ab"),
}  # fmt: skip


@pytest.mark.parametrize("sealed", [False, True], ids=["as it is", "sealed again"])
@pytest.mark.parametrize("what", EDITS)
def test_an_edited_row_is_refused(plain: Path, what: str, sealed: bool) -> None:
    change, expected, words = EDITS[what]
    cell = cell_of(plain, "pgd-3", LOW)
    path = next(path for path in RunDirectory(plain).sample_parts(cell) if _takes(path, change))
    edit_rows(path, change)
    if sealed:
        reseal(plain, cell)
    found = verified(plain)
    assert kinds(found, cell) >= expected | (set() if sealed else {"seal"})
    assert {one.cell for one in found.problems} == {cell}
    assert words in "\n".join(one.message for one in found.problems)
    if not sealed:
        assert f"samples/{path.name} has the digest" in problem(found, "seal").message
    else:
        assert "seal" not in kinds(found)


def _takes(path: Path, change: Callable[[pd.DataFrame], None]) -> bool:
    """Whether a part has a row for a change."""
    try:
        change(pq.ParquetFile(path).read().to_pandas())
    except IndexError:
        return False
    return True


def test_a_number_of_samples_is_one_line(plain: Path) -> None:
    cell = cell_of(plain, "fgsm")
    for path in RunDirectory(plain).sample_parts(cell):
        edit_rows(path, lambda rows: rows.__setitem__("clean_margin", rows["clean_margin"] + 1))
    reseal(plain, cell)
    told = problem(verified(plain), "prediction", cell)
    sample = rows_of(plain, cell)["sample_id"][0]
    assert (told.count, told.samples[0], len(told.samples)) == (20, sample, 20)
    assert f"clean_margin isn't the model's (20 samples, first {sample}: clean_margin" in told.message


def test_a_stochastic_share_is_that_of_its_draws(defended: Path) -> None:
    cell = cell_of(defended, "pgd-3", HIGH, defense_id="random_noise-std0.1", role="suite")
    path = next(path for path in RunDirectory(defended).sample_parts(cell) if rows_in(path)["success"].any())

    def better(rows: pd.DataFrame) -> None:
        at = first(rows, rows["success"])
        rows.loc[at, "correctness"] = 0.4 if rows.loc[at, "correctness"] < 0.4 else 0.2

    edit_rows(path, better)
    reseal(defended, cell)
    found = verified(defended)
    assert kinds(found, cell) == {"success", "metrics"}
    assert "correctness isn't what the model says" in problem(found, "success", cell).message


def test_who_else_attacks_a_detector_is_told_since_it_is_known(tmp_path: Path) -> None:
    path = write(tmp_path, samples=6, eps=HIGH, attacks="fgsm", defenses="none, feature_squeezing")
    directory = run(path, "run.detector_steps=0", "run.gradient_free_queries=0").directory
    cell = cell_of(directory, "fgsm", HIGH, defense_id="feature_squeezing", role="suite")
    assert verified(directory).problems == ()

    def silent(record: dict[str, Any]) -> None:
        before = len(record["flags"])
        record["flags"] = [flag for flag in record["flags"] if flag["rule"] != "no-detector-attack"]
        assert len(record["flags"]) == before - 1

    edit_json(directory / "cells" / f"{cell}.json", silent)
    assert "no-detector-attack follows" in problem(verified(directory), "metrics", cell).message
    edit_json(directory / "run.json", lambda record: record["suite"]["run"].pop("detector_steps"))
    assert cell not in {one.cell for one in verified(directory).problems}  # nobody had switched off what wasn't there


def rows_in(path: Path) -> pd.DataFrame:
    frame: pd.DataFrame = pq.ParquetFile(path).read().to_pandas()
    return frame


def test_a_rejection_is_the_detectors(defended: Path) -> None:
    cell = cell_of(defended, "pgd-3", HIGH, defense_id="feature_squeezing", role="oblivious")

    def reject(rows: pd.DataFrame) -> None:
        at = first(rows, rows["success"])
        for name, value in (("rejected", True), ("success", False), ("robust", True), ("correctness", 1.0)):
            rows.loc[at, name] = value

    path = next(path for path in RunDirectory(defended).sample_parts(cell) if rows_in(path)["success"].any())
    edit_rows(path, reject)
    reseal(defended, cell)
    found = verified(defended)
    assert {"success", "prediction", "metrics"} <= kinds(found, cell)
    assert {one.cell for one in found.problems} == {cell}


def test_an_oblivious_cell_is_judged_on_the_examples_it_judged(defended: Path) -> None:
    """Without them, whatever it says can't be checked; changed ones give other verdicts."""
    source = cell_of(defended, "pgd-3", HIGH, role="prerequisite")
    example_part(defended, source).unlink()
    found = verified(defended)
    for cell in (one.cell for one in RunDirectory(defended).read_cells() if one.role == "oblivious"):
        told = problem(found, "missing-example", cell)
        assert told.count == 8
        assert f"adversarial/{source}: no example of a sample that it judged" in told.message
    assert {"missing-example", "seal"} <= kinds(found, source)


# -- examples ----------------------------------------------------------------------------------------------------------


def edit_examples(path: Path, change: Callable[[np.ndarray[Any, Any]], None]) -> None:
    examples = read_examples(path)
    points = examples.images.copy()
    change(points)
    write_examples(path, Examples(examples.sample_ids, points))


def move(points: np.ndarray[Any, Any]) -> None:
    points[0, 0, 14, 14] = 1.0 if points[0, 0, 14, 14] < 0.5 else 0.0


def overflow(points: np.ndarray[Any, Any]) -> None:
    points[0, 0, 0, 0] = -0.05


def spoil(points: np.ndarray[Any, Any]) -> None:
    points[0, 0, 3, 3] = np.nan


@pytest.mark.parametrize("sealed", [False, True], ids=["as it is", "sealed again"])
@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (move, "outside", "linf distance"),
        (overflow, "outside", "pixels -0.05"),
        (spoil, "not-finite", "NaN or infinity"),
    ],
)
def test_an_example_that_is_none(plain: Path, change: Any, kind: str, words: str, sealed: bool) -> None:
    cell = cell_of(plain, "fgsm")
    path = example_part(plain, cell)
    edit_examples(path, change)
    if sealed:
        reseal(plain, cell)
    found = verified(plain)
    told = problem(found, kind, cell)
    assert told.samples == read_examples(path).sample_ids[:1]
    assert f"adversarial/{cell}/{path.name}" in told.message
    assert words in told.message
    assert ("seal" in kinds(found)) == (not sealed)


def test_swapped_examples(plain: Path) -> None:
    """Of the larger eps in the place of the smaller ones, and the other way round; sealed again or not."""
    low, high = cell_of(plain, "fgsm", LOW), cell_of(plain, "fgsm", HIGH)
    one, other = example_part(plain, low), example_part(plain, high)
    contents_of_one, contents_of_other = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents_of_other)
    other.write_bytes(contents_of_one)
    found = verified(plain)
    assert "outside" in kinds(found, low)
    assert one.name in problem(found, "seal", low).message
    assert kinds(found, high) >= {"seal"}
    reseal(plain, low)
    reseal(plain, high)
    found = verified(plain)
    assert "outside" in kinds(found, low)
    assert f"adversarial/{low}/{one.name}: outside the threat model" in problem(found, "outside", low).message


def test_an_example_of_another_attack_does_not_pass(plain: Path) -> None:
    """Inside the same ball, an example of the same images: the margins and distances are others."""
    one, other = cell_of(plain, "fgsm", HIGH), cell_of(plain, "pgd-3", HIGH)
    shutil.copy(example_part(plain, other), example_part(plain, one))
    reseal(plain, one)
    found = verified(plain)
    assert {"prediction", "distance"} <= kinds(found, one)
    assert {cell.cell for cell in found.problems} == {one}


def test_a_missing_example(plain: Path) -> None:
    cell = cell_of(plain, "pgd-3", HIGH)
    path = example_part(plain, cell)
    count = len(read_examples(path).sample_ids)
    path.unlink()
    found = verified(plain)
    assert problem(found, "missing-example", cell).count == count
    assert problem(found, "seal", cell).message == f"adversarial/{path.name} is gone"
    assert {one.cell for one in found.problems} == {cell}
    checked = next(one for one in found.cells if one.cell == cell)
    assert checked.examples == rows_of(plain, cell)["success"].sum() - count
    reseal(plain, cell)
    assert kinds(verified(plain)) == {"missing-example"}


# -- files -------------------------------------------------------------------------------------------------------------


def test_what_cant_be_read_is_named_and_the_rest_is_checked(plain: Path) -> None:
    parquet, examples = cell_of(plain, "fgsm", LOW), cell_of(plain, "pgd-3", LOW)
    damaged, absent = cell_of(plain, "fgsm", HIGH), cell_of(plain, "pgd-3", HIGH)
    truncated = part(plain, parquet, 1)
    truncated.write_bytes(truncated.read_bytes()[:200])
    short = example_part(plain, examples)
    short.write_bytes(short.read_bytes()[:-50])
    (plain / "cells" / f"{damaged}.json").write_text('{"cell": ')
    (plain / "cells" / f"{absent}.json").unlink()
    found = verified(plain)
    assert str(truncated) in problem(found, "unreadable", parquet).message
    assert problem(found, "row", parquet).count == 8
    assert str(short) in problem(found, "unreadable", examples).message
    assert f"{damaged}.json" in problem(found, "unreadable", damaged).message
    assert "no record of it" in problem(found, "missing", absent).message
    by_id = {cell.cell: cell for cell in found.cells}
    assert [by_id[cell].rows for cell in (parquet, examples, damaged, absent)] == [12, 20, 20, 20]
    assert [by_id[cell].status for cell in (parquet, examples, damaged, absent)] == [
        "done",
        "done",
        "missing",
        "missing",
    ]
    assert by_id[absent].examples > 0  # the suite tells what it is


def test_a_damaged_run_record_leaves_what_needs_none(plain: Path) -> None:
    cell = cell_of(plain, "fgsm")
    edit_rows(part(plain, cell), column("success", lambda old: False))
    (plain / "run.json").write_text("{}")
    found = verified(plain)
    assert "run.json" in problem(found, "unreadable", "").message
    assert {"row", "seal"} <= kinds(found, cell)
    assert len(found.cells) == 4
    assert all("no model judged it again" in one.unchecked for one in found.cells)


def test_a_deleted_part_of_rows(plain: Path) -> None:
    cell = cell_of(plain, "fgsm")
    part(plain, cell, 2).unlink()
    found = verified(plain)
    assert problem(found, "row", cell).message.startswith(
        "no row of a sample that run.json asks for (4 samples, first "
    )
    reseal(plain, cell)
    assert "row" in kinds(verified(plain), cell)


def test_a_directory_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no run\.json"):
        verify_run(tmp_path, places=PLACES)


# -- identities --------------------------------------------------------------------------------------------------------


CHANGED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "eps": (
        lambda value: value["threat_model"].update(eps="3/10"),
        "threat_model.eps is 3/10, the id was made with 1/10",
    ),
    "attack": (
        lambda value: value["attack"]["args"].update(steps=50),
        "attack.args.steps is 50, the id was made with 3",
    ),
    "seed": (lambda value: value.update(seed=5), "seed is 5, the id was made with 0"),
    "search": (
        lambda value: value.update(search="strongest"),
        "search is strongest, the id was made with first_success",
    ),
    "defense": (lambda value: value["defense"].update(name="jpeg"), "defense.name is jpeg, the id was made with none"),
    "weights": (lambda value: value["provenance"]["facts"].update(weights="0" * 64), "facts.weights is 000000000000"),
    "revision": (lambda value: value["provenance"]["facts"].update(attack_revision=9), "facts.attack_revision is 9"),
    "digest": (
        lambda value: value["provenance"].update(dataset="0" * 64),
        "provenance.dataset isn't that of the facts",
    ),
    "published": (
        lambda value: value["provenance"].update(published=["cifar10", "Linf", "Wong2020Fast"]),
        "provenance.published is ['cifar10', 'Linf', 'Wong2020Fast'], the model here is None",
    ),
    "model": (lambda value: value["model"].update(id="better"), "model.id is better, the suite"),
    "accuracy": (lambda value: value["model"].update(clean_accuracy=99), "model.clean_accuracy is 99.0, the suite"),
    "role": (
        lambda value: value.update(role="gradient_free"),
        "role is gradient_free, the suite in run.json has suite",
    ),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_changed_field_of_a_record_is_named(plain: Path, what: str) -> None:
    change, words = CHANGED[what]
    cell = cell_of(plain, "pgd-3")
    edit_json(plain / "cells" / f"{cell}.json", change)
    found = verified(plain)
    told = problem(found, "identity", cell)
    assert f"cells/{cell}.json: " in told.message
    assert words in told.message
    assert {one.cell for one in found.problems} == {cell}


def test_records_that_changed_places(plain: Path) -> None:
    one, other = (plain / "cells" / f"{cell_of(plain, name)}.json" for name in ("fgsm", "pgd-3"))
    first_text, second_text = one.read_text(), other.read_text()
    one.write_text(second_text)
    other.write_text(first_text)
    found = verified(plain)
    for path, its in ((one, other), (other, one)):
        told = problem(found, "identity", path.stem)
        assert told.message == f"cells/{path.name}: it is the record of another cell, {its.stem}"


def test_a_changed_eps_in_the_run_record_is_named(plain: Path) -> None:
    edit_json(plain / "run.json", lambda value: value["suite"]["threat_models"][1].update(eps="1/4"))
    found = verified(plain)
    assert kinds(found) == {"identity"}
    assert {one.cell for one in found.problems} == {cell_of(plain, "fgsm", HIGH), cell_of(plain, "pgd-3", HIGH)}
    told = problem(found, "identity", cell_of(plain, "fgsm", HIGH))
    assert told.message == "run.json: its suite has threat_model.eps 1/4, the cell was run with 1/5"


def test_cells_that_are_left_out_or_listed_twice(plain: Path) -> None:
    fgsm, pgd = cell_of(plain, "fgsm", HIGH), cell_of(plain, "pgd-3", HIGH)

    def change(value: Any) -> None:
        value["cells"] = [cell for cell in value["cells"] if cell != fgsm] + [pgd]

    edit_json(plain / "run.json", change)
    found = verified(plain)
    said = [one.message for one in found.problems]
    assert "run.json: its suite has the cell mnist_standard | Linf 0.2 | fgsm, which isn't among its cells" in said
    assert "run.json lists it twice" in said
    assert any("records under cells/ that run.json doesn't list" in text for text in found.notes)


def test_samples_that_are_left_out(plain: Path) -> None:
    edit_json(plain / "run.json", lambda value: value.update(positions=value["positions"][:10]))
    assert "positions aren't those" in problem(verified(plain), "identity").message


def test_a_submission_that_is_left_out(defended: Path) -> None:
    def change(value: Any) -> None:
        value["cells"] = [cell for cell in value["cells"] if not cell.startswith("submitted-")]

    edit_json(defended / "run.json", change)
    found = verified(defended)
    assert len(found.problems) == 2
    assert all("submitted against a row of the suite aren't listed" in one.message for one in found.problems)


def test_a_changed_submission(defended: Path) -> None:
    cell = next(cell for cell in RunDirectory(defended).read_run().cells if cell.startswith("submitted-"))
    edit_json(defended / "cells" / f"{cell}.json", lambda value: value["attack"]["args"].update(digest="0" * 64))
    assert "identity" in kinds(verified(defended), cell)


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A run of a model whose weights lie in a file, and the file."""
    weights = tmp_path / "mine.safetensors"
    shutil.copy(cards()["mnist_standard"].path, weights)
    mine = f"{{id: mine, source: checkpoint, architecture: mnist_cnn, weights: {weights}}}"
    path = write(tmp_path, models=mine, eps=HIGH, attacks="fgsm", defenses="none, bit_depth")
    return run(path).directory, weights


def test_other_weights_than_those_that_were_run(own: tuple[Path, Path]) -> None:
    directory, weights = own
    assert verified(directory).sound
    before = hashlib.sha256(weights.read_bytes()).hexdigest()
    shutil.copy(cards()["mnist_pgd"].path, weights)
    after = hashlib.sha256(weights.read_bytes()).hexdigest()
    found = verified(directory)
    told = [one for one in found.problems if one.kind == "identity"]
    assert len(told) == len(found.cells)
    for one in told:
        assert one.message == f"the weights had the digest {before[:12]}, here it is {after[:12]}"
    assert "prediction" in kinds(found)  # and it matters


def test_a_model_that_cant_be_had(own: tuple[Path, Path]) -> None:
    directory, weights = own
    weights.unlink()
    found = verified(directory)
    assert kinds(found) == {"not-verifiable"}
    assert all("no such file of weights" in one.message for one in found.problems)
    assert all(cell.examples == 0 for cell in found.cells)


def test_another_dataset(tmp_path: Path) -> None:
    some = images(8)
    data = tmp_path / "data.npz"
    np.savez(data, x=some.images, y=some.labels)
    path = write(tmp_path, eps=HIGH, attacks="fgsm")
    path.write_text(
        path.read_text().replace("{name: mnist, samples: 20}", f"{{name: npz, path: {data}, num_classes: 10}}")
    )
    directory = run(path).directory
    assert verified(directory).sound
    np.savez(data, x=some.images[::-1], y=some.labels[::-1])
    found = verified(directory)
    assert {"identity", "clean-image", "prediction"} <= kinds(found)
    assert any(one.message.startswith("the dataset had the digest") for one in found.problems)
    data.unlink()
    found = verified(directory)
    assert "data.npz" in problem(found, "not-verifiable").message


# -- numbers -----------------------------------------------------------------------------------------------------------


NUMBERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "value": (
        lambda value: value["metrics"]["robust_accuracy"].update(value=0.9),
        "robust_accuracy is 0.9, the rows give",
    ),
    "interval": (lambda value: value["metrics"]["clean_accuracy"].update(low=0.99), "clean_accuracy.low is 0.99"),
    "gone": (lambda value: value["metrics"].pop("attack_success_rate"), "attack_success_rate isn't there"),
    "invented": (
        lambda value: value["metrics"].update(trust={"value": 1.0, "low": None, "high": None, "n": 20}),
        "trust is no metric of the suite",
    ),
    "cost": (lambda value: value["cost"].update(forwards=1.0), "cost.forwards is 1, the rows give"),
    "flag": (
        lambda value: value["flags"].append(
            {"rule": "fine", "severity": "info", "message": "all is well", "source": ""}
        ),
        "the flag fine doesn't follow from the rows",
    ),
    "samples": (lambda value: value.update(samples=10_000), "samples is 10000, there are 20"),
}


@pytest.mark.parametrize("what", NUMBERS)
def test_a_changed_number_is_refused(plain: Path, what: str) -> None:
    change, words = NUMBERS[what]
    cell = cell_of(plain, "pgd-3")
    edit_json(plain / "cells" / f"{cell}.json", change)
    told = problem(verified(plain), "metrics")
    assert (told.cell, words in told.message) == (cell, True)
    assert f"cells/{cell}.json: " in told.message


def test_an_error_has_no_number(tmp_path: Path) -> None:
    gone = "{id: gone, source: checkpoint, architecture: mnist_cnn, weights: gone.safetensors}"
    directory = run(write(tmp_path, models=f"zoo:mnist_standard, {gone}", eps=HIGH, attacks="fgsm")).directory
    found = verified(directory)
    told = problem(found, "not-verifiable")
    assert told.message.startswith("it has no number: unavailable: ")
    assert [cell.status for cell in found.cells] == ["done", "unavailable"]
    edit_json(
        directory / "cells" / f"{told.cell}.json",
        lambda value: value["metrics"].update(robust_accuracy={"value": 0.0, "low": None, "high": None, "n": 20}),
    )
    assert "an unavailable has no metrics" in problem(verified(directory), "metrics").message


# -- rounding ----------------------------------------------------------------------------------------------------------


def on_the_hairline(directory: Path, cell: str, sample: str) -> np.ndarray[Any, Any]:
    """A point between the clean image and the example whose margin is tiny, by bisection."""
    spec, setting = ModelSpec.model_validate("zoo:mnist_standard"), Setting("mnist", "linf", 10, (1, 28, 28))
    model = models.load(spec, setting, PLACES, device="cpu")
    dataset, examples = images(20), RunDirectory(directory).read_examples(cell)
    place = dataset.sample_ids.index(sample)
    x, y = dataset.batch(range(place, place + 1))
    point = torch.from_numpy(examples.images[examples.sample_ids.index(sample)][None])
    low, high = 0.0, 1.0
    with torch.no_grad(), exact_arithmetic():
        for _ in range(40):
            middle = (low + high) / 2
            logits = model(x + middle * (point - x))[0]
            others = logits.clone()
            others[y] = -torch.inf
            low, high = (middle, high) if logits[y] > others.max() else (low, middle)
    found: np.ndarray[Any, Any] = (x + high * (point - x)).numpy()[0]
    return found


def put_on_the_hairline(directory: Path, cell: str, *, flipped: bool) -> str:
    """Saves such a point as an example, with rows that say it is a success; or, flipped, that it is none."""
    path = example_part(directory, cell)
    sample = read_examples(path).sample_ids[0]
    point = on_the_hairline(directory, cell, sample)
    edit_examples(path, lambda points: points.__setitem__(0, point))
    dataset = images(20)
    x = dataset.batch(range(20)).x[dataset.sample_ids.index(sample)].numpy()
    delta = (point - x).ravel()

    def change(rows: pd.DataFrame) -> None:
        at = first(rows, rows["sample_id"] == sample)
        rows.loc[at, "adversarial_margin"] = 0.0
        rows.loc[at, ["linf", "l2", "l1"]] = [abs(delta).max(), np.linalg.norm(delta), abs(delta).sum()]
        rows.loc[at, "adversarial_confidence"] = confidence(point)
        if flipped:
            rows.loc[at, "adversarial_prediction"] = rows.loc[at, "label"]
            rows.loc[at, ["success", "robust"]] = [False, True]
            rows.loc[at, ["correctness", "even_correctness", "odd_correctness"]] = 1.0

    edit_rows(part(directory, cell), change)
    reseal(directory, cell)
    return sample


def confidence(point: np.ndarray[Any, Any]) -> float:
    spec, setting = ModelSpec.model_validate("zoo:mnist_standard"), Setting("mnist", "linf", 10, (1, 28, 28))
    model = models.load(spec, setting, PLACES, device="cpu")
    with torch.no_grad(), exact_arithmetic():
        return float(model(torch.from_numpy(point[None])).softmax(1).max())


def test_a_verdict_that_rounding_decides_is_listed_apart(plain: Path) -> None:
    cell = cell_of(plain, "pgd-3")
    sample = put_on_the_hairline(plain, cell, flipped=True)
    found = verified(plain)
    assert kinds(found) == {"metrics"}  # one success less than its record counts
    (told,) = (one for one in found.hairline if one.kind == "hairline")
    assert (told.cell, told.samples) == (cell, (sample,))
    assert "success is another by no more than rounding" in told.message
    assert next(one for one in found.cells if one.cell == cell).hairline == 1


def test_a_success_by_no_more_than_rounding_is_borderline(plain: Path) -> None:
    cell = cell_of(plain, "pgd-3")
    sample = put_on_the_hairline(plain, cell, flipped=False)
    found = verified(plain)
    assert [one.kind for one in found.problems if one.kind != "metrics"] == []
    (told,) = (one for one in found.hairline if one.kind == "borderline" and one.cell == cell)
    assert sample in told.samples


def test_last_bits_are_no_difference(plain: Path) -> None:
    cell = cell_of(plain, "fgsm")
    for path in RunDirectory(plain).sample_parts(cell):
        for name in ("clean_margin", "adversarial_margin"):
            edit_rows(path, lambda rows, name=name: rows.__setitem__(name, rows[name] * (1 + 1e-6)))
    reseal(plain, cell)
    assert verified(plain).sound


# -- another model -----------------------------------------------------------------------------------------------------


def by_hand(directory: Path, cell: str, name: str) -> tuple[int, int, int]:
    """Examples, those whose clean image a model of the zoo gets right, and of these the ones that it gets wrong."""
    spec, setting = ModelSpec.model_validate(f"zoo:{name}"), Setting("mnist", "linf", 10, (1, 28, 28))
    model, dataset = models.load(spec, setting, PLACES, device="cpu"), images(20)
    examples = RunDirectory(directory).read_examples(cell)
    x, y = dataset.batch(np.array([dataset.sample_ids.index(sample) for sample in examples.sample_ids]))
    with torch.no_grad(), exact_arithmetic():
        right, still = model(x).argmax(1) == y, model(torch.from_numpy(examples.images)).argmax(1) == y
    return len(y), int(right.sum()), int((right & ~still).sum())


def test_replaying_on_another_model(plain: Path) -> None:
    before = contents(plain)
    done = replay(plain, "zoo:mnist_pgd", places=PLACES, device="cpu")
    assert contents(plain) == before
    assert [row.cell for row in done.rows] == list(RunDirectory(plain).read_run().cells)
    assert done.problems == ()
    for row in done.rows:
        assert (row.replayed, row.clean_correct, row.misclassified) == by_hand(plain, row.cell, "mnist_pgd")
        assert row.rate == row.misclassified / row.clean_correct
        assert row.low <= row.rate <= row.high
        assert row.successes_only
    own = replay(plain, "zoo:mnist_standard", places=PLACES, device="cpu")
    assert all(row.rate == 1 for row in own.rows)


def test_replaying_on_other_weights_of_the_same_model(defended: Path, plain: Path) -> None:
    path = cards()["mnist_pgd"].path
    for directory in (defended, plain):
        by_path = replay(directory, str(path), places=PLACES, device="cpu")
        by_name = replay(directory, "zoo:mnist_pgd", places=PLACES, device="cpu")
        assert by_path.rows == by_name.rows
        assert by_path.digest == by_name.digest
    rows = replay(defended, str(path), places=PLACES, device="cpu").rows
    made = "pgd-3 (examples for other cells)"
    assert [row.attack for row in rows] == ["pgd-3", made, "Ann (submitted)"]
    prerequisite = cell_of(defended, "pgd-3", HIGH, role="prerequisite")
    whole = next(row for row in rows if row.cell == prerequisite)
    assert (whole.replayed, whole.successes_only) == (20, False)


def test_what_lies_outside_is_not_replayed(plain: Path) -> None:
    cell = cell_of(plain, "fgsm")
    edit_examples(example_part(plain, cell), move)
    done = replay(plain, "zoo:mnist_pgd", places=PLACES, device="cpu")
    (told,) = done.problems
    assert (told.kind, told.cell, told.count) == ("outside", cell, 1)
    row = next(row for row in done.rows if row.cell == cell)
    assert row.replayed == len(RunDirectory(plain).read_examples(cell).sample_ids) - 1
