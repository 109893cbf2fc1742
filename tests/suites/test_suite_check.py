"""What is refused though the YAML is right: names, parameters, combinations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from bench import registry
from bench.errors import Problem, SuiteError
from bench.registry import Entry
from bench.suites.check import check
from bench.suites.load import load_suite
from bench.suites.spec import Suite

Write = Callable[..., Path]

PRODUCT = {
    "threat_models": "[{norm: linf, eps: [2/255, 8/255]}, 'l2:0.5']",
    "attacks": "[fgsm, {name: pgd, steps: 20}]",
    "defenses": "[none, {name: jpeg, quality: 50}]",
}


def problems(path: Path) -> tuple[Problem, ...]:
    try:
        check(load_suite(path))
    except SuiteError as error:
        return error.problems
    return ()


def test_the_good_suite_passes(write: Write) -> None:
    assert problems(write()) == ()
    assert problems(write(**PRODUCT)) == ()


REFUSED: list[tuple[dict[str, str], str, str, str]] = [
    # sections, key of the problem, words of the message, words of what is accepted
    (
        {"attacks": "[pdg]"},
        "attacks.0.name",
        "unknown attack 'pdg'; did you mean pgd?",
        "cw, deepfool, ensemble, fgsm, pgd, square",
    ),
    ({"attacks": "[no]"}, "attacks.0.name", "unknown attack 'no'", "fgsm"),
    (
        {"defenses": "[jpg]"},
        "defenses.0.name",
        "unknown defense 'jpg'; did you mean jpeg?",
        "blur, detector, jpeg, none",
    ),
    ({"dataset": "cifar"}, "dataset.name", "unknown dataset 'cifar'; did you mean cifar10?", "cifar10, npz, two"),
    ({"metrics": "[clean]"}, "metrics.0", "unknown metric 'clean'", "clean_accuracy, robust_accuracy"),
    (
        {"models": "[resnet50]"},
        "models.0.source",
        "unknown source of models 'resnet50'",
        "checkpoint, robustbench, timm, zoo",
    ),
    (
        {"models": "['zoo:smal']"},
        "models.0.name",
        "zoo has no model 'smal'; did you mean small?",
        "grey, hundred, small",
    ),
    ({"models": "[zoo]"}, "models.0.name", "the model zoo has no name: zoo needs one", "robustbench:Wong2020Fast"),
    ({"models": "[robustbench]"}, "models.0.name", "robustbench needs one", ""),
    ({"models": "['timm:']"}, "models.0.name", "timm needs one", ""),
    ({"models": "['checkpoint:w.pt']"}, "models.0.architecture", "checkpoint needs one", "bench list architectures"),
    (
        {"models": "[{source: checkpoint, architecture: cnn}]"},
        "models.0.weights",
        "checkpoint needs one",
        ".safetensors",
    ),
    (
        {"models": "[{source: checkpoint, architecture: resnet81, weights: w.pt}]"},
        "models.0.architecture",
        "unknown architecture 'resnet81'; did you mean resnet18?",
        "cnn, resnet18",
    ),
    (
        {"models": "[{source: zoo, name: small, mean: [0.1, 0.2], std: [0.5]}]"},
        "models.0.std",
        "mean has 2 numbers and std 1",
        "one number per channel",
    ),
    (
        {"models": "[{source: zoo, name: small, mean: [0.1]}]"},
        "models.0.mean",
        "mean is given without std",
        "both or neither",
    ),
    (
        {"models": "[{source: zoo, name: small, std: [0.1]}]"},
        "models.0.std",
        "std is given without mean",
        "both or neither",
    ),
    (
        {"models": "[{source: zoo, name: small, mean: [0.1], std: [0.0]}]"},
        "models.0.std",
        "std must be above 0, got [0.0]",
        "above 0",
    ),
    (
        {"models": "[{source: zoo, name: small, mean: [125.3], std: [0.25]}]"},
        "models.0.mean",
        "did you mean [0.4914]?",
        "divided by 255",
    ),
    ({"models": "[{source: zoo, name: small, mean: [.nan], std: [1]}]"}, "models.0.mean", "must be finite", ""),
    ({"models": "['zoo:hundred']"}, "models.0", "tells 100 classes apart, the dataset cifar10 has 10", "10 classes"),
    (
        {"attacks": "[{name: pgd, stepz: 3}]"},
        "attacks.0.stepz",
        "unknown parameter 'stepz' of the attack pgd, got 3",
        "steps, res",
    ),
    (
        {"attacks": "[{name: pgd, args: {attacks: true}}]"},
        "attacks.0.args.attacks",
        "unknown parameter 'attacks'",
        "steps",
    ),
    ({"attacks": "[{name: pgd, steps: 0}]"}, "attacks.0.steps", "out of range, got 0", "at least 1"),
    ({"attacks": "[{name: pgd, steps: many}]"}, "attacks.0.steps", "wrong type, got 'many'", "a whole number"),
    (
        {"attacks": "[{name: pgd, steps: true}]"},
        "attacks.0.steps",
        "not a matter of true and false, got true",
        "gradient steps",
    ),
    ({"attacks": "[{name: pgd, args: {steps: 1.5}}]"}, "attacks.0.args.steps", "wrong type, got 1.5", "a whole number"),
    ({"attacks": "[{name: pgd, loss: hinge}]"}, "attacks.0.loss", "wrong value, got 'hinge'", "ce or margin"),
    ({"attacks": "[{name: pgd, random_start: 3}]"}, "attacks.0.random_start", "got 3", "true or false"),
    ({"attacks": "[{name: ensemble, stages: [a, c]}]"}, "attacks.0.stages.1", "wrong value, got 'c'", "a or b"),
    (
        {"attacks": "[{name: deepfool, steps: 3}]", "threat_models": "l2:1"},
        "attacks.0.steps",
        "unknown parameter 'steps' of the attack deepfool",
        "no parameters",
    ),
    (
        {"attacks": "[{name: pgd, backend: fulbox}]"},
        "attacks.0.backend",
        "the attack pgd has no backend 'fulbox'; did you mean foolbox?",
        "bench, foolbox",
    ),
    ({"defenses": "[{name: jpeg, quality: 0}]"}, "defenses.0.quality", "out of range, got 0", "at least 1"),
    (
        {"defenses": "[{name: none, quality: 0}]"},
        "defenses.0.quality",
        "the defense none has no parameters",
        "none alone",
    ),
    (
        {"defenses": "[{name: jpeg, eot_iter: 3}]"},
        "defenses.0.eot_iter",
        "jpeg is not stochastic",
        "stochastic defense",
    ),
    (
        {"defenses": "[{name: jpeg, surrogate: identiti}]"},
        "defenses.0.surrogate",
        "unknown surrogate 'identiti'; did you mean identity?",
        "own, identity, exact",
    ),
    (
        {"defenses": "[{chain: [detector, jpeg]}]"},
        "defenses.0.chain.1",
        "nothing but another detector comes after a detector, got jpeg",
        "purifiers first",
    ),
    (
        {"defenses": "[{chain: [{name: jpeg, quality: 0}]}]"},
        "defenses.0.chain.0.quality",
        "out of range, got 0",
        "at least 1",
    ),
    (
        {"dataset": "{name: cifar10, foo: 1}"},
        "dataset.foo",
        "unknown parameter 'foo' of the dataset cifar10, got 1",
        "layout",
    ),
    (
        {"dataset": "{name: cifar10, source: sampels}"},
        "dataset.source",
        "did you mean samples?",
        "torchvision, samples",
    ),
    ({"dataset": "{name: cifar10, split: train}"}, "dataset.split", "cifar10 has no split 'train'", "test"),
    ({"dataset": "npz"}, "dataset.path", "the dataset npz has no path: it needs one", "a file or directory"),
    (
        {"threat_models": "[{norm: l0, eps: 3}]"},
        "threat_models.0.norm",
        "there is no threat model for l0 yet",
        "linf, l2, l1",
    ),
    ({"threat_models": "['l0:3']"}, "threat_models.0.norm", "there is no threat model for l0 yet", "linf, l2, l1"),
    (
        {"threat_models": "['linf:8']"},
        "threat_models.0.eps",
        "in [0, 1] units, got 8; did you mean 8/255?",
        "above 0, at most 1",
    ),
    ({"threat_models": "['linf:300']"}, "threat_models.0.eps", "got 300; did you mean 8/255?", ""),
    ({"threat_models": "[{norm: linf, eps: [0.1, 2]}]"}, "threat_models.0.eps.1", "got 2; did you mean 2/255?", ""),
    (
        {"threat_models": "[{norm: linf, eps: [8/255, 16/510]}]"},
        "threat_models.0",
        "the threat model Linf 8/255 is there twice",
        "each norm and eps once",
    ),
    (
        {"attacks": "[deepfool]"},
        "attacks.0",
        "a combination that can't work: the attack deepfool works under l2 only, and the suite's norms are linf",
        "an attack for linf, or a threat model in l2",
    ),
    (
        {"attacks": "[fgsm, deepfool]", "threat_models": "['linf:0.1', 'l2:1', 'linf:0.2']"},
        "attacks.1",
        "a combination that can't work: the attack deepfool under linf:0.1, linf:0.2; it works under l2 only",
        "exclude: [{attack: deepfool, threat_model: 'linf:*'}]",
    ),
    (
        {"attacks": "[{name: ensemble, backend: slow}]", "dataset": "two", "models": "['timm:x']"},
        "attacks.0",
        "the backend slow of ensemble needs 4 classes, two has 2",
        "backend: fast or another attack",
    ),
    (
        {"attacks": "[fgsm, fgsm]"},
        "attacks.1",
        "the attack fgsm-2 is there twice, first in line 7",
        "other parameters, or once",
    ),
    ({"attacks": "[pgd, {name: pgd, steps: 10, id: x}]"}, "attacks.1", "the attack x is there twice", ""),
    ({"attacks": "[pgd, {name: pgd, search: first_success}]"}, "attacks.1", "pgd-10-first_success is there twice", ""),
    (
        {"attacks": "[{name: pgd, id: x}, {name: fgsm, id: X}]"},
        "attacks.1",
        "the id X is there twice",
        "an id of its own",
    ),
    ({"models": "['zoo:small', 'zoo:small']"}, "models.1", "the model small-2 is there twice", ""),
    ({"models": "['zoo:small', {source: zoo, name: small, id: b}]"}, "models.1", "the model b is there twice", ""),
    (
        {"models": "[{source: timm, name: a, id: x}, {source: timm, name: b, id: x}]"},
        "models.1",
        "the id x is there twice",
        "",
    ),
    ({"defenses": "[none, none]"}, "defenses.1", "is there twice", ""),
    ({"defenses": "[jpeg, {name: jpeg, quality: 75}]"}, "defenses.1", "is there twice", "other parameters"),
    (
        {"metrics": "[clean_accuracy, clean_accuracy]"},
        "metrics.1",
        "the name clean_accuracy is there twice",
        "each once",
    ),
    ({"adversaries": "[adaptive, adaptive]"}, "adversaries.1", "the name adaptive is there twice", "each once"),
    (
        {**PRODUCT, "exclude": "[{model: smal}]"},
        "exclude.0.model",
        "no model of this suite is called 'smal'; did you",
        "small",
    ),
    ({**PRODUCT, "include": "[{attack: [fgsm, cw]}]"}, "include.0.attack", "called 'cw'", "fgsm, pgd-20"),
    (
        {**PRODUCT, "exclude": "[{threat_model: 'linf:4/255'}]"},
        "exclude.0.threat_model",
        "'linf:4/255'",
        "linf:2/255, linf:8",
    ),
    (
        {**PRODUCT, "exclude": "[{defense: blur}]"},
        "exclude.0.defense",
        "no defense of this suite is called 'blur'",
        "none, jpeg",
    ),
    ({"exclude": "[{adversary: oblivious}]"}, "exclude.0.adversary", "no adversary of this suite", "adaptive"),
    ({**PRODUCT, "exclude": "[{defense: none, adversary: oblivious}]"}, "exclude.0", "matches no combination", ""),
    ({**PRODUCT, "exclude": "[{}]"}, "exclude.0", "an empty filter in exclude", "model, defense, attack"),
    ({**PRODUCT, "exclude": "[{model: '*'}]"}, "exclude", "include and exclude leave no combination", "at least one"),
    (
        {**PRODUCT, "include": "[{attack: fgsm}]", "exclude": "[{attack: fgsm}]"},
        "exclude",
        "include and exclude leave no combination",
        "at least one",
    ),
    (
        {"models": "['zoo:grey']"},
        "models.0",
        "takes images of shape (1, 28, 28), the dataset cifar10 has (3, 32, 32)",
        "",
    ),
    (
        {"models": "[{source: zoo, name: small, weights: mine.pt}]"},
        "models.0.weights",
        "zoo doesn't use weights, got 'mine.pt'",
        "name, mean, std, sha256",
    ),
    (
        {"models": "[{source: robustbench, name: X, args: {datset: cifar10}}]"},
        "models.0.args.datset",
        "unknown parameter 'datset' of the source of models robustbench, got 'cifar10'; did you mean dataset?",
        "dataset",
    ),
    (
        {"attacks": "[{name: cw, restarts: 3}]", "threat_models": "'l2:1'"},
        "attacks.0.restarts",
        "the parameter 'restarts' of the attack cw does nothing under l2",
        "a threat model in linf",
    ),
    (
        {"attacks": "[{name: cw, backend: foolbox}]"},
        "attacks.0",
        "the attack cw of foolbox works under l2 only, and the suite's norms are linf",
        "an attack for linf",
    ),
    (
        {"attacks": "[{name: cw, backend: foolbox, loss: margin}]", "threat_models": "'l2:1'"},
        "attacks.0.loss",
        "the backend foolbox of cw can't do that, got 'margin'",
        "ce",
    ),
    (
        {"attacks": "[{name: cw, backend: foolbox, alpha: 0.1}]", "threat_models": "'l2:1'"},
        "attacks.0.alpha",
        "the backend foolbox of cw can't do that, got 0.1",
        "null",
    ),
]


@pytest.mark.parametrize(("sections", "key", "words", "accepted"), REFUSED)
def test_what_cannot_work_is_refused(
    write: Write, sections: dict[str, str], key: str, words: str, accepted: str
) -> None:
    path = write(**sections)
    (problem,) = problems(path)
    section = key.split(".")[0]
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if text.startswith(f"{section}:"))
    assert (problem.file, problem.line, problem.key) == (str(path), line, key)
    assert words in problem.message
    assert accepted in problem.accepted


ONLY_L2 = {"attacks": "[fgsm, deepfool]", "threat_models": "['linf:0.1', 'l2:1']"}
CNN = "source: checkpoint, architecture: cnn"


@pytest.mark.parametrize(
    "sections",
    [
        {**ONLY_L2, "exclude": "[{attack: deepfool, threat_model: linf}]"},
        {**ONLY_L2, "exclude": "[{attack: deep*, threat_model: 'Linf:*'}]"},
        {**ONLY_L2, "include": "[{attack: fgsm}, {threat_model: 'l2:1.0'}]"},
        {"attacks": "[pgd, {name: pgd, steps: 11}, {name: pgd, loss: margin}]"},
        {"models": "['timm:resnet50', 'robustbench:resnet50']"},
        {"models": f"[{{{CNN}, weights: a/w.pt}}, {{{CNN}, weights: b/w.pt}}]"},
        {"models": f"[{{{CNN}, weights: a/w.pt, mean: [0.1], std: [1.0]}}]"},
        {"threat_models": "['l2:8', 'linf:1']"},
        {"defenses": "[~, blur, jpeg, {name: jpeg, quality: 3}]"},
        {"attacks": "[{name: pgd, backend: foolbox}]", "defenses": "[detector]"},
        {"dataset": "{name: npz, path: x.npz}"},
        {"attacks": "[{name: pgd, steps: '20', random_start: no}]"},
        {"attacks": "[ensemble]", "dataset": "{name: npz, path: x.npz}"},
        {"attacks": "[{name: ensemble, backend: fast}]", "dataset": "two", "models": "['timm:x']"},
        {"attacks": "[{name: cw, restarts: 3}]", "threat_models": "['l2:1', 'linf:1']"},
        {"models": "[{source: robustbench, name: X, args: {dataset: cifar10}}]"},
    ],
)
def test_what_can_work_is_let_through(write: Write, sections: dict[str, str]) -> None:
    assert problems(write(**sections)) == ()


def test_all_problems_come_at_once_in_the_order_of_the_lines(write: Write) -> None:
    path = write(
        "name: x\nthreat_models: ['linf:9', 'linf:9']\nexclude: [{model: nobody}]\ndataset: cifr10\n"
        "attacks: [deepfool, {name: pgd, steps: 0}]\nmodels: ['zoo:smalll']\ndefenses: [smooting]\n"
    )
    assert [(problem.line, problem.key) for problem in problems(path)] == [
        (2, "threat_models.0.eps"),
        (2, "threat_models.1.eps"),
        (2, "threat_models.1"),
        (3, "exclude.0.model"),
        (4, "dataset.name"),
        (5, "attacks.1.steps"),
        (5, "attacks.0"),
        (6, "models.0.name"),
        (7, "defenses.0.name"),
    ]


def test_a_suite_made_in_python_is_checked_without_lines() -> None:
    suite = Suite.model_validate(
        {"name": "x", "dataset": "cifar10", "threat_models": "linf:9", "models": "zoo:small", "attacks": "fgsm"}
    )
    with pytest.raises(SuiteError) as caught:
        check(suite)
    (problem,) = caught.value.problems
    assert str(problem).startswith("threat_models.0.eps: eps is in [0, 1] units, got 9; did you mean 9/255?")


def test_an_unknown_name_beside_plugins_that_have_not_run_says_so(write: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    (problem,) = problems(write(plugins="mine.py", attacks="mine"))
    assert (
        problem.message
        == f"unknown attack 'mine'; the plugin {tmp_path / 'mine.py'} has not been run: it needs --allow-plugins"
    )


def test_the_names_of_plugins_that_have_run_are_known(write: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    path = write(plugins="mine.py", attacks="mine")
    registry.attacks.entries()["mine"] = Entry("x:y", "mine", norms=("linf",), origin=str(tmp_path / "mine.py"))
    assert problems(path) == ()


def test_architectures_of_the_libraries_are_known(write: Write) -> None:
    good = "[{source: checkpoint, architecture: 'timm:resnet18', weights: w.pt}]"
    assert problems(write(models=good)) == ()
    (problem,) = problems(write(models=good.replace("timm", "tim")))
    assert "timm:NAME" in problem.accepted


def test_a_problem_in_a_setting_names_the_setting(write: Write) -> None:
    with pytest.raises(SuiteError) as caught:
        check(load_suite(write(), overrides=["threat_models.0.eps=9"]))
    assert str(caught.value).startswith("--set threat_models.0.eps=9: threat_models.0.eps: eps is in [0, 1] units")


def test_what_a_plugin_does_not_declare_is_left_to_it(write: Write) -> None:
    registry.datasets.entries()["mine"] = Entry("x:y", "mine", origin="mine.py")
    assert problems(write(dataset="{name: mine, depth: 3}")) == ()


def test_true_in_a_list_of_numbers_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    class Params(BaseModel):
        sizes: tuple[int, ...] = ()

    monkeypatch.setitem(registry.attacks.entries(), "sized", Entry("x:y", "", Params, ("linf",)))
    assert problems(write(attacks="[{name: sized, sizes: [1, 2]}]")) == ()
    (problem,) = problems(write(attacks="[{name: sized, sizes: [1, true]}]"))
    assert problem.message == "'sizes' of the attack sized is not a matter of true and false, got [1, True]"
