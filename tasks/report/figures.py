"""A figure of the report, and what every figure shares: names, styles, legends, axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tasks.evaluate.rows import BEST
from tasks.report.axes import Axis, NothingToDraw, finite
from tasks.report.charts import Series, Whisker, swatch
from tasks.report.findings import Findings, variant_title
from tasks.report.missing import Missing, attempt

STYLES = {"fused": 0, "unfused": 1, "tfidf": 2, BEST: 3}
SHORT = {
    "fused": "Fused",
    "unfused": "Task adapter only",
    "tfidf": "TF-IDF",
    BEST: "Best reachable",
}


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
        found = attempt(f"the figure '{title}'", partial(_made, title, make))
        if isinstance(found, Missing):
            found = Figure(title, missing=found.why)
        drawn += [found] if found else []
    return drawn


def _made(title: str, make: Callable[[], Figure | None]) -> Figure | None:
    try:
        return make()
    except NothingToDraw as reason:
        return Figure(title, missing=str(reason))


def legend(series: Iterable[Series]) -> tuple[tuple[str, str], ...]:
    """The sample and the name of each series; none where there is one series only."""
    return tuple((swatch(one.style, one.marks), one.name) for one in series)


def short(variant: str) -> str:
    return SHORT.get(variant, variant_title(variant))


def style_of(findings: Findings, variant: str) -> int:
    """The variant's color, dash and mark, the same on every chart."""
    others = [name for name in findings.variants if name not in STYLES]
    return STYLES[variant] if variant in STYLES else len(STYLES) + others.index(variant)


def whisker(name: str, row: Mapping[str, Any], style: int, note: str = "") -> Whisker:
    """A metrics row as a row of a forest plot."""
    low, high = ends(row)
    return Whisker(name, row["value"], low, high, style, note)


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


def said(rows: Sequence[Whisker]) -> str:
    """The rows of a forest plot in words: a name, a value, an interval."""
    return "; ".join(f"{row.name} {_span(row.value, row.low, row.high)}" for row in rows)


def _span(value: float, low: float, high: float) -> str:
    return f"{value:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")
