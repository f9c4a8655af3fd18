"""What a user wants to be run when a flow run has ended, called by Prefect's own state hooks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import Flow, State
from prefect.client.schemas.objects import FlowRun
from prefect.logging.loggers import flow_run_logger

from flows.loading import load_compare, load_config, load_score, load_search
from tasks.errors import ClinfuseError
from tasks.flow_run import current_store
from tasks.hooks import HooksConfig, When, call
from tasks.runs import load_run

_LOADERS: dict[str, Callable[[Path], Any]] = {
    "compare": load_compare,
    "search": load_search,
    "score": load_score,
}


def on_completion(flow: Flow[..., Any], run: FlowRun, state: State[Any]) -> None:
    """Run the command of hooks.on_completion, if there is one; so do the others here."""
    _run("on_completion", flow, run, state)


def on_failure(flow: Flow[..., Any], run: FlowRun, state: State[Any]) -> None:
    _run("on_failure", flow, run, state)


def on_crashed(flow: Flow[..., Any], run: FlowRun, state: State[Any]) -> None:
    _run("on_crashed", flow, run, state)


def on_cancellation(flow: Flow[..., Any], run: FlowRun, state: State[Any]) -> None:
    _run("on_cancellation", flow, run, state)


HOOKS: dict[str, Any] = {
    "on_completion": [on_completion],
    "on_failure": [on_failure],
    "on_crashed": [on_crashed],
    "on_cancellation": [on_cancellation],
}


def _run(when: When, flow: Flow[..., Any], run: FlowRun, state: State[Any]) -> None:
    """Run the command; that it fails is a warning, and changes nothing about the run."""
    default = inspect.signature(flow.fn).parameters["preset"].default
    try:
        config = _LOADERS.get(flow.name, load_config)(Path(run.parameters.get("preset", default)))
    except ClinfuseError:  # the run has failed for this, and says it
        return
    hooks: HooksConfig = config.hooks
    if command := hooks.command(when):
        facts = _facts(config.name, flow, run, state)
        if problem := call(command, facts, hooks.timeout_seconds):
            log = flow_run_logger(run, flow)
            log.warning("the command of hooks.%s (%s) %s", when, command[0], problem)


def _facts(name: str, flow: Flow[..., Any], run: FlowRun, state: State[Any]) -> dict[str, str]:
    """What a command is told, as environment variables: nothing that Prefect is not told."""
    facts = {
        "CLINFUSE_RUN": str(run.id),
        "CLINFUSE_RUN_NAME": run.name,
        "CLINFUSE_FLOW": flow.name,
        "CLINFUSE_NAME": str(run.parameters.get("name") or name),
        "CLINFUSE_STATE": state.name or "",
        "CLINFUSE_MESSAGE": state.message or "",
    }
    try:
        root = current_store().root
    except ClinfuseError:
        return facts
    facts["CLINFUSE_STORE"] = str(root)
    for reached in load_run(root, str(run.id)).artifacts:
        if reached.kind in ("report", "leaderboard"):
            folder = root / reached.kind / reached.key
            facts["CLINFUSE_REPORT"] = str(folder / "report.html")
            facts["CLINFUSE_RESULTS"] = str(folder / "headline.json")
    return facts
