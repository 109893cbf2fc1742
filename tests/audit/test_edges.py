"""Runs at the edge: chosen at random, unfinished, submitted, stochastic, old; no rule may stumble over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from planted.case import adaptive, defended
from synthetic_audit import FGSM, PGD, ROW, SMOOTH, WRONG, Built, N, Probed, built, examined
from synthetic_run import Planned

from bench.audit.evidence import CannotCheck
from bench.audit.rules import RULES
from bench.store.audit import AuditRecord
from bench.store.outcomes import read_outcomes
from bench.store.records import SampleRecord

SHUFFLED = tuple(np.random.default_rng(3).permutation(N)[:50].tolist())
"""Positions of a random selection, in the dataset's order."""
WEAK = dict.fromkeys(("noise", "single-step", "growth:1/2", "growth:1", "growth:2", "large-eps"), ())
"""Probes that break nothing."""


def test_positions_in_any_order_meet_their_images(tmp_path: Path) -> None:
    ensemble = Planned(attack="autoattack", wrong=WRONG, broken=range(40))
    stages = {0: {**dict.fromkeys(range(25), "apgd-ce"), **dict.fromkeys(range(25, 40), "square")}}
    run = built(tmp_path, (ensemble,), positions=SHUFFLED, stages=stages)
    chosen = SHUFFLED[:30]
    found = examined(run, [Probed({"gradient-free": range(72)}, positions=chosen)])
    (row,) = found.evidence.rows
    assert row.by_gradient.tolist() == [position < 25 for position in sorted(SHUFFLED)]
    assert row.on_subset(row.by_gradient).tolist() == [position < 25 for position in chosen]
    assert row.on_subset(row.worst).tolist() == [position < 40 for position in chosen]
    assert row.correct.tolist() == [position < 72 for position in chosen]
    assert row.commonest == max(np.mean(np.array(chosen) % 2), np.mean(1 - np.array(chosen) % 2))
    (finding,) = found.of("gradient-free-stronger")
    more = sum(25 <= one < 72 for one in chosen)
    assert (finding.evidence["more"], finding.evidence["less"]) == (more, 0)


def test_a_run_that_names_no_positions_means_every_row(tmp_path: Path) -> None:
    ensemble = Planned(attack="autoattack", wrong=WRONG, broken=range(40))
    run = built(tmp_path, (ensemble,), positions=(), stages={0: dict.fromkeys(range(30, 40), "square")})
    probed = Probed({"gradient-free": range(60)}, positions=range(20, 60))
    (row,) = examined(run, [probed]).evidence.rows
    assert row.by_gradient.tolist() == [position < 30 for position in range(N)]
    assert row.on_subset(row.worst).tolist() == [position < 40 for position in range(20, 60)]


CERTIFICATE = Planned(
    attack="certified", role="certificate", defense="smoothing-a", radii={0: 0.3}, threat_model="l2:0.5"
)
STRANGE: dict[str, tuple[Sequence[Planned], Sequence[Probed]]] = {
    "nothing is finished": ((Planned(recorded=False, rows=()),), ()),
    "nothing is finished, half of it done": ((Planned(recorded=False, rows=range(40), broken=range(9)),), ()),
    "partial": ((FGSM, Planned(wrong=WRONG, rows=range(60))), (Probed(),)),
    "failed with rows": ((FGSM, Planned(wrong=WRONG, status="error", reason="x", rows=range(9))), (Probed(),)),
    "failed without rows": ((Planned(status="error", reason="x", rows=()),), ()),
    "unavailable": ((Planned(status="unavailable", reason="x", rows=()), PGD), (Probed(),)),
    "no image is right": (
        (Planned(wrong=range(N)),),
        (Probed(WEAK, gradients=None, wrong=range(N)),),
    ),
    "no image is right, and there are gradients": ((Planned(wrong=range(N)),), (Probed(WEAK, wrong=range(N)),)),
    "one image is right": (
        (Planned(wrong=range(1, N)),),
        (Probed(WEAK, wrong=range(1, N), gradients=SMOOTH.model_copy(update={"samples": 1})),),
    ),
    "a subset of no image": (ROW, (Probed(positions=(), gradients=None),)),
    "only an oblivious adversary": (defended("jpeg-q75")[2:], ()),
    "only a naive one": ((adaptive("jpeg-q75", role="naive", adversary="naive"),), ()),
    "only a certificate": ((CERTIFICATE,), ()),
    "a certificate and an attack": (
        (CERTIFICATE, adaptive("smoothing-a", threat_model="l2:0.5")),
        (Probed(defense="smoothing-a", threat_model="l2:1/2"),),
    ),
    "a submission of a few images": (
        (*ROW, adaptive("jpeg-q75"), adaptive("jpeg-q75", 3, "mine", role="submitted", rows=range(5))),
        (Probed(), Probed(defense="jpeg-q75")),
    ),
    "only a submission": ((adaptive("jpeg-q75", 3, "mine", role="submitted", rows=range(5)),), ()),
    "stochastic": (
        (
            adaptive(
                "random_noise-a", correctness={**dict.fromkeys(range(40), 0.3), **dict.fromkeys(range(40, 72), 0.8)}
            ),
            adaptive("random_noise-a", 20, "square", role="gradient_free"),
        ),
        (
            Probed(
                defense="random_noise-a",
                positions=range(32),
                gradients=SMOOTH.model_copy(update={"slope_error": None}),
                controls={},
            ),
        ),
    ),
    "several seeds": ((PGD, Planned(wrong=WRONG, broken=range(9), seed=1)), (Probed(),)),
    "every probe failed": (ROW, (Probed(dict.fromkeys(Probed().record().probes, "ValueError: no"), gradients=None),)),
    "an attack and a defense that nobody knows": (
        (Planned(attack="theirs-1"), Planned(attack="theirs-1", defense="theirs-2")),
        (Probed(), Probed(defense="theirs-2")),
    ),
    "L1, of which there is no FGSM": (
        (Planned(attack="apgd-100", threat_model="l1:12"),),
        (Probed({"single-step": None}, threat_model="l1:12"),),
    ),
}


@pytest.mark.parametrize("name", STRANGE)
def test_no_rule_stumbles(tmp_path: Path, name: str) -> None:
    cells, probed = STRANGE[name]
    found = examined(built(tmp_path, cells), probed)
    assert [one.rule for one in found.record.rules] == [rule.id for rule in RULES]
    assert AuditRecord.model_validate_json(found.record.model_dump_json()) == found.record
    assert all("nan" not in one.message and "inf " not in one.message for one in found.record.findings)
    found.run.write_audit(found.record)
    assert read_outcomes(found.run).audited == found.record


def test_what_is_missing_says_so(tmp_path: Path) -> None:
    cells, _ = STRANGE["nothing is finished"]
    found = examined(built(tmp_path, cells), (), without="no white-box attack of the suite is finished on this row")
    assert found.record.findings == ()
    reasons = {one.rule: list(one.unchecked) for one in found.record.rules if one.unchecked}
    assert reasons["only-single-step"] == ["no white-box attack is finished"]
    assert reasons["worst-case-far-below"] == ["fewer than two attacks are finished"]
    assert reasons["noise-stronger"] == ["no white-box attack of the suite is finished on this row"]


def test_a_row_whose_attacks_are_unfinished_is_compared_with_what_is(tmp_path: Path) -> None:
    cells = (FGSM, Planned(wrong=WRONG, broken=range(40), rows=range(60)))  # partial: its successes count all the same
    found = examined(built(tmp_path, cells), [Probed({"more-steps": range(47)})])
    (row,) = found.evidence.rows
    assert [cell.attack for cell in row.white_box] == ["fgsm"]
    assert row.by_gradient.sum() == 24
    assert row.worst.sum() == 40
    assert [one.evidence["more"] for one in found.of("more-steps-help")] == [7]


def test_successes_of_a_submission_count_where_it_has_rows_only(tmp_path: Path) -> None:
    cells, probed = STRANGE["a submission of a few images"]
    (_, row) = examined(built(tmp_path, cells), probed).evidence.rows
    assert row.worst.tolist() == [position < 40 for position in range(N)]
    with pytest.raises(CannotCheck, match="there is no probe transfer:x under this norm"):
        row.broken("transfer:x")


def test_old_part_files_are_audited_by_their_verdicts(tmp_path: Path) -> None:
    run = built(tmp_path, ROW).run
    new = [*SampleRecord._field_defaults]
    for path in tmp_path.glob("samples/*/part-*.parquet"):
        table = pq.ParquetFile(path).read()
        pq.write_table(table.drop_columns(new), path)
    assert "correctness" in new
    outcome = read_outcomes(run, audited=False)
    found = examined(Built(run, outcome), [Probed({"more-steps": range(47)})])
    serious = [(one.rule, one.severity) for one in found.record.findings if one.severity != "info"]
    assert serious == [("more-steps-help", "warning")]
    assert found.result("robust-above-clean").checked == 1
