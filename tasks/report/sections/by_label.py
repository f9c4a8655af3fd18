"""Single labels: the best and the worst, and as many of the others as a page can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.facts import Label
from tasks.report.findings import Findings, Space
from tasks.report.printing import why_withheld

BEST_AND_WORST = 10  # of an outcome, above the full table
MOST_ROWS = 1000  # of the full table of an outcome


@dataclass(frozen=True)
class LabelRow:
    """A label with its AUROC in each model."""

    label: Label
    aurocs: tuple[Mapping[str, Any] | None, ...]  # a metrics row a model; None: not measured


@dataclass(frozen=True)
class Labels:
    """An outcome's labels, the best of the first model first, undefined ones last."""

    space: Space
    count: int
    best: list[LabelRow]
    worst: list[LabelRow]  # the worst last; both empty where the full table is short
    fewest: int  # test cases of a label among the best and the worst; 0: any
    full: list[LabelRow]  # the most frequent, where not all fit

    @property
    def cut(self) -> bool:
        return len(self.full) < self.count


def labels_by_outcome(
    findings: Findings, labels: Sequence[Label], smallest_cell: int
) -> list[Labels]:
    """The outcomes' labels; best and worst are among those with enough test cases, if many have."""
    rows_of: dict[str, list[LabelRow]] = {name: [] for name in findings.outcomes}
    for label in labels:
        if label.outcome in rows_of:
            aurocs = tuple(
                findings.raw("auroc", model.name, label.outcome, label.code_system, label.code)
                for model in findings.models
            )
            rows_of[label.outcome].append(LabelRow(label, aurocs))
    return [
        _labels(findings.overall(name), rows, smallest_cell)
        for name, rows in rows_of.items()
        if rows
    ]


def _labels(space: Space, rows: list[LabelRow], smallest_cell: int) -> Labels:
    ordered = sorted(rows, key=_rank)
    short = len(rows) <= 2 * BEST_AND_WORST
    ranked = [] if short else [row for row in ordered if _rank(row) <= 0]
    # of labels with a case or two, chance alone puts some at 1.000 and some at 0.000
    common = [row for row in ranked if row.label.test >= smallest_cell]
    enough = len(common) >= 2 * BEST_AND_WORST
    ranked = common if enough else ranked
    most = sorted(rows, key=lambda row: -row.label.train)[:MOST_ROWS]
    return Labels(
        space,
        len(rows),
        ranked[:BEST_AND_WORST],
        ranked[BEST_AND_WORST:][-BEST_AND_WORST:],
        smallest_cell if enough else 0,
        sorted(most, key=_rank) if len(rows) > MOST_ROWS else ordered,
    )


def reasons(labels: Iterable[Labels]) -> list[str]:
    """Why intervals of the labels are withheld: each reason once."""
    every = {
        why_withheld(row)
        for outcome in labels
        for label in outcome.full
        for row in label.aurocs
        if row and row["value"] is not None
    }
    return sorted(every - {""})


def _rank(row: LabelRow) -> float:
    """The best of the first model first; 1 where it is undefined."""
    first = row.aurocs[0]
    return 1.0 if first is None or first["value"] is None else -first["value"]
