"""AdaptConfig: the stages' configs in one model; CompareConfig and SearchConfig: many of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, NonNegativeInt, Tag, model_validator

from tasks.audit.config import LeaksConfig, MemoryConfig
from tasks.baselines.config import BaselinesConfig
from tasks.config import Config, Unkeyed
from tasks.evaluate.config import EvaluateConfig
from tasks.finetune.config import FinetuneConfig
from tasks.hooks import HooksConfig
from tasks.ingest.config import IngestConfig
from tasks.launch import LaunchConfig
from tasks.pretrain.config import PretrainConfig
from tasks.report.config import Published, ReportConfig

NAME = r"^[a-z0-9][a-z0-9-]*$"


class TrackConfig(Unkeyed):
    """Where the numbers of a run are written once more, for a tracker."""

    tensorboard: Path | None = None
    """A folder for `tensorboard --logdir`: the histories of trainings, and metrics"""


class AdaptConfig(Config):
    """One run of the chain: what each stage does, and how its training programs are started."""

    name: str = Field(pattern=NAME)
    """The run's name, in reports and Prefect's UI artifacts"""
    ingest: IngestConfig
    pretrain: PretrainConfig
    finetune: FinetuneConfig
    baselines: BaselinesConfig = BaselinesConfig()
    """What the members are compared with"""
    evaluate: EvaluateConfig
    report: ReportConfig = Field(default_factory=ReportConfig)
    """What the report of a run shows"""
    audit: LeaksConfig = Field(default_factory=LeaksConfig)
    """How `clinfuse audit leaks` looks for leaks"""
    memory: MemoryConfig = Field(default_factory=MemoryConfig)
    """How `clinfuse audit memory` looks for what an adapter remembers"""
    launch: LaunchConfig = Field(default_factory=LaunchConfig)
    """How training programs are started"""
    track: TrackConfig = Field(default_factory=TrackConfig)
    """What is written for a tracker; nothing, unless it is asked for"""
    hooks: HooksConfig = Field(default_factory=HooksConfig)
    """Commands to run when the run has ended"""


class CompareConfig(Config):
    """Several runs on one leaderboard: models over finetuning seeds, or clinical adapters."""

    name: str = Field(pattern=NAME)
    """The leaderboard's name, in its page and Prefect's UI artifacts"""
    runs: tuple[AdaptConfig, ...] = Field(min_length=1)
    """The runs that are compared: each a preset, a name, and what differs. All must have the same
    test admissions and labels"""
    stage: Literal["finetune", "pretrain"] = "finetune"
    """How far each run goes. pretrain: clinical adapters are compared by the perplexity of
    validation patients' notes (of an encoder by the loss of masked words); nothing is finetuned,
    and seeds and reference are not used"""
    seeds: tuple[NonNegativeInt, ...] = Field(
        default=(1, 2, 3), min_length=1
    )  # s^2 of two seeds has one degree of freedom: its interval says little
    """Each run is finetuned with each of these as finetune.training.seed"""
    reference: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]*/.+$")
    """The model that all others are compared with, as run/variant, e.g. demo/tfidf. Empty: the
    first run's TF-IDF, or else its first member"""
    published: Published | None = None
    """Figures of a publication, which the leaderboard prints beside its own, marked as published"""
    hooks: HooksConfig = Field(default_factory=HooksConfig)
    """Commands to run when the comparison has ended; those of its runs are not"""

    @model_validator(mode="after")
    def _each_is_named_once(self) -> CompareConfig:
        names = [run.name for run in self.runs]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two runs are named '{min(twice)}'; give each a name of its own")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is given twice; give each once")
        if self.reference and self.reference.partition("/")[0] not in names:
            raise ValueError(
                f"the reference '{self.reference}' is of no run here; runs: {', '.join(names)}"
            )
        for row in self.published.rows if self.published else ():
            if row.beside and row.beside.partition("/")[0] not in names:
                raise ValueError(
                    f"'{row.name}' is published beside '{row.beside}', which is of no run here; "
                    f"runs: {', '.join(names)}"
                )
        return self


class RangeConfig(Config):
    """Numbers from which a search takes one; whole ones where both ends are."""

    low: int | float
    """The lowest"""
    high: int | float
    """The highest"""
    step: int | float | None = Field(default=None, gt=0)
    """Only the lowest and every so much above it; a grid needs it, but of whole numbers"""
    log: bool = False
    """Whether a tenth of a number is as far from it as ten times the number, as for learning
    rates"""

    @model_validator(mode="after")
    def _can_be_drawn_from(self) -> RangeConfig:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0, and no step")
        if self.whole and self.step is not None and not isinstance(self.step, int):
            raise ValueError("between whole numbers the step must be a whole number")
        return self

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


def _how_values_are_given(given: Any) -> str:
    return "range" if isinstance(given, dict | RangeConfig) else "values"


Values = Annotated[
    Annotated[tuple[Any, ...], Tag("values")] | Annotated[RangeConfig, Tag("range")],
    Discriminator(_how_values_are_given),
]


class SearchConfig(AdaptConfig):
    """A run, and what is tried in its stead: each trial is the run with one value for each key."""

    space: dict[str, Values] = Field(min_length=1)
    """What is tried: a key, as --set takes it -> a list of values, or {low, high, step, log}"""
    trials: int = Field(default=20, ge=1)
    """At most this many are tried; of a grid, at most all of it"""
    sampler: Literal["tpe", "grid", "random"] = "tpe"
    """How the next trial is chosen. tpe: where trials so far were good (a tree of Parzen
    estimators; the first ten at random); grid: every combination once, in an order that the seed
    decides; random: at random"""
    pruner: Literal["median", "none"] = "median"
    """median: a training is given up after a validation at which its best value so far is below the
    median of the trials before, once five have come to their end"""
    seed: int = Field(default=0, ge=0)
    """Of the sampler; the trials' own is finetune.training.seed"""
    stage: Literal["finetune", "pretrain"] = "finetune"
    """What a trial is judged by. finetune: the macro AUROC of a member on validation; pretrain: the
    perplexity of validation patients' notes with the clinical adapter (of an encoder the loss of
    masked words), where nothing is finetuned, and nothing pruned"""
    member: str | None = None
    """The member that is trained and judged; empty: the first of finetune.members"""

    @model_validator(mode="after")
    def _has_something_to_choose_from(self) -> SearchConfig:
        for key, values in self.space.items():
            if isinstance(values, RangeConfig):
                if self.sampler == "grid" and not values.whole and values.step is None:
                    raise ValueError(f"a grid needs a step for '{key}'; give one, or a list")
            elif not values or any(value in values[:index] for index, value in enumerate(values)):
                raise ValueError(f"'{key}' needs a list of values, each named once")
        names = [member.name for member in self.finetune.members]
        if self.member is not None and self.member not in names:
            raise ValueError(f"there is no member '{self.member}'; members: {', '.join(names)}")
        return self

    @property
    def run(self) -> AdaptConfig:
        """The run without what is tried."""
        return AdaptConfig(**{name: getattr(self, name) for name in AdaptConfig.model_fields})
