"""A worker keeps what it has loaded: the dataset, one model, its defended forms, their clean predictions."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bench import models
from bench.attacks.base import Attack
from bench.attacks.draws import Draws, global_seed
from bench.datasets.base import Dataset
from bench.defenses.base import Defense, Rewiring
from bench.defenses.defended import DefendedModel
from bench.errors import AttackError, BenchError, ModelError
from bench.models.base import Setting
from bench.models.wrapper import CountedModel
from bench.runner.batch_size import SMALL, find_batch_size
from bench.runner.devices import search_precision
from bench.runner.facts import defenses_of, surrogates_of
from bench.runner.judge import Prediction, Scoring, exact_arithmetic, predict
from bench.runner.probe import REPEATABLE, Probe
from bench.store.records import Flag
from bench.suites.cells import Cell, Defended
from bench.suites.places import Places
from bench.suites.references import members
from bench.suites.spec import DefenseSpec, ModelSpec, RunOptions

_log = logging.getLogger(__name__)

COMPILED_BATCH = 128
"""Compiled code is for one batch size: this one is full for most of a search, whatever the size of a shard."""
BARE = "none"


class Worker:
    """Loads models onto one device and builds what is attacked.

    Args:
        dataset: the images.
        places: directories and permissions.
        device: where models run.
        batch_size: the most samples of a pass; found by itself where it is ``None``.
        pinned: whether every pass of our own attacks has that many rows.
        compiled: whether our own attacks search on a compiled model.
        graphs: whether they search on CUDA graphs of it, where it isn't compiled and the device has them.
        calibration: clean images for the thresholds of detectors; ``None`` where no defense needs any.
    """

    def __init__(
        self,
        dataset: Dataset,
        places: Places,
        device: torch.device,
        batch_size: int | None = None,
        *,
        pinned: bool = False,
        compiled: bool = False,
        graphs: bool = True,
        calibration: Dataset | None = None,
    ) -> None:
        self.dataset, self.places, self.device, self.calibration = dataset, places, device, calibration
        self.pinned, self.compiled, self.graphs = pinned, compiled, graphs and device.type == "cuda"
        self._fixed_batch_size = batch_size
        self._spec: ModelSpec | None = None
        self._model: Any = None  # Any: the counted model of one of many sources
        self._batch_size = batch_size or SMALL
        self._targets: dict[str, Any] = {}
        self._probes: dict[str, Probe] = {}
        self._clean: dict[tuple[str, tuple[int, ...]], Prediction] = {}
        self._flags: tuple[Flag, ...] = ()
        self._members: dict[str, tuple[Any, tuple[Flag, ...]]] = {}  # Any: as above
        self._copies: list[tuple[Tensor, Tensor]] = []

    def setting(self, norm: str) -> Setting:
        """What a source of models may need to know of the suite."""
        return Setting(self.dataset.name, norm, self.dataset.num_classes, self.dataset.shape)

    def model(self, spec: ModelSpec, norm: str) -> Any:  # Any: as above
        """The bare model, checked on two real images; the one before it is let go.

        Raises:
            ModelError: where it can't be built, or its outputs aren't logits of the right shape.
        """
        if self._spec != spec:
            self.release()
            model = models.load(spec, self.setting(norm), self.places, device=self.device)
            self.adopt(spec, model)
        return self._model

    def adopt(self, spec: ModelSpec, model: Any, *, keep: bool = False) -> None:  # Any: as above
        """Takes a counted model that is loaded already, and checks it.

        Args:
            spec: its name.
            model: the counted model.
            keep: keep a copy of its weights, because it can't be loaded again if an attack changes it.
        """
        with exact_arithmetic():
            images = self._images()
            channels_last(model, images)
            model.check(images)
            self._probes = {BARE: Probe(model, images)}
            self._flags = _probabilities(model, images)
        self._spec, self._model = spec, model
        tensors = (*model.parameters(), *model.buffers()) if keep else ()
        self._copies = [(tensor, tensor.detach().clone()) for tensor in tensors]
        self._batch_size = self._fixed_batch_size or find_batch_size(model, images)
        model.passes.reset()

    def release(self) -> None:
        """Lets the model go."""
        if self._model is not None:
            self._model.forget_compiled()
        self._spec, self._model = None, None
        self._targets.clear()
        self._members.clear()
        self._probes.clear()
        self._clean.clear()
        self._copies.clear()
        self._flags = ()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @contextmanager
    def guarded(self, cell: Defended) -> Iterator[None]:
        """Makes sure that the attack and the judge inside have the same model; where not, the next cell gets it afresh.

        Raises:
            AttackError: where the model is another one afterwards, so that a verdict would be about that one.
        """
        try:
            yield
        except BaseException:
            self._mend(cell)
            raise
        changed = self._mend(cell)
        if changed:
            raise AttackError(f"the model is not the same after the attack as before: it has {changed}")

    def compiles_for(self, attack: Attack) -> bool:
        """Whether an attack may search on the compiled model: those of ours do, where that is asked for."""
        return self.compiled and not attack.chunked and self._batch_size > 1  # torch takes one for a special case

    def graphs_for(self, attack: Attack) -> bool:
        """Whether an attack searches on CUDA graphs of the model: those of ours do, where it isn't compiled."""
        return self.graphs and not attack.chunked and not self.compiles_for(attack)

    def search_batch_size(self, attack: Attack) -> int:
        """The most samples of a pass of an attack on the model that is loaded."""
        return min(self._batch_size, COMPILED_BATCH) if self.compiles_for(attack) else self._batch_size

    def _mend(self, cell: Defended) -> str:
        """What has changed in the cell's model; puts its weights back, or lets it go to be loaded again."""
        with exact_arithmetic():
            changed = self._probes[_key(cell.defense)].changed()
        if changed and self._copies:
            with torch.no_grad():
                for tensor, copy in self._copies:
                    tensor.copy_(copy)
            self._model.train(False)
            self._forget_members()
        elif changed:
            self.release()
        return changed

    def flags(self, cell: Defended) -> tuple[Flag, ...]:
        """What a few clean passes through the cell's model showed."""
        keys = dict.fromkeys((BARE, _key(cell.defense)))
        of_members = (self._member(one, cell.norm)[1] for one in members(cell.defense))
        beside = (flag for flags in of_members for flag in flags)
        return (*(flag for key in keys for flag in self._probes[key].flags), *self._flags, *beside)

    def _images(self) -> Tensor:
        """Two clean images to try a model on; one where there are no more."""
        return self.dataset.batch(range(min(2, len(self.dataset)))).x.to(self.device)

    def target(self, cell: Defended) -> Any:  # Any: a counted or defended model
        """What the cell attacks or judges on: the model behind its defense."""
        bare = self.model(cell.model, cell.norm)
        if cell.defense.name == "none":
            return bare
        key = _key(cell.defense)
        if key not in self._targets:
            stages = defenses_of(cell.defense)
            self._bind(cell, stages)
            target = DefendedModel(bare, stages, surrogates_of(cell.defense))
            # A threshold must not depend on which shard happens to be the first.
            with exact_arithmetic(), global_seed(0):
                self._calibrate(cell, target)
                probe = Probe(target, self._images(), bare)
            if probe.random and not self._probes[BARE].random:
                how = "though every draw is seeded" if target.stochastic else "but doesn't declare it (stochastic)"
                raise BenchError(
                    f"the defense {cell.defense_id} is random, {how}: two passes on the same images differ"
                )
            self._targets[key], self._probes[key] = target, probe
        return self._targets[key]

    def _bind(self, cell: Defended, stages: Sequence[Defense]) -> None:
        """Gives defenses that ask other models these, loaded as the bare one is."""
        for link, stage in zip(cell.defense.links, stages, strict=True):
            if isinstance(stage, Rewiring) and stage.needs_models:
                stage.bind([self._member(spec, cell.norm)[0] for spec in members(link)])

    def _member(self, spec: ModelSpec, norm: str) -> tuple[Any, tuple[Flag, ...]]:  # Any: a counted model
        """A member and its flags, kept as long as the bare model is; its passes count as the row's."""
        key = f"{norm} {spec.model_dump_json()}"
        if key not in self._members:
            model = models.load(spec, self.setting(norm), self.places, device=self.device)
            images = self._images()
            try:
                with exact_arithmetic():
                    channels_last(model, images)
                    model.check(images)
                    flags = _probabilities(model, images)
            except ModelError as error:
                raise ModelError(f"the member {spec.id}: {error}") from error
            model.passes = self._model.passes
            named = (flag.model_copy(update={"message": f"the member {spec.id}: {flag.message}"}) for flag in flags)
            self._members[key] = (model, tuple(named))
        return self._members[key]

    def _forget_members(self) -> None:
        """An attack may have changed a member: all are loaded again, and what they are part of is built again."""
        self._members.clear()
        for key in [key for key, target in self._targets.items() if target.members]:
            del self._targets[key], self._probes[key]

    def attacked(self, cell: Cell) -> Any:  # Any: a counted or defended model
        """The same as the cell's adversary sees it."""
        target = self.target(cell)
        if cell.defense.name == "none":
            return target
        return target.seen_by("naive" if cell.adversary == "naive" else "adaptive")

    def bare(self, cell: Defended) -> Any:  # Any: a counted model
        """The bare model of a defended cell."""
        return self.model(cell.model, cell.norm)

    def scoring(self, cell: Defended, ids: tuple[str, ...]) -> Scoring | None:
        """The draws that score images of the cell's defense; ``None`` where it isn't stochastic."""
        if not self.target(cell).stochastic:
            return None
        keys = Draws(cell.seed, "", "score").keys(ids, restarts=[0] * len(ids), device=self.device)
        return Scoring(keys, cell.defense.scoring_draws or RunOptions().scoring_draws)

    def _calibrate(self, cell: Defended, target: DefendedModel) -> None:
        if target.calibrated:
            return
        if self.calibration is None:
            raise BenchError(
                f"the defense {cell.defense_id} needs clean images to calibrate its threshold on: calibration"
            )
        x, y = self.calibration.batch(range(len(self.calibration)))
        target.calibrate(x.to(self.device), y.to(self.device), self._batch_size)
        self._model.passes.reset()

    @property
    def batch_size(self) -> int:
        """The most samples of a pass for the model that is loaded."""
        return self._batch_size

    def clean(self, cell: Defended, members: tuple[int, ...], x: Tensor, y: Tensor) -> Prediction:
        """Float32 predictions on clean images, kept for the next cell of the same row."""
        key = (f"{_key(cell.defense)} {cell.seed}", members)
        target = self.target(cell)
        if key not in self._clean:
            ids = tuple(self.dataset.sample_ids[index] for index in members)
            self._clean[key] = predict(target, x, y, self.batch_size, self.scoring(cell, ids))
            if cell.defense.name != "none" and not target.stochastic:
                self._same_again(cell, self._clean[key], predict(target, x, y, self.batch_size))
        return self._clean[key]

    def _same_again(self, cell: Defended, first: Prediction, again: Prediction) -> None:
        """A defense that is random on few images only shows it on many.

        Raises:
            BenchError: where two passes on the same images differ, though the defense doesn't declare that it is random.
        """
        scale = first.margin.abs().clamp_min(1.0)
        apart = ((first.margin - again.margin).abs() > REPEATABLE * scale).sum()
        if int(apart) and not self._probes[BARE].random:
            raise BenchError(
                f"the defense {cell.defense_id} is random, but doesn't declare it (stochastic): two passes on the same images "
                f"differ on {int(apart)} of {len(first.margin)}"
            )

    def clean_bare(self, cell: Defended, members: tuple[int, ...], x: Tensor, y: Tensor) -> Prediction:
        """The same of the bare model of a defended cell."""
        key = (f"{BARE} {cell.seed}", members)
        if key not in self._clean:
            self._clean[key] = predict(self.bare(cell), x, y, self.batch_size)
        return self._clean[key]


def channels_last(model: CountedModel, images: Tensor) -> None:
    """Stores the weights of convolutions with the channels last where that is faster; values don't change.

    That is on CPUs, and on GPUs that multiply bfloat16. A network that only works in the usual layout, as one that takes a
    ``view`` of what a convolution gives, keeps it.

    Args:
        model: changed in place.
        images: a few, to try it on, where it runs.
    """
    if images.device.type != "cpu" and search_precision("auto", images.device) != "bfloat16":
        return
    weights = [parameter for parameter in model.parameters() if parameter.dim() == 4]
    for layout in (torch.channels_last, torch.contiguous_format):
        for weight in weights:
            weight.data = weight.data.contiguous(memory_format=layout)
        try:
            model.check(images)
        except ModelError:  # whoever asked for the model checks it again, and tells
            continue
        return


def _key(defense: DefenseSpec) -> str:
    if defense.name == "none":
        return BARE
    return defense.model_dump_json(exclude={"id": True, "chain": {"__all__": {"id"}}})


def _probabilities(model: Any, images: Tensor) -> tuple[Flag, ...]:  # Any: as above
    """Outputs that look like probabilities."""
    if not model.looks_like_probabilities(images):
        return ()
    text = "the outputs look like probabilities, not logits: losses saturate and gradients vanish, so attacks look weak"
    source = "Carlini & Wagner 2017, arXiv:1608.04644"
    return (Flag(rule="probabilities", severity="warning", message=text, source=source),)
