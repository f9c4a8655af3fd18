"""What attention is worth as an explanation: figures alone, no words of a note."""

from __future__ import annotations

from tasks.report.document import Facts
from tasks.report.findings import Findings
from tasks.report.grids import Measure, measured

_MEASURES = (
    Measure("Deletion, attention's order", "deletion_area"),
    Measure("Insertion, attention's order", "insertion_area"),
    Measure("Either, random order", "random_area"),
    Measure("Random minus deletion", "deletion_below_random", "+.3f"),
    Measure("Insertion minus random", "insertion_above_random", "+.3f"),
)


def evidence(findings: Findings) -> Facts:
    caption = "Areas under the curves of deletion and insertion"
    return {"faithfulness": measured(findings, caption, _MEASURES)}
