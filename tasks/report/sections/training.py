"""How training went: the loss and the validation measure over the tokens seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tasks.drawing.axes import Axis, finite
from tasks.drawing.charts import Series
from tasks.report.facts import DOMAIN_ADAPTERS, Arm
from tasks.report.figures import Figure, draw, plotted, spanning
from tasks.report.findings import Findings
from tasks.report.printing import number, span

MASKED = "Loss of masked words, nats a token"
# who read unseen notes, and the ends of the names of what was measured
_READERS = (
    ("base alone", "before", "before"),
    ("base + clinical adapter", "after", "after"),
    ("the latter against the former, same notes", "ratio", "diff"),
)


@dataclass(frozen=True)
class Likelihood:
    """A cell of the table of how likely unseen notes are."""

    column: str
    value: str
    span: str


def likelihoods(findings: Findings) -> list[tuple[str, list[Likelihood]]]:
    """Who read unseen notes, the base first, and how likely these are to it."""
    masked = findings.masked_words
    rows = []
    for reader, of_perplexity, end in _READERS:
        cells = []
        metrics = {
            "Perplexity": f"perplexity_{of_perplexity}",
            "Nats a token": f"loss_{end}",
            "Bits per byte": f"bits_per_byte_{end}",
        }
        for column, metric in ({MASKED: f"loss_{end}"} if masked else metrics).items():
            row = findings.get(metric, "clinical", findings.likelihood_of)
            form = "+.3f" if metric.endswith("diff") else ".3f"
            prefix = "ratio " if metric.endswith("ratio") else ""
            value, ends = (number(row, form), span(row, form, expected=False)) if row else ("", "")
            cells.append(Likelihood(column, f"{prefix}{value}" if value else "", ends))
        rows.append((reader, cells))
    return rows


def training_figures(arms: Sequence[Arm]) -> list[Figure]:
    """The loss, and what was measured on validation, over the tokens seen; a chart a stage each."""
    figures = []
    for stage in dict.fromkeys(arm.stage for arm in arms):
        of_stage = [arm for arm in arms if arm.stage == stage]
        language = not any(arm.predicts for arm in of_stage)
        losses = "training loss (nats a token)" if language else "training loss (cross-entropy)"
        if any(arm.name == DOMAIN_ADAPTERS["ontology-adapter"] for arm in of_stage):
            losses = "training loss (nats a choice or token)"
        checks = "perplexity on validation" if language else "macro AUROC on validation"
        for title, curves, marks in (
            (losses, [(arm.title, arm.loss) for arm in of_stage], False),
            (checks, [(arm.title, arm.validation) for arm in of_stage], True),
        ):
            series = [
                Series(name, curve, index, marks=marks or len(curve) == 1, joined=marks)
                for index, (name, curve) in enumerate(curves)
                if curve
            ]
            if series:
                heading = f"{stage[:1].upper()}{stage[1:]}: {title.partition(' (')[0]}"
                figures.append((heading, partial(_curves, heading, title, series)))
    return draw(figures)


def _curves(heading: str, title: str, series: list[Series]) -> Figure:
    values = finite(value for line in series for _, value in line.points)
    most = max(tokens for line in series for tokens, _ in line.points) or 1
    x = Axis("tokens seen in training", 0, 1.02 * most)
    y = spanning(title, values, 0.05)
    # a loss that is no number is said as it is: that training diverged
    words = "; ".join(
        f"{line.name}: from {line.points[0][1]:.3f} to {line.points[-1][1]:.3f}" for line in series
    )
    return plotted(heading, series, x, y, f"{words}.", f"{heading}.")
