"""What decisions come of it: F1 at chosen thresholds, coding measures, net benefit."""

from __future__ import annotations

from functools import partial

from tasks.drawing.axes import Axis, finite
from tasks.drawing.charts import Series
from tasks.measures.reliability import Point
from tasks.report.curves import Curves
from tasks.report.document import Facts
from tasks.report.figures import Figure, by_outcome, plotted, style_of
from tasks.report.findings import Findings, Space
from tasks.report.grids import Measure, measured

_THRESHOLDS = (Measure("F1, macro", "f1_macro"), Measure("F1, micro", "f1_micro"))
_CODING = (
    Measure("Precision at 5", "precision_at_5"),
    Measure("Precision at 8", "precision_at_8"),
    Measure("Precision at 15", "precision_at_15"),
    Measure("R-precision", "r_precision"),
    Measure("MAP", "mean_average_precision"),
)
_LEAST_SHARE = 0.02  # the chart ends where no model has more than this share of its best benefit
_TREAT_ALL = 6  # its style: not a model's


def decisions(curves: Curves, findings: Findings) -> Facts:
    return {
        "thresholds": measured(findings, "F1 at thresholds chosen on validation", _THRESHOLDS),
        "coding": measured(
            findings, "Codes proposed for an admission, the most likely first", _CODING
        ),
        "benefits": by_outcome(findings, partial(_benefit, curves, findings)),
    }


def _benefit(curves: Curves, findings: Findings, space: Space) -> Figure | None:
    """Net benefit against the threshold probability, with treating all and treating none."""
    models = {
        model: points
        for model in findings.models
        if (points := curves.get("net_benefit", model.name, space.outcome))
    }
    if not models:
        return None
    everyone = next(
        (
            points
            for model in models
            if (points := curves.get("net_benefit_all", model.name, space.outcome))
        ),
        [],
    )
    best = max(finite(point.y for points in models.values() for point in points))
    end = _end(list(models.values()), best)
    series = [
        Series(model.short_title, _until(points, end), style_of(findings, model))
        for model, points in models.items()
    ]
    x = Axis("threshold probability", 0, end)
    y = Axis("net benefit", -0.15 * best, 1.08 * best) if best > 0 else Axis("net benefit", -1, 1)
    if everyone:
        series.append(Series("Treat all", _above(_until(everyone, end), y.low), _TREAT_ALL))
    first, points = next(iter(models.items()))
    words = f"{first.short_title} is {_useful(points, everyone)}."
    return plotted(space.title, series, x, y, words, f"Decision curves, {space.title}.", level=0.0)


def _useful(points: list[Point], everyone: list[Point]) -> str:
    """Where a model is better than treating all and than treating none: the longest stretch."""
    treated = {point.x: point.y for point in everyone}
    stretch: list[float] = []
    longest: list[float] = []
    for point in points:
        better = point.y > max(0.0, treated.get(point.x, 0.0))
        stretch = [*stretch, point.x] if better else []
        longest = max(longest, stretch, key=len)
    if not longest:
        return "at no threshold better than treating all and than treating none"
    ends = f"{longest[0]:.2f} and {longest[-1]:.2f}"
    return f"better than treating all and than treating none at thresholds between {ends}"


def _end(curves: list[list[Point]], best: float) -> float:
    """The threshold up to which some model has a benefit worth drawing."""
    useful = [point.x for points in curves for point in points if point.y > _LEAST_SHARE * best > 0]
    return min(1.0, max([0.1, *useful]) + 0.02)


def _until(points: list[Point], end: float) -> list[tuple[float, float]]:
    return [(point.x, point.y) for point in points if point.x <= end]


def _above(points: list[tuple[float, float]], low: float) -> list[tuple[float, float]]:
    """The points up to the first that falls below the chart, so that no line runs on its edge."""
    below = next((index for index, (_, up) in enumerate(points) if up < low), len(points))
    return points[: below + 1]
