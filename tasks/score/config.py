"""What is scored, by which models, and when a drift is worth a warning."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from tasks.config import Config
from tasks.hooks import HooksConfig
from tasks.ingest.source_config import SourceConfig
from tasks.launch import LaunchConfig


class DriftConfig(Config):
    """How what was scored of late is compared with what the models learned from."""

    days: int = Field(default=7, ge=1)
    """Compare what was scored on the last so many days, today among them"""
    bound: float = Field(default=0.25, gt=0)  # Siddiqi 2006: above 0.1 a shift, above 0.25 a large
    """Warn where a population stability index is above this, and above what chance explains"""


class ScoreConfig(Config):
    """A regular scoring of new notes."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Its name, in Prefect's UI artifacts"""
    source: SourceConfig
    """Folder of .csv.gz or .csv files in MIMIC-IV's or MIMIC-III's layout, or a source of a kind as
    in ingest.source, with the new admissions and their notes; what was scored before may be among
    them"""
    note_source: Path | None = None
    """Folder that holds note/, if it is not in the same folder"""
    run: str | None = None
    """Score with the members of the last evaluated run of this name"""
    members: tuple[str, ...] = ()
    """With run: the names of those of its members that score; empty: all. Without: the keys of
    task-adapter artifacts, or their first characters"""
    outcomes: tuple[str, ...] = ()
    """The outcomes that are wanted; empty: all that the members have"""
    base: Path | None = None
    """Folder of the base, where it is no artifact of the store and not where it was in training"""
    max_reject_share: float = Field(default=0.01, ge=0, le=1)
    """Stop if more than this share of a table's rows cannot be used"""
    drift: DriftConfig = DriftConfig()
    """When a drift is worth a warning"""
    launch: LaunchConfig = Field(default_factory=LaunchConfig)
    """How the scoring program is started"""
    hooks: HooksConfig = Field(default_factory=HooksConfig)
    """Commands to run when the scoring has ended"""

    @model_validator(mode="after")
    def _names_its_models(self) -> Self:
        if self.run is None and not self.members:
            raise ValueError("no model is named; set run to a run's name, or members to keys")
        return self
