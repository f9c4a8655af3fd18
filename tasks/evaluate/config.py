"""The configuration of the evaluate stage, and what a report says about where it came from."""

from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.config import Config, Unkeyed

NOTE = "why no interval"  # a column of headline.json, which a terminal prints below the table


class EvaluateConfig(Config):
    """What is measured on the test split, and what the report shows."""

    truth: Path | None = Field(
        None,
        description="truth.parquet of the synthetic generator: the best reachable prediction "
        "(p_best) of every label. Leave empty for real data",
    )
    subgroups: bool = Field(
        True,
        description="AUROC by sex, age band, race, insurance, language and admission type. "
        "Turn off where these columns mean nothing (CodiEsp: hashes)",
    )
    smallest_cell: int = Field(
        10,
        ge=1,
        description="The smallest number of patients or cases that the report prints; a smaller "
        "subgroup joins 'other', a smaller count is printed as '<10', and what would give it away "
        "by subtraction is withheld",
    )
    bootstrap_draws: int = Field(
        0,
        ge=0,
        description="Draws of the cluster bootstrap of the first variant's macro AUROC, the check "
        "on the analytic intervals; 1000 take 20 s of a core for 1,266 labels of 9,829 admissions. "
        "0: none",
    )
    published: bool = Field(
        False,
        description="Print the AUROCs that Gema et al. published (MIMIC-III, other splits and "
        "labels) beside ours, marked as such",
    )


class LeaksConfig(Config):
    """The leak audit: what a bag of words learns from each section of the notes alone."""

    smallest_patients: int = Field(
        default=20,
        ge=20,  # what fewer patients say may point at one of them
        description="A term is used, and a label asked for, that at least so many training "
        "patients have",
    )
    validation_patients: int = Field(
        default=10,
        ge=2,
        # intervals are of a normal distribution: with labels of one or two patients, permuted
        # labels were flagged in 3 of 12 trials
        description="A label is asked for that at least so many validation patients have",
    )
    terms: int = Field(
        default=10, ge=1, description="Terms listed of each label and section: the largest weights"
    )
    most_terms: int = Field(
        default=4096,
        ge=1,
        description="The bag of a section holds its most frequent terms, so many",
    )
    most_labels: int = Field(
        default=500,
        ge=1,
        description="The most frequent labels of a code system are asked for, so many",
    )
    most_admissions: int = Field(
        default=20_000,
        ge=1,
        description="Learn from about so many training admissions, whole patients",
    )
    penalty: float = Field(
        default=100.0,  # 10 to 1000 tried on the demo: the admission note's AUROC peaks about here
        gt=0,
        description="Strength of the ridge penalty on the weights",
    )


class Origin(Unkeyed):
    """An artifact that the run came to, and what its manifest says of how it was made.

    Nothing of what this run did about it: another run with the same key takes the same report.
    """

    kind: str
    key: str
    digest: str
    counts: dict[str, Any] = Field(default_factory=dict)
    took_seconds: float | None = Field(None, description="to make it, by whichever run did")
    peak_mib: float | None = None
    created: str | None = Field(None, description="date and time, UTC")
    packages: dict[str, str] = Field(default_factory=dict, description="name -> version")
    git_commit: str | None = None
    cores: int | None = Field(None, description="of the machine, whose name stays in the store")
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
