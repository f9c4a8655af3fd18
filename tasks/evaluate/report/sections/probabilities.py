"""How good the probabilities are: Brier score, calibration and reliability, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.evaluate.report.charts import Axis, Series, plot
from tasks.evaluate.report.curves import Curves
from tasks.evaluate.report.figures import Figure, legend, short, style_of
from tasks.evaluate.report.findings import Findings, Space
from tasks.evaluate.report.grids import Block, Cell, Grid, cell
from tasks.evaluate.report.printing import MISSING
from tasks.evaluate.report.sections.frequency import band_title

_MEASURES = (  # heading, metric, form
    ("Brier score", "brier_macro", ".4f"),
    ("ECE", "ece_median", ".3f"),
    ("Slope", "calibration_slope_median", ".2f"),
    ("Intercept", "calibration_intercept_median", "+.2f"),
)
_AFTER = "_recalibrated"
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
    figures = [
        figure
        for outcome in findings.outcomes
        for curve, title in (
            ("reliability", "as predicted"),
            ("reliability_recalibrated", "recalibrated on validation"),
        )
        for figure in _reliability(curves, findings, outcome, curve, title)
    ]
    return Probabilities(_overall(findings), _by_band(findings), figures)


def _overall(findings: Findings) -> Grid | None:
    """A row a model as predicted, and a row recalibrated."""
    blocks = []
    for space in findings.all_spaces:
        rows = [row for name in findings.models for row in _rows(findings, space, name, "all")]
        if rows:
            count = findings.within("labels_calibrated", findings.models[0], space)
            labels = f", {_labels(count['value'])}" if count else ""
            blocks.append(Block(space.title, f"{space.system}{labels}", tuple(rows)))
    columns = tuple(heading for heading, _, _ in _MEASURES)
    caption = "Calibration over the labels with at least 20 cases"
    return Grid(caption, "Outcome", "Model", columns, tuple(blocks)) if blocks else None


def _by_band(findings: Findings) -> Grid | None:
    """The first model's calibration by how often the label occurs in training."""
    model = findings.models[0]
    blocks = []
    for outcome in findings.outcomes:
        groups = dict.fromkeys(
            (row["code_system"], row["group"])
            for row in findings.by_group("brier_macro")
            if row["outcome"] == outcome and row["group"].startswith("cases=")
        )
        system = findings.overall(outcome).code_system
        wanted = [group for found, group in groups if found == system]
        for group in wanted:
            space = Space(outcome, system)
            rows = tuple(_rows(findings, space, model, group))
            count = findings.within("labels_calibrated", model, space, group)
            note = band_title(group) + (f", {_labels(count['value'])}" if count else "")
            if rows:
                blocks.append(Block(space.title, note, rows))
    columns = tuple(heading for heading, _, _ in _MEASURES)
    caption = "Calibration by training cases of the label"
    return Grid(caption, "Outcome", "Model", columns, tuple(blocks)) if blocks else None


def _rows(
    findings: Findings, space: Space, variant: str, group: str
) -> list[tuple[str, tuple[Cell, ...]]]:
    rows = []
    for suffix, words in (("", "as predicted"), (_AFTER, "recalibrated")):
        found = [
            findings.within(metric + suffix, variant, space, group) for _, metric, _ in _MEASURES
        ]
        cells = tuple(cell(row, form) for row, (_, _, form) in zip(found, _MEASURES, strict=True))
        if any(one.value != MISSING for one in cells):
            rows.append((f"{short(variant)}, {words}", cells))
    return rows


def _reliability(
    curves: Curves, findings: Findings, outcome: str, curve: str, title: str
) -> list[Figure]:
    """Observed shares against mean predicted probabilities of equally filled bins."""
    series = []
    for name in findings.models:
        points = curves.get(curve, name, outcome)
        if points:
            series.append(
                Series(
                    short(name),
                    [(point.x, point.y) for point in points],
                    style_of(findings, name),
                    marks=True,
                    joined=True,
                    spans=[(point.low, point.high) for point in points],
                )
            )
    if not series:
        return []
    axes = _axes(series)
    words = " ".join(f"{one.name}: {_last(one.points)}." for one in series)
    words += " Both axes are logarithmic." if axes[0].log else ""
    heading = f"{findings.overall(outcome).title}, {title}"
    drawing = plot(series, *axes, description=f"Reliability, {heading}. {words}", diagonal=True)
    return [Figure(heading, drawing, legend(series), words)]


def _axes(series: Sequence[Series]) -> tuple[Axis, Axis]:
    """The same range on both axes; logarithmic where most probabilities are small."""
    across = sorted(x for one in series for x, _ in one.points)
    largest = max(*across, *(y for one in series for _, y in one.points))
    top, log = min(1.0, 1.05 * largest) or 1.0, across[len(across) // 2] < largest / _LOG_FROM
    low = 0.0
    if log:
        values = [value for one in series for point in one.points for value in point if value > 0]
        low = max(1e-4, 0.8 * min(values))
    return Axis("mean predicted probability", low, top, log), Axis("observed share", low, top, log)


def _last(points: Sequence[tuple[float, float]]) -> str:
    across, up = points[-1]
    return f"in the bin of the highest predictions, {across:.2f} predicted and {up:.2f} observed"


def _labels(count: float) -> str:
    return f"{count:,.0f} label" + ("s" if count != 1 else "")
