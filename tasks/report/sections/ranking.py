"""ROC and precision-recall curves: what a model's ranking gives at each operating point."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from tasks.drawing.axes import Axis, NothingToDraw, finite
from tasks.report.curves import Curves
from tasks.report.document import Facts
from tasks.report.figures import Figure, by_outcome, curves_of, plotted
from tasks.report.findings import Findings, Space


def averaged_curves(curves: Curves, findings: Findings, too_few: Collection[str]) -> Facts:
    """The macro-averaged curves of every variant; a chart an outcome.

    Args:
        too_few: outcomes of one label whose cases in test are not printed; the precision-recall
            curve, which ends at their share, would tell them.
    """
    return {
        "rocs": by_outcome(findings, partial(_roc, curves, findings)),
        "precisions": by_outcome(findings, partial(_precision, curves, findings, too_few)),
    }


def _roc(curves: Curves, findings: Findings, space: Space) -> Figure | None:
    series = curves_of(curves, "roc", space, findings, findings.variants)
    if not series:
        return None
    x, y = Axis("false positive rate", 0, 1), Axis("true positive rate", 0, 1)
    words = "; ".join(f"{line.name} {_at(line.points, 0.1):.2f}" for line in series)
    words = f"True positive rate at a false positive rate of 0.10: {words}."
    about = f"ROC curves, {space.title}."
    return plotted(space.title, series, x, y, words, about, diagonal=True)


def _precision(
    curves: Curves, findings: Findings, too_few: Collection[str], space: Space
) -> Figure | None:
    series = curves_of(curves, "precision_recall", space, findings, findings.variants)
    if not series:
        return None
    if space.outcome in too_few:
        raise NothingToDraw("it would tell how many cases there are, which are too few to print")
    # all admissions flagged: precision is the prevalence, and so it is for guessing
    guessing = min(finite(line.points[-1][1] for line in series))
    top = min(1.0, 1.05 * max(finite(up for line in series for _, up in line.points))) or 1.0
    x, y = Axis("recall", 0, 1), Axis("precision", 0, top)
    words = "; ".join(f"{line.name} {_at(line.points, 0.5):.2f}" for line in series)
    words = f"Precision at a recall of 0.50: {words}. Guessing: {guessing:.2f}."
    about = f"Precision-recall curves, {space.title}."
    return plotted(space.title, series, x, y, words, about, level=guessing)


def _at(points: Sequence[tuple[float, float]], across: float) -> float:
    """The curve's height at the point nearest to `across`."""
    return min(points, key=lambda point: abs(point[0] - across))[1]
