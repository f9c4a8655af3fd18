"""Tables of the report: values with intervals, a block of rows an outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.findings import Findings
from tasks.report.printing import number, span


@dataclass(frozen=True)
class Measure:
    """A column: its heading, the metric it shows, and how its numbers are printed."""

    heading: str
    metric: str
    form: str = ".3f"


@dataclass(frozen=True)
class Cell:
    """A printed value, and its printed interval (empty where there is none)."""

    value: str
    span: str = ""


@dataclass(frozen=True)
class Block:
    """The rows of an outcome in a label space, or of a part of it."""

    title: str
    note: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Grid:
    """A table: what a block is of, what a row is of, and what the other columns hold."""

    caption: str
    of: str
    by: str
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]


def measured(findings: Findings, caption: str, measures: Sequence[Measure]) -> Grid | None:
    """A row a model, a column a measure, over all code systems; None where nothing was measured.

    Columns and rows without any value are left out.
    """
    spaces = [findings.overall(name) for name in findings.outcomes]
    rows_of = {
        (space, model): [findings.over(measure.metric, model, space) for measure in measures]
        for space in spaces
        for model in findings.models
    }

    def valued(row: Mapping[str, Any] | None) -> bool:
        return row is not None and row["value"] is not None

    kept = [
        index
        for index in range(len(measures))
        if any(valued(row[index]) for row in rows_of.values())
    ]
    blocks = []
    for space in spaces:
        rows = tuple(
            (model.short_title, tuple(cell(row[index], measures[index].form) for index in kept))
            for model in findings.models
            if any(map(valued, row := rows_of[space, model]))
        )
        if rows:
            blocks.append(Block(space.title, space.system, rows))
    columns = tuple(measures[index].heading for index in kept)
    return Grid(caption, "Outcome", "Model", columns, tuple(blocks)) if blocks else None


def cell(row: Mapping[str, Any] | None, form: str = ".3f") -> Cell:
    """A metrics row as a printed value with its interval."""
    return Cell(number(row, form), span(row, form, expected=False))
