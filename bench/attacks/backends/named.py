"""What the adapters of libraries' own names share; one adapter a library runs all of its attacks."""

from __future__ import annotations

import logging
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from typing import Any, ClassVar

import torch
from torch import Tensor
from tqdm.std import tqdm

from bench.attacks.backends.asked import Asked, BudgetSpent, Queries, halves_agree
from bench.attacks.backends.chunk import Found, counted
from bench.attacks.backends.joint import joint_model
from bench.attacks.backends.library_draws import seeded_generators
from bench.attacks.base import Attack, AttackContext, AttackResult, Samples, Target
from bench.attacks.libraries.line import LibraryParams, Line
from bench.errors import AttackError

_LOG = logging.getLogger(__name__)


class NamedAttack(Attack):
    """An attack of a library by the library's own name, with the library's own parameters.

    Attributes:
        package: as which the library is imported.
        line: what the tables of names say of it.
    """

    chunked: ClassVar[bool] = True
    joint: ClassVar[bool] = True
    package: ClassVar[str]
    line: ClassVar[Line]
    params: LibraryParams

    @abstractmethod
    def search(self, model: Asked, samples: Samples, context: AttackContext, seed: int) -> Found:
        """The library's call.

        Args:
            model: the model under attack.
            samples: what is attacked.
            context: threat model and search.
            seed: for generators of its own; the global ones are seeded.
        """

    def run(self, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
        """Attacks every sample of the chunk; see :class:`bench.attacks.base.Attack`."""
        if self.line.needs and find_spec(self.line.needs) is None:
            raise AttackError(
                f"{self.line.name} needs the package {self.line.needs}: python -m pip install 'robustness-bench[attacks]'"
            )
        result = AttackResult.untouched(samples)
        result.iterations.fill_(-1)
        if self.line.kind == "white-box" and model.stochastic and context.eot_iter > 1:
            result.eot_agreement = halves_agree(joint_model(model, samples), samples, context.eot_iter)
        if self.line.kind != "white-box":
            result.queries = torch.zeros(len(samples), dtype=torch.int64)
        # In company an image is charged with questions that a library only asks for the sake of others.
        size = 1 if self.line.single or self._budget is not None else max(1, len(samples))
        for start in range(0, len(samples), size):
            rows = torch.arange(start, min(start + size, len(samples)))
            here = samples.take(rows.to(samples.x.device))
            self._chunk(model, here, rows, context, result)
            context.report(int(rows[-1]) + 1, len(samples))
        return result

    def _chunk(
        self, model: Target, samples: Samples, rows: Tensor, context: AttackContext, result: AttackResult
    ) -> None:
        queries = None
        if self.line.kind != "white-box":
            queries = Queries(samples, context.threat_model, model.num_classes, self._budget, nearest=self.minimum_norm)
        seen = joint_model(model, samples)
        asked = Asked(seen, draws=context.eot_iter, probabilities=self.line.probabilities, queries=queries)
        seed = context.draws.chunk_seed(samples.ids)

        def search() -> Found:
            if queries is not None:
                queries.forget()
            try:
                with quiet(f"{self.package}.{self.line.name}"), seeded_generators(seed):
                    return self.search(asked, samples, context, seed)
            except BudgetSpent:
                return Found(samples.x.clone())

        found = counted(model, samples, seed, search)
        x_adv, claimed = self._checked(found.x_adv, samples), found.claimed
        if queries is not None:
            x_adv, claimed = self._within_budget(x_adv, claimed, queries)
            assert result.queries is not None
            result.queries[rows] = queries.first
        result.x_adv[rows.to(result.x_adv.device)] = x_adv
        if claimed is not None:
            if result.claimed is None:
                result.claimed = torch.zeros(len(result.iterations), dtype=torch.bool)
            result.claimed[rows] = claimed
        result.forwards[rows] = found.forwards
        result.backwards[rows] = found.backwards

    @property
    def _budget(self) -> int | None:
        budget: int | None = getattr(self.params, "max_queries", None)
        return budget

    def _within_budget(self, x_adv: Tensor, claimed: Tensor | None, queries: Queries) -> Found:
        """What was found with a budget is what was asked within it: a point returned later, or never asked, may not count."""
        if self._budget is None:
            return Found(x_adv, claimed)
        over = (queries.count > self._budget) | torch.isfinite(queries.distance)
        place = over.to(x_adv.device)
        x_adv[place] = queries.points[place]
        return Found(x_adv, None if claimed is None else claimed & ~over)

    def _checked(self, x_adv: Tensor, samples: Samples) -> Tensor:
        """The points as float32 on the model's device.

        Raises:
            AttackError: for another shape, and for points that aren't finite.
        """
        if x_adv.shape != samples.x.shape:
            raise AttackError(
                f"{self.library[0]} returned shape {tuple(x_adv.shape)} for images of {tuple(samples.x.shape)}"
            )
        x_adv = x_adv.detach().to(samples.x).clone()
        bad = ~torch.isfinite(x_adv).flatten(1).all(1)
        if bad.any():
            raise AttackError(f"{self.library[0]} returned NaN or infinity for {int(bad.sum())} of {len(bad)} images")
        return x_adv

    def arguments(self, context: AttackContext) -> dict[str, Any]:  # Any: the library's own values
        """The suite's parameters, scaled ones filled in, without those that are the harness's."""
        args = self.params.model_dump(exclude={"max_queries"})
        for key, factor in self.line.scaled:
            if args[key] is None:
                args[key] = factor * context.threat_model.radius
        return args

    def passes(self, num_classes: int) -> tuple[float, float]:
        """The budget of queries where it has one; one of each for a step at eps; nobody knows of the others.

        Raises:
            NotImplementedError: of the others.
        """
        if self._budget is not None:
            return float(self._budget), 0.0
        steps = getattr(self.params, "steps", None)
        if self.line.kind == "white-box" and not self.minimum_norm and steps is not None:
            return steps + 2.0, float(steps)
        return super().passes(num_classes)


def by_name(adapter: type[NamedAttack], lines: tuple[Line, ...], name: str) -> type[NamedAttack]:
    """The class of one attack.

    Args:
        adapter: the library's.
        lines: the library's attacks.
        name: the attack's class in the library.

    Raises:
        AttributeError: where no line has that name.
    """
    for line in lines:
        if line.name == name:
            facts = {"line": line, "norms": line.norms, "minimum_norm": line.minimum_norm, "__doc__": line.summary}
            return type(name, (adapter,), facts)
    raise AttributeError(f"no attack {name!r}")


@contextmanager
def _no_bars() -> Iterator[None]:
    """Inside, tqdm draws nothing; our own progress goes on."""
    drawn = tqdm.__init__

    def silent(self: tqdm, *args: Any, **kwargs: Any) -> None:  # Any: as tqdm takes them
        drawn(self, *args, **{**kwargs, "disable": True})

    tqdm.__init__ = silent
    try:
        yield
    finally:
        tqdm.__init__ = drawn


@contextmanager
def _collected(library: str) -> Iterator[list[logging.LogRecord]]:
    """What a library logs, which otherwise ends up on standard error where nobody has set logging up."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign,assignment]
    logger = logging.getLogger(library)
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


@contextmanager
def quiet(who: str) -> Iterator[None]:
    """Inside, what a library prints and warns of goes to the log.

    Args:
        who: ``library.Name``.
    """
    printed = StringIO()
    with (
        warnings.catch_warnings(record=True) as caught,
        redirect_stdout(printed),
        _no_bars(),
        _collected(who.partition(".")[0]) as logged,
    ):
        warnings.simplefilter("always")
        yield
    told = [str(one.message) for one in caught] + [line for line in printed.getvalue().splitlines() if line.strip()]
    told += [record.getMessage() for record in logged]
    for text in dict.fromkeys(told):
        _LOG.info("%s: %s", who, text)
