"""Audits of real small runs: probes are saved and not run again, faults show, and nothing already computed is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import Interrupted
from bench.runner import audit as audits
from bench.runner.audit import AuditSettings, audit_run
from bench.runner.events import Silent
from bench.runner.options import RunSettings
from bench.runner.probing import control, rows
from bench.runner.run import run_suite
from bench.store.audit import AuditRecord, Finding
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

OFFLINE = Places(download=False)


def evaluated(path: Path, tmp_path: Path) -> RunDirectory:
    summary = run_suite(load_suite(path), RunSettings(tmp_path / "results", device="cpu", places=OFFLINE))
    assert {result.status for result in summary.results} == {"done"}, [result.reason for result in summary.results]
    return RunDirectory(summary.directory)


def audited(run: RunDirectory, samples: int | None = None) -> AuditRecord:
    return audit_run(run.path, AuditSettings(OFFLINE, "cpu", samples=samples))


def serious(record: AuditRecord) -> list[Finding]:
    return [one for one in record.findings if one.severity != "info" and one.rule != "few-samples"]


def test_a_healthy_run_raises_nothing_and_its_probes_run_once(
    suite: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evaluated(suite(samples=30, eps="0.1", attacks="{name: pgd, steps: 20}, {name: cw, steps: 20}"), tmp_path)
    record = audited(run)
    assert serious(record) == []
    assert record.samples == 30
    of_defenses = {"no-bpda", "not-joint", "fails-undefended"}
    assert {rule.rule for rule in record.rules if not rule.checked and not rule.unchecked} <= of_defenses
    (path,) = (run.path / "probes").glob("*.json")
    before = path.read_bytes()
    (probes,) = [run.read_probes(path.stem.rsplit("-", 1)[1])]
    assert probes is not None
    broken = {name: sum(probe.broken) for name, probe in probes.probes.items()}
    assert {name for name, probe in probes.probes.items() if probe.failed} == set()
    # What must hold of any model that isn't masked: more radius and more steps break no less, noise next to nothing.
    assert (
        broken["growth:1/2"]
        <= broken["growth:1"]
        <= broken["growth:2"]
        <= broken["large-eps"]
        == sum(probes.clean_correct)
    )
    assert broken["noise"] <= broken["single-step"] <= broken["more-steps"]
    assert all(sum(one.broken) >= 0.9 * sum(one.details["breakable"]) > 20 for one in probes.controls.values())
    monkeypatch.setattr(rows, "evaluate", lambda *args: pytest.fail("a probe was run again"))
    again = audited(run)
    assert again.findings == record.findings
    assert path.read_bytes() == before


def test_more_samples_make_the_audit_out_of_date(suite: Callable[..., Path], tmp_path: Path) -> None:
    run = evaluated(suite(samples=12), tmp_path)
    audited(run, samples=8)
    assert read_outcomes(run).outdated == 0
    evaluated(suite(samples=16), tmp_path)
    assert read_outcomes(run).outdated == 2
    audited(run, samples=8)
    assert read_outcomes(run).outdated == 0


def test_without_probes_the_rules_say_so(suite: Callable[..., Path], tmp_path: Path) -> None:
    run = evaluated(suite(samples=12), tmp_path)
    record = audited(run, samples=0)
    result = next(rule for rule in record.rules if rule.rule == "large-eps")
    assert result.checked == 0
    assert list(result.unchecked) == ["the probes are switched off (audit.samples: 0)"]
    assert not (run.path / "probes").exists()
    assert record.samples == 0
    assert next(rule for rule in record.rules if rule.rule == "prediction-disagrees").checked == 1


def test_an_attack_with_tiny_steps_is_found_out(suite: Callable[..., Path], tmp_path: Path) -> None:
    run = evaluated(suite(samples=40, attacks="{name: pgd, steps: 10, alpha: 0.0001, random_start: false}"), tmp_path)
    found = {one.rule: one.severity for one in serious(audited(run))}
    assert found["more-steps-help"] == "invalid"
    assert found["single-step-stronger"] == "invalid"
    assert found["positive-control"] == "invalid"
    assert found["gradient-free-stronger"] == "invalid"
    (row,) = read_outcomes(run).rows
    assert not row.complete


def test_a_changed_example_is_invalid(suite: Callable[..., Path], tmp_path: Path) -> None:
    run = evaluated(suite(samples=12, eps="0.3", attacks="fgsm"), tmp_path)
    cell = run.read_run().cells[0]
    from bench.store.parts import Examples, read_examples, write_examples

    path = run.example_parts(cell)[0]
    kept = read_examples(path)
    moved = np.clip(kept.images + 0.5, 0, 1)
    write_examples(path, Examples(kept.sample_ids, moved))
    found = {one.rule for one in serious(audited(run, samples=0)) if one.severity == "invalid"}
    assert {"leaves-threat-model", "records-disagree"} <= found


def test_images_that_are_gone_leave_the_rules_on_records(
    suite: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.errors import DatasetUnavailable

    run = evaluated(suite(samples=12), tmp_path)

    def gone(*args: object, **more: object) -> None:
        raise DatasetUnavailable("mnist: no such file")

    monkeypatch.setattr(audits, "preflight", gone)
    record = audited(run)
    result = next(rule for rule in record.rules if rule.rule == "noise-stronger")
    assert list(result.unchecked) == ["no probe could be run: mnist: no such file"]
    assert next(rule for rule in record.rules if rule.rule == "robust-above-clean").checked == 1


def test_a_stopped_audit_keeps_the_rows_that_are_probed(
    suite: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evaluated(suite(samples=12, models="zoo:mnist_standard, zoo:mnist_pgd", eps="0.1"), tmp_path)

    class Stops(Silent):
        def note(self, text: str) -> None:
            if "row 2 of 2" in text:
                raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="finished probes are saved"):
        audit_run(run.path, AuditSettings(OFFLINE, "cpu", samples=8), Stops())
    assert len(list((run.path / "probes").glob("*.json"))) == 1
    assert run.read_audit() is None
    calls = []
    monkeypatch.setattr(audits, "probe", lambda *args: (calls.append(args), rows.probe(*args))[1])
    audited(run, samples=8)
    assert len(list((run.path / "probes").glob("*.json"))) == 2


def test_a_damaged_probe_file_is_made_anew(suite: Callable[..., Path], tmp_path: Path) -> None:
    run = evaluated(suite(samples=12, eps="0.1"), tmp_path)
    audited(run, samples=8)
    (path,) = (run.path / "probes").glob("*.json")
    path.write_text(path.read_text()[:100])
    audited(run, samples=8)
    assert run.read_probes(path.stem.rsplit("-", 1)[1]) is not None


def test_a_stochastic_row_is_probed_on_fewer_images(suite: Callable[..., Path], tmp_path: Path) -> None:
    path = suite(
        more="audit: {queries: 20}",
        samples=40,
        attacks="{name: pgd, steps: 3}",
        defenses="{name: random_noise, std: 0.3, eot_iter: 2, scoring_draws: 3}",
    )
    path.write_text(path.read_text().replace("shard_size: 8", "shard_size: 64, gradient_free_queries: 20"))
    run = evaluated(path, tmp_path)
    record = audited(run)
    assert record.samples == rows.STOCHASTIC
    (file,) = (run.path / "probes").glob("*.json")
    probes = run.read_probes(file.stem.rsplit("-", 1)[1])
    assert probes is not None
    assert probes.gradients is not None
    assert probes.gradients.slope_error is None
    assert {name for name, probe in probes.probes.items() if probe.failed} == set()


@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", "1/255"), ("linf", "0.3"), ("l2", "0.25"), ("l2", "2"), ("l1", "8")]
)
def test_the_control_is_breakable_at_every_radius(norm: str, eps: str) -> None:
    from fractions import Fraction

    from bench import datasets, threat_models
    from bench.suites.spec import DatasetSpec

    dataset = datasets.load(DatasetSpec(name="mnist", samples=60), OFFLINE)
    made = control.linear(dataset, threat_models.build(norm, Fraction(eps)), tuple(range(60)))
    x, y = made.dataset.batch(range(60))
    assert (made.model(x).argmax(1) == y).all()
    assert made.breakable.sum() >= 50
    with torch.no_grad():
        halves = made.model(0.5 * x) + made.model(0.5 * x.flip(0))
        assert torch.allclose(halves, made.model(0.5 * (x + x.flip(0))) + made.model(0 * x), atol=1e-3)
