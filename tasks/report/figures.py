"""A figure of the report, and what every figure shares: names, styles, legends, axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tasks.drawing.axes import Axis, NothingToDraw, finite
from tasks.drawing.charts import Series, Whisker, forest, plot, swatch
from tasks.report.curves import Curves
from tasks.report.findings import Findings, Space
from tasks.report.missing import Missing, attempt
from tasks.report.printing import figure
from tasks.variants import Variant


@dataclass(frozen=True)
class Figure:
    """A drawing, its heading, its legend (sample, name), and what it says in words."""

    title: str
    svg: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    caption: str = ""
    missing: str = ""  # why it could not be drawn


def draw(figures: Iterable[tuple[str, Callable[[], Figure | None]]]) -> list[Figure]:
    """Those of the titled figures that there are; in place of one that cannot be drawn, why."""
    drawn = []
    for title, make in figures:
        drawing = attempt(f"the figure '{title}'", partial(_made, title, make))
        if isinstance(drawing, Missing):
            drawing = Figure(title, missing=drawing.why)
        drawn += [drawing] if drawing else []
    return drawn


def by_outcome(findings: Findings, make: Callable[[Space], Figure | None]) -> list[Figure]:
    """A figure for the headline space of each outcome."""
    return draw((space.title, partial(make, space)) for space in findings.headline_spaces)


def curves_of(
    curves: Curves,
    curve: str,
    space: Space,
    findings: Findings,
    variants: Sequence[Variant],
    **look: Any,
) -> list[Series]:
    """A series for each of the variants of which the curve was measured."""
    return [
        Series(
            variant.short_title,
            [(point.x, point.y) for point in points],
            style_of(findings, variant),
            spans=[(point.low, point.high) for point in points] if look else (),
            **look,
        )
        for variant in variants
        if (points := curves.get(curve, variant.name, space.outcome))
    ]


def plotted(
    title: str, series: Sequence[Series], x: Axis, y: Axis, words: str, about: str, **reference: Any
) -> Figure:
    """Series over two axes with their legend; the words stand below, and in the alternative text.

    Args:
        about: what the words are about, before them in the alternative text.
        reference: the dotted line, as `plot` takes it.
    """
    drawing = plot(series, x, y, description=f"{about} {words}", **reference)
    return Figure(title, drawing, legend(series), words)


def compared(
    title: str, rows: Sequence[Whisker], across: str, words: str, reference: float | None
) -> Figure | None:
    """A row an estimate, the dotted line at the reference; without a caption, as a table says it.

    Args:
        words: what the rows are of, before them in the alternative text.
    """
    if not rows:
        return None
    axis = around(across, rows, reference)
    words = f"{words}: {in_words(rows)}."
    return Figure(title, forest(rows, axis, description=words, reference=reference))


def _made(title: str, make: Callable[[], Figure | None]) -> Figure | None:
    try:
        return make()
    except NothingToDraw as reason:
        return Figure(title, missing=str(reason))


def legend(series: Iterable[Series]) -> tuple[tuple[str, str], ...]:
    """The sample and the name of each series; none where there is one series only."""
    return tuple((swatch(line.style, line.marks), line.name) for line in series)


def style_of(findings: Findings, variant: Variant) -> int:
    """The variant's color, dash and mark, the same on every chart."""
    return sorted(findings.variants, key=lambda other: other.is_altered).index(variant)


def whisker(name: str, row: Mapping[str, Any], style: int, note: str = "") -> Whisker:
    """A metrics row as a row of a forest plot."""
    value = math.nan if row["value"] is None else row["value"]
    return Whisker(name, value, *ends(row), style, note)


def ends(row: Mapping[str, Any]) -> tuple[float, float]:
    """The interval's ends; NaN where it is withheld."""
    low, high = row["low"], row["high"]
    return (math.nan, math.nan) if low is None or high is None else (low, high)


def around(title: str, rows: Sequence[Whisker], reference: float | None = None) -> Axis:
    """An axis that holds every interval and the reference, with a little room."""
    values = finite(end for row in rows for end in (row.low, row.high, row.value))
    values += [] if reference is None else [reference]
    return spanning(title, values, 0.06)


def spanning(title: str, values: Sequence[float], room: float) -> Axis:
    """An axis over the values and a share of their range on either side."""
    beyond = room * (max(values) - min(values)) or 0.02
    return Axis(title, min(values) - beyond, max(values) + beyond)


def in_words(rows: Iterable[Whisker]) -> str:
    """The rows of a forest plot in words: a name, a value, an interval where there is one."""
    return "; ".join(f"{row.name} {_figure(row)}" for row in rows)


def _figure(row: Whisker) -> str:
    ends = {"value": row.value, "low": row.low, "high": row.high}
    known = {name: None if math.isnan(end) else end for name, end in ends.items()}
    return figure({**known, "method": ""}, expected=False)
