"""What a report shows, and where it came from."""

from typing import Any

from pydantic import Field, field_validator

from tasks.config import Config, Unkeyed

NOTE = "why no interval"  # a column of headline.json, which a terminal prints below the table


class ReportConfig(Config):
    """What the report of a run shows."""

    published: bool = False
    """Print the AUROCs that Gema et al. published (MIMIC-III, other splits and labels) beside the
    run's own, marked as published"""
    alarm_below: float | None = Field(default=None, ge=0, le=1)
    """Where a macro AUROC of the run's first model is below this, the run says so in its log, and
    to Prefect with the event `clinfuse.auroc-below`; null: never. No part of a report's key"""


class PublishedRow(Config):
    """A model of a publication."""

    name: str
    """What it is called there"""
    auroc: dict[str, float] = Field(min_length=1)
    """Outcome -> its AUROC there, between 0 and 1"""
    beside: str | None = None
    """The model of ours that stands beside it, as run/variant"""

    @field_validator("auroc")
    @classmethod
    def _are_aurocs(cls, auroc: dict[str, float]) -> dict[str, float]:
        for outcome, value in auroc.items():
            if not 0 <= value <= 1:
                raise ValueError(f"the AUROC of {outcome} is {value:g}; write it between 0 and 1")
        return auroc


class Published(Config):
    """What others have published, to be printed beside a leaderboard's own figures."""

    source: str
    """Who published it, where, and of which data: a sentence above the table"""
    rows: tuple[PublishedRow, ...] = Field(min_length=1)
    """The models, in the publication's order"""


class Adapted(Config):
    """A run's clinical adapter in a table of several."""

    base: str
    """what the base is called"""
    method: str
    parameters: int
    """that were trained"""


class Origin(Unkeyed):
    """An artifact that the run came to, and what its manifest says of how it was made.

    It says nothing of this run: another run with the same key takes the same report.
    """

    kind: str
    key: str
    digest: str
    counts: dict[str, Any] = Field(default_factory=dict)
    took_seconds: float | None = None
    """in whichever run made it"""
    peak_mib: float | None = None
    created: str | None = None
    """date and time, UTC"""
    packages: dict[str, str] = Field(default_factory=dict)
    """name -> version"""
    git_commit: str | None = None
    cores: int | None = None
    """of the machine, whose name stays in the store"""
    gpus: tuple[str, ...] = ()

    @property
    def made(self) -> str:
        """When, to the minute."""
        return self.created[:16].replace("T", " ") if self.created else "unknown"


class Lineage(Unkeyed):
    """The artifacts behind a report, in the run's order.

    Not part of the report's key: its inputs' digests are. An input that is made anew from equal
    bytes has another time of making and the same report.
    """

    artifacts: tuple[Origin, ...] = ()
