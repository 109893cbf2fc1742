"""What a cell's verdicts depend on beside the suite's words: digests, revisions, versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench import attacks, defenses
from bench.attacks.base import Attack
from bench.attacks.no_attack import NoAttack
from bench.defenses.base import Defense, Detector, Purifier, Rewiring
from bench.errors import BenchError, PluginError
from bench.models.base import Located
from bench.registry import Entry
from bench.registry import attacks as attack_names
from bench.registry import defenses as defense_names
from bench.registry import models as model_names
from bench.runner.provenance import version
from bench.suites.cells import Cell, Defended
from bench.suites.declared import declared
from bench.suites.references import MODEL_CONTENT
from bench.suites.spec import DefenseSpec

UNAVAILABLE = "unavailable"


def attack_of(cell: Cell) -> Attack:
    """The attack of a cell, for its norm and backend.

    Raises:
        PluginError: where a third party's can't be made.
    """
    if cell.role == "certificate":
        return NoAttack(None)
    attack = _made(attack_names.entry(cell.attack.name), lambda: attacks.build(cell.attack, cell.threat_model.norm))
    if not isinstance(attack, Attack):
        origin = attack_names.entry(cell.attack.name).origin
        raise PluginError(
            f"{origin}: the attack {cell.attack.name} must be a bench.attacks.base.Attack, got {attack!r:.60}"
        )
    return attack


def defenses_of(spec: DefenseSpec) -> tuple[Defense, ...]:
    """The defenses of a chain, or the one alone; none for the bare model.

    Raises:
        PluginError: where a third party's can't be made.
    """
    found = []
    for link in spec.links:
        defense = _made(defense_names.entry(link.name), lambda link=link: defenses.build(link))  # type: ignore[misc]
        if not isinstance(defense, Purifier | Rewiring | Detector) or not hasattr(defense, "differentiable"):
            origin = defense_names.entry(link.name).origin
            raise PluginError(
                f"{origin}: the defense {link.name} must be a Purifier, a Rewiring or a Detector of bench.defenses.base that "
                f"declares whether it is differentiable, got {defense!r:.60}"
            )
        found.append(defense)
    return tuple(found)


def surrogates_of(spec: DefenseSpec) -> tuple[str | Purifier | None, ...]:
    """What the suite puts in the place of each defense's own surrogate; see
    :class:`bench.defenses.defended.DefendedModel`.
    """
    found: list[str | Purifier | None] = []
    for link in spec.links:
        if link.surrogate in (None, "own"):
            found.append(None)
        elif link.surrogate in ("identity", "exact"):
            found.append(link.surrogate)
        else:
            stand_in = defenses.build(DefenseSpec(name=str(link.surrogate)))
            assert isinstance(stand_in, Purifier)  # as bench.suites.check demands
            found.append(stand_in)
    return tuple(found)


def _made(entry: Entry, make: Callable[[], Any]) -> Any:  # Any: whatever a third party makes
    """What ``make`` gives; a failure of a third party's code names it."""
    try:
        return make()
    except Exception as error:
        if entry.origin == "bench" or isinstance(error, BenchError):
            raise
        thing = entry.target if entry.target.startswith(entry.origin) else f"{entry.origin}: {entry.target}"
        raise PluginError(f"{thing} can't be made: {type(error).__name__}: {error}") from error


def facts(
    cell: Cell,
    dataset_digest: str,
    located: Located | None,
    shard_size: int,
    calibration: str = "",
    *,
    defended: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # Any: JSON
    """The part of a cell's identity that only the runner can know.

    Args:
        cell: the cell.
        dataset_digest: of the whole dataset.
        located: the model's weights; ``None`` where they can't be had.
        shard_size: counts only for libraries that draw from global generators: it is their fixed chunk.
        calibration: digest of the images that detectors' thresholds are calibrated on.
        defended: see :func:`row_facts`.
    """
    attack = attack_of(cell)
    found = row_facts(cell, dataset_digest, located, calibration, defended=defended)
    found["attack_revision"] = attack.revision
    found["attack_libraries"] = {name: version(name) for name in attack.library}
    if attack.chunked:
        found["chunk"] = shard_size
    code = "" if cell.role == "certificate" else code_of(attack_names.entry(cell.attack.name))
    found["plugins"] = _known([*found["plugins"], code])
    return found


def row_facts(
    cell: Defended,
    dataset_digest: str,
    located: Located | None,
    calibration: str = "",
    *,
    defended: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # Any: JSON
    """The part of :func:`facts` that doesn't hang on the attack: what any point is judged by.

    Args:
        cell: the cell.
        dataset_digest: of the whole dataset.
        located: the model's weights; ``None`` where they can't be had.
        calibration: digest of the images that detectors' thresholds are calibrated on.
        defended: what its defense gives: :func:`defense_facts`, or :func:`absent` where it can't be had; a defense that
            asks no other models is built for it where it isn't given.
    """
    plugins: list[str] = []
    found: dict[str, Any] = {
        "dataset": dataset_digest,
        # Weights that aren't here have no digest: without its name, two such models would be one.
        "weights": located.weights_digest if located else f"{UNAVAILABLE}: {cell.model.id}",
        "architecture": located.architecture_digest if located else UNAVAILABLE,
        "model": cell.model.model_dump(mode="json", include=set(MODEL_CONTENT)),
    }
    if cell.model.source in model_names.entries():
        plugins.append(code_of(model_names.entry(cell.model.source)))
    if cell.defense.name != "none":
        found.update(defense_facts(defenses_of(cell.defense), ()) if defended is None else defended)
        plugins += [code_of(defense_names.entry(link.name)) for link in cell.defense.links]
        if declared(cell.defense).calibrated:
            found["calibration"] = calibration
    found["plugins"] = _known(plugins)
    return found


def defense_facts(built: Sequence[Defense], members: Sequence[Located]) -> dict[str, Any]:  # Any: JSON
    """The part of a cell's facts that its defense gives.

    Args:
        built: the defenses of its chain.
        members: the models that they ask beside the bare one.
    """
    found: dict[str, Any] = {
        "defense_revision": [defense.revision for defense in built],
        "defense_libraries": {name: version(name) for defense in built for name in defense.library},
        "defense_files": [defense.digest for defense in built if defense.digest],
    }
    if members:
        found["defense_members"] = [[member.weights_digest, member.architecture_digest] for member in members]
    return found


def absent(defense_id: str) -> dict[str, Any]:  # Any: JSON
    """The same of a defense whose files can't be had: without its name, two such defenses would be one."""
    return {"defense_files": f"{UNAVAILABLE}: {defense_id}"}


def _known(digests: Iterable[str]) -> list[str]:
    return sorted(digest for digest in digests if digest)


def code_of(entry: Entry) -> str:
    """Which code a third party's thing is: the digest of its file, or the release that installed it."""
    return entry.digest if entry.origin == "bench" or entry.digest else f"{entry.origin} {version(entry.origin)}"
