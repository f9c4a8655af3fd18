"""Tables of the report: values with intervals, a block of rows an outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.findings import Findings, Space
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


Row = tuple[str, tuple[Cell, ...]]  # what the row is of, and its cells


@dataclass(frozen=True)
class Block:
    """The rows of an outcome in a label space, or of a part of it."""

    title: str
    note: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Grid:
    """A table of outcomes: what a row is of, and what the other columns hold."""

    caption: str
    by: str
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]


def by_space(
    findings: Findings,
    caption: str,
    by: str,
    columns: Iterable[str],
    rows_of: Callable[[Space], Iterable[Row]],
    note: Callable[[Space], str] = lambda space: space.system,
) -> Grid | None:
    """A block for the headline space of each outcome that has rows; None where none has."""
    rows = {space: tuple(rows_of(space)) for space in findings.headline_spaces}
    blocks = [Block(space.title, note(space), rows[space]) for space in rows if rows[space]]
    return Grid(caption, by, tuple(columns), tuple(blocks)) if blocks else None


def measured(findings: Findings, caption: str, measures: Sequence[Measure]) -> Grid | None:
    """A row a model, a column a measure, over all code systems; None where nothing was measured.

    Columns and rows without any value are left out.
    """
    kept = [
        measure
        for measure in measures
        if any(
            findings.within(measure.metric, model, space)
            for model in findings.models
            for space in findings.headline_spaces
        )
    ]

    def rows(space: Space) -> Iterator[Row]:
        for model in findings.models:
            if any(findings.within(measure.metric, model, space) for measure in kept):
                of_model = ((findings.over(m.metric, model, space), m.form) for m in kept)
                yield model.short_title, tuple(cell(*printed) for printed in of_model)

    return by_space(findings, caption, "Model", [measure.heading for measure in kept], rows)


def cell(row: Mapping[str, Any] | None, form: str = ".3f") -> Cell:
    """A metrics row as a printed value with its interval."""
    return Cell(number(row, form), span(row, form, expected=False))
