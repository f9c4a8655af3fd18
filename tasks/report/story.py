"""What a report tells, before it is put into words: for the page, the card, the checklist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.report.count_cells import Counted
from tasks.report.counts import Counts
from tasks.report.facts import Arm, Cost, Making
from tasks.report.source_words import SourceWords, source_words


@dataclass(frozen=True)
class Story(Counted):
    """All that a report tells."""

    run: str
    arms: Sequence[Arm]
    curves: Path  # curves.parquet
    difficulty: Mapping[str, Any]
    leaks: Sequence[str]  # sentences: what was known too early
    settings: Mapping[str, Any]
    made: Making
    synthetic: bool  # whether the patients were generated
    published: bool = False  # whether the paper's figures stand beside the run's
    costs: Mapping[str, Cost] = field(default_factory=dict)  # what no history tells

    @cached_property
    def counts(self) -> Counts:
        """The counts of patients as all pages print them."""
        return Counts(self)

    @property
    def source(self) -> SourceWords:
        """What the pages call the source of the notes."""
        return source_words(self.settings.get("ingest", {}).get("source"))

    @property
    def one_seed(self) -> bool:
        """Whether the figures are of one training seed: rows over several have none."""
        return self.findings.seeds != (None,)
