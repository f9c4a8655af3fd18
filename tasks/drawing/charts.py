"""Charts as small inline SVG: no script, no font file, readable in print and without color.

Every series has a color (Okabe and Ito's palette, safe for the color-blind), a dash pattern and a
marker shape of its own, so that no chart depends on color alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from tasks.drawing.axes import Axis, drawable, finite

WIDTH, HEIGHT = 420, 300  # of the drawing; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 42  # margins that hold the axes
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00", "#333333")
CROWD = 300  # so many marks are drawn small
DASHES = ("", "6 3", "2 3", "8 3 2 3", "12 4", "1 4", "4 4")
ROW_HEIGHT = 22  # of a forest plot
SMALL, CAPITAL = 6.4, 8.0  # width of a letter of 11.5 px, about
LONGEST_NAME = 200  # of a row of a forest plot; what is longer is cut


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
    series = [_finite(line) for line in series]
    finite(value for line in series for point in line.points for value in point)
    parts = [_open(HEIGHT, description), _frame(x, y)]
    if level is not None:
        down = _spot(x, y, x.low, level)[1]
        parts.append(f'<path class="chance" d="M{LEFT} {down:.1f}H{WIDTH - RIGHT}"/>')
    if diagonal:
        start, end = _spot(x, y, x.low, y.low), _spot(x, y, x.high, y.high)
        parts.append(
            f'<path class="chance" d="M{start[0]:.1f} {start[1]:.1f}L{end[0]:.1f} {end[1]:.1f}"/>'
        )
    for line in series:
        parts += _drawn(line, x, y)
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
        return names + width * x.position(value)

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
            attributes = f'class="left" x="{WIDTH - 2}" y="{middle + 4:.1f}"'
            parts.append(f"<text {attributes}>{escape(row.note)}</text>")
        if drawable(row.low) and drawable(row.high):
            parts.append(
                f'<path stroke="{color}" stroke-width="2" '
                f'd="M{across(row.low):.1f} {middle:.1f}H{across(row.high):.1f}"/>'
            )
        if drawable(row.value):
            parts.append(_marks(row.style, [(across(row.value), middle)], 4.5))
    return "".join([*parts, "</svg>"])


def swatch(style: int, marks: bool = False) -> str:
    """The legend's sample of a series."""
    color, dash = COLORS[style % len(COLORS)], DASHES[style % len(DASHES)]
    line = f'<path stroke="{color}" stroke-width="2.5" stroke-dasharray="{dash}" d="M1 7H33"/>'
    inside = _marks(style, [(17.0, 7.0)], 4.5) if marks else line
    return f'<svg class="swatch" viewBox="0 0 34 14" aria-hidden="true">{inside}</svg>'


def _marks(style: int, spots: Sequence[tuple[float, float]], size: float = 3) -> str:
    """Marks of the style's shape (circle, square, triangle, diamond, in turn) as one path."""
    color = COLORS[style % len(COLORS)]
    r = round(1.3 * size, 1)
    match style % 4:
        case 0:
            start, shape = (-size, 0.0), f"a{size} {size} 0 1 0 {2 * size:g} 0"
            shape += f"a{size} {size} 0 1 0 -{2 * size:g} 0z"
        case 1:
            start, shape = (-size, -size), f"h{2 * size:g}v{2 * size:g}h-{2 * size:g}z"
        case 2:
            start = (0.0, -1.3 * size)
            shape = f"l{1.2 * size:.1f} {2.2 * size:.1f}h-{2.4 * size:.1f}z"
        case _:
            start, shape = (0.0, -float(r)), f"l{r} {r}l-{r} {r}l-{r} -{r}z"
    path = "".join(f"M{a + start[0]:.1f} {b + start[1]:.1f}{shape}" for a, b in spots)
    edge = ' stroke="none"' if len(spots) > CROWD else ""  # it would hide a small mark
    return f'<path class="mark"{edge} fill="{color}" d="{path}"/>'


def _open(height: float, description: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{escape(description, quote=True)}">'
    )


def _frame(x: Axis, y: Axis) -> str:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    across = [(_spot(x, y, tick, y.low)[0], x.label(tick)) for tick in x.ticks()]
    parts = [_tick_below(tick, bottom, TOP, label) for tick, label in across]
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
    across, up = x.position(a), y.position(b)
    return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def _finite(line: Series) -> Series:
    """The series without points that are no numbers."""
    kept = [index for index, point in enumerate(line.points) if all(map(drawable, point))]
    spans = [line.spans[index] for index in kept] if line.spans else ()
    return replace(line, points=[line.points[index] for index in kept], spans=spans)


def _drawn(line: Series, x: Axis, y: Axis) -> list[str]:
    """A series: its line, then its intervals, then its marks as one path."""
    spots = [_spot(x, y, *point) for point in line.points]
    color = COLORS[line.style % len(COLORS)]
    parts = []
    if spots and (line.joined or not line.marks):
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in spots)
        dash = DASHES[line.style % len(DASHES)]
        parts.append(
            f'<path fill="none" stroke="{color}" stroke-width="{1.2 if line.joined else 2}" '
            f'stroke-dasharray="{dash}" d="M{path}"/>'
        )
    ends = [
        f"M{across:.1f} {_spot(x, y, x.low, low)[1]:.1f}V{_spot(x, y, x.low, high)[1]:.1f}"
        for (across, _), (low, high) in zip(spots, line.spans, strict=False)
        if drawable(low) and drawable(high)
    ]
    if ends:
        parts.append(f'<path stroke="{color}" stroke-width="1.6" d="{"".join(ends)}"/>')
    if line.marks and spots:
        size = 1.4 if len(spots) > CROWD else 4.0 if line.spans else 3.0
        parts.append(_marks(line.style, spots, size))
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
