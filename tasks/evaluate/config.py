"""The configuration of the evaluate stage, and what a report says about where it came from."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.config import Config, Unkeyed


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
        "subgroup joins 'other', a smaller count of a label is printed as '<10'",
    )
    published: bool = Field(
        False,
        description="Print the AUROCs that Gema et al. published (MIMIC-III, other splits and "
        "labels) beside ours, marked as such",
    )


class Origin(Unkeyed):
    """An artifact that the run came to."""

    kind: str
    key: str
    digest: str
    how: Literal["made", "reused"] = Field(description="by the run that wrote this report")
    seconds: float = 0.0


class Lineage(Unkeyed):
    """The artifacts behind a report, in the run's order.

    Not part of the report's key: its inputs' digests are, and "made" turns to "reused" in the
    next run without a changed number.
    """

    artifacts: tuple[Origin, ...] = ()
