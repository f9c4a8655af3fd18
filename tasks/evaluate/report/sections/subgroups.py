"""Subgroups of patients: AUROC within each, and the largest gap between two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.evaluate.report.charts import forest
from tasks.evaluate.report.figures import Figure, around, said, style_of, whisker
from tasks.evaluate.report.findings import Findings, Space
from tasks.evaluate.report.printing import small
from tasks.evaluate.report.sections.frequency import BAND

_Row = Mapping[str, Any]


@dataclass(frozen=True)
class Gap:
    """The largest gap between two groups of a column."""

    column: str
    row: _Row
    p: _Row | None


@dataclass(frozen=True)
class Subgroups:
    """An outcome's groups: rows (column, group, its row), a chart a column, the largest gaps."""

    space: Space
    rows: list[tuple[str, str, _Row]]
    figures: list[Figure]
    gaps: list[Gap]


def subgroups(findings: Findings, smallest_cell: int) -> list[Subgroups]:
    """The outcomes of which groups were measured, in the order of the report."""
    found: dict[str, dict[tuple[str, str], _Row]] = {}
    for row in findings.by_group("auroc_macro"):
        column, equals, name = row["group"].partition("=")
        if equals and not row["group"].startswith(BAND) and _mine(findings, row):
            found.setdefault(row["outcome"], {})[column, name] = row
    made = []
    for outcome in findings.outcomes:
        rows = [(*group, row) for group, row in found.get(outcome, {}).items()]
        if rows:
            figures = _forests(findings, outcome, rows, smallest_cell)
            gaps = _gaps(findings, outcome)
            made.append(Subgroups(findings.overall(outcome), rows, figures, gaps))
    return made


def column_title(column: str) -> str:
    """A column's name in words.

    >>> column_title("admission_type")
    'Admission type'
    """
    return column.replace("_", " ").capitalize()


def _forests(
    findings: Findings, outcome: str, rows: list[tuple[str, str, _Row]], smallest_cell: int
) -> list[Figure]:
    """A row a group with its number of patients; the dotted line is all patients."""
    model, space = findings.models[0], findings.overall(outcome)
    everyone = findings.within("auroc_macro", model, space)
    reference = everyone["value"] if everyone else None
    figures = []
    for column in dict.fromkeys(column for column, _, _ in rows):
        drawn = [
            whisker(
                name.capitalize() if name.islower() else name,
                row,
                style_of(findings, model),
                f"n = {small(row['n_patients'], smallest_cell)}",
            )
            for one, name, row in rows
            if one == column and row["value"] is not None
        ]
        if drawn:
            axis = around("macro AUROC (dotted: all patients)", drawn, reference)
            title = f"{space.title} by {column.replace('_', ' ')}"
            drawing = forest(
                drawn, axis, description=f"{title}: {said(drawn)}.", reference=reference
            )
            figures.append(Figure(title, drawing, (), ""))
    return figures


def _gaps(findings: Findings, outcome: str) -> list[Gap]:
    p_values = {
        row["group"]: row
        for row in findings.by_group("auroc_macro_gap_p")
        if row["outcome"] == outcome and _mine(findings, row)
    }
    return [
        Gap(row["group"], row, p_values.get(row["group"]))
        for row in findings.by_group("auroc_macro_gap")
        if row["outcome"] == outcome and _mine(findings, row) and row["value"] is not None
    ]


def _mine(findings: Findings, row: _Row) -> bool:
    """Whether the row is the first model's, over all code systems."""
    pooled = row["code_system"] in (None, findings.overall(row["outcome"]).code_system)
    return pooled and row["variant"] == findings.models[0]
