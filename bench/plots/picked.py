"""Which broken samples a gallery shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import StoreError
from bench.plots.frames import Example, Image, by_worst
from bench.store.cell_outcome import CellOutcome
from bench.store.gallery import read_clean, read_purified, read_some
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.store.run_directory import RunDirectory
from bench.suites.spec import ThreatModelSpec

if TYPE_CHECKING:
    import pandas as pd

_MOST = 6


def pick(run: RunDirectory, outcome: RunOutcome) -> dict[ThreatModelSpec, pd.DataFrame]:
    """Per threat model a few broken samples of which the clean and the adversarial image were kept.

    The rows take turns, so that every model is seen before any is seen twice, with another sample each time where
    there is one. A threat model without any is left out.

    Returns:
        Frames with the fields of :class:`bench.plots.frames.Example` as columns.

    Raises:
        StoreError: where the clean images are damaged.
    """
    import pandas as pd

    kept = read_clean(run)
    clean = dict(zip(kept.sample_ids, kept.images, strict=True))
    names = outcome.record.dataset.get("class_names") or ()
    found = {}
    for threat_model in outcome.threat_models if clean else ():
        offers = (_broken(run, outcome, row, clean, names) for row in by_worst(outcome.under(threat_model)))
        chosen = _in_turn(list(islice(filter(None, offers), _MOST)))  # no other row gets a turn
        if chosen:
            found[threat_model] = pd.DataFrame(chosen, columns=list(Example._fields))
    return found


def _in_turn(offers: list[dict[str, Example]]) -> list[Example]:
    """Takes from each offer in turn a sample that hasn't been shown yet, else any, until there are enough."""
    chosen: list[Example] = []
    shown: set[str] = set()
    while offers and len(chosen) < _MOST:
        for offer in offers[: _MOST - len(chosen)]:
            sample = next((sample for sample in offer if sample not in shown), next(iter(offer)))
            shown.add(sample)
            chosen.append(offer.pop(sample))
        offers = [offer for offer in offers if offer]
    return chosen


def _broken(
    run: RunDirectory, outcome: RunOutcome, row: RowOutcome, clean: Mapping[str, Image], names: Sequence[str]
) -> dict[str, Example]:
    """The broken samples of the row's last attack that kept any, by sample."""
    for cell in reversed(row.of("suite") or row.of("oblivious")):
        try:
            kept = read_some(run, _source(outcome, cell), clean)
            rows = run.read_samples(cell.id, _COLUMNS) if kept.sample_ids else None
            records = {} if rows is None else rows.set_index("sample_id").to_dict("index")
        except StoreError:  # nothing is lost but a picture; the leaderboard says which part is damaged
            continue
        purified = _purified(run, cell, kept.sample_ids)
        found = {
            sample: _example(row, cell, records[sample], clean[sample], x_adv, purified.get(sample), names)
            for sample, x_adv in zip(kept.sample_ids, kept.images, strict=True)
            if sample in records and bool(records[sample]["success"]) and clean[sample].shape == x_adv.shape
        }
        if found:
            return found
    return {}


def _source(outcome: RunOutcome, cell: CellOutcome) -> str:
    """The cell that keeps the points that a cell judged: those of an oblivious one were made for the bare model."""
    own = cell.result
    rows = (*outcome.rows, *outcome.makers) if cell.role == "oblivious" and own is not None else ()
    for made in (other.result for row in rows if row.bare for other in row.cells):
        if (
            own is not None
            and made is not None
            and (made.defense.name, made.search) == ("none", "strongest")
            and (made.model.id, made.threat_model, made.seed) == (own.model.id, own.threat_model, own.seed)
            and made.attack.model_dump(exclude={"id", "search"}) == own.attack.model_dump(exclude={"id", "search"})
        ):
            return made.cell
    return cell.id


def _purified(run: RunDirectory, cell: CellOutcome, samples: Sequence[str]) -> dict[str, Image]:
    """What was kept of the purified examples of these samples: nothing in runs from before that."""
    try:
        return dict(zip(*read_purified(run, cell.id, samples), strict=True))
    except StoreError:
        return {}


def _example(
    row: RowOutcome,
    cell: CellOutcome,
    record: Mapping[object, object],
    x: Image,
    x_adv: Image,
    purified: Image | None,
    names: Sequence[str],
) -> Example:
    number = {key: float(np.asarray(record[key])) for key in _NUMBERS}
    judged, confidence = _class(names, int(number["adversarial_prediction"])), number["adversarial_confidence"]
    example = Example(
        row=row.label,
        attack=cell.attack,
        norm=row.threat_model.norm,
        x=x,
        x_adv=x_adv,
        clean_label=_class(names, int(number["clean_prediction"])),
        clean_confidence=number["clean_confidence"],
        adversarial_label=judged,
        adversarial_confidence=confidence,
        linf=number["linf"],
        l2=number["l2"],
    )
    if purified is None or purified.shape != x.shape:
        return example
    bare = int(number["bare_adversarial_prediction"])
    return example._replace(
        adversarial_label=f"bare model: {_class(names, bare)}" if bare >= 0 else "",
        adversarial_confidence=float("nan"),
        purified=purified,
        purified_label=judged,
        purified_confidence=confidence,
    )


_NUMBERS = (
    "clean_prediction", "clean_confidence", "adversarial_prediction", "adversarial_confidence", "bare_adversarial_prediction",
    "linf", "l2"
)  # fmt: skip
_COLUMNS = ("sample_id", "success", *_NUMBERS)


def _class(names: Sequence[str], index: int) -> str:
    return str(names[index]) if 0 <= index < len(names) else f"class {index}"
