"""How good the probabilities are: Brier score, calibration and reliability, before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from tasks.drawing.axes import Axis, finite
from tasks.drawing.charts import Series
from tasks.report.curves import Curves
from tasks.report.document import Facts
from tasks.report.figures import Figure, curves_of, draw, plotted
from tasks.report.findings import BAND, Findings, Space
from tasks.report.grids import Cell, Grid, Row, by_space, cell
from tasks.report.printing import MISSING
from tasks.report.sections.frequency import band_start, band_title
from tasks.variants import Variant

_MEASURES = (  # heading, metric, form
    ("Brier score", "brier_macro", ".4f"),
    ("ECE", "ece_median", ".3f"),
    ("Slope", "calibration_slope_median", ".2f"),
    ("Intercept", "calibration_intercept_median", "+.2f"),
)
_HEADINGS = tuple(heading for heading, _, _ in _MEASURES)
_AFTER = "_recalibrated"
_LOWEST = 1e-4  # of a logarithmic axis, where there is less than that
_LOG_FROM = 10.0  # axes are logarithmic where most points lie so many times below the largest


def probabilities(curves: Curves, findings: Findings) -> Facts:
    figures = []
    for space in findings.headline_spaces:
        for curve, words in (
            ("reliability", "as predicted"),
            ("reliability_recalibrated", "recalibrated on validation"),
        ):
            title = f"{space.title}, {words}"
            figures.append((title, partial(_reliability, curves, findings, space, curve, title)))
    return {
        "overall": _overall(findings),
        "bands": _by_band(findings),
        "reliability": draw(figures),
    }


def _overall(findings: Findings) -> Grid | None:
    """A row a model; a cell says the measure as predicted and recalibrated."""

    def rows(space: Space) -> Iterator[Row]:
        for model in findings.models:
            if cells := _cells(findings, space, model):
                yield model.short_title, cells

    def note(space: Space) -> str:
        return f"{space.system}{_of_all(findings, space)}"

    caption = "Calibration: as predicted \u2192 recalibrated"
    return by_space(findings, caption, "Model", _HEADINGS, rows, note)


def _by_band(findings: Findings) -> Grid | None:
    """The first model's calibration by how often the label occurs in training."""
    model = findings.models[0]

    def rows(space: Space) -> Iterator[Row]:
        groups = findings.groups("brier_macro", model, space)
        bands = [group for group in groups if group.startswith(BAND)]
        for group in sorted(bands, key=band_start):
            count = findings.within("labels_calibrated", model, space, group)
            if cells := _cells(findings, space, model, group):
                labels = f" ({_labels(count['value'])})" if count else ""
                yield band_title(group) + labels, cells

    caption = "Calibration by training cases of the label: as predicted \u2192 recalibrated"
    return by_space(findings, caption, "Band", _HEADINGS, rows)


def _cells(
    findings: Findings, space: Space, variant: Variant, group: str = "all"
) -> tuple[Cell, ...]:
    """The variant's measures; nothing where it was not measured."""
    cells = []
    for _, metric, form in _MEASURES:
        rows = [
            findings.within(f"{metric}{suffix}", variant, space, group) for suffix in ("", _AFTER)
        ]
        words = [cell(row, form).value for row in rows if row]
        cells.append(Cell(" \u2192 ".join(words) or MISSING))
    return tuple(cells) if any(cell.value != MISSING for cell in cells) else ()


def _reliability(
    curves: Curves, findings: Findings, space: Space, curve: str, title: str
) -> Figure | None:
    """Observed shares against mean predicted probabilities of equally filled bins."""
    look = {"marks": True, "joined": True}
    series = curves_of(curves, curve, space, findings, findings.models, **look)
    if not series:
        return None
    axes = _axes(series)
    words = "; ".join(f"{line.name} {_last(line.points)}" for line in series)
    words = f"In the bin of the highest predictions: {words}."
    if axes[0].log:
        words += " Both axes are logarithmic"
        words += ", with 0 at their low ends." if axes[0].zero else "."
    return plotted(title, series, *axes, words, f"Reliability, {title}.", diagonal=True)


def _axes(series: Sequence[Series]) -> tuple[Axis, Axis]:
    """The same range on both axes; logarithmic where most probabilities are small."""
    across = sorted(finite(x for line in series for x, _ in line.points))
    values = finite(value for line in series for point in line.points for value in point)
    positive = [value for value in values if value > 0]
    top = min(1.0, 1.05 * max(values)) if positive else 1.0
    low, log = 0.0, across[len(across) // 2] < max(values) / _LOG_FROM
    log = log and bool(positive)
    if log:
        low = max(0.8 * min(positive), min(_LOWEST, top / _LOG_FROM))
    zero = log and min(values) < low
    return (
        Axis("mean predicted probability", low, top, log, zero),
        Axis("observed share", low, top, log, zero),
    )


def _last(points: Sequence[tuple[float, float]]) -> str:
    across, up = points[-1]
    return f"{across:.2f} predicted, {up:.2f} observed"


def _of_all(findings: Findings, space: Space) -> str:
    """How many of the space's labels have cases enough; nothing where it has one label."""
    count = findings.within("labels_calibrated", findings.models[0], space)
    total = findings.within("labels", findings.models[0], space)
    if count is None or total is None or total["value"] < 2:
        return ""
    return f", {count['value']:,.0f} of {_labels(total['value'])}"


def _labels(count: float) -> str:
    return f"{count:,.0f} label" + ("s" if count != 1 else "")
