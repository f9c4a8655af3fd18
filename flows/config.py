"""AdaptConfig: the stages' configs in one model; CompareConfig: several of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from tasks.audit.config import LeaksConfig, MemoryConfig
from tasks.baselines.config import BaselinesConfig
from tasks.config import Config
from tasks.evaluate.config import EvaluateConfig
from tasks.finetune.config import FinetuneConfig
from tasks.ingest.config import IngestConfig
from tasks.launch import LaunchConfig
from tasks.pretrain.config import PretrainConfig
from tasks.report.config import ReportConfig

NAME = r"^[a-z0-9][a-z0-9-]*$"


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


class CompareConfig(Config):
    """Several runs on one leaderboard: models over finetuning seeds, or clinical adapters."""

    name: str = Field(pattern=NAME)
    """The leaderboard's name, in its page and Prefect's UI artifacts"""
    runs: tuple[AdaptConfig, ...] = Field(min_length=1)
    """The runs that are compared: each a preset, a name, and what differs. All must have the same
    test admissions and labels"""
    stage: Literal["finetune", "pretrain"] = "finetune"
    """How far each run goes. pretrain: clinical adapters are compared by the perplexity of
    validation patients' notes; nothing is finetuned, and seeds and reference are not used"""
    seeds: tuple[NonNegativeInt, ...] = Field(
        default=(1, 2, 3), min_length=1
    )  # s^2 of two seeds has one degree of freedom: its interval says little
    """Each run is finetuned with each of these as finetune.training.seed"""
    reference: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]*/.+$")
    """The model that all others are compared with, as run/variant, e.g. demo/tfidf. Empty: the
    first run's TF-IDF, or else its first member"""

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
        return self
