"""From trained weights to their card: they are read back, attacked or denoised with, and described."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from bench.datasets.base import Dataset
from bench.digests import file_digest
from bench.models.architectures import building
from bench.training import card, measure, psnr
from bench.training.card import Card, DenoiserCard, TrainingFacts
from bench.training.recipe import Recipe
from bench.training.verdicts import SavedVerdicts

QUIET_SECONDS = 60.0
"""Lines inside a long attack come at most this often."""


class Slowly:
    """A line now and then inside a long attack.

    Args:
        tell: called with it.
        place: attack and threat model.
    """

    def __init__(self, tell: Callable[[str], None], place: str) -> None:
        self._tell, self._place, self._last = tell, place, time.monotonic()

    def __call__(self, finished: int, robust: int, stage: str = "") -> None:
        """See :class:`bench.attacks.listener.Listener`."""
        now = time.monotonic()
        if now - self._last > QUIET_SECONDS:
            self._last = now
            where = f", in {stage}" if stage else ""
            self._tell(f"{self._place}: {robust} of those under attack robust so far{where}")


@dataclass(frozen=True, slots=True)
class Measuring:
    """Measures weights as a recipe asks for.

    Attributes:
        recipe: what to measure.
        train_images: for the card.
        test_images: what is attacked, or denoised.
        device: where.
        command: how the training was called.
        tell: called with a line for people at every step.
    """

    recipe: Recipe
    train_images: Dataset
    test_images: Dataset
    device: torch.device
    command: str
    tell: Callable[[str], None]

    def write_card(self, network: nn.Module, weights: Path, facts: TrainingFacts) -> Card | DenoiserCard:
        """The card of the weights as they lie on disk, written beside them.

        Args:
            network: of their architecture; it gets them.
            weights: the safetensors file. Verdicts lie beside it in ``<name>.measured`` until the card is written.
            facts: of the training.

        Raises:
            AttackError: where an attack claims to have broken an image that the judge finds unbroken.
            StoreError: if something can't be written.
        """
        network.load_state_dict(safetensors.torch.load_file(weights))
        network.to(self.device)
        saved = SavedVerdicts(
            weights.with_suffix(".measured"),
            weights=file_digest(weights),
            architecture=building.code_digest(self.recipe.architecture, self.recipe.architecture_args),
            images=self.test_images.digest,
            device=self.device,
        )
        made: Card | DenoiserCard
        if self.recipe.task == "classification":
            made = self._attacked(network, weights, facts, saved)
        else:
            made = self._denoised(network, weights, facts)
        made = made.model_copy(update={"name": weights.stem})
        card.save(weights.with_suffix(".json"), made)
        saved.forget()
        return made

    def _denoised(self, network: nn.Module, weights: Path, facts: TrainingFacts) -> DenoiserCard:
        """The card of a denoiser."""
        std = self.recipe.measured_std
        found = psnr.denoised(network, self.test_images, std, self.device)
        change = f"PSNR {found.noisy.mean():.2f} dB -> {found.denoised.mean():.2f} dB"
        self.tell(f"{change} under noise of {std:g}, mean over {len(found.noisy)} test images")
        return card.make_denoiser(
            self.recipe,
            weights=weights,
            train_images=self.train_images,
            test_images=self.test_images,
            psnr=found,
            training=facts,
            command=self.command,
        )

    def _attacked(self, network: nn.Module, weights: Path, facts: TrainingFacts, saved: SavedVerdicts) -> Card:
        """The card of a classifier."""
        correct = measure.clean(network, self.test_images, self.device)
        self.tell(f"clean accuracy {correct.mean():.1%} of {len(correct)} test images")
        results = []
        for threat_model in self.recipe.evaluation.threat_models:
            for attack in self.recipe.evaluation.attacks:
                place = f"{measure.resolved(attack).id} under {threat_model.label}"

                def tell(finished: int, robust: int, place: str = place) -> None:
                    self.tell(f"{place}: {robust} of {finished} test images robust")

                results.append(
                    measure.attacked(
                        network,
                        self.test_images,
                        correct,
                        attack=attack,
                        threat_model=threat_model,
                        device=self.device,
                        report=tell,
                        listener=Slowly(self.tell, place),
                        saved=saved,
                    )
                )
        return card.make(
            self.recipe,
            weights=weights,
            train_images=self.train_images,
            test_images=self.test_images,
            correct=correct,
            attacks=tuple(results),
            training=facts,
            command=self.command,
        )
