"""Subgroups of patients: AUROC within each, and the largest gap between two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tasks.report.cells import WITHHELD
from tasks.report.counts import Counts
from tasks.report.figures import Figure, compared, draw, style_of, whisker
from tasks.report.findings import Findings, Space
from tasks.report.printing import p_value

_Row = dict[str, Any]


@dataclass(frozen=True)
class Gap:
    """The largest gap between two groups of a column."""

    column: str
    row: _Row
    p_value: str


@dataclass(frozen=True)
class Subgroups:
    """An outcome's groups: rows (column, group, its row), a chart a column, the largest gaps."""

    space: Space
    rows: list[tuple[str, str, _Row]]
    figures: list[Figure]
    gaps: list[Gap]


def subgroups(findings: Findings, counts: Counts) -> list[Subgroups]:
    """The outcomes of which groups were measured, in the order of the report."""
    made = []
    for space in findings.headline_spaces:
        rows = [(*group, row) for group, row in findings.patients(space).items()]
        if rows:
            figures = _forests(findings, space, rows, counts)
            made.append(Subgroups(space, rows, figures, _gaps(findings, space)))
    return made


def _forests(
    findings: Findings, space: Space, rows: list[tuple[str, str, _Row]], counts: Counts
) -> list[Figure]:
    """A row a group with its number of patients; the dotted line is all patients."""
    figures: list[tuple[str, Callable[[], Figure | None]]] = []
    for column in dict.fromkeys(column for column, _, _ in rows):
        title = f"{space.title} by {column.replace('_', ' ')}"
        groups = [
            (name, row) for by, name, row in rows if by == column and row["value"] is not None
        ]
        figures.append((title, partial(_forest, findings, space, title, groups, counts)))
    return draw(figures)


def _forest(
    findings: Findings, space: Space, title: str, rows: list[tuple[str, _Row]], counts: Counts
) -> Figure | None:
    model = findings.models[0]
    everyone = findings.within("auroc_macro", model, space)
    reference = everyone["value"] if everyone else None
    drawn = []
    for name, row in rows:
        size = counts.group(row, "patients")
        note = "" if size == WITHHELD else f"n = {size}"
        words = name.capitalize() if name.islower() else name
        drawn.append(whisker(words, row, style_of(findings, model), note))
    across = "macro AUROC (dotted: all patients)"
    return compared(title, drawn, across, title, reference)


def _gaps(findings: Findings, space: Space) -> list[Gap]:
    gaps, p_rows = (
        findings.groups(metric, findings.models[0], space)
        for metric in ("auroc_macro_gap", "auroc_macro_gap_p")
    )
    p_values = {column: row["value"] for column, row in p_rows.items()}
    return [
        Gap(column, row, p_value(p_values.get(column)))
        for column, row in gaps.items()
        if row["value"] is not None
    ]
