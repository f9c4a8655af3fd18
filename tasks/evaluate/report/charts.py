"""Charts as small inline SVG: no script, no font file, readable in print and without color.

Every series has a color (Okabe and Ito's palette, safe for the color-blind), a dash pattern and a
marker shape of its own, so that no chart depends on color alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape

from tasks.evaluate.report.marks import COLORS, CROWD, drawn_marks

WIDTH, HEIGHT = 420, 300  # of the drawing; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 42  # margins that hold the axes
DASHES = ("", "6 3", "2 3", "8 3 2 3", "12 4", "1 4", "4 4")
ROW_HEIGHT = 22  # of a forest plot
SMALL, CAPITAL = 6.4, 8.0  # width of a letter of 11.5 px, about
LONGEST_NAME = 200  # of a row of a forest plot; what is longer is cut
LARGEST = 1e100  # beyond it a value is as good as infinite: differences would overflow
ZERO_SHARE = 0.07  # of a logarithmic axis that has a zero: the room between that and its scale


class NothingToDraw(Exception):
    """A figure has no value that can be drawn; its message says so on the page."""


@dataclass(frozen=True)
class Axis:
    """An axis: what it measures, from where to where, and whether in powers of ten."""

    title: str
    low: float
    high: float
    log: bool = False
    zero: bool = False  # a logarithmic axis with 0 at its low end, off the scale
    names: tuple[str, ...] = ()  # of the places 0, 1, 2, ... on an axis of categories

    def place(self, value: float) -> float:
        """Where the value lies between the ends, 0 to 1; outside of them, at the nearer one."""
        if self.log and value <= 0:
            return 0.0
        ends = (self.low, self.high, value)
        low, high, value = (math.log10(v) for v in ends) if self.log else ends
        share = min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5
        start = ZERO_SHARE if self.zero else 0.0
        return start + (1 - start) * share

    def ticks(self) -> list[float]:
        """Round values inside the axis: 1, 2 or 5 times a power of ten; powers alone if many."""
        if self.names:
            return [float(place) for place in range(len(self.names))]
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            wide = self.high / self.low >= 200
            times = (1,) if wide else (1, 2, 5)
            ticks = [10.0**power * by for power in powers for by in times]
            zero = [0.0] if self.zero else []
            return zero + [tick for tick in ticks if self.low <= tick <= self.high]
        least = max(1e-300, 1e-9 * max(abs(self.high), abs(self.low)))
        if not self.high - self.low > least:
            return [self.low]  # one value
        rough = (self.high - self.low) / 5
        power = 10 ** math.floor(math.log10(rough))
        step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def label(self, tick: float) -> str:
        """What stands at a tick."""
        return escape(self.names[round(tick)]) if self.names else _number(tick)


@dataclass(frozen=True)
class Series:
    """Points of one color: a line, or marks, or marks joined by a line."""

    name: str
    points: Sequence[tuple[float, float]]
    style: int = 0
    marks: bool = False
    joined: bool = False
    spans: Sequence[tuple[float, float]] = ()  # an interval a point; NaN where withheld

    @property
    def heights(self) -> list[float]:
        """Every value, and every end of an interval."""
        return [up for _, up in self.points] + [end for span in self.spans for end in span]


@dataclass(frozen=True)
class Whisker:
    """A row of a forest plot: a value with its interval (NaN where withheld)."""

    name: str
    value: float
    low: float
    high: float
    style: int = 0
    note: str = ""  # at the right end of the row


def plot(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    description: str,
    diagonal: bool = False,
    level: float | None = None,
) -> str:
    """Draw lines and marks over two axes; the description is the drawing's text alternative.

    The dotted reference is the diagonal, or a line at the height `level`. Points that are no
    numbers are left out; raises NothingToDraw where none is left.
    """
    series = [_finite(one) for one in series]
    finite(value for one in series for point in one.points for value in point)
    parts = [_open(HEIGHT, description), _frame(x, y)]
    if level is not None:
        down = _spot(x, y, x.low, level)[1]
        parts.append(f'<path class="chance" d="M{LEFT} {down:.1f}H{WIDTH - RIGHT}"/>')
    if diagonal:
        start, end = _spot(x, y, x.low, y.low), _spot(x, y, x.high, y.high)
        parts.append(
            f'<path class="chance" d="M{start[0]:.1f} {start[1]:.1f}L{end[0]:.1f} {end[1]:.1f}"/>'
        )
    for one in series:
        parts += _drawn(one, x, y)
    return "".join([*parts, "</svg>"])


def forest(
    rows: Sequence[Whisker], x: Axis, *, description: str, reference: float | None = None
) -> str:
    """Draw one row an estimate: its name, its interval as a line, its value as a mark, its note."""
    finite(row.value for row in rows)
    names = min(LONGEST_NAME, 12 + max(_width(row.name) for row in rows))
    notes = max((_width(row.note) + 8 for row in rows if row.note), default=0.0)
    height = TOP + ROW_HEIGHT * len(rows) + BOTTOM
    bottom, width = height - BOTTOM, WIDTH - RIGHT - names - notes

    def across(value: float) -> float:
        return names + width * x.place(value)

    parts = [_open(height, description)]
    parts += [_tick_below(across(tick), bottom, TOP, x.label(tick)) for tick in x.ticks()]
    if reference is not None:
        parts.append(f'<path class="chance" d="M{across(reference):.1f} {TOP}V{bottom}"/>')
    title = f'x="{names + width / 2:.1f}" y="{height - 6}"'
    parts.append(f'<text class="title" {title}>{escape(x.title)}</text>')
    for index, row in enumerate(rows):
        middle = TOP + ROW_HEIGHT * (index + 0.5)
        color = COLORS[row.style % len(COLORS)]
        parts.append(f'<text x="0" y="{middle + 4:.1f}">{escape(_fitting(row.name))}</text>')
        if row.note:
            place = f'class="left" x="{WIDTH - 2}" y="{middle + 4:.1f}"'
            parts.append(f"<text {place}>{escape(row.note)}</text>")
        if _drawable(row.low) and _drawable(row.high):
            parts.append(
                f'<path stroke="{color}" stroke-width="2" '
                f'd="M{across(row.low):.1f} {middle:.1f}H{across(row.high):.1f}"/>'
            )
        if _drawable(row.value):
            parts.append(drawn_marks(row.style, [(across(row.value), middle)], 4.5))
    return "".join([*parts, "</svg>"])


def finite(values: Iterable[float]) -> list[float]:
    """Those of the values that are numbers. Raises NothingToDraw where none is."""
    found = [value for value in values if _drawable(value)]
    if not found:
        raise NothingToDraw("none of its values is a finite number")
    return found


def swatch(style: int, marks: bool = False) -> str:
    """The legend's sample of a series."""
    color, dash = COLORS[style % len(COLORS)], DASHES[style % len(DASHES)]
    line = f'<path stroke="{color}" stroke-width="2.5" stroke-dasharray="{dash}" d="M1 7H33"/>'
    inside = drawn_marks(style, [(17.0, 7.0)], 4.5) if marks else line
    return f'<svg class="swatch" viewBox="0 0 34 14" aria-hidden="true">{inside}</svg>'


def _open(height: float, description: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{escape(description, quote=True)}">'
    )


def _frame(x: Axis, y: Axis) -> str:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    across = [(_spot(x, y, tick, y.low)[0], x.label(tick)) for tick in x.ticks()]
    parts = [_tick_below(place, bottom, TOP, label) for place, label in across]
    for tick in y.ticks():
        height = _spot(x, y, x.low, tick)[1]
        parts.append(
            f'<path class="grid" d="M{LEFT} {height:.1f}H{right}"/>'
            f'<text class="left" x="{LEFT - 6}" y="{height + 4:.1f}">{y.label(tick)}</text>'
        )
    middle = (TOP + bottom) / 2
    parts.append(
        f'<text class="title" x="{(LEFT + right) / 2}" y="{HEIGHT - 6}">{escape(x.title)}</text>'
        f'<text class="title" x="12" y="{middle}" transform="rotate(-90 12 {middle})">'
        f"{escape(y.title)}</text>"
    )
    return "".join(parts)


def _tick_below(across: float, bottom: float, top: float, label: str) -> str:
    return (
        f'<path class="grid" d="M{across:.1f} {top}V{bottom:g}"/>'
        f'<text class="below" x="{across:.1f}" y="{bottom + 16:g}">{label}</text>'
    )


def _spot(x: Axis, y: Axis, a: float, b: float) -> tuple[float, float]:
    across, up = x.place(a), y.place(b)
    return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def _drawable(value: float) -> bool:
    return abs(value) < LARGEST  # nor is NaN


def _finite(one: Series) -> Series:
    """The series without points that are no numbers."""
    kept = [index for index, point in enumerate(one.points) if all(map(_drawable, point))]
    spans = [one.spans[index] for index in kept] if one.spans else ()
    return replace(one, points=[one.points[index] for index in kept], spans=spans)


def _drawn(one: Series, x: Axis, y: Axis) -> list[str]:
    """A series: its line, then its intervals, then its marks as one path."""
    spots = [_spot(x, y, *point) for point in one.points]
    color = COLORS[one.style % len(COLORS)]
    parts = []
    if spots and (one.joined or not one.marks):
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in spots)
        dash = DASHES[one.style % len(DASHES)]
        parts.append(
            f'<path fill="none" stroke="{color}" stroke-width="{1.2 if one.joined else 2}" '
            f'stroke-dasharray="{dash}" d="M{path}"/>'
        )
    ends = [
        f"M{across:.1f} {_spot(x, y, x.low, low)[1]:.1f}V{_spot(x, y, x.low, high)[1]:.1f}"
        for (across, _), (low, high) in zip(spots, one.spans, strict=False)
        if _drawable(low) and _drawable(high)
    ]
    if ends:
        parts.append(f'<path stroke="{color}" stroke-width="1.6" d="{"".join(ends)}"/>')
    if one.marks and spots:
        size = 1.4 if len(spots) > CROWD else 4.0 if one.spans else 3.0
        parts.append(drawn_marks(one.style, spots, size))
    return parts


def _width(text: str) -> float:
    """How wide the text will be, about."""
    return sum(CAPITAL if letter.isupper() else SMALL for letter in text)


def _fitting(name: str) -> str:
    """The name, cut where it would run into the drawing."""
    if _width(name) <= LONGEST_NAME - 12:
        return name
    while _width(name) > LONGEST_NAME - 18:
        name = name[:-1]
    return f"{name.rstrip()}\u2026"


def _number(value: float) -> str:
    if value and abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if value and abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.10g}" if abs(value) > 1e-12 else "0"
