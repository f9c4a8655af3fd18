"""One run from the terminal: read the config, choose the flow, call it, print what came out."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.config import AdaptConfig, load_compare, load_config
from tasks.errors import ClinfuseError
from tasks.provenance import peak_mib
from tasks.runs import Run, load_runs
from tasks.store import Store


def run_stage(
    path: Path,
    *,
    overrides: list[str],
    stage: str | None,
    refresh: tuple[str, ...],
    make_missing: bool,
    store: Path,
    group: bool,
) -> None:
    """Run the chain up to a stage (None: to its end) and print the result.

    Raises a ClinfuseError where the configuration, the store or a step is at fault.
    """
    began = time.monotonic()
    config = load_config(path, overrides)
    opened = _opened(store, group)
    _call(config, stage, refresh, make_missing)
    _print_result(opened, load_runs(opened.root)[-1], time.monotonic() - began)


def run_audit(path: Path, *, overrides: list[str], refresh: tuple[str, ...], store: Path) -> None:
    """Audit the notes for leaks and print what was found.

    Raises a ClinfuseError where the configuration, the store or a step is at fault.
    """
    began = time.monotonic()
    config = load_config(path, overrides)
    opened = _opened(store)
    _quiet_expected_errors()
    from flows.audit import audit

    audit(config, refresh=refresh)
    _print_result(opened, load_runs(opened.root)[-1], time.monotonic() - began)


def run_compare(path: Path, *, overrides: list[str], store: Path) -> None:
    """Compare runs over seeds and print the leaderboard.

    Raises a ClinfuseError where the configuration, the store or a step is at fault.
    """
    began = time.monotonic()
    config = load_compare(path, overrides)
    opened = _opened(store)
    _quiet_expected_errors()
    from flows.compare import compare

    compare(config)
    _print_result(opened, load_runs(opened.root)[-1], time.monotonic() - began)


def _opened(store: Path, group: bool = False) -> Store:
    """The store, made where it is not there, and where Prefect will write results."""
    opened = Store(store.expanduser().resolve(), group=group)
    os.environ["PREFECT_RESULTS_LOCAL_STORAGE_PATH"] = str(opened.root)
    return opened


def _call(
    config: AdaptConfig, stage: str | None, refresh: tuple[str, ...], make_missing: bool
) -> None:
    # imported here: Prefect reads the environment when it is imported, and takes seconds
    _quiet_expected_errors()
    match stage:
        case None:
            from flows.adapt import adapt

            adapt(config, refresh=refresh)
        case "ingest":
            from flows.ingest import ingest

            ingest(config, refresh=refresh)
        case "pretrain":
            from flows.pretrain import pretrain

            pretrain(config, refresh=refresh, make_missing=make_missing)
        case "finetune":
            from flows.finetune import finetune

            finetune(config, refresh=refresh, make_missing=make_missing)
        case "evaluate":
            from flows.evaluate import evaluate

            evaluate(config, refresh=refresh, make_missing=make_missing)


def _quiet_expected_errors() -> None:
    """Keep Prefect from printing a traceback for an error whose one sentence says it all."""

    def without_traceback(record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], ClinfuseError):
            record.exc_info = None
        return True

    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(without_traceback)


def _print_result(store: Store, run: Run, seconds: float) -> None:
    console = Console()
    made = sum(reached.how == "made" for reached in run.artifacts)
    reports = [each for each in run.artifacts if each.kind in ("report", "leaderboard")]
    if reports:
        folder = store.path(reports[-1].kind, reports[-1].key)
        console.print(_headline(folder / "headline.json"))
        console.print(f"report     {folder / 'report.html'}", soft_wrap=True)
    leaks = [reached for reached in run.artifacts if reached.kind == "leaks"]
    if leaks:
        folder = store.path("leaks", leaks[-1].key)
        console.print(_headline(folder / "overview.json"))
        console.print(f"audit      {folder / 'leaks.md'}", soft_wrap=True)
    console.print(f"artifacts  {store.root}", soft_wrap=True)
    console.print(
        f"{len(run.artifacts)} artifacts, {made} made, {len(run.artifacts) - made} reused, "
        f"in {seconds:.0f} s; at most {peak_mib():,.0f} MiB in any process"
    )


def _headline(path: Path) -> Table:
    """The result table that the report step left for the terminal and for Prefect."""
    rows = json.loads(path.read_text())
    table = Table(*(rows[0] if rows else ()), box=None)
    for column in table.columns[:1]:
        column.no_wrap = True
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
