"""What a model costs, and what it gives for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tasks.drawing.axes import Axis, finite
from tasks.drawing.charts import Series
from tasks.report.document import Facts
from tasks.report.facts import Arm, Cost
from tasks.report.figures import Figure, by_outcome, ends, plotted, spanning, style_of
from tasks.report.findings import Findings, Space
from tasks.report.printing import duration
from tasks.variants import Variant

BASE = "base"  # in its training history


def efficiency(findings: Findings, arms: Sequence[Arm], known: Mapping[str, Cost]) -> Facts:
    """AUROC against cost; `known` holds what the histories do not tell, by the same names.

    A model carries the cost of its member, and of each adapter that it shares with others.
    """
    trainings: dict[str, list[Cost]] = {}
    for arm in arms:
        cost = Cost(arm.seconds, arm.tokens, arm.peak_mib)
        trainings.setdefault(arm.name, []).append(cost)
    parts = dict(known)
    for name, of_name in trainings.items():
        parts[name] = replace(_sum(of_name), parameters=known.get(name, Cost()).parameters)
    names = {model: model.trained or (model.name,) for model in findings.models}
    costs = [
        (model, _sum([parts[name] for name in names[model]]))
        for model in findings.models
        if all(name in parts for name in names[model])
    ]
    # what took no measurable time has no place on a logarithmic axis; the table has it
    seconds = {model: cost.seconds for model, cost in costs if cost.seconds and cost.seconds > 0}
    figures = by_outcome(findings, partial(_figure, findings, seconds))
    # where a base was trained too, every adapter builds on it
    shared_base = any(arm.name == BASE for arm in arms)
    return {"costs": costs, "figures": figures, "shared_base": shared_base}


def _sum(parts: Sequence[Cost]) -> Cost:
    """All parts together: times, tokens and parameters add up, the memory peak is the highest."""

    def total(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if None in values else sum(values)

    peaks = [part.peak_mib for part in parts if part.peak_mib is not None]
    return Cost(total("seconds"), total("tokens"), max(peaks, default=None), total("parameters"))


def _figure(findings: Findings, seconds: Mapping[Variant, float], space: Space) -> Figure | None:
    """Macro AUROC with its interval against training time, a mark a variant."""
    series = []
    for model, spent in seconds.items():
        row = findings.within("auroc_macro", model, space)
        if row:
            style, points = style_of(findings, model), [(spent, row["value"])]
            series.append(Series(model.short_title, points, style, marks=True, spans=[ends(row)]))
    if len(series) < 2:
        return None
    values = finite(height for line in series for height in line.heights)
    times = finite(line.points[0][0] for line in series)
    x = Axis("seconds of training", min(times) / 1.6, max(times) * 1.6, log=True)
    y = spanning("macro AUROC", values, 0.1)
    words = "; ".join(
        f"{line.name}: {line.points[0][1]:.3f} for {duration(line.points[0][0])}" for line in series
    )
    about = f"{space.title}, macro AUROC against training time."
    return plotted(space.title, series, x, y, f"{words}.", about)
