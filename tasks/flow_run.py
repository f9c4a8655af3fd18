"""The flow run of this process: its store, its record there, and what it is to make anew."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from uuid import UUID

from prefect.context import FlowRunContext, TaskRunContext
from prefect.filesystems import LocalFileSystem
from prefect.logging import get_run_logger
from prefect.settings import get_current_settings
from pydantic_core import to_jsonable_python

from tasks.errors import StoreError
from tasks.keys import Artifact, Hashes
from tasks.runs import Reached, Run, load_run
from tasks.store import Manifest, Store

_refreshed: ContextVar[Collection[str]] = ContextVar("refreshed", default=())
_makers: ContextVar[Collection[str] | None] = ContextVar("makers", default=None)
_runs: dict[str, Run] = {}  # the one flow run of this process
task_runs: dict[UUID, None] = {}  # of its steps, in order


@contextmanager
def steering(
    *, refresh: Collection[str] = (), makers: Collection[str] | None = None
) -> Iterator[None]:
    """Within it, steps of the stages or kinds in `refresh` are made anew.

    Where `makers` is given, only those stages or kinds make what is missing; others refuse.
    """
    tokens = _refreshed.set(refresh), _makers.set(makers)
    try:
        yield
    finally:
        _refreshed.reset(tokens[0])
        _makers.reset(tokens[1])


def is_refreshed(stage: str, kind: str) -> bool:
    """Whether artifacts of that stage and kind are made anew."""
    return stage in _refreshed.get() or kind in _refreshed.get()


def may_make(stage: str, kind: str) -> bool:
    """Whether artifacts of that stage and kind are made where they are missing."""
    makers = _makers.get()
    return makers is None or stage in makers or kind in makers


def current_store() -> Store:
    """The store: wherever Prefect would write this run's results.

    Raises StoreError where that was not set, or is no local or shared POSIX path.
    """
    context = TaskRunContext.get() or FlowRunContext.get()
    storage = context.result_store.result_storage if context else None
    if storage is not None and not isinstance(storage, LocalFileSystem):
        raise StoreError(
            f"the store is a {type(storage).__name__}; clinfuse needs a local or shared POSIX "
            "folder: pass --store, or set PREFECT_RESULTS_LOCAL_STORAGE_PATH"
        )
    settings = get_current_settings()
    path = storage.basepath if storage else settings.results.local_storage_path
    if path is None or Path(path).expanduser() == Path(settings.home) / "storage":
        raise StoreError("no store is set; pass --store, or set PREFECT_RESULTS_LOCAL_STORAGE_PATH")
    return Store(Path(path).expanduser())


def reached() -> list[Reached]:
    """The artifacts that the current flow run has reached so far."""
    context = FlowRunContext.get()
    run = _runs.get(str(context.flow_run.id)) if context and context.flow_run else None
    return list(run.artifacts) if run else []


def remember(artifact: Artifact, seconds: float) -> None:
    """Add the artifact to the run's record in the store."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    store = current_store()
    run = _record_of(context)
    if (artifact.kind, artifact.key) in {(known.kind, known.key) for known in run.artifacts}:
        return
    manifest = store.manifest(artifact.kind, artifact.key)
    made = manifest is not None and manifest.flow_run_id == run.id
    if manifest and not made:
        maker = maker_of(store, manifest)
        created = manifest.created[:16].replace("T", " ")
        name = f"{artifact.kind}/{artifact.key}"
        get_run_logger().info("reused %s, made by '%s' on %s", name, maker, created)
    run.reach(artifact, "made" if made else "reused", seconds)
    run.save(store.root)


def maker_of(store: Store, manifest: Manifest) -> str:
    """The name of the run that made an artifact."""
    return load_run(store.root, manifest.flow_run_id or "").name or "a run not recorded here"


def hashes_of_this_run() -> Hashes:
    """The hashes of this flow run: each file that is read is compared with its manifest once."""
    return _hashes_of(run_ids()["flow_run_id"])


@lru_cache(maxsize=1)
def _hashes_of(run: str | None) -> Hashes:
    return Hashes()


def run_ids() -> dict[str, str | None]:
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    return {
        "flow_run_id": str(flow.flow_run.id) if flow and flow.flow_run else None,
        "task_run_id": str(task.task_run.id) if task else None,
    }


def _record_of(context: FlowRunContext) -> Run:
    """The record of that flow run, begun where there is none."""
    assert context.flow_run
    run = _runs.get(str(context.flow_run.id))
    if run is None:
        deployment = context.flow_run.deployment_id
        run = Run(
            id=str(context.flow_run.id),
            name=context.flow_run.name,
            flow=context.flow.name if context.flow else "",
            deployment=str(deployment) if deployment else None,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            parameters=to_jsonable_python(context.parameters or {}, fallback=str),
        )
        _runs.clear()
        _runs[run.id] = run
    return run
