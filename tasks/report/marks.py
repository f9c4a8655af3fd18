"""The marks of a chart: a color and a shape for each style."""

from __future__ import annotations

from collections.abc import Sequence

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00", "#333333")
CROWD = 300  # so many marks are drawn small


def drawn_marks(style: int, spots: Sequence[tuple[float, float]], size: float = 3) -> str:
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
