"""The counts of patients and admissions on a run's pages: chosen once, for all pages alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.report.cells import WITHHELD, side_by_side
from tasks.report.count_cells import UNITS, Counted, cell_of, cells_of
from tasks.report.facts import Label
from tasks.report.findings import Findings, Space

_Row = Mapping[str, Any]


class Counts:
    """What the templates print for a count, by its cell (`count_cells.py`)."""

    def __init__(self, story: Counted) -> None:
        self.printed = cells_of(story).printed()
        self._groups = set(self._printed_groups(story.findings))

    def text(self, *cell: Any) -> str:
        """The count, "<10", or that it is withheld."""
        return self.printed.text(cell)

    def of(self, unit: str, name: str) -> str:
        """The count with its unit: "1,007 admissions", "a withheld number of patients"."""
        return self.printed.phrase((unit, name), unit)

    def label(self, label: Label, split: str) -> str:
        return self.text(*cell_of(label, split))

    def at_least(self, label: Label, split: str) -> int | None:
        """The label's count, a smaller one than is printed as that; None where it is withheld."""
        return self.printed.at_least(cell_of(label, split))

    @property
    def smallest(self) -> int:
        """The smallest count that is printed."""
        return self.printed.smallest

    def group(self, row: _Row, unit: str) -> str:
        """The size of a group of patients, from one of its metrics rows."""
        column = row["group"].partition("=")[0]
        known = (row["outcome"], column) in self._groups
        return f"{row[UNITS[unit]]:,}" if known else WITHHELD

    def exact(self, label: Label, split: str) -> bool:
        """Whether the label's count is printed as it is."""
        return self.printed.exact(cell_of(label, split))

    def space(self, space: Space) -> str:
        """The admissions in which the labels of a code system are known."""
        return self.text("system", space.outcome, space.code_system)

    @property
    def any_hidden(self) -> bool:
        return bool(self.printed.small or self.printed.withheld)

    @property
    def rule(self) -> str:
        """What the pages say of counts that they do not print."""
        return (
            f"Counts of 1 to {self.smallest - 1} patients or admissions are printed as "
            f'"<{self.smallest}"; others are withheld where such a one would follow by subtraction.'
        )

    def _printed_groups(self, findings: Findings) -> Iterator[tuple[str, str]]:
        """(outcome, column) of every partition of the patients whose sizes may be printed.

        Another outcome is observed in nearly the same patients; and no size of the whole may
        follow that is not printed itself.
        """
        partitions: dict[str, dict[str, dict[str, _Row]]] = {}
        for outcome in findings.outcomes if findings.models else ():
            for (column, name), row in findings.patients(findings.overall(outcome)).items():
                partitions.setdefault(column, {}).setdefault(outcome, {})[name] = row
        for column, outcomes in partitions.items():
            kept = set(outcomes)
            for unit, field in UNITS.items():
                sizes = {
                    outcome: {name: row[field] for name, row in groups.items()}
                    for outcome, groups in outcomes.items()
                    if self.printed.exact((unit, outcome))
                }
                kept &= set(side_by_side(sizes, self.smallest))
            yield from ((outcome, column) for outcome in kept)
