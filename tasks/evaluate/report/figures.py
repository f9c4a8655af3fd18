"""The report's figures: which numbers go on which chart, and what each says in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tasks import schemas, tables
from tasks.evaluate.report.charts import Axis, Series, Whisker, forest, plot, swatch
from tasks.evaluate.report.facts import Arm, Label
from tasks.evaluate.report.findings import Findings, variant_title
from tasks.evaluate.rows import BEST

STYLES = {"fused": 0, "unfused": 1, "tfidf": 2, BEST: 3}
SHORT = {
    "fused": "Fused",
    "unfused": "Task adapter only",
    "tfidf": "TF-IDF",
    BEST: "Best reachable",
}
LANGUAGE_ARMS = ("base", "clinical")  # trained on notes: validated by perplexity
BANDS = ((1, 25), (25, 100), (100, 1000), (1000, 10**9))  # training cases of a label


@dataclass(frozen=True)
class Figure:
    """A drawing, its heading, its legend (sample, name), and what it says in words."""

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...]
    caption: str


def forests(findings: Findings) -> list[Figure]:
    """Macro AUROC with its interval, a row a variant; a chart an outcome."""
    found = []
    for outcome in findings.outcomes:
        system = findings.overall(outcome).code_system
        rows = []
        for variant in findings.variants:
            row = findings.get("auroc_macro", variant, outcome, system)
            if row and (variant in findings.models or variant == BEST):
                low, high = (math.nan if row[end] is None else row[end] for end in ("low", "high"))
                rows.append(
                    Whisker(short(variant), row["value"], low, high, style_of(findings, variant))
                )
        if not rows:
            continue
        ends = [end for row in rows for end in (row.low, row.high, row.value) if end == end]
        axis = Axis("macro AUROC (0.5 = chance)", min(0.48, min(ends)), min(1.0, max(ends) + 0.02))
        words = "; ".join(f"{row.name} {_span(row.value, row.low, row.high)}" for row in rows)
        title = findings.overall(outcome).title
        drawing = forest(rows, axis, description=f"{title}, macro AUROC: {words}.", reference=0.5)
        found.append(Figure(title, drawing, (), ""))  # the table above says it
    return found


def roc_figures(path: Path, findings: Findings) -> list[Figure]:
    """The macro-averaged ROC curve of every variant; a chart an outcome."""
    rows = tables.read(path, schemas.CURVES).to_pylist()
    axes = Axis("false positive rate", 0, 1), Axis("true positive rate", 0, 1)
    found = []
    for outcome in findings.outcomes:
        series = []
        for variant in findings.variants:
            points = [
                (row["x"], row["y"])
                for row in rows
                if (row["outcome"], row["variant"], row["curve"]) == (outcome, variant, "roc")
            ]
            if points:
                series.append(Series(short(variant), points, style_of(findings, variant)))
        if not series:
            continue
        words = "; ".join(f"{one.name} reaches {_at(one.points, 0.1):.2f}" for one in series)
        words = f"True positive rate at a false positive rate of 0.10: {words}."
        title = findings.overall(outcome).title
        drawing = plot(series, *axes, description=f"ROC curves, {title}. {words}", diagonal=True)
        found.append(Figure(title, drawing, legend(series), words))
    return found


def frequency_figures(findings: Findings, labels: Sequence[Label]) -> list[Figure]:
    """AUROC of each label of the first model against how many training cases it had."""
    found = []
    for outcome in findings.outcomes:
        mine = [label for label in labels if label.outcome == outcome and label.train > 0]
        model = findings.models[0]
        points = [
            (float(label.train), row["value"])
            for label in mine
            if (row := findings.get("auroc", model, outcome, label.code_system, label.code))
        ]
        if len(points) < 5:
            continue
        series = [Series(short(model), points, style_of(findings, model), marks=True)]
        top = max(count for count, _ in points)
        bottom = min(count for count, _ in points)
        x = Axis("training admissions with the label", 0.9 * bottom, 1.1 * top, log=True)
        y = Axis("AUROC of the label", min(0.4, min(value for _, value in points)), 1.0)
        words = (
            f"{len(points)} labels with {bottom:,.0f} to {top:,.0f} training admissions; "
            f"their median AUROC is {median(value for _, value in points):.3f}."
        )
        title = findings.overall(outcome).title
        drawing = plot(series, x, y, description=f"{title}: {words}")
        found.append(Figure(title, drawing, legend(series), words))
    return found


def band_table(
    findings: Findings, labels: Sequence[Label], outcome: str
) -> list[tuple[str, int, list[float | None]]]:
    """Mean AUROC of the labels within bands of training cases: (band, labels, a value a model)."""
    table = []
    for low, high in BANDS:
        inside = [
            label for label in labels if label.outcome == outcome and low <= label.train < high
        ]
        means: list[float | None] = []
        for variant in findings.models:
            values = [
                row["value"]
                for label in inside
                if (row := findings.get("auroc", variant, outcome, label.code_system, label.code))
            ]
            means.append(sum(values) / len(values) if values else None)
        if inside:
            name = f"{low:,}-{high - 1:,}" if high < 10**9 else f"{low:,} and more"
            table.append((name, len(inside), means))
    return table


def training_figures(arms: Sequence[Arm]) -> list[Figure]:
    """The loss, and what was measured on validation, over the tokens seen; a chart a stage each."""
    found = []
    for stage in dict.fromkeys(arm.stage for arm in arms):
        mine = [arm for arm in arms if arm.stage == stage]
        language = any(arm.name in LANGUAGE_ARMS for arm in mine)
        for title, curves in (
            ("training loss", [(arm.name, arm.loss) for arm in mine]),
            (
                "validation perplexity" if language else "validation macro AUROC",
                [(arm.name, arm.validation) for arm in mine],
            ),
        ):
            series = [
                Series(short(name), curve, index, marks=len(curve) == 1)
                for index, (name, curve) in enumerate(curves)
                if curve
            ]
            if series:
                found.append(_curves(stage, title, series))
    return found


def legend(series: Iterable[Series]) -> tuple[tuple[str, str], ...]:
    return tuple((swatch(one.style, one.marks), one.name) for one in series)


def short(variant: str) -> str:
    return SHORT.get(variant, variant_title(variant))


def style_of(findings: Findings, variant: str) -> int:
    """The variant's color, dash and mark, the same on every chart."""
    others = [name for name in findings.variants if name not in STYLES]
    return STYLES[variant] if variant in STYLES else len(STYLES) + others.index(variant)


def _curves(stage: str, title: str, series: list[Series]) -> Figure:
    values = [value for one in series for _, value in one.points]
    spread = (max(values) - min(values)) * 0.05 or 0.05
    x = Axis("tokens seen", 0, max(tokens for one in series for tokens, _ in one.points) or 1)
    y = Axis(title, min(values) - spread, max(values) + spread)
    words = "; ".join(
        f"{one.name}: from {one.points[0][1]:.3f} to {one.points[-1][1]:.3f}" for one in series
    )
    drawing = plot(series, x, y, description=f"{stage}, {title}. {words}.")
    return Figure(f"{stage}: {title}", drawing, legend(series), f"{words}.")


def _at(points: Sequence[tuple[float, float]], across: float) -> float:
    """The curve's height at the point nearest to `across`."""
    return min(points, key=lambda point: abs(point[0] - across))[1]


def _span(value: float, low: float, high: float) -> str:
    return f"{value:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")
