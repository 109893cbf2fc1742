"""What a search tells while it goes on: a sign of life now and then, and which part of an ensemble is at work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch

from bench import attacks
from bench.attacks import listener
from bench.attacks.base import AttackContext
from bench.suites.spec import AttackSpec

Make = Callable[..., AttackContext]
Said = list[tuple[int, int, str]]


def hear(said: Said, case: Any, context: AttackContext, name: str, backend: str | None = None, **args: object) -> None:
    attack = attacks.build(AttackSpec(name=name, backend=backend, args=args), "linf")
    heard = replace(context, report=lambda finished, robust, stage="": said.append((finished, robust, stage)))
    attack.run(case.model, case.samples, heard)


def test_a_long_search_without_news_gives_signs_of_life(
    linear: Any, context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: Said = []
    eps = Fraction(float(linear.linf.min()) / 2)  # nothing can be broken, so that nobody leaves before the end
    hear(said, linear, context("linf", eps), "pgd", steps=6)
    assert said == [(64, 64, "")]
    said.clear()
    monkeypatch.setattr(listener, "EVERY_SECONDS", 0.0)
    hear(said, linear, context("linf", eps), "pgd", steps=6)
    assert len(said) >= 6
    assert said[0] == (0, 64, "")
    assert said[-1] == (64, 64, "")


def test_a_second_search_counts_those_that_it_leaves_alone(
    linear: Any, context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: Said = []
    monkeypatch.setattr(listener, "EVERY_SECONDS", 0.0)
    eps = Fraction(float(linear.linf.median()) * 0.999)
    robust = int((linear.linf > float(eps)).sum())
    assert bool(((linear.linf > float(eps)) & (linear.linf < 1.05 * float(eps))).any())  # near misses
    hear(said, linear, replace(context("linf", eps), precision="bfloat16"), "pgd", steps=6)
    assert all(robust <= left <= 64 for _, left, _ in said)
    assert said[-1] == (64, robust, "")


def test_an_ensemble_says_which_part_is_at_work(linear: Any, context: Make) -> None:
    said: Said = []
    eps = Fraction(float(linear.linf.median()) * 1.001)
    hear(said, linear, context("linf", eps), "autoattack", version="custom", attacks=["apgd-ce", "square"], n_queries=9)
    robust = int((linear.linf > float(eps)).sum())
    assert list(dict.fromkeys(stage for _, _, stage in said)) == ["apgd-ce", "square"]
    assert all(0 <= finished <= 64 and robust <= left <= 64 for finished, left, _ in said)
    assert said[-1][1] == robust
    assert torch.tensor([left for _, left, _ in said]).diff().le(0).all()  # what is broken stays broken


def test_the_official_code_is_named_before_it_is_at_work(linear: Any, context: Make) -> None:
    said: Said = []
    eps = Fraction(float(linear.linf.median()) * 1.001)
    stages = ["apgd-ce", "square"]
    hear(said, linear, context("linf", eps), "autoattack", "autoattack", version="custom", attacks=stages, n_queries=9)
    robust = int((linear.linf > float(eps)).sum())
    assert said[0] == (0, 64, "apgd-ce")
    assert said[-1] == (64 - robust, robust, "square")
    assert (64 - said[-2][1], said[-2][1], "square") == said[-2]
