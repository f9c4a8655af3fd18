"""How good the probabilities are: Brier score, calibration and reliability, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tasks.report.axes import Axis, finite
from tasks.report.charts import Series
from tasks.report.curves import Curves
from tasks.report.figures import Figure, draw, plotted, style_of
from tasks.report.findings import BAND, Findings, Space
from tasks.report.grids import Block, Cell, Grid, cell
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


@dataclass(frozen=True)
class Probabilities:
    """The section's tables and charts."""

    overall: Grid | None
    bands: Grid | None
    reliability: list[Figure]

    def __bool__(self) -> bool:
        return bool(self.overall or self.reliability)


def probabilities(curves: Curves, findings: Findings) -> Probabilities:
    figures = []
    for outcome in findings.outcomes:
        for curve, words in (
            ("reliability", "as predicted"),
            ("reliability_recalibrated", "recalibrated on validation"),
        ):
            title = f"{findings.overall(outcome).title}, {words}"
            make = partial(_reliability, curves, findings, outcome, curve, title)
            figures.append((title, make))
    return Probabilities(_overall(findings), _by_band(findings), draw(figures))


def _overall(findings: Findings) -> Grid | None:
    """A row a model; a cell says the measure as predicted and recalibrated."""
    blocks = []
    for space in map(findings.overall, findings.outcomes):
        rows = tuple(row for model in findings.models for row in _row(findings, space, model))
        if rows:
            blocks.append(Block(space.title, f"{space.system}{_of_all(findings, space)}", rows))
    caption = "Calibration: as predicted \u2192 recalibrated"
    return Grid(caption, "Outcome", "Model", _HEADINGS, tuple(blocks)) if blocks else None


def _by_band(findings: Findings) -> Grid | None:
    """The first model's calibration by how often the label occurs in training."""
    model, blocks = findings.models[0], []
    for space in map(findings.overall, findings.outcomes):
        groups = findings.groups("brier_macro", model, space)
        bands = [group for group in groups if group.startswith(BAND)]
        rows = []
        for group in sorted(bands, key=band_start):
            count = findings.within("labels_calibrated", model, space, group)
            name = band_title(group) + (f" ({_labels(count['value'])})" if count else "")
            rows += [(name, cells) for _, cells in _row(findings, space, model, group)]
        if rows:
            blocks.append(Block(space.title, space.system, tuple(rows)))
    caption = "Calibration by training cases of the label: as predicted \u2192 recalibrated"
    return Grid(caption, "Outcome", "Band", _HEADINGS, tuple(blocks)) if blocks else None


def _row(
    findings: Findings, space: Space, variant: Variant, group: str = "all"
) -> list[tuple[str, tuple[Cell, ...]]]:
    """The variant's row, or nothing where it was not measured."""
    cells = []
    for _, metric, form in _MEASURES:
        before = findings.within(metric, variant, space, group)
        after = findings.within(metric + _AFTER, variant, space, group)
        words = [cell(row, form).value for row in (before, after) if row]
        cells.append(Cell(" \u2192 ".join(words) or MISSING))
    measured = any(value.value != MISSING for value in cells)
    return [(variant.short_title, tuple(cells))] if measured else []


def _reliability(
    curves: Curves, findings: Findings, outcome: str, curve: str, title: str
) -> Figure | None:
    """Observed shares against mean predicted probabilities of equally filled bins."""
    series = [
        Series(
            model.short_title,
            [(point.x, point.y) for point in points],
            style_of(findings, model),
            marks=True,
            joined=True,
            spans=[(point.low, point.high) for point in points],
        )
        for model in findings.models
        if (points := curves.get(curve, model.name, outcome))
    ]
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
