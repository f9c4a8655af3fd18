"""From the runs' artifacts to the leaderboard's table and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks import schemas, tables
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.leaderboard import board_rows, boards
from tasks.evaluate.leaderboard_cost import seconds_of
from tasks.evaluate.leaderboard_entries import Entrant
from tasks.metrics_table import to_table
from tasks.report.config import Lineage
from tasks.report.facts import Making, read_cohort
from tasks.report.leaderboard_page import Contest, write_page


def write_leaderboard(
    out: Path,
    name: str,
    runs: Sequence[Mapping[str, Any]],
    reference: str | None,
    lineage: Lineage,
    made: Making,
) -> dict[str, int]:
    """Write `metrics.parquet` and the page; nothing unless all runs could be compared.

    Args:
        runs: the fields of an `Entrant` each, with the run's `leaks` and `settings`.
    """
    beside = ("leaks", "settings")
    entrants = [
        Entrant(**{key: value for key, value in run.items() if key not in beside}) for run in runs
    ]
    found = boards(entrants, reference)
    table = to_table(row for one in found for row in board_rows(one))
    tables.write(out / "metrics.parquet", schemas.METRICS, table)
    configs = [EvaluateConfig(**run["settings"].get("evaluate", {})) for run in runs]
    contest = Contest(
        name=name,
        boards=found,
        seeds=entrants[0].seeds,
        seconds={key: took for one in entrants for key, took in seconds_of(one).items()},
        settings={run["run"]: run["settings"] for run in runs},
        leaks={run["run"]: run["leaks"] for run in runs},
        lineage=lineage,
        cohort=read_cohort(entrants[0].cohort),
        smallest_cell=max(evaluated.smallest_cell for evaluated in configs),
        synthetic=any(evaluated.truth for evaluated in configs),
        made=made,
    )
    missing = write_page(out, contest)
    counts = {"rows": len(table), "outcomes": len(found), "runs": len(runs)}
    return counts | ({"parts_missing": len(missing)} if missing else {})
