"""What a model costs, and what it gives for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tasks.report.axes import Axis, finite
from tasks.report.charts import Series, plot
from tasks.report.facts import Arm, Cost
from tasks.report.figures import Figure, draw, ends, legend, short, spanning, style_of
from tasks.report.findings import Findings
from tasks.report.printing import duration

PARTS = {"fused": ("clinical", "fused")}  # arms whose cost a variant carries; else its own alone


@dataclass(frozen=True)
class Efficiency:
    """The section's table (a variant, its cost) and a chart an outcome."""

    costs: list[tuple[str, Cost]]
    figures: list[Figure]
    shared_base: bool  # a base was trained too; every adapter builds on it


def efficiency(findings: Findings, arms: Sequence[Arm], known: Mapping[str, Cost]) -> Efficiency:
    """AUROC against cost; `known` holds, by arm, what the histories do not tell."""
    parts = dict(known)
    for arm in arms:
        parameters = known[arm.name].parameters if arm.name in known else None
        parts[arm.name] = Cost(arm.seconds, arm.tokens, arm.peak_mib, parameters)
    costs = [
        (name, _sum([parts[part] for part in _arms_of(name)]))
        for name in findings.models
        if all(part in parts for part in _arms_of(name))
    ]
    # what took no measurable time has no place on a logarithmic axis; the table has it
    seconds = {name: cost.seconds for name, cost in costs if cost.seconds and cost.seconds > 0}
    figures = (
        (findings.overall(outcome).title, partial(_figure, findings, outcome, seconds))
        for outcome in findings.outcomes
    )
    return Efficiency(costs, draw(figures), any(arm.name == "base" for arm in arms))


def _arms_of(variant: str) -> tuple[str, ...]:
    return PARTS.get(variant, (variant,))


def _sum(parts: Sequence[Cost]) -> Cost:
    """Both parts together: times, tokens and parameters add up, the memory peak is the higher."""

    def total(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) else None

    tokens = total([part.tokens for part in parts])
    parameters = total([part.parameters for part in parts])
    peaks = [part.peak_mib for part in parts if part.peak_mib is not None]
    return Cost(
        total([part.seconds for part in parts]),
        None if tokens is None else int(tokens),
        max(peaks, default=None),
        None if parameters is None else int(parameters),
    )


def _figure(findings: Findings, outcome: str, seconds: Mapping[str, float]) -> Figure | None:
    """Macro AUROC with its interval against training time, a mark a variant."""
    space, series = findings.overall(outcome), []
    for name, spent in seconds.items():
        row = findings.within("auroc_macro", name, space)
        if row:
            style = style_of(findings, name)
            point = [(spent, row["value"])]
            series.append(Series(short(name), point, style, marks=True, spans=[ends(row)]))
    if len(series) < 2:
        return None
    values = finite(height for one in series for height in one.heights)
    times = finite(one.points[0][0] for one in series)
    x = Axis("seconds of training", min(times) / 1.6, max(times) * 1.6, log=True)
    y = spanning("macro AUROC", values, 0.1)
    words = "; ".join(
        f"{one.name}: {one.points[0][1]:.3f} for {duration(one.points[0][0])}" for one in series
    )
    told = f"{space.title}, macro AUROC against training time. {words}."
    return Figure(space.title, plot(series, x, y, description=told), legend(series), f"{words}.")
