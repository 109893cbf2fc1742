"""Which run's row of a sample counts, where several runs have one of the same cell.

A verified success always counts, whichever run found it: the point lies in the ball, and the model gets it wrong. Where
nobody broke the sample, an image that is wrong when clean counts before a robust one, so that a joined number is never above
what one of the runs says of its images. Of certificates, which are lower bounds, the smaller one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.errors import MergeError, SchemaError, StoreError
from bench.runner.merge.sources import Source
from bench.runner.verify.reading import example_ids
from bench.store import parts
from bench.store.parts import ShardReport
from bench.store.records import Flag, SampleRecord

if TYPE_CHECKING:
    import pandas as pd

LIMIT = 0.005
"""Verdicts that machines may differ in, as a share of the samples that several runs have; one sample in any case."""
_IMAGE = ["position", "sample_id", "sample_digest", "label"]
_VERDICT = ["clean_correct", "success", "robust"]
RULE = "joined-verdicts"


class Contradiction(NamedTuple):
    """Samples of one cell of which a run says otherwise than the rows that count."""

    cell: str
    run: str
    samples: tuple[str, ...]
    broken: int
    """those among them that are broken in the rows that count, and not in this run"""


class Part(NamedTuple):
    """One part file of one run."""

    source: int
    number: int
    path: Path
    reports: tuple[ShardReport, ...]
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Whose rows of a cell count.

    Attributes:
        chosen: a line per sample: ``sample_id``, ``source`` (its place among the runs) and ``part`` (the number there).
        parts: the part files of all runs, by run and number.
        shared: samples that several runs have.
        contradictions: where they disagree.
        skipped: why rows of cells that aren't done couldn't be read.
    """

    chosen: pd.DataFrame
    parts: Mapping[tuple[int, int], Part]
    shared: int
    contradictions: tuple[Contradiction, ...]
    skipped: tuple[str, ...] = ()

    @property
    def differing(self) -> int:
        """Samples with contradicting rows."""
        return len({sample for one in self.contradictions for sample in one.samples})

    def given(self) -> dict[int, int]:
        """How many rows of each run count, by its place."""
        counts = np.bincount(self.chosen["source"].to_numpy(dtype=np.int64))
        return {place: int(count) for place, count in enumerate(counts) if count}

    def contributors(self, number: int) -> list[Part]:
        """The part files of one number that give a row, in the order of the runs."""
        giving = self.chosen["source"][self.chosen["part"] == number].unique()
        return [self.parts[int(source), number] for source in sorted(giving)]

    def numbers(self) -> list[int]:
        """The numbers of all parts."""
        return sorted(int(number) for number in self.chosen["part"].unique())

    def whole(self, number: int) -> Part | None:
        """The one file whose rows are all of a part; ``None`` where there are several, or some of its rows don't count."""
        giving = self.contributors(number)
        count = int((self.chosen["part"] == number).sum())
        return giving[0] if len(giving) == 1 and giving[0].rows == count else None


def choose(
    cell: str, sources: Sequence[Source], *, keep: str, certificate: bool, preferred: int | None = None
) -> Choice | None:
    """Chooses a row of every sample that some run has; ``None`` where none has any.

    Args:
        cell: id of the cell.
        sources: the runs, in the order in which they count where their rows say the same.
        keep: which examples the cell needs: none, successes or all; a row whose example is gone counts after one with it.
        certificate: whether the rows are certificates.
        preferred: place of the run whose rows count where nobody broke the sample.

    Raises:
        MergeError: where runs have different images under the same name.
        StoreError: where a file of a cell that is done is damaged; of others it is left out.
    """
    import pandas as pd

    frames, files, skipped = [], dict[tuple[int, int], Part](), list[str]()
    for place, source in enumerate(sources):
        kept = example_ids(source.directory, cell) if keep != "none" else set[str]()
        for path in source.directory.sample_parts(cell):
            try:
                read, number = parts.read_rows(path), int(path.stem.split("-")[1])
            except SchemaError:
                raise
            except StoreError as error:
                if _is_done(source, cell):
                    raise
                skipped.append(str(error).splitlines()[0])
                continue
            files[place, number] = Part(place, number, path, read.reports, len(read.rows))
            wanted = read.rows["success"].astype(bool) | (keep == "all")
            lacking = wanted & ~read.rows["sample_id"].isin(kept) & (keep != "none")
            frames.append(read.rows.assign(source=place, part=number, lacking=lacking))
    if not frames:
        return None
    rows = pd.concat(frames, ignore_index=True)
    refuse_clashes(rows, sources, cell)
    rows["content"] = pd.util.hash_pandas_object(
        rows[[name for name in SampleRecord._fields if name != "cell"]], index=False
    )
    ordered = rows.assign(
        rank=_rank(rows, certificate=certificate, preferred=preferred is not None),
        unfound=rows["minimal_distance"] == np.inf,
        order=rows["source"] if preferred is None else rows["source"].where(rows["source"] != preferred, -1),
    ).sort_values(["rank", "unfound", "lacking", "order"], kind="stable")
    best = ordered.drop_duplicates("sample_id")[["sample_id", "content", "lacking"]]
    first = rows.drop_duplicates(["sample_id", "content", "lacking"])  # equal rows are one: the first run's
    chosen = best.merge(first, on=["sample_id", "content", "lacking"]).sort_values("position", ignore_index=True)
    verdict = [*_VERDICT, *(["certified_prediction"] if certificate else [])]
    return Choice(
        chosen[["sample_id", "position", "source", "part"]],
        files,
        int((rows.groupby("sample_id")["source"].nunique() > 1).sum()),
        _contradictions(cell, rows, chosen, verdict, sources),
        tuple(skipped),
    )


def _is_done(source: Source, cell: str) -> bool:
    result = source.result(cell)
    return result is not None and result.status == "done"


def _rank(rows: pd.DataFrame, *, certificate: bool, preferred: bool) -> pd.Series[float]:
    """The least counts: 0 for a verified success, then what is wrong when clean, then what holds."""
    import pandas as pd

    if certificate:
        right = rows["certified_prediction"] == rows["label"]
        radius = rows["certified_radius"].where(right, 0.0).fillna(0.0)
        return rows["robust"].astype(float) * (1.0 + radius) if not preferred else pd.Series(0.0, rows.index)
    held = pd.Series(1.0, rows.index) if preferred else 1.0 + rows["robust"].astype(float)
    return held.where(~rows["success"].astype(bool), 0.0)


def refuse_clashes(rows: pd.DataFrame, sources: Sequence[Source], cell: str) -> None:
    """Refuses rows of one cell that speak of different images.

    Args:
        rows: of all runs, with the place of each row's run in ``source``.
        sources: the runs.
        cell: id of the cell.

    Raises:
        MergeError: where a position or a name stands for two images.
    """
    images = rows[[*_IMAGE, "source"]].drop_duplicates(_IMAGE)
    for key in ("position", "sample_id"):
        twice = images[images[key].duplicated(keep=False)].sort_values(key, kind="stable")
        if len(twice):
            one, other = twice.iloc[0], twice.iloc[1]
            here, there = (sources[int(each.source)].name for each in (one, other))
            raise MergeError(
                f"not the same images: cell {cell}: position {one.position} is {one.sample_id} ({one.sample_digest}, label "
                f"{one.label}) in {here}, position {other.position} is {other.sample_id} ({other.sample_digest}, label "
                f"{other.label}) in {there}"
            )


def _contradictions(
    cell: str, rows: pd.DataFrame, chosen: pd.DataFrame, verdict: list[str], sources: Sequence[Source]
) -> tuple[Contradiction, ...]:
    """The samples of each run whose verdict isn't the one that counts."""
    pairs = rows.merge(chosen[["sample_id", *verdict]], on="sample_id", suffixes=("", "_counts"))
    other = np.logical_or.reduce([pairs[name] != pairs[f"{name}_counts"] for name in verdict])
    found = []
    for place, source in enumerate(sources):
        own = pairs[other & (pairs["source"] == place)].sort_values("position")
        if len(own):
            broken = int((own["success_counts"].astype(bool) & ~own["success"].astype(bool)).sum())
            found.append(Contradiction(cell, source.name, tuple(own["sample_id"]), broken))
    return tuple(found)


def allowed(shared: int) -> int:
    """How many of so many samples may contradict each other without anybody having to decide."""
    return max(1, int(LIMIT * shared))


def flagged(choice: Choice) -> list[Flag]:
    """What a reader of the cell's number must know of its joining.

    That machines differ in the last bits is worth a word, more than that a warning.
    """
    severe = choice.differing > allowed(choice.shared)
    return [
        Flag(
            rule=RULE,
            severity="warning" if severe else "info",
            message=f"{_samples(len(one.samples))} had another verdict in the joined run {one.run}, {one.broken} of them "
            "unbroken there and broken here: a verified success always counts",
        )
        for one in choice.contradictions
    ]


def _samples(count: int) -> str:
    return f"{count} sample{'' if count == 1 else 's'}"


def added_flags(choice: Choice) -> list[ShardReport]:
    """Reports that cost nothing and say what the kept ones don't: flags of rows that don't count, and of the joining."""
    kept = [report for number in choice.numbers() for part in choice.contributors(number) for report in part.reports]
    there = {(flag.rule, flag.message) for report in kept for flag in report.flags}
    others = [report for part in choice.parts.values() for report in part.reports]
    found: list[ShardReport] = []
    for flags, source in (
        *((report.flags, report) for report in others),
        (tuple(flagged(choice)), kept[0] if kept else others[0]),
    ):
        new = tuple(flag for flag in flags if (flag.rule, flag.message) not in there)
        if new:
            there |= {(flag.rule, flag.message) for flag in new}
            precision = kept[0].precision if kept else source.precision
            found.append(
                ShardReport(
                    samples=0,
                    seconds=0.0,
                    device=source.device,
                    batch_size=source.batch_size,
                    precision=precision,
                    flags=new,
                )
            )
    return found
