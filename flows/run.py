"""One run from the terminal: read the config, call the flow, print what came out."""

from __future__ import annotations

import json
import logging
import os
import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.check import check, check_hooks, check_machine, check_names
from flows.config import AdaptConfig
from flows.loading import load_compare, load_config, load_score
from flows.server import prefect_api
from flows.stop import stopping
from flows.view import KINDS
from tasks.errors import ClinfuseError
from tasks.ingest.source import open_source
from tasks.provenance import peak_mib
from tasks.report.config import NOTE
from tasks.runs import Run, load_run
from tasks.store import Store


def run(
    flow: str,
    preset: Path,
    *,
    overrides: Sequence[str],
    store: Path,
    group: bool = False,
    **steering: Any,
) -> None:
    """Run the flow of that name and print the result.

    Args:
        steering: its further parameters, such as `refresh`.

    Raises a ClinfuseError where the configuration, the store or a step is at fault.
    """
    began = time.monotonic()
    check_preset(flow, preset, overrides)
    opened = Store(store.expanduser().resolve(), group=group)
    os.environ["PREFECT_RESULTS_LOCAL_STORAGE_PATH"] = str(opened.root)
    parameters = {"preset": str(preset), "overrides": list(overrides), **steering}
    with stopping():
        run_id, result = _call(flow, parameters)
    if flow == "search":
        _print_search(result)
    elif flow == "score":
        _print_scored(result)
    else:
        _print_result(opened, load_run(opened.root, run_id), time.monotonic() - began)


def check_preset(flow: str, preset: Path, overrides: Sequence[str]) -> tuple[AdaptConfig, ...]:
    """The runs that the flow is for, as configured; a scoring has none.

    Raises a ClinfuseError where it could not come to its end with one of them.
    """
    if flow == "search":
        from flows.space import check_search  # Optuna takes a moment to import

        return (check_search(preset, overrides),)
    if flow == "score":
        scoring = load_score(preset, overrides)
        check_machine(scoring.launch)
        check_hooks(scoring.hooks)
        open_source(scoring.source, scoring.note_source, "source")
        return ()
    if flow == "compare":
        compared = load_compare(preset, overrides)
        check_hooks(compared.hooks)
        configs, flow = compared.runs, compared.stage
    else:
        configs = (load_config(preset, overrides),)
    for config in configs:
        check(config, flow=flow)
    return configs


def _call(flow: str, parameters: dict[str, Any]) -> tuple[str, Any]:
    """Call the flow; the id of its run, and what it returned."""
    # said better by prefect_api
    warnings.filterwarnings("ignore", "Failed to create the Prefect home", UserWarning)
    # imported here: Prefect reads the environment when it is imported, and takes seconds
    from prefect import tags

    from flows.stages import refreshable

    check_names(parameters.get("refresh", ()), refreshable(flow), "refresh")
    called = _flow(flow)
    _quiet()
    with prefect_api(), tags(flow, Path(parameters["preset"]).stem):
        state = called(**parameters, return_state=True)
        result = state.result()  # raises what a step raised
    return str(state.state_details.flow_run_id), result


def _flow(name: str) -> Any:
    """The flow of that name."""
    match name:
        case "compare":
            from flows.compare import compare

            return compare
        case "search":
            from flows.search import search

            return search
        case "score":
            from flows.score import score

            return score
        case _:
            from flows.stages import FLOWS

            return next(known for known in FLOWS if known.name == name)


def _quiet() -> None:
    """Keep Prefect from printing tracebacks of what a sentence says, and lines that say less."""
    from prefect.logging.handlers import PrefectConsoleHandler

    def without_traceback(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error and not isinstance(error, Exception):
            return False  # told to stop: that is said once, at the end
        if isinstance(error, ClinfuseError):
            record.exc_info = None
        return True

    def worth_a_line(record: logging.LogRecord) -> bool:
        # the temporary server shows no pages; of a cached step the next line says more; there are
        # hooks (flows/hooks.py) whether they have a command to run or not
        said = "View at http|Finished in state Cached|Running hook '|Hook '"
        return not re.match(said, record.getMessage())

    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(without_traceback)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(worth_a_line)


def _print_result(store: Store, run: Run, seconds: float) -> None:
    console = Console()
    made = sum(reached.how == "made" for reached in run.artifacts)
    reports = [artifact for artifact in run.artifacts if artifact.kind in ("report", "leaderboard")]
    if reports:
        folder = store.path(reports[-1].kind, reports[-1].key)
        _print_table(console, folder / "headline.json")
        console.print(f"report     {folder / 'report.html'}", soft_wrap=True, markup=False)
    for kind in ("leaks", "memory"):
        audits = [reached for reached in run.artifacts if reached.kind == kind]
        if audits:
            folder = store.path(kind, audits[-1].key)
            _print_table(console, folder / "overview.json")
            console.print(f"audit      {folder / KINDS[kind]}", soft_wrap=True, markup=False)
    console.print(f"artifacts  {store.root}", soft_wrap=True, markup=False)
    console.print(
        f"{len(run.artifacts)} artifacts, {made} made, {len(run.artifacts) - made} reused, "
        f"in {seconds:.0f} s; at most {peak_mib():,.0f} MiB in any process"
    )


def _print_search(found: Any) -> None:
    """The table of trials, and what to do with the best."""
    console = Console()
    _print_table(console, found.folder / "table.json")
    for sentence in found.failed:
        console.print(sentence, soft_wrap=True, markup=False)
    console.print(found.sentence, soft_wrap=True, markup=False)
    console.print(f"best       {found.sets}", soft_wrap=True, markup=False)
    console.print(f"as a file  {found.folder / 'best.yaml'}", soft_wrap=True, markup=False)


def _print_scored(scored: Any) -> None:
    """The drifts, how much was scored, and where it is."""
    console = Console()
    _print_rows(console, [drift.row for drift in scored.drifts])
    console.print(scored.sentence, soft_wrap=True, markup=False)
    console.print(f"scores     {scored.folder}", soft_wrap=True, markup=False)


def _print_table(console: Console, path: Path) -> None:
    """The table that a step left for the terminal and for Prefect."""
    _print_rows(console, json.loads(path.read_text()))


def _print_rows(console: Console, rows: list[dict[str, Any]]) -> None:
    """A table; notes on rows below it."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        if note := row.pop(NOTE, ""):
            notes.setdefault(note, []).append(next(iter(row.values())))
    headers = (escape(name) for name in (rows[0] if rows else ()))
    table = Table(*headers, box=None, padding=(0, 1, 0, 0))  # so that 80 characters do
    for index, column in enumerate(table.columns):
        header = str(column.header)
        column.no_wrap = index == 0 or header == "variant" or "interval" in header
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    console.print(table)
    for note, about in notes.items():
        named = ", ".join(dict.fromkeys(about))
        console.print(f"{named}: no interval: {note}", soft_wrap=True, markup=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))
