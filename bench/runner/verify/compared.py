"""Rows beside what the model says now: what differs, and whether rounding can have done it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from bench.runner.judge import Prediction, Scoring
from bench.runner.verify.hairline import HAIRLINE, Possible, Range, possible
from bench.runner.verify.results import Found, Kind
from bench.runner.worker import Worker
from bench.suites.cells import Defended
from bench.threat_models.base import ThreatModel

if TYPE_CHECKING:
    import pandas as pd

Ask: TypeAlias = Callable[[Sequence[int]], tuple[Tensor, Tensor]]
"""Images and labels of some of the compared rows, on the model's device."""

_PIECE = 256
_QUALITY = {"psnr": 0.05, "ssim": 1e-3, "lpips": 1e-3}
"""What they may differ by: dB, and similarities; purifiers that quantise turn a last bit into a whole step."""


class Compared:
    """Some rows of a cell that are compared.

    Args:
        worker: holds the models.
        cell: the cell.
        identity: its id.
        frame: all its rows.
        rows: which of them are compared, shape (M,), int64.
        places: where each of these samples stands in the dataset.
        hairline: see :func:`bench.runner.verify.hairline.tolerance`.
        found: gets what differs.
    """

    def __init__(
        self,
        worker: Worker,
        cell: Defended,
        identity: str,
        frame: pd.DataFrame,
        rows: Tensor,
        places: Sequence[int],
        hairline: float,
        found: Found,
    ) -> None:
        self.worker, self.cell, self.identity = worker, cell, identity
        self.frame, self.places, self.hairline, self.found = frame.iloc[rows.numpy()], places, hairline, found

    def __len__(self) -> int:
        return len(self.frame)

    def column(self, name: str) -> Tensor:
        """What is recorded, shape (M,)."""
        return torch.from_numpy(self.frame[name].to_numpy().copy())

    def scoring(self, rows: Sequence[int]) -> Scoring | None:
        """The scoring draws of some of the rows."""
        ids = self.worker.dataset.sample_ids
        return self.worker.scoring(self.cell, tuple(ids[self.places[row]] for row in rows))

    def named(self, kind: Kind, what: str, which: Tensor, column: str, here: Tensor | None = None) -> None:
        """Some rows differ.

        Args:
            kind: what they are about.
            what: what is wrong.
            which: of the rows, shape (M,), bool.
            column: whose recorded value is shown.
            here: the values here, shape (M,).
        """
        if not which.any():
            return
        first = int(which.nonzero()[0])
        detail = f"{column} {_shown(self.column(column)[first])}"
        detail += "" if here is None else f" recorded, {_shown(here[first])} here"
        self.found.add(kind, what, cell=self.identity, samples=self.frame["sample_id"][which.numpy()], detail=detail)

    def verdicts(
        self,
        here: Mapping[str, Tensor],
        kinds: Mapping[str, Kind],
        allowed: Callable[[Sequence[int], Mapping[str, Tensor]], Mapping[str, Tensor]],
    ) -> None:
        """Compares verdicts, which are equal or not; what rounding can have done is on the hairline.

        Args:
            here: by column, the values here, shape (M,); a recorded NaN is from before the column.
            kinds: by column, what a difference is about.
            allowed: from some rows and what is recorded there to which of it is possible, by column.
        """
        differs = {name: self._differs(name, value) for name, value in here.items()}
        either = torch.stack(list(differs.values())).any(0)
        bad = {name: torch.zeros(len(self), dtype=torch.bool) for name in here}
        rows = either.nonzero().flatten().tolist()
        for start in range(0, len(rows), _PIECE):
            some = rows[start : start + _PIECE]
            recorded = {name: self.column(name)[some] for name in here}
            for name, possibly in allowed(some, recorded).items():
                bad[name][some] = differs[name][some] & ~possibly
        for name, which in bad.items():
            self.named(kinds[name], f"{name} isn't what the model says", which, name, here[name])
        by_rounding = either & ~torch.stack(list(bad.values())).any(0)
        for name, which in differs.items():
            self.named("hairline", f"{name} is another by no more than rounding", which & by_rounding, name, here[name])

    def numbers(self, here: Mapping[str, Tensor], kind: Kind = "prediction") -> None:
        """Compares margins and confidences, which may differ by the hairline."""
        for name, value in here.items():
            recorded, value = self.column(name), value.double()
            most = torch.maximum(recorded.abs(), value.abs()).mul(HAIRLINE).clamp_min(self.hairline)
            close = (recorded - value).abs() <= most
            wrong = ~(close | (recorded.isnan() & value.isnan()) | (recorded == value))
            self.named(kind, f"{name} isn't the model's", wrong, name, value)

    def _differs(self, name: str, here: Tensor) -> Tensor:
        recorded = self.column(name)
        if not recorded.is_floating_point():
            return recorded != here
        return ~recorded.isnan() & ~((recorded - here.double()).abs() <= 1e-9)


def compare_clean(compared: Compared, clean: Prediction, ask: Ask) -> None:
    """What the rows say of the clean images.

    Args:
        compared: the rows.
        clean: the model's predictions, M of them.
        ask: the clean images.
    """

    def allowed(rows: Sequence[int], recorded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        may = _possible(compared, rows, ask)
        return {
            "clean_prediction": may.predicted(recorded["clean_prediction"]),
            "clean_correct": may.correct(recorded["clean_correct"]),
            "clean_rejected": may.rejects(recorded["clean_rejected"]),
            "clean_correctness": may.right.holds(recorded["clean_correctness"]),
        }

    here = {
        "clean_prediction": clean.predicted,
        "clean_correct": clean.correct,
        "clean_rejected": clean.rejected,
        "clean_correctness": clean.right,
    }
    compared.verdicts(here, dict.fromkeys(here, "prediction"), allowed)
    compared.numbers(
        {
            "clean_margin": clean.margin,
            "clean_confidence": clean.confidence,
            "clean_rejection_margin": clean.rejection_margin,
        }
    )


def compare_judged(compared: Compared, clean: Prediction, judged: Prediction, ask: Ask, ask_clean: Ask) -> None:
    """What the rows say of the judged points.

    Args:
        compared: the rows.
        clean: the model's predictions on the clean images, M of them.
        judged: those on the points.
        ask: the points.
        ask_clean: the clean images.
    """

    def allowed(rows: Sequence[int], recorded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        before, may = _possible(compared, rows, ask_clean), _possible(compared, rows, ask)
        yes = torch.ones(len(rows), dtype=torch.bool)
        broken = before.correct(yes) & may.fooled(yes)
        unbroken = before.correct(yes) & may.fooled(~yes)
        accepted = Range(1 - before.rejected.high, 1 - before.rejected.low)
        return {
            "adversarial_prediction": may.predicted(recorded["adversarial_prediction"]),
            "rejected": may.rejects(recorded["rejected"]),
            "success": torch.where(recorded["success"], broken, before.correct(~yes) | may.fooled(~yes)),
            "robust": torch.where(recorded["robust"], unbroken, before.correct(~yes) | may.fooled(yes)),
            "correctness": _least(before.right, may.wrong).holds(recorded["correctness"]),
            "even_correctness": _least(accepted, may.even).holds(recorded["even_correctness"]),
            "odd_correctness": _least(accepted, may.odd).holds(recorded["odd_correctness"]),
        }

    success = clean.correct & judged.fooled
    predictions: dict[str, Tensor] = {"adversarial_prediction": judged.predicted, "rejected": judged.rejected}
    verdicts = {
        "success": success,
        "robust": clean.correct & ~success,
        "correctness": torch.minimum(clean.right, 1 - judged.wrong),
        "even_correctness": torch.minimum(clean.accepted, 1 - judged.even),
        "odd_correctness": torch.minimum(clean.accepted, 1 - judged.odd),
    }
    kinds: dict[str, Kind] = {**dict.fromkeys(predictions, "prediction"), **dict.fromkeys(verdicts, "success")}
    compared.verdicts({**predictions, **verdicts}, kinds, allowed)
    compared.numbers(
        {
            "adversarial_margin": judged.margin,
            "adversarial_confidence": judged.confidence,
            "rejection_margin": judged.rejection_margin,
        }
    )


def compare_corrupted(compared: Compared, clean: Prediction, judged: Prediction, ask: Ask, ask_clean: Ask) -> None:
    """What the rows say of corrupted images.

    Args:
        compared: the rows.
        clean: the model's predictions on the clean images, M of them.
        judged: those on the corrupted ones.
        ask: the corrupted images.
        ask_clean: the clean ones.
    """

    def allowed(rows: Sequence[int], recorded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        before, may = _possible(compared, rows, ask_clean), _possible(compared, rows, ask)
        return {
            "clean_prediction": before.predicted(recorded["clean_prediction"]),
            "clean_correct": before.correct(recorded["clean_correct"]),
            "clean_correctness": before.right.holds(recorded["clean_correctness"]),
            "prediction": may.predicted(recorded["prediction"]),
            "correct": may.correct(recorded["correct"]),
            "correctness": may.right.holds(recorded["correctness"]),
            "rejected": may.rejects(recorded["rejected"]),
        }

    here = {
        "clean_prediction": clean.predicted,
        "clean_correct": clean.correct,
        "clean_correctness": clean.right,
        "prediction": judged.predicted,
        "correct": judged.correct,
        "correctness": judged.right,
        "rejected": judged.rejected,
    }
    compared.verdicts(here, dict.fromkeys(here, "prediction"), allowed)
    compared.numbers({"margin": judged.margin, "confidence": judged.confidence})


def compare_bare(compared: Compared, column: str, here: Tensor, ask: Ask) -> None:
    """What the rows say of the bare model behind a defense.

    Args:
        compared: the rows.
        column: ``bare_prediction`` or ``bare_adversarial_prediction``.
        here: the classes that it gives, shape (M,).
        ask: the images.
    """

    def allowed(rows: Sequence[int], recorded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        x, y = ask(rows)
        bare = compared.worker.bare(compared.cell)
        may = possible(bare, x, y, compared.worker.batch_size, None, compared.hairline)
        return {column: may.predicted(recorded[column]) | (recorded[column] == -1)}  # in older files

    compared.verdicts({column: here}, {column: "prediction"}, allowed)


def compare_distances(compared: Compared, x: Tensor, points: Tensor, ball: ThreatModel) -> None:
    """How far the rows say that the judged points lie.

    Args:
        compared: the rows.
        x: clean images, shape (M, C, H, W), on the CPU.
        points: the judged points.
        ball: the threat model.
    """
    delta = (points - x).flatten(1)
    here = {
        "linf": delta.abs().amax(1),
        "l2": torch.linalg.vector_norm(delta, dim=1),
        "l1": delta.abs().sum(1),
        "minimal_distance": ball.distance(points, x).double().clamp(max=ball.radius),
    }
    for name, value in here.items():
        recorded = compared.column(name)
        wrong = ~recorded.isnan() & ~((recorded - value.double()).abs() <= 1e-6 + 1e-5 * value.double())
        if name == "minimal_distance":  # of the others the point lies elsewhere
            wrong &= compared.column("success")
        compared.named("distance", f"{name} isn't that of the saved example", wrong, name, value)


def compare_quality(compared: Compared, here: Mapping[str, Tensor]) -> None:
    """What the rows say of the images before and after purification.

    Args:
        compared: the rows.
        here: by column, the values here, shape (M,).
    """
    for name, value in here.items():
        recorded, value = compared.column(name), value.double()
        if name.startswith("lpips") and (recorded.isnan().all() or value.isnan().all()):
            continue  # it isn't installed everywhere
        close = (recorded - value).abs() <= _QUALITY[name.removesuffix("_purified")]
        wrong = ~(close | (recorded.isnan() & value.isnan()))
        compared.named("image-quality", f"{name} isn't that of the saved example", wrong, name, value)


def _possible(compared: Compared, rows: Sequence[int], ask: Ask) -> Possible:
    x, y = ask(rows)
    target: Any = compared.worker.target(compared.cell)  # Any: a counted or defended model
    return possible(target, x, y, compared.worker.batch_size, compared.scoring(rows), compared.hairline)


def _least(share: Range, wrong: Range) -> Range:
    """Of a share and of 1 - wrong, whichever is less."""
    return Range(torch.minimum(share.low, 1 - wrong.high), torch.minimum(share.high, 1 - wrong.low))


def _shown(value: Tensor) -> str:
    number = value.item()
    return f"{number:.6g}" if isinstance(number, float) else str(number)
