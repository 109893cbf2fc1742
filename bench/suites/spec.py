"""What a suite says, in its canonical form.

The short forms of the YAML (``- fgsm``, ``eps: 8/255``, ``robustbench:Wong2020Fast``) are widened here, so that files,
``--set`` and Python take the same words. Names, norms and parameters are checked against the tables in
:mod:`bench.suites.check`; the model and the data themselves in the runner's preflight.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bench.suites.corruptions import CorruptionsSpec
from bench.suites.short_forms import (
    LISTS,
    each_eps,
    fold_args,
    identifier,
    model_id,
    named,
    split_model,
    split_threat_model,
)
from bench.suites.short_forms import format_eps as format_eps
from bench.suites.short_forms import parse_eps as parse_eps
from bench.suites.transfer import TransferSpec, from_boolean

Norm = Literal["linf", "l2", "l1", "l0"]
Adversary = Literal["oblivious", "naive", "adaptive"]
Search = Literal["first_success", "strongest"]
Precision = Literal["auto", "float32", "bfloat16"]
SaveAdversarial = Literal["none", "successes", "all"]
Reuse = Literal["smaller_eps", "none"]

CHAIN = "chain"
"""Name of a defense that is several."""

Eps = Annotated[Fraction, BeforeValidator(parse_eps), PlainSerializer(str, return_type=str)]
Identifier = Annotated[str, BeforeValidator(lambda value: identifier(value) if isinstance(value, str) else value)]


class Spec(BaseModel):
    """Base of everything that a suite says: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_booleans(cls, value: object) -> object:
        """No field of a suite is a boolean, and pydantic would read true as 1."""
        if isinstance(value, bool) or (isinstance(value, list | tuple) and any(isinstance(v, bool) for v in value)):
            raise ValueError(
                f"true and false are not wanted here, got {value!r}".replace("True", "true").replace("False", "false")
            )
        return value


class DatasetSpec(Spec):
    """Which images: a name from the table of datasets, where they come from, and which of them."""

    name: str = Field(description="a name that `bench list datasets` shows, such as cifar10")
    source: str | None = Field(
        None, description="where they come from, such as samples (the few images that foolbox ships)"
    )
    path: str | None = Field(
        None, description="file or directory of images; relative to the suite, else to the working directory"
    )
    split: Literal["train", "test", "val"] = Field("test", description="which part of the dataset")
    samples: int | None = Field(None, ge=1, description="how many images; all where it isn't given")
    select: Literal["first", "random", "stratified"] = Field("first", description="which images are taken")
    seed: int = Field(0, ge=0, description="seed of a random or stratified selection")
    args: dict[str, Any] = Field(
        {}, description="further parameters of this dataset"
    )  # Any: the dataset's own parameters

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: object) -> object:
        return fold_args(named(value), frozenset(cls.model_fields))


class ThreatModelSpec(Spec):
    """The norm and the radius that an adversarial example must keep."""

    norm: Norm = Field(description="the distance: linf, l2, l1 or l0")
    eps: Eps = Field(description="the radius in [0, 1] units, such as 8/255")

    @field_validator("norm", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: object) -> object:
        return split_threat_model(value) if isinstance(value, str) else value

    @property
    def label(self) -> str:
        """For people: ``Linf 8/255``."""
        return f"{self.norm.capitalize()} {format_eps(self.eps)}"

    @property
    def slug(self) -> str:
        """For file names: ``linf-8_255``."""
        return f"{self.norm}-{format_eps(self.eps).replace('/', '_')}"


class ModelSpec(Spec):
    """A model: where its weights come from and how it is built."""

    id: Identifier = Field(description="the name in tables and files")
    source: str = Field(description="robustbench, timm, checkpoint, trained, recipe, zoo, or a plugin's name")
    name: str | None = Field(None, description="the model's name in its source, such as Wong2020Fast")
    weights: str | None = Field(
        None, description="file of weights; relative to the suite, else to the working directory"
    )
    recipe: str | None = Field(
        None,
        description="with the source recipe: a recipe of `bench train`, which `bench run` trains where its weights are "
        "missing; relative to the suite, else to the working directory",
    )
    key: str | None = Field(
        None, description="where the state dict lies inside the file, such as state_dict or state_dict.0"
    )
    architecture: str | None = Field(None, description="a name that `bench list architectures` shows")
    architecture_args: dict[str, Any] = Field(
        {}, description="parameters of the architecture"
    )  # Any: the architecture's own
    mean: tuple[float, ...] | None = Field(None, description="normalisation: mean per channel, in [0, 1] units")
    std: tuple[float, ...] | None = Field(None, description="normalisation: standard deviation per channel")
    sha256: str | None = Field(None, pattern=r"^[0-9a-fA-F]{64}$", description="digest that the weights must have")
    clean_accuracy: float | None = Field(None, ge=0, le=100, description="declared clean accuracy in %")
    directory: str | None = Field(
        None, description="where robustbench keeps its weights (<dir>/<dataset>/<threat model>/<name>.pt)"
    )
    threat_model: Literal["Linf", "L2", "corruptions"] | None = Field(
        None, description="robustbench's list that the model stands in; the suite's norm where it isn't given"
    )
    args: dict[str, Any] = Field({}, description="further parameters of the source")  # Any: the source's own parameters

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: object) -> object:
        if isinstance(value, str):
            value = split_model(value)
        if not isinstance(value, Mapping):
            return value
        value = dict(value)
        if isinstance(value.get("architecture"), Mapping):
            architecture = dict(value["architecture"])
            value["architecture"] = architecture.pop("name", None)
            args = architecture.pop("args", None)
            value["architecture_args"] = {**(args if isinstance(args, Mapping) else {}), **architecture}
        if value.get("id") is None:
            value["id"] = model_id(value)
        return value


class AttackSpec(Spec):
    """An attack and its parameters."""

    id: Identifier | None = Field(
        None, description="the name in tables; made from name and parameters where it isn't given"
    )
    name: str = Field(description="a name that `bench list attacks` shows, such as pgd")
    backend: str | None = Field(None, description="whose implementation; the attack's default where it isn't given")
    search: Search | None = Field(
        None,
        description="run.search for this attack alone; under strongest a minimum-norm attack spends its whole budget "
        "and gives the curve of robust accuracy against eps",
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="attacks of one group are the same attack of several libraries; a table says where they differ",
    )
    time_limit: float | None = Field(
        None,
        gt=0,
        description="run.time_limit for this attack alone: seconds for each image, on average over a shard",
    )
    args: dict[str, Any] = Field(
        {}, description="the attack's parameters (also written beside name)"
    )  # Any: the attack's own

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: object) -> object:
        return fold_args(named(value), frozenset(cls.model_fields))


class DefenseSpec(Spec):
    """A defense and its parameters, or a chain of several; ``none`` is the bare model."""

    id: Identifier | None = Field(
        None, description="the name in tables; made from name and parameters where it isn't given"
    )
    name: str = Field(description="a name that `bench list defenses` shows, or none; chain where there is a chain")
    chain: tuple[DefenseSpec, ...] = Field(
        (), description="several defenses, that of the image first; a detector or a vote comes last"
    )
    surrogate: str | None = Field(
        None,
        description="whose gradient the adaptive adversary takes (BPDA): own (the defense's, the default), identity, exact, or "
        "a differentiable purifier's name",
    )
    eot_iter: int | None = Field(
        None, ge=1, description="run.eot_iter for this defense alone: passes that each gradient is averaged over (EOT)"
    )
    scoring_draws: int | None = Field(
        None, ge=1, description="run.scoring_draws for this defense alone: fresh draws that score each image"
    )
    args: dict[str, Any] = Field(
        {}, description="the defense's parameters (also written beside name)"
    )  # Any: the defense's own

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: object) -> object:
        if value is None:
            value = "none"
        if isinstance(value, Mapping) and "chain" in value and value.get("name") is None:
            value = {**value, "name": CHAIN}
        return fold_args(named(value), frozenset(cls.model_fields))

    @model_validator(mode="after")
    def _whole(self) -> DefenseSpec:
        if (self.name == CHAIN) != bool(self.chain):
            raise ValueError("a chain is a list of defenses: chain: [{name: jpeg}, {name: median_blur}]")
        if self.chain and self.args:
            raise ValueError(f"a chain has no parameters of its own, got {', '.join(map(str, self.args))}")
        for one in self.chain:
            if one.chain or one.name == "none":
                raise ValueError(f"a chain holds defenses, got {one.name!r} inside one")
            if one.eot_iter or one.scoring_draws:
                raise ValueError("eot_iter and scoring_draws belong to the chain as a whole")
        return self

    @property
    def links(self) -> tuple[DefenseSpec, ...]:
        """The defenses that it is made of: those of the chain, or itself; none for the bare model."""
        return self.chain or (() if self.name == "none" else (self,))


class Combination(Spec):
    """A filter on combinations: ids or patterns (``*``) of what it names; what it doesn't name, it doesn't restrict."""

    model: str | list[str] | None = Field(None, description="model ids")
    defense: str | list[str] | None = Field(None, description="defense ids")
    attack: str | list[str] | None = Field(None, description="attack ids")
    threat_model: str | list[str] | None = Field(None, description="threat models, such as linf:8/255 or linf:*")
    adversary: str | list[str] | None = Field(None, description="oblivious, naive or adaptive")


class RunOptions(Spec):
    """How the suite is run; device, batch size and shards don't change a verdict."""

    seeds: tuple[int, ...] = Field(
        (0,), min_length=1, description="attack seeds; several are restarts: their union is ranked"
    )
    precision: Precision = Field(
        "auto",
        description="arithmetic of our own attacks' passes; auto takes bfloat16 where the hardware multiplies it; "
        "every success is verified in float32",
    )
    search: Search = Field("first_success", description="stop at the first verified success, or spend the whole budget")
    reuse: Reuse = Field(
        "smaller_eps",
        description="where a suite has several eps of one norm: don't attack again what a smaller one broke "
        "(first_success only), or attack every eps from nothing",
    )
    eot_iter: int = Field(
        10, ge=1, description="passes that each gradient of a stochastic defense is averaged over (EOT)"
    )
    scoring_draws: int = Field(
        50,
        ge=1,
        description="fresh draws that score each image of a stochastic defense: a success is a majority of them",
    )
    time_limit: float | None = Field(
        None,
        gt=0,
        description="seconds that an attack may take for each image, on average over a shard; what takes longer is an error. "
        "No limit where it isn't given",
    )
    save_adversarial: SaveAdversarial = Field("successes", description="which adversarial examples are kept on disk")
    shard_size: int = Field(256, ge=1, le=4096, description="samples per unit of work, saving and resuming")
    gradient_free_queries: int = Field(
        500,
        ge=0,
        description="queries of the gradient-free attack added to every defended row; 0 switches it off (flagged)",
    )
    detector_steps: int = Field(
        200,
        ge=0,
        description="steps of adam_pgd, which is added under linf to every row whose defense rejects; 0 switches it off "
        "(flagged)",
    )

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: object) -> object:
        if isinstance(value, Mapping) and "seed" in value and "seeds" not in value:  # with both, seed is refused
            value = {**{key: item for key, item in value.items() if key != "seed"}, "seeds": [value["seed"]]}
        if isinstance(value, Mapping) and isinstance(value.get("seeds"), int):
            value = {**value, "seeds": [value["seeds"]]}
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or any(seed < 0 for seed in value):
            raise ValueError(f"seeds must be distinct and at least 0, got {list(value)}")
        return value


class AuditOptions(Spec):
    """How the audit looks at the numbers after a run; nothing here changes a verdict."""

    samples: int = Field(
        100,
        ge=0,
        description="the audit's probes attack the first so many images; 0 switches the probes off",
    )
    queries: int = Field(500, ge=1, description="queries of the probe without gradients, on each image")


class Suite(Spec):
    """One YAML file: what to evaluate."""

    name: Identifier = Field(description="name of the suite, and of its directory under results/")
    description: str = Field("", description="one line for people")
    task: Literal["classification"] = Field("classification", description="what the models do")
    plugins: tuple[str, ...] = Field(
        (), description="Python files with models, attacks, ... of your own; need --allow-plugins"
    )
    dataset: DatasetSpec = Field(description="the images")
    corruptions: CorruptionsSpec | None = Field(
        None,
        description="common corruptions of the images, in a table of their own: all, or some of the 15, at severities 1 to 5; "
        "beside them threat_models and attacks may be left out",
    )
    threat_models: tuple[ThreatModelSpec, ...] = Field(description="norms and radii; eps may be a list")
    models: tuple[ModelSpec, ...] = Field(min_length=1, description="the models")
    attacks: tuple[AttackSpec, ...] = Field(description="the attacks")
    defenses: tuple[DefenseSpec, ...] = Field((DefenseSpec(name="none"),), min_length=1, description="the defenses")
    adversaries: tuple[Adversary, ...] = Field(
        ("oblivious", "adaptive"),
        min_length=1,
        description="what the attacker of a defense knows: oblivious attacks the bare model, naive the defended one as if it "
        "were any other (no BPDA, no EOT, blind to rejection), adaptive knows everything",
    )
    calibration: DatasetSpec | None = Field(
        None,
        description="clean images that detectors' thresholds are calibrated on; those of the dataset that the suite doesn't "
        "evaluate where it isn't given",
    )
    transfer: TransferSpec | None = Field(
        None,
        description="try the examples of each bare model on the others, with and without defenses: all (or true), or a "
        "selection of sources, targets, defenses, attacks and threat_models",
    )
    metrics: tuple[str, ...] = Field((), description="metrics to record; all where none is given")
    include: tuple[Combination, ...] = Field((), description="keep only combinations that one of these names")
    exclude: tuple[Combination, ...] = Field((), description="drop combinations that one of these names")
    run: RunOptions = Field(RunOptions(), description="how the suite is run")
    audit: AuditOptions = Field(AuditOptions(), description="how its numbers are audited")

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        value = from_boolean(value)
        for section in LISTS:
            if isinstance(value.get(section), str | Mapping):
                value[section] = [value[section]]
        if isinstance(value.get("threat_models"), list | tuple):
            value["threat_models"] = [one for item in value["threat_models"] for one in each_eps(item)]
        if value.get("corruptions") is not None:
            value = {"threat_models": [], "attacks": [], **value}
        if "seeds" in value:
            run = value.get("run") or {}
            if not isinstance(run, Mapping):
                return value
            if "seed" not in run and "seeds" not in run:  # with both, those at the top are refused
                value["run"] = {**run, "seeds": value.pop("seeds")}
        return value

    @field_validator("threat_models", "attacks")
    @classmethod
    def _attacked(cls, value: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:  # Any: a spec of either kind
        """Something has to be evaluated: attacks under threat models, or corruptions."""
        if not value and info.data.get("corruptions", "wrong") is None:
            raise PydanticCustomError("too_short", "too few items", {"min_length": 1})
        return value
