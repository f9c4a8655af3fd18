"""A chart as a picture that stands by itself: an address that holds it, for Markdown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from tasks.drawing.axes import Axis
from tasks.drawing.charts import HEIGHT, WIDTH, Series, plot, swatch

ROW_HEIGHT = 18  # of the legend
# the report's page has its own, for light and dark; a picture has a white ground
_STYLE = (
    "text{font:11.5px system-ui,sans-serif;fill:#24292f}"
    ".grid{stroke:#d8dee4;fill:none}.left{text-anchor:end}.below,.title{text-anchor:middle}"
)


def picture(series: Sequence[Series], x: Axis, y: Axis, *, description: str) -> str:
    """The chart of `plot` over a legend, as a `data:` address. Raises NothingToDraw as it does."""
    drawing = plot(series, x, y, description=description)
    height = HEIGHT + ROW_HEIGHT * len(series) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}">'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
        drawing.replace("<svg ", f'<svg width="{WIDTH}" height="{HEIGHT}" ', 1),
    ]
    for index, line in enumerate(series):
        top = HEIGHT + ROW_HEIGHT * index
        sample = swatch(line.style, line.marks)
        place = f'x="52" y="{top}" width="34" height="14"'
        parts.append(sample.replace("<svg ", f"<svg {place} ", 1))
        parts.append(f'<text x="94" y="{top + 11}">{escape(line.name)}</text>')
    whole = "".join([*parts, "</svg>"])
    return f"data:image/svg+xml;base64,{base64.b64encode(whole.encode()).decode()}"
