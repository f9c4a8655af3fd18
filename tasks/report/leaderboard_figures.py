"""The leaderboard's figures: every model's AUROC with its interval, and against what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from tasks.evaluate.leaderboard import Board, Standing
from tasks.report.axes import Axis, finite
from tasks.report.charts import Series, Whisker, forest, plot
from tasks.report.figures import Figure, draw, legend
from tasks.report.findings import OUTCOMES
from tasks.report.printing import duration

LONGEST_NAME = 23  # characters; what the forest plot has room for


def forests(boards: Sequence[Board], styles: Mapping[str, int]) -> list[Figure]:
    """Macro AUROC over seeds with its interval, a row a model; a chart an outcome."""
    return draw((outcome_title(board.outcome), partial(_forest, board, styles)) for board in boards)


def efficiency(
    boards: Sequence[Board], styles: Mapping[str, int], seconds: Mapping[str, float]
) -> list[Figure]:
    """Macro AUROC over the seconds that one seed's training took; a chart an outcome."""
    return draw(
        (outcome_title(board.outcome), partial(_cost, board, styles, seconds)) for board in boards
    )


def _forest(board: Board, styles: Mapping[str, int]) -> Figure | None:
    rows = [_whisker(standing, styles) for standing in board.standings]
    rows = [row for row in rows if not math.isnan(row.value)]
    if not rows:
        return None
    ends = finite(end for row in rows for end in (row.low, row.high, row.value))
    axis = Axis("macro AUROC (0.5 = chance)", min(0.48, *ends), min(1.0, max(ends) + 0.02))
    words = "; ".join(f"{standing.entry.name} {in_words(standing)}" for standing in board.standings)
    title = outcome_title(board.outcome)
    told = f"{title}, macro AUROC: {words}."
    return Figure(title, forest(rows, axis, description=told, reference=0.5))


def _cost(board: Board, styles: Mapping[str, int], seconds: Mapping[str, float]) -> Figure | None:
    points = {
        one.entry.name: (seconds[one.entry.name], one.macro.value)
        for one in board.standings
        if seconds.get(one.entry.name, 0) > 0 and not math.isnan(one.macro.value)
    }
    if len(points) < 2:
        return None
    series = [Series(name, [point], styles[name], marks=True) for name, point in points.items()]
    times, values = zip(*points.values(), strict=True)
    log = max(times) > 8 * min(times)
    across = Axis("seconds of training", min(times) / 1.6 if log else 0.0, max(times) * 1.2, log)
    spread = (max(values) - min(values)) * 0.15 or 0.01
    up = Axis("macro AUROC", min(values) - spread, min(1.0, max(values) + spread))
    words = "; ".join(
        f"{name} {value:.3f} in {duration(time)}" for name, (time, value) in points.items()
    )
    title = outcome_title(board.outcome)
    drawing = plot(series, across, up, description=f"{title}, AUROC against cost: {words}.")
    return Figure(title, drawing, legend(series), f"{words}.")


def outcome_title(outcome: str) -> str:
    return OUTCOMES.get(outcome, outcome)


def fitted(name: str) -> str:
    """The name, cut in its middle where it is too long for a chart.

    >>> fitted("compare-all-linear-with-embedding/unfused")
    'compare-all-…ng/unfused'
    """
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:12]}…{name[-10:]}"


def in_words(standing: Standing) -> str:
    macro = standing.macro
    if math.isnan(macro.value):
        return "undefined"
    span = "" if math.isnan(macro.low) else f" ({macro.low:.3f} to {macro.high:.3f})"
    return f"{macro.value:.3f}{span}"


def _whisker(standing: Standing, styles: Mapping[str, int]) -> Whisker:
    name, macro = standing.entry.name, standing.macro
    return Whisker(fitted(name), macro.value, macro.low, macro.high, styles[name])
