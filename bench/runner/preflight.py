"""Before a run: what needs the models and the data to be known. Nothing is attacked here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench import datasets, models, registry
from bench.datasets.base import Dataset
from bench.datasets.held_out import calibration_digest, held_out
from bench.errors import BenchError, DatasetError, ModelUnavailable, PluginError, SuiteError
from bench.models.base import Located, Setting
from bench.runner.corruption_plan import CorruptionPlan, Met, PlannedCorruption, plan_corruptions
from bench.runner.facts import absent, attack_of, defense_facts, defenses_of, facts
from bench.store.run_directory import hash_of
from bench.suites.cells import Cell, Defended
from bench.suites.corruption_cells import CorruptionCell, expand_corruptions
from bench.suites.declared import declared
from bench.suites.expand import Makers, expand
from bench.suites.families import next_smaller, running_order
from bench.suites.loaded import LoadedSuite
from bench.suites.naming import resolve
from bench.suites.places import Places
from bench.suites.references import members
from bench.suites.spec import DatasetSpec, ModelSpec, Suite
from bench.training import suite_recipes
from bench.training.suite_recipes import SuiteRecipe

DOWNLOADED = ("robustbench", "timm")
"""Sources that download what they don't find."""


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell with its id, and what stands in its way.

    Attributes:
        cell: the cell.
        id: its id.
        located: the model's weights; ``None`` where they can't be had.
        unavailable: why they, or those of a defense's members, can't be had; empty where they can.
        broken: why the model or the defense can't be used (a missing layer, a defense's file that isn't there); empty where
            they can.
        keep: which adversarial examples are kept.
        facts: what the id is made of beside the cell.
        smaller: the cell with a smaller eps whose successes aren't attacked again; part of the id.
        examples: of a ``transfer`` cell, the other model's cell whose examples it judges; part of the id.
        defended: the part of ``facts`` that the defense gives.
    """

    cell: Cell
    id: str
    located: Located | None
    unavailable: str
    broken: str
    keep: str
    facts: dict[str, Any]  # Any: JSON values
    smaller: PlannedCell | None = None
    defended: dict[str, Any] = field(default_factory=dict)  # Any: JSON values
    examples: PlannedCell | None = None

    @property
    def made_of(self) -> dict[str, Any]:  # Any: JSON values
        """All that the id is made of beside the cell: the facts, and the hashes of the cells that it builds on."""
        more = {} if self.smaller is None else {"smaller_eps": hash_of(self.smaller.id)}
        more |= {} if self.examples is None else {"examples": hash_of(self.examples.id)}
        return {**self.facts, **more}

    def built_on(self, smaller: PlannedCell | None) -> PlannedCell:
        """The same cell, and with it another id, where it builds on another smaller eps, or on none."""
        other = replace(self, smaller=smaller)
        return replace(other, id=self.cell.id(other.made_of))


@dataclass(frozen=True, slots=True)
class Plan:
    """A suite that can be run.

    Attributes:
        suite: as checked.
        dataset: the images that it asks for.
        cells: its cells, in the order of running.
        calibration: clean images for the thresholds of detectors; ``None`` where no defense needs any.
        corrupted: the corruption cells.
        untrained: recipes of models whose weights aren't there yet; until then their cells are unavailable.
    """

    suite: Suite
    dataset: Dataset
    cells: tuple[PlannedCell, ...]
    calibration: Dataset | None = None
    corrupted: CorruptionPlan = field(default_factory=CorruptionPlan)
    untrained: tuple[SuiteRecipe, ...] = ()

    @property
    def every(self) -> list[PlannedCell | PlannedCorruption]:
        """Attack and corruption cells."""
        return [*self.cells, *self.corrupted.cells]


def load_plugins(loaded: LoadedSuite, places: Places) -> None:
    """Runs the plugin files that the suite names, where the user allows it.

    Raises:
        PluginError: where the user hasn't allowed it.
    """
    if loaded.plugins and not places.allow_plugins:
        files = ", ".join(str(path) for path in loaded.plugins)
        raise PluginError(
            f"{loaded.path}: plugins: the suite names Python files ({files}), which would run with your rights; "
            "read them, then give --allow-plugins"
        )
    for path in loaded.plugins:
        registry.load_plugin(path)


def preflight(
    loaded: LoadedSuite,
    places: Places,
    note: Callable[[str], None] = lambda text: None,
    *,
    recorded: bool = False,
    failed: Mapping[str, BenchError] | None = None,
) -> Plan:
    """Checks the suite against tables, data and weights, and gives every cell its id.

    Args:
        loaded: the suite.
        places: directories and permissions.
        note: told of what may take long, because it may have to be downloaded.
        recorded: whether the suite stands in a ``run.json``: it was checked before it was run, and a check would take the
            defaults that are filled in there for words of the user's.
        failed: by the path of the weights, why a recipe couldn't be trained.

    Raises:
        SuiteError: with everything in the suite that can't work.
        DatasetError: where the images can't be had.
    """
    load_plugins(loaded, places)
    if not recorded:
        suite_recipes.check(loaded)
    suite, recipes = suite_recipes.with_weights(resolve(loaded.suite), places)
    cells, corrupted = expand(suite), expand_corruptions(suite)
    every: list[Defended] = [*cells, *corrupted]
    dataset = _images(suite.dataset, places)
    missing = suite_recipes.missing(recipes, dataset, failed or {})
    found: dict[str, _Found] = {}
    for cell in every:
        if cell.model.id not in found:
            if cell.model.source in DOWNLOADED:
                note(f"looking for the weights of {cell.model.source}:{cell.model.name}")
            found[cell.model.id] = _locate(cell.model, _setting(cell, dataset), places, missing)
    calibration = _calibration(suite, every, dataset, places)
    digest = "" if calibration is None else calibration_digest(calibration)
    defended = _all_defended(every, dataset, places, missing)
    makers = Makers(cells)
    planned = _crossed(
        _chained(
            [
                _planned(cell, makers, dataset, found[cell.model.id], defended[_row(cell)], suite, digest)
                for cell in cells
            ],
            suite,
        ),
        makers,
    )

    def met(cell: CorruptionCell) -> Met:
        own, defense = found[cell.model.id], defended[_row(cell)]
        unavailable, broken = own.unavailable or defense.unavailable, own.broken or defense.broken
        return Met(own.located, unavailable, broken, defense.facts)

    images = plan_corruptions(suite.corruptions, corrupted, dataset, met, digest, recorded=recorded)
    _refuse_twins([*planned, *images.cells], suite, loaded)
    untrained = tuple(one for one in recipes if isinstance(missing.get(str(one.weights)), ModelUnavailable))
    return Plan(suite, dataset, planned, calibration, images, untrained)


def _calibration(suite: Suite, cells: Sequence[Defended], dataset: Dataset, places: Places) -> Dataset | None:
    """The images for the thresholds of detectors, where there are any."""
    if not any(declared(cell.defense).calibrated for cell in cells):
        return None
    return held_out(suite.calibration, dataset, suite.dataset, places)


def _refuse_twins(planned: Sequence[PlannedCell | PlannedCorruption], suite: Suite, loaded: LoadedSuite) -> None:
    """Two models or defenses that are one (a copied file of weights) would share their cells, and a row would be missing."""
    first: dict[str, Defended] = {}
    twins: dict[tuple[str, str], tuple[str, str]] = {}
    for one in planned:
        cell, other = one.cell, first.setdefault(hash_of(one.id), one.cell)
        if other.model.id != cell.model.id:
            what = "the same weights, architecture and preprocessing"
            twins.setdefault(("model", cell.model.id), (other.model.id, what))
        elif other is not cell:
            twins.setdefault(("defense", cell.defense_id), (other.defense_id, "the same parameters and the same files"))
    number = {("model", model.id): index for index, model in enumerate(suite.models)}
    number |= {("defense", str(defense.id)): index for index, defense in enumerate(suite.defenses)}
    problems = [
        loaded.sources.problem(
            (f"{kind}s", number[kind, name]),
            f"the {kind} {name} is the {kind} {other} again: {what}",
            f"each {kind} once",
        )
        for (kind, name), (other, what) in twins.items()
    ]
    if problems:
        raise SuiteError(problems)


@dataclass(frozen=True, slots=True)
class _Found:
    located: Located | None
    unavailable: str = ""
    broken: str = ""


def _setting(cell: Defended, dataset: Dataset) -> Setting:
    return Setting(dataset.name, cell.norm, dataset.num_classes, dataset.shape)


def _images(spec: DatasetSpec, places: Places) -> Dataset:
    """The images; whatever a third party's code raises becomes an error that names it."""
    entry = registry.datasets.entry(spec.name)
    try:
        return datasets.load(spec, places)
    except (Exception, SystemExit) as error:
        if isinstance(error, BenchError) or entry.origin == "bench":
            raise
        raise DatasetError(f"{spec.name} (from {entry.origin}) raised {type(error).__name__}: {error}") from error


def _locate(spec: ModelSpec, setting: Setting, places: Places, missing: Mapping[str, BenchError]) -> _Found:
    """Finds the weights; a model that can't be used stops its own cells, not the others'."""
    try:
        if spec.weights is not None and spec.weights in missing:
            raise missing[spec.weights]
        return _Found(models.locate(spec, setting, places))
    except ModelUnavailable as error:
        return _Found(None, unavailable=str(error))
    except BenchError as error:
        return _Found(None, broken=str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the edge of the model's cells: they become errors)
        return _Found(None, broken=f"{spec.id}: {spec.source} raised {type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class _Defended:
    """What a defense adds to the facts of its cells, or what stands in its way."""

    facts: dict[str, Any]  # Any: JSON values
    unavailable: str = ""
    broken: str = ""


def _row(cell: Defended) -> tuple[str, str]:
    """A defense, and the norm for which its members are looked for."""
    return cell.defense_id, cell.norm


def _all_defended(
    cells: Sequence[Defended], dataset: Dataset, places: Places, missing: Mapping[str, BenchError]
) -> dict[tuple[str, str], _Defended]:
    found: dict[tuple[str, str], _Defended] = {}
    for cell in cells:
        if _row(cell) not in found:
            found[_row(cell)] = _defended(cell, _setting(cell, dataset), places, missing)
    return found


def _defended(cell: Defended, setting: Setting, places: Places, missing: Mapping[str, BenchError]) -> _Defended:
    """Builds the defense; one whose files can't be used stops its own cells, not the others'.

    Raises:
        PluginError: where a third party's can't be made.
    """
    if cell.defense.name == "none":
        return _Defended({})
    without = absent(cell.defense_id)
    try:
        built = defenses_of(cell.defense)
    except PluginError:
        raise
    except BenchError as error:
        return _Defended(without, broken=f"the defense {cell.defense_id}: {error}")
    except Exception as error:  # noqa: BLE001 (the edge of the defense's cells: they become errors)
        return _Defended(without, broken=f"the defense {cell.defense_id} raised {type(error).__name__}: {error}")
    there = list[Located]()
    for member in members(cell.defense):
        found = _locate(member, setting, places, missing)
        if found.located is None:
            what = f"the member {member.id} of the defense {cell.defense_id}: "
            if found.unavailable:
                return _Defended(without, unavailable=what + found.unavailable)
            return _Defended(without, broken=what + found.broken)
        there.append(found.located)
    return _Defended(defense_facts(built, there))


def _planned(
    cell: Cell,
    makers: Makers,
    dataset: Dataset,
    found: _Found,
    defended: _Defended,
    suite: Suite,
    calibration: str,
) -> PlannedCell:
    own = defended.facts
    identity = facts(cell, dataset.digest, found.located, suite.run.shard_size, calibration, defended=own)
    keep = "all" if makers.is_read(cell) else "none" if cell.transferred else suite.run.save_adversarial
    unavailable, broken = found.unavailable or defended.unavailable, found.broken or defended.broken
    return PlannedCell(cell, cell.id(identity), found.located, unavailable, broken, keep, identity, defended=own)


def _chained(planned: list[PlannedCell], suite: Suite) -> tuple[PlannedCell, ...]:
    """Lets cells build on smaller eps; those that are built on keep their successes, whatever else is kept.

    Libraries that draw from global generators attack fixed chunks of samples, and taking some away would change the
    others' draws: they attack everything at every eps.
    """
    if suite.run.reuse == "none":
        return tuple(planned)
    cells = [one.cell for one in planned]
    smaller = [
        None if attack_of(cell).chunked else below for cell, below in zip(cells, next_smaller(cells), strict=True)
    ]
    for place in {below for below in smaller if below is not None}:
        if planned[place].keep == "none":
            planned[place] = replace(planned[place], keep="successes")
    for place in running_order(cells):
        below = smaller[place]
        if below is not None:
            planned[place] = planned[place].built_on(planned[below])
    return tuple(planned)


def _crossed(planned: Sequence[PlannedCell], makers: Makers) -> tuple[PlannedCell, ...]:
    """Ties cells that judge another model's examples to the cell that makes them: without it they can't be had either."""
    made = {id(one.cell): one for one in planned}
    found = []
    for one in planned:
        if one.cell.role == "transfer":
            made_by = made[id(makers.of(one.cell))]
            what = f"the examples of {made_by.cell.model.id}: "
            unavailable = one.unavailable or (what + made_by.unavailable if made_by.unavailable else "")
            broken = one.broken or (what + made_by.broken if made_by.broken else "")
            one = replace(one, examples=made_by, unavailable=unavailable, broken=broken)
            one = replace(one, id=one.cell.id(one.made_of))
        found.append(one)
    return tuple(found)
