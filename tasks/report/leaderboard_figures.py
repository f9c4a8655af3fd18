"""The leaderboard's figures: every model's AUROC with its interval, and against what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from tasks.drawing.axes import Axis, finite
from tasks.drawing.charts import Series, forest
from tasks.report.figures import Figure, draw, in_words, plotted, whisker
from tasks.report.findings import outcome_title
from tasks.report.printing import duration
from tasks.standings import Board

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
    rows = [
        whisker(fitted(standing.name), vars(standing.macro), styles[standing.name])
        for standing in board.standings
        if standing.macro.value is not None
    ]
    if not rows:
        return None
    ends = finite(end for row in rows for end in (row.low, row.high, row.value))
    axis = Axis("macro AUROC (0.5 = chance)", min(0.48, *ends), min(1.0, max(ends) + 0.02))
    title = outcome_title(board.outcome)
    words = in_words(
        whisker(standing.name, vars(standing.macro), styles[standing.name])
        for standing in board.standings
    )
    description = f"{title}, macro AUROC: {words}."
    return Figure(title, forest(rows, axis, description=description, reference=0.5))


def _cost(board: Board, styles: Mapping[str, int], seconds: Mapping[str, float]) -> Figure | None:
    points = {
        standing.name: (seconds[standing.name], standing.macro.value)
        for standing in board.standings
        if seconds.get(standing.name, 0) > 0 and standing.macro.value is not None
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
    return plotted(title, series, across, up, f"{words}.", f"{title}, AUROC against cost:")


def fitted(name: str) -> str:
    """The name, cut in its middle where it is too long for a chart.

    >>> fitted("compare-all-linear-with-embedding/unfused")
    'compare-all-…ng/unfused'
    """
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:12]}…{name[-10:]}"
