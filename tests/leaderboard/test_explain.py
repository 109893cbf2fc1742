"""An explanation says how a number came about, with the numbers of the records, and never that a model is robust."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_run import Planned, build_run

from bench.errors import StoreError, UnknownNameError
from bench.leaderboard.explain import explain
from bench.leaderboard.explanation import CellExplained, Explanation, RowExplained
from bench.leaderboard.prose import prose
from bench.leaderboard.stronger import images_for
from bench.stats import wilson
from bench.store.audit import AuditRecord, Finding, RuleResult
from bench.store.outcomes import cell_digest
from bench.store.records import Estimate, Flag, StageResult
from bench.store.run_directory import RunDirectory

ENTRY = ("cifar10", "Linf", "Wong2020Fast")
BARE = [
    Planned(model="a", attack="fgsm", wrong=[19], broken=[0, 1], published=ENTRY),
    Planned(model="a", attack="pgd-20", wrong=[19], broken=[1, 2, 3], published=ENTRY),
]
DEFENDED = [
    Planned(model="a", defense="jpeg-q75", attack="pgd-20", wrong=[18, 19], broken=range(6)),
    Planned(model="a", defense="jpeg-q75", attack="pgd-20", role="naive", adversary="naive", wrong=[18, 19], broken=[0]),
    Planned(model="a", defense="jpeg-q75", attack="pgd-20", role="oblivious", adversary="oblivious", wrong=[18, 19],
            broken=[5, 6]),
    Planned(model="a", defense="jpeg-q75", attack="square", role="gradient_free", wrong=[18, 19], broken=[7]),
    Planned(model="a", defense="jpeg-q75", attack="ann", role="submitted", wrong=[18, 19], broken=[8, 9]),
]  # fmt: skip


def one(run: RunDirectory, model: str = "a", **options: str) -> RowExplained:
    (row,) = explain(run, model, **options).rows  # type: ignore[arg-type]
    return row


def cell(row: RowExplained, attack: str, role: str = "suite") -> CellExplained:
    (found,) = [cell for cell in row.cells if (cell.attack, cell.role) == (attack, role)]
    return found


def told(run: RunDirectory, model: str = "a", width: int = 1000, **options: str) -> dict[str, list[str]]:
    """The lines of each section, of one row."""
    text = prose(explain(run, model, **options), width)  # type: ignore[arg-type]
    head, _, *blocks = (
        re.split(r"\n\n|(?<==)\n\n", text.rstrip("\n"))[0].splitlines() + text.rstrip("\n").split("\n\n")[1:]
    )
    sections = {block.splitlines()[0]: [line.strip() for line in block.splitlines()[1:]] for block in blocks}
    return {"": [head], **sections}


def change(run: RunDirectory, index: int, **update: object) -> None:
    """Changes the record of a cell."""
    found = run.read_cell(run.read_run().cells[index])
    assert found is not None
    run.write_cell(found.model_copy(update=update))


def audit(run: RunDirectory, *findings: Finding, samples: int = 10) -> None:
    ids = run.read_run().cells
    rule = RuleResult(rule="r", title="r", checked=1, findings=len(findings))
    digests = {cell: cell_digest(run, cell) for cell in ids}
    run.write_audit(AuditRecord(made="", samples=samples, cells=digests, rules=(rule,), findings=findings))


def suggested(row: RowExplained) -> str:
    return "\n".join(f"{one.text} | {one.do}" for one in row.stronger)


# -- the numbers ---------------------------------------------------------------------------------------------------


def test_every_cell_says_what_it_broke_and_what_only_it_broke(tmp_path: Path) -> None:
    row = one(build_run(tmp_path, BARE))
    fgsm, pgd = cell(row, "fgsm"), cell(row, "pgd-20")
    assert [(c.correct, c.attacked, c.broken, c.alone) for c in (fgsm, pgd)] == [(19, 19, 2, 1), (19, 19, 3, 2)]
    assert (pgd.left.value, pgd.left.n) == (0.8, 20)  # type: ignore[union-attr]
    assert (pgd.left.low, pgd.left.high) == pytest.approx(wilson(16, 20))  # type: ignore[union-attr]
    assert (pgd.gradient, pgd.search, pgd.seed, pgd.precision, pgd.seconds) == (
        "exact gradient", "first_success", 0, "float32", 1.5,
    )  # fmt: skip
    assert (pgd.forwards, pgd.backwards) == (20.0, 20.0)
    assert row.numbers.worst.value == 0.75  # type: ignore[union-attr]
    assert row.strongest == pgd.cell
    assert row.interval == "Wilson's"


def test_what_it_prints_of_a_bare_row(tmp_path: Path) -> None:
    run = build_run(tmp_path, BARE, note="a smoke test")
    got = told(run)
    assert got[""] == ["a under Linf 8/255: robust accuracy 75.0 % (53.1–88.8), an upper bound"]
    assert got["Images"] == ["CIFAR-10 test: the first 20 images.", "Note: a smoke test"]
    assert got["Clean"] == ["Clean accuracy 95.0 % (76.4–99.1): 19 of 20 images are right."]
    assert got["Attacks"][1] == (
        "pgd-20 (exact gradient, default parameters, search first_success, seed 0, float32): broke 3 of 19 clean-correct"
        " images, 2 of which nothing else broke; by itself it leaves 80.0 % (58.4–91.9). It attacked 19 images, with 20.0"
        " forward and 20.0 backward passes an image, in 1.5 s."
    )
    assert got["Worst case"] == [
        "Per image the worst over 2 cells: whatever one of them breaks counts. 15 of 20 images are right when clean and"
        " unbroken by all of them.",
        "The strongest by itself, pgd-20, leaves 80.0 %; the others take off another 5.0 points.",
        "The interval (Wilson's, 95 %) covers which 20 images were drawn. It covers no attack that wasn't tried: a stronger"
        " one can only lower the number.",
    ]
    assert got["Rank"] == ["1 of 1 ranked row."]
    assert got["Published"] == [
        "RobustBench gives Wong2020Fast 83.34 % clean and 43.21 % under attack (eps 8/255).",
        "Here: clean +11.7 points, under attack +31.8 points.",
    ]
    assert "Who broke what" not in got


def test_parameters_that_differ_backends_stages_and_reuse(tmp_path: Path) -> None:
    run = build_run(tmp_path, [*BARE, Planned(model="a", attack="autoattack", wrong=[19], broken=range(5))])
    attack = run.read_cell(run.read_run().cells[1]).attack  # type: ignore[union-attr]
    cost = run.read_cell(run.read_run().cells[2]).cost  # type: ignore[union-attr]
    args = {"steps": 20, "restarts": 3, "alpha": None, "step_rule": "cosine", "loss": "ce", "random_start": False}
    change(run, 1, attack=attack.model_copy(update={"args": args, "backend": "foolbox"}))
    stages = (
        StageResult(name="apgd-ce", attacked=19, broken=4, robust_accuracy=0.75, seconds=1.0),
        StageResult(name="square", attacked=15, broken=1, robust_accuracy=0.7, seconds=1.0),
    )
    change(run, 2, stages=stages, cost=cost.model_copy(update={"reused": 2}))  # type: ignore[union-attr]
    row = one(run)
    assert cell(row, "pgd-20").args == {"restarts": 3, "step_rule": "cosine", "random_start": False}
    assert (cell(row, "autoattack").attacked, cell(row, "autoattack").reused) == (17, 2)
    lines = told(run)["Attacks"]
    assert "restarts 3, step_rule cosine, random_start false, from foolbox, search first_success" in lines[1]
    assert "It attacked 17 images and took over 2 that a smaller eps had broken, with" in lines[2]
    assert "Stages, each on what the one before left: apgd-ce 4 of 19, square 1 of 15." in lines[2]


def test_a_defended_row_says_who_attacked_and_what_broke_what(tmp_path: Path) -> None:
    run = build_run(tmp_path, [*BARE, *DEFENDED])
    got = told(run, defense="jpeg-q75")
    assert got[""] == ["a + jpeg-q75 under Linf 8/255: robust accuracy 40.0 % (21.9–61.3), an upper bound"]
    assert got["Attacks"][0] == (
        "Whoever knows the defense takes its gradient so: BPDA with the stand-in that jpeg brings (the identity where it"
        " brings none)."
    )
    starts = [line.partition(", default")[0].partition(":")[0] for line in got["Attacks"][1:]]
    assert starts == [
        "pgd-20 (BPDA",
        "pgd-20 (naive adversary, the gradient as it comes",
        "pgd-20 (oblivious adversary, the examples that were made against the bare model",
        "square (gradient-free check, no gradient",
        "ann (submitted, examples that ann submitted)",
    ]
    assert "It judged the examples of 18 images, in 1.5 s." in got["Attacks"][3]
    assert "broke 1 of 18 clean-correct images, all of which something else broke, too;" in got["Attacks"][2]
    assert got["Who broke what"] == [
        "BPDA: 6, of which 4 by nothing else",
        "naive: 1, of which 0 by nothing else",
        "transfer: 2, of which 1 by nothing else",
        "gradient-free: 1, of which 1 by nothing else",
        "submitted: 2, of which 2 by nothing else",
    ]
    assert cell(one(run, defense="jpeg-q75"), "ann", "submitted").attacked is None


@pytest.mark.parametrize(
    ("defense", "surrogate", "expected"),
    [
        ("gaussian_blur-s1", None, "the exact gradient"),
        ("jpeg-q75", "identity", "BPDA with the gradient of identity in its place"),
        ("jpeg-q75", "exact", "the exact gradient, as the suite asks"),
        ("random_noise", None, "the exact gradient; each gradient averaged over 7 draws (EOT)"),
        (
            "feature_squeezing",
            None,
            "BPDA with the stand-in that feature_squeezing brings (the identity where it brings none); the classifier first"
            " and then its detector (joint)",
        ),
    ],
)
def test_whose_gradient_was_taken(tmp_path: Path, defense: str, surrogate: str | None, expected: str) -> None:
    run = build_run(tmp_path, [Planned(model="a", defense=defense)])
    spec = run.read_cell(run.read_run().cells[0]).defense  # type: ignore[union-attr]
    change(run, 0, defense=spec.model_copy(update={"surrogate": surrogate, "eot_iter": 7}))
    assert one(run).attacker == expected


def test_a_stochastic_row_counts_shares_of_draws(tmp_path: Path) -> None:
    shares = {0: 0.25, 1: 0.75, 2: 0.5}
    run = build_run(tmp_path, [Planned(model="a", defense="random_noise", correctness=shares, broken=[0])])
    spec = run.read_cell(run.read_run().cells[0]).defense  # type: ignore[union-attr]
    change(run, 0, defense=spec.model_copy(update={"eot_iter": 10, "scoring_draws": 8}))
    row, got = one(run), told(run)
    assert (row.stochastic, row.interval) == (True, "a bootstrap")
    assert cell(row, "pgd-20").left.value == pytest.approx((17 + 1.5) / 20)  # type: ignore[union-attr]
    assert got[""][0].startswith("a + random_noise under Linf 8/255: robust accuracy 92.5 % (")
    assert "Each image is scored by 8 fresh draws that no attack has seen" in got["Attacks"][1]
    assert "An image counts by the share of draws in which it stays right" in got["Worst case"][0]
    assert "(a bootstrap, 95 %)" in got["Worst case"][2]
    assert got["Clean"][0].endswith("20 of 20 images are right in the majority of the draws.")


def test_a_certificate_is_no_attack(tmp_path: Path) -> None:
    planned = [
        Planned(model="a", defense="smoothing", threat_model="l2:0.5", broken=range(4)),
        Planned(model="a", defense="smoothing", threat_model="l2:0.5", role="certificate", attack="certified",
                radii=dict.fromkeys(range(5), 0.6), broken=range(5, 20)),
    ]  # fmt: skip
    run = build_run(tmp_path, planned)
    row = one(run)
    assert row.numbers.worst.value == 0.8  # type: ignore[union-attr]
    assert cell(row, "certified", "certificate").attacked is None
    lines = told(run)["Attacks"]
    assert (
        "certifies 25.0 % (11.2–46.9) at this radius, a lower bound; it is no attack and breaks nothing." in lines[-1]
    )
    assert told(run)["Worst case"][0].startswith("Per image the worst over 1 cell:")


# -- ranks, flags, what is missing ---------------------------------------------------------------------------------


def test_the_rows_that_it_cannot_be_told_from(tmp_path: Path) -> None:
    planned = [Planned(model=m, broken=range(k)) for m, k in (("a", 10), ("b", 12), ("c", 60))]
    run = build_run(tmp_path, [*planned, Planned(model="d", status="error", reason="x", rows=[])], n=100)
    assert (one(run).inseparable, one(run).ranked) == (("b",), 3)
    assert told(run)["Rank"] == [
        "1–2 of 3 ranked rows. Paired tests on the same images (all pairs, Holm) can't tell it from b."
    ]
    assert told(run, "c")["Rank"] == [
        "3 of 3 ranked rows: paired tests on the same images (all pairs, Holm) tell it from every other."
    ]
    assert one(run, "d").inseparable == ()


def test_flags_and_findings_with_their_severity_source_and_advice(tmp_path: Path) -> None:
    warning = Flag(rule="autoattack-square", severity="warning", message="Square broke one", source="Croce & Hein 2020")
    run = build_run(tmp_path, [BARE[0], replace(BARE[1], flags=(warning,))])
    finding = Finding(
        rule="single-step-stronger", severity="warning", message="one step breaks more", source="Carlini et al. 2019",
        advice="take more steps", model="a", defense="none", threat_model="linf:8/255",
    )  # fmt: skip
    audit(run, finding)
    row, got = one(run), told(run)
    assert cell(row, "pgd-20").flags == {"autoattack-square": "warning"}
    assert got["Attacks"][1].endswith("in 1.5 s. ⚑ autoattack-square (warning).")
    assert got["Flags and findings"] == [
        "⚑1 warning [autoattack-square] a (pgd-20): Square broke one (Croce & Hein 2020)",
        "⚑2 warning [single-step-stronger] a: one step breaks more (Carlini et al. 2019)",
        "what to do: take more steps",
        "Audit: 1 rule, 1 checked on this table; 1 warning",
    ]
    assert "the audit's advice on single-step-stronger: take more steps | " in suggested(row)


def test_why_there_is_no_rank(tmp_path: Path) -> None:
    zero = Flag(rule="zero-gradient", severity="invalid", message="the gradient is zero")
    planned = [
        replace(BARE[0], flags=(zero,)),
        replace(BARE[1], seed=3, status="error", reason="left the\nball", rows=range(5)),
        Planned(model="a", attack="cw-20", recorded=False, rows=range(4), wrong=[19], broken=[3]),
    ]
    run = build_run(tmp_path, planned)
    audit(run, Finding(rule="versions", severity="invalid", message="two versions"))
    row, got = one(run), told(run)
    assert row.unranked == (
        "pgd-20 (seed 3): error: left the ball",
        "cw-20: missing: not finished (4 of 20 samples); run the suite again to finish it",
        "fgsm: invalid: zero-gradient",
        "invalid: versions: two versions",
    )
    assert got[""] == ["a under Linf 8/255: robust accuracy at most 75.0 %, without a rank"]
    assert got["Rank"] == ["None, and the number is shown as ≤:", *row.unranked]
    assert "by itself it leaves 90.0 %. " not in got["Attacks"][0]
    assert "by itself it leaves 85.0 %. It attacked" in got["Attacks"][0]  # invalid: no interval
    assert "no number: error: left the ball; 3 images that it has broken count all the same." in got["Attacks"][1]
    assert got["Worst case"][-1].startswith("Something is missing, failed or invalid")
    assert "2 cells have no number" in suggested(row)


def test_a_row_of_which_nothing_is_known(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(model="a", status="unavailable", reason="no weights", rows=[])])
    got = told(run)
    assert got[""] == ["a under Linf 8/255: robust accuracy unknown"]
    assert got["Clean"] == ["Unknown: not every image has a record; 0 are known to be right."]
    assert got["Worst case"] == ["Nothing is known: no image has a record."]
    assert got["Rank"][1:] == ["pgd-20: unavailable: no weights"]


def test_the_same_words_from_the_run_and_from_the_audit_are_one_flag(tmp_path: Path) -> None:
    zero = Flag(rule="zero-gradient", severity="invalid", message="the gradient is zero")
    run = build_run(tmp_path, [replace(BARE[0], flags=(zero,))])
    again = Finding(rule="zero-gradients", severity="info", message=zero.message, cells=run.read_run().cells[:1])
    audit(run, again)
    assert cell(one(run), "fgsm").flags == {"zero-gradients": "invalid"}


# -- what would make it stronger -----------------------------------------------------------------------------------


def test_single_steps_no_ensemble_no_gradient_free_attack_one_seed_few_images(tmp_path: Path) -> None:
    got = suggested(one(build_run(tmp_path, [BARE[0]])))
    assert "no ensemble of attacks is among them" in got
    assert "| attacks: [..., autoattack]" in got
    assert "add Square | attacks: [..., {name: square, n_queries: 5000}]" in got
    assert "a single step: add one of many steps | attacks: [..., {name: pgd, steps: 40, restarts: 5}]" in got
    assert "one seed and no restarts: all cells took 1.5 s" in got
    assert "| bench run synthetic.yaml --set run.seeds='[0, 1, 2]'" in got
    assert "few images: about 1,300 instead of 20 would give an interval of ±2 points" in got
    assert "| bench run synthetic.yaml --set dataset.samples=1300" in got
    assert "no larger eps" in got
    assert "threat_models: [..., {norm: linf, eps: [8/255, 64/255]}]" in got
    assert f"| bench audit {tmp_path}" in got
    assert "submit" not in got


def test_what_is_there_is_not_suggested(tmp_path: Path) -> None:
    planned = [
        Planned(model="a", attack=attack, seed=seed, threat_model=t, broken=range(300 if t == "linf:8/255" else 5000))
        for attack in ("pgd-20", "autoattack")
        for seed in (0, 1)
        for t in ("linf:8/255", "linf:16/255")
    ]
    run = build_run(tmp_path, planned, n=5000, clean=False)
    record = run.read_run()
    suite = record.suite.model_copy(update={"run": record.suite.run.model_copy(update={"seeds": (0, 1)})})
    run.write_run(record.model_copy(update={"suite": suite}))
    audit(run, samples=0)
    assert one(run, threat_model="linf:8/255").stronger == ()
    assert told(run, threat_model="linf:8/255")["What would make it stronger"] == [
        "Nothing that is known here; an attack made for this model may still find more."
    ]


def test_few_steps_are_said_with_their_number(tmp_path: Path) -> None:
    run = build_run(tmp_path, BARE)
    attack = run.read_cell(run.read_run().cells[1]).attack  # type: ignore[union-attr]
    change(run, 1, attack=attack.model_copy(update={"id": "pgd-7", "args": {"steps": 7}}))
    assert (
        "few steps: the longest attack, pgd-7, takes 7; take at least 20, and more until the number stands"
        " | bench run synthetic.yaml --set attacks.pgd-7.steps=40"
    ) in suggested(one(run))


def test_a_defense_that_nobody_who_knows_it_attacked(tmp_path: Path) -> None:
    got = suggested(one(build_run(tmp_path, [DEFENDED[2]])))
    assert "nobody who knows the defense has attacked it" in got
    assert "| adversaries: [oblivious, adaptive]" in got
    assert "bench submit" in got
    assert "autoattack" not in got


def test_examples_of_ones_own_are_asked_for_until_there_are_any(tmp_path: Path) -> None:
    without = suggested(one(build_run(tmp_path / "x y", DEFENDED[:4])))
    assert (
        f"| bench submit '{tmp_path}/x y' mine.npz --author NAME --model a --defense jpeg-q75 --threat-model linf:8/255"
        in without
    )
    assert "bench submit" not in suggested(one(build_run(tmp_path / "with", DEFENDED)))


def test_fewer_draws_than_usual(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(model="a", defense="random_noise", broken=[0])])
    spec = run.read_cell(run.read_run().cells[0]).defense  # type: ignore[union-attr]
    change(run, 0, defense=spec.model_copy(update={"eot_iter": 1, "scoring_draws": 50}))
    got = suggested(one(run))
    assert "each gradient is averaged over 1 draw: the default is 10 | bench run synthetic.yaml --set" in got
    assert "defenses.random_noise.eot_iter=10" in got
    assert "scoring_draws" not in got
    assert "attacks: [..., {name: autoattack, version: rand}]" in got


def test_an_ensemble_that_is_kept_from_the_row(tmp_path: Path) -> None:
    run = build_run(tmp_path, [*DEFENDED, Planned(model="a", attack="autoattack")])
    got = suggested(one(run, defense="jpeg-q75"))
    assert "though the suite has autoattack: let it attack this row, too" in got


def test_the_gradient_free_attack_that_was_switched_off(tmp_path: Path) -> None:
    run = build_run(tmp_path, DEFENDED[:1])
    record = run.read_run()
    suite = record.suite.model_copy(update={"run": record.suite.run.model_copy(update={"gradient_free_queries": 0})})
    run.write_run(record.model_copy(update={"suite": suite}))
    assert "switch it on again | bench run synthetic.yaml --set run.gradient_free_queries=500" in suggested(one(run))


def test_adams_steps_against_what_rejects(tmp_path: Path) -> None:
    def asked(defense: str, attack: str, name: str, steps: int = 0) -> str:
        planned = [Planned(model="a", attack=each, defense=defense, broken=[3]) for each in ("pgd-20", attack)]
        run = build_run(tmp_path / name, planned)
        record = run.read_run()
        options = record.suite.run.model_copy(update={"detector_steps": steps})
        run.write_run(record.model_copy(update={"suite": record.suite.model_copy(update={"run": options})}))
        return suggested(one(run))

    wanted = "| bench run synthetic.yaml --set run.detector_steps=200"
    assert wanted in asked("input_statistics", "fgsm", "a")
    assert wanted not in asked("input_statistics", "adam_pgd-200", "b")
    assert wanted not in asked("jpeg-q75", "fgsm", "c")
    assert wanted not in asked("input_statistics", "fgsm", "d", steps=200)


def test_at_zero_no_stronger_attack_is_asked_for(tmp_path: Path) -> None:
    got = suggested(one(build_run(tmp_path, [Planned(model="a", attack="fgsm", broken=range(20))])))
    assert "autoattack" not in got
    assert "single step" not in got
    assert "few images: about 100 instead of 20" in got


def test_an_audit_that_is_out_of_date(tmp_path: Path) -> None:
    run = build_run(tmp_path, BARE)
    audit(run)
    assert "bench audit" not in suggested(one(run))
    assert "no larger eps" not in suggested(one(run))  # the audit's probes have looked
    change(run, 0, flags=(Flag(rule="x", severity="info", message="x"),))
    assert (
        f"the audit is out of date, since cells have changed: audit the run again | bench audit {tmp_path}"
        in suggested(one(run))
    )
    assert one(run).audit.endswith(f"out of date, 1 cell has changed since: run `bench audit {tmp_path}` again")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            "bench run x.yaml --offline --set dataset.samples=20",
            "bench run x.yaml --offline --set dataset.samples=1300",
        ),
        ("bench run x.yaml --set attacks=[{name: pgd}]", "bench run SUITE --set dataset.samples=1300"),
        ("python mine.py", "bench run SUITE --set dataset.samples=1300"),
    ],
)
def test_the_command_is_that_of_the_run_where_it_can_be_repeated(tmp_path: Path, command: str, expected: str) -> None:
    run = build_run(tmp_path, [BARE[0]])
    run.write_run(run.read_run().model_copy(update={"command": command}))
    assert f"| {expected}" in suggested(one(run)).splitlines()[-1]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.85, 1.0])
def test_so_many_images_give_the_interval(share: float) -> None:
    low, high = wilson(round(share * 40), 40)
    n = images_for(Estimate(value=share, low=low, high=high, n=40))
    assert n is not None
    low, high = wilson(round(share * n), n)
    assert (high - low) / 2 <= 0.02
    low, high = wilson(round(share * max(41, n - 120)), max(41, n - 120))
    assert n <= 100 or (high - low) / 2 > 0.02


def test_images_for_a_bootstrap_and_for_enough_images() -> None:
    assert images_for(Estimate(value=0.333, low=0.233, high=0.433, n=40)) == 1000
    assert images_for(Estimate(value=0.333, low=0.323, high=0.343, n=40)) is None
    assert images_for(Estimate(value=None, n=0)) is None
    assert images_for(Estimate(value=0.5, n=10_000)) is None


# -- which rows ----------------------------------------------------------------------------------------------------

SEVERAL = [
    Planned(model=model, defense=defense, threat_model=t, broken=[1])
    for model in ("wong", "trades")
    for defense in ("none", "jpeg-q75")
    for t in ("linf:8/255", "linf:4/255", "l2:0.5")
    if (model, defense) != ("trades", "jpeg-q75")
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 6),
        ({"defense": "none"}, 3),
        ({"threat_model": "linf:8/255"}, 2),
        ({"threat_model": "linf:16/510", "defense": "jpeg-q75"}, 1),
        ({"threat_model": "Linf"}, 4),
        ({"threat_model": "l2:1/2"}, 2),
    ],
)
def test_the_options_choose_rows(tmp_path: Path, options: dict[str, str], expected: int) -> None:
    rows = explain(build_run(tmp_path, SEVERAL), "wong", **options).rows  # type: ignore[arg-type]
    assert len(rows) == expected
    assert {row.numbers.model for row in rows} == {"wong"}


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("wrong", {}, "unknown model 'wrong'; did you mean wong? (known: wong, trades)"),
        ("trades", {"defense": "jpeg-q75"}, "unknown defense of trades 'jpeg-q75' (known: none)"),
        ("wong", {"threat_model": "linf:0.1"}, "'linf:0.1' (known: linf:8/255, linf:4/255, l2:0.5)"),
        ("wong", {"threat_model": "l1"}, "(known: linf:8/255, linf:4/255, l2:0.5)"),
    ],
)
def test_what_is_not_there_names_what_is(tmp_path: Path, model: str, options: dict[str, str], expected: str) -> None:
    with pytest.raises(UnknownNameError, match=re.escape(expected)):
        explain(build_run(tmp_path, SEVERAL), model, **options)  # type: ignore[arg-type]


def test_a_run_without_rows(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no rows"):
        explain(build_run(tmp_path, [Planned(role="prerequisite")]), "model-a")


# -- as text and as data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 60, 100, 200])
def test_the_text_fits_and_only_commands_are_longer(tmp_path: Path, width: int) -> None:
    run = build_run(tmp_path, [*BARE, *DEFENDED, Planned(model="a", defense="x", status="error", reason="y", rows=[])])
    for line in prose(explain(run, "a"), width).splitlines():
        whole = line.strip().startswith(("bench ", "attacks: ", "threat_models: ")) or str(tmp_path) in line
        assert whole or len(line) <= max(width, 40)
        assert "\0" not in line


def test_no_model_is_praised(tmp_path: Path) -> None:
    noise = Planned(model="a", defense="random_noise", correctness={1: 0.5})
    run = build_run(tmp_path, [*BARE, *DEFENDED, noise])
    for text in (prose(explain(run, "a"), 100), explain(run, "a").model_dump_json()):
        text = " ".join(text.split())
        assert text.lower().count("robust") == sum(
            text.lower().count(word) for word in ("robust accuracy", "robustbench", '"robust":')
        )


def test_the_json_is_the_explanation(tmp_path: Path) -> None:
    run = build_run(tmp_path, [*BARE, *DEFENDED])
    found = explain(run, "a")
    assert Explanation.model_validate_json(found.model_dump_json()) == found
    data = json.loads(found.model_dump_json())
    assert data["rows"][0]["cells"][1]["broken"] == 3
    assert data["rows"][0]["numbers"]["worst"]["value"] == 0.75
    assert data["audit"] is None


def test_no_torch_is_imported(tmp_path: Path) -> None:
    run = build_run(tmp_path, [*BARE, *DEFENDED])
    code = (
        "import json, sys, pathlib; from bench.leaderboard.explain import explain; from bench.leaderboard.prose import prose;"
        "from bench.store.run_directory import RunDirectory;"
        f"prose(explain(RunDirectory(pathlib.Path({str(run.path)!r})), 'a'));"
        "print(json.dumps(sorted(set(sys.modules) & {'torch', 'torchvision', 'foolbox', 'art', 'robustbench', 'timm'})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
