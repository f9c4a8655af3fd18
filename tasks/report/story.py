"""What a report tells, before it is put into words: for the page, the card, the checklist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.evaluate.config import EvaluateConfig
from tasks.report.config import Lineage
from tasks.report.counts import Counts
from tasks.report.facts import Arm, Cohort, Cost, Label, Making
from tasks.report.findings import Findings


@dataclass(frozen=True)
class Story:
    """All that a report tells."""

    run: str
    findings: Findings
    cohort: Cohort
    labels: Sequence[Label]
    arms: Sequence[Arm]
    curves: Path  # curves.parquet
    difficulty: Mapping[str, Any]
    quality: Sequence[Mapping[str, Any]]  # checks of the source that hit a row
    contamination: Mapping[str, Any]  # what the guard counted; empty where nothing was compared
    leaks: Sequence[str]  # sentences: what was known too early
    settings: Mapping[str, Any]
    lineage: Lineage
    config: EvaluateConfig
    made: Making
    costs: Mapping[str, Cost] = field(default_factory=dict)  # by arm: what no history tells

    @cached_property
    def counts(self) -> Counts:
        """The counts of patients as all pages print them."""
        return Counts(self)

    @property
    def synthetic(self) -> bool:
        """Whether the patients were generated: the generator's truth was given."""
        return self.config.truth is not None

    @property
    def one_seed(self) -> bool:
        """Whether the figures are of one training seed: rows over several have none."""
        return self.findings.seeds != (None,)
