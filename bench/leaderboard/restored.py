"""What a defense does besides surviving: labels and images that a purifier gives back, images that a detector rejects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.leaderboard.records import Restored
from bench.store.cell_outcome import CellOutcome
from bench.store.outcomes import RowOutcome

_QUALITY = ("psnr", "psnr_purified", "ssim", "ssim_purified", "lpips", "lpips_purified")


def restored(row: RowOutcome) -> Restored | None:
    """The numbers of a defended row; ``None`` for the bare model and where no cell is done.

    What is restored is measured on the bare model's examples (the oblivious cells), by the attack that leaves least; what a
    detector catches on the examples that were made against it (the adaptive cells), by the attack that is caught least.
    """
    if row.bare:
        return None
    done = [cell for cell in row.cells if cell.status == "done" and cell.role not in ("certificate", "submitted")]
    if not done:
        return None
    transferred = [cell for cell in done if cell.role == "oblivious"]
    aware = [cell for cell in done if cell.role in ("suite", "gradient_free")]
    least = _least(transferred, "label_restoration_rate")
    quality = {name: _value(least, name) for name in _QUALITY}
    seconds = [cell.result.cost.purify_ms for cell in done if cell.result is not None and cell.result.cost is not None]
    known = [one for one in seconds if one is not None]
    return Restored(
        labels=_value(least, "label_restoration_rate"),
        attack="" if least is None else least.attack,
        clean_damage=_first(done, "clean_damage"),
        defense_success_rate=_lowest(aware or done, "defense_success_rate"),
        false_positive_rate=_first(done, "false_positive_rate"),
        accuracy_with_rejection=_first(done, "accuracy_with_rejection"),
        detector_auc=_lowest(aware, "detector_auc"),
        tpr_at_5_fpr=_lowest(aware, "tpr_at_5_fpr"),
        purify_ms=min(known, default=None),
        **quality,
    )


def _value(cell: CellOutcome | None, name: str) -> float | None:
    if cell is None or cell.result is None or name not in cell.result.metrics:
        return None
    return cell.result.metrics[name].value


def _least(cells: Sequence[CellOutcome], name: str) -> CellOutcome | None:
    """The cell whose number is the lowest; the first where none has one."""
    known = [(value, place) for place, cell in enumerate(cells) if (value := _value(cell, name)) is not None]
    return cells[min(known)[1]] if known else cells[0] if cells else None


def _lowest(cells: Iterable[CellOutcome], name: str) -> float | None:
    return min((value for cell in cells if (value := _value(cell, name)) is not None), default=None)


def _first(cells: Iterable[CellOutcome], name: str) -> float | None:
    return next((value for cell in cells if (value := _value(cell, name)) is not None), None)
