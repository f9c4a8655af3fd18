"""AUROC against how many training admissions a label had: every label, and bands of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from statistics import median

from tasks.drawing.axes import Axis, finite
from tasks.drawing.charts import Series, plot
from tasks.report.counts import Counts
from tasks.report.document import Facts
from tasks.report.facts import Label
from tasks.report.figures import Figure, by_outcome, draw, ends, legend, plotted, style_of
from tasks.report.findings import BAND, Findings, Space
from tasks.report.grids import Cell, Grid, Row, by_space, cell
from tasks.report.printing import MISSING

_TREND_FROM = 100  # labels from which a running median is drawn
_TREND_STEPS = 20
_TREND_LEAST = 5  # labels behind a point of it
_TREND = 6  # its style


def frequency(findings: Findings, labels: Sequence[Label], counts: Counts) -> Facts:
    charts = (
        (f"{space.title}, by band", partial(_band_chart, findings, space))
        for space in findings.headline_spaces
    )
    return {
        "scatters": by_outcome(findings, partial(_scatter, findings, labels, counts)),
        "charts": draw(charts),
        "bands": _band_table(findings),
    }


def band_title(group: str) -> str:
    """A band's group in words.

    >>> band_title("cases=25-99"), band_title("cases=1000+"), band_title("cases=0")
    ('25-99 cases', '1,000 or more cases', 'no case')
    """
    name = group.removeprefix(BAND)
    if name == "0":
        return "no case"
    if name.endswith("+"):
        return f"{int(name[:-1]):,} or more cases"
    return f"{name} cases"


def band_start(group: str) -> int:
    """The fewest training cases of a band."""
    return int(group.removeprefix(BAND).rstrip("+").partition("-")[0])


def _bands(findings: Findings, space: Space) -> list[str]:
    """The bands of the space's labels, the rarest first."""
    bands = dict.fromkeys(
        row["group"]
        for row in findings.by_group("auroc_macro")
        if (row["outcome"], row["code_system"]) == (space.outcome, space.code_system)
        and row["group"].startswith(BAND)
    )
    return sorted(bands, key=band_start)


def _scatter(
    findings: Findings, labels: Sequence[Label], counts: Counts, space: Space
) -> Figure | None:
    """AUROC of each label of the first model against how many training cases it had.

    Counts below the smallest cell are not told apart: they are drawn at it. What is withheld for
    another count's sake is not drawn.
    """
    model, smallest_cell = findings.models[0], counts.smallest
    points = sorted(
        (float(cases), row["value"])
        for label in labels
        if label.outcome == space.outcome
        and (cases := counts.at_least(label, "train"))
        and (row := findings.get("auroc", model.name, label.outcome, label.code_system, label.code))
    )
    if len(points) < 5:
        return None
    series = [Series(model.short_title, points, style_of(findings, model), marks=True)]
    if len(points) >= _TREND_FROM:
        series.append(Series("running median", _trend(points), _TREND))
    bottom, top = points[0][0], points[-1][0]
    least = f"fewer than {smallest_cell}" if bottom == smallest_cell else f"{bottom:,.0f}"
    x = Axis("training admissions with the label", 0.9 * bottom, 1.1 * top, log=True)
    y = Axis("AUROC of the label", min(0.4, *finite(value for _, value in points)), 1.0)
    words = (
        f"{len(points):,} labels with {least} to {top:,.0f} training admissions; "
        f"their median AUROC is {median(value for _, value in points):.3f}."
    )
    return plotted(space.title, series, x, y, words, f"{space.title}:", level=0.5)


def _trend(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Medians of the labels within steps of frequency, equally wide on the logarithmic axis."""
    low, high = math.log(points[0][0]), math.log(points[-1][0])
    parts: dict[int, list[tuple[float, float]]] = {}
    for x, y in points:
        step = int((math.log(x) - low) / ((high - low) or 1.0) * _TREND_STEPS)
        parts.setdefault(step, []).append((x, y))
    return [
        (median(x for x, _ in part), median(y for _, y in part))
        for _, part in sorted(parts.items())
        if len(part) >= _TREND_LEAST
    ]


def _band_chart(findings: Findings, space: Space) -> Figure | None:
    """Macro AUROC of the labels in a band with its interval, a mark a model."""
    bands = _bands(findings, space)
    if len(bands) < 2:
        return None
    series = []
    for index, model in enumerate(findings.models):
        aside = 0.14 * (index - (len(findings.models) - 1) / 2)
        rows = [findings.within("auroc_macro", model, space, band) for band in bands]
        points = [(across + aside, row["value"]) for across, row in enumerate(rows) if row]
        spans = [ends(row) for row in rows if row]
        if points:
            style = style_of(findings, model)
            series.append(Series(model.short_title, points, style, marks=True, spans=spans))
    values = finite(height for line in series for height in line.heights)
    names = tuple(band.removeprefix(BAND) for band in bands)
    x = Axis("training admissions with the label", -0.5, len(bands) - 0.5, names=names)
    y = Axis("macro AUROC of the band", min(0.48, min(values)), min(1.0, max(values) + 0.02))
    words = "; ".join(
        f"{line.name}: "
        + ", ".join(f"{value:.3f} at {names[round(across)]}" for across, value in line.points)
        for line in series
    )
    drawing = plot(series, x, y, description=f"{space.title} by band: {words}.", level=0.5)
    return Figure(f"{space.title}, by band", drawing, legend(series), "")


def _band_table(findings: Findings) -> Grid | None:
    """A row a band, a column a model."""

    def rows(space: Space) -> list[Row]:
        rows = []
        for band in _bands(findings, space):
            count = findings.within("labels_defined", findings.models[0], space, band)
            aurocs = [
                findings.within("auroc_macro", model, space, band) for model in findings.models
            ]
            if any(aurocs):
                labels = Cell(f"{count['value']:,.0f}" if count else MISSING)
                rows.append((band_title(band), (labels, *map(cell, aurocs))))
        return rows if len(rows) > 1 else []

    columns = ("Labels ranked", *(model.short_title for model in findings.models))
    caption = "Macro AUROC of the labels in a band of training cases"
    return by_space(findings, caption, "Band", columns, rows)
