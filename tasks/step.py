"""@step: a Prefect task that makes an artifact, or takes it from the store.

    @step("notes", version=1)
    def read_notes(out: Path, table: Path) -> Counts:
        ...  # writes out/notes/part-0.parquet, returns counts for the manifest

Called from a flow, without `out` and by keyword, it returns an Artifact; an Artifact among its
arguments reaches the function as the path of its directory. The manifest in the store is the
truth: Prefect's own record is written afresh from it at every hit and removed at every miss, so
nothing stored is deserialized on trust, and an artifact that was deleted is made again.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from logging import INFO, WARNING
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from pydantic import BaseModel

from tasks.changes import why_made
from tasks.dumps import forbid_core_dumps
from tasks.errors import RanksDied, StoreError
from tasks.flow_run import (
    current_store,
    hashes_of_this_run,
    is_refreshed,
    may_make,
    remember,
    run_ids,
    task_runs,
)
from tasks.guard import guarded
from tasks.keys import Artifact, describe, inputs_of, key_of
from tasks.progress import progress
from tasks.provenance import peak_mib, provenance
from tasks.reporting import Reading, report
from tasks.store import RECORD, Store
from tasks.store.manifest import Problem

Counts = Mapping[str, int | float | str]
Arguments = ParamSpec("Arguments")

RETRIES = 2
RETRY_DELAY_SECONDS = 5


class Step(Generic[Arguments]):
    """A function that writes an artifact, as a Prefect task that returns the artifact."""

    def __init__(
        self,
        kind: str,
        version: int,
        resumable: bool,
        function: Callable[Concatenate[Path, Arguments], Counts],
    ) -> None:
        self.kind = kind
        self.version = version
        self.resumable = resumable
        self.function = function
        self.defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        self.stage = function.__module__.rpartition(".")[0].rpartition(".")[2]
        functools.update_wrapper(self, function)
        self.task: prefect.Task[..., Artifact] = prefect.task(
            name=kind,
            description=inspect.getdoc(function),
            version=str(version),
            task_run_name=_task_run_name,
            cache_key_fn=self._record,
            result_serializer="json",
            persist_result=True,
            cache_result_in_memory=False,
            retries=RETRIES,
            retry_delay_seconds=RETRY_DELAY_SECONDS,
            retry_condition_fn=_can_be_retried,
        )(self._body())

    def __call__(self, *_: Arguments.args, **arguments: Arguments.kwargs) -> Artifact:
        """Return the artifact for these arguments, by keyword, making it where there is none."""
        if _:
            raise TypeError(f"{self.__name__} takes its arguments by keyword")  # type: ignore[attr-defined]
        began = time.monotonic()
        fresh = is_refreshed(self.stage, self.kind)
        task = self.task.with_options(refresh_cache=True) if fresh else self.task
        artifact: Artifact = task(**arguments)
        guarded(self.kind, lambda: remember(artifact, time.monotonic() - began))
        return artifact

    def _body(self) -> Callable[..., Artifact]:
        def run(**arguments: Any) -> Artifact:
            return guarded(self.kind, lambda: self._find_or_make(arguments))

        run.__name__ = run.__qualname__ = self.function.__name__
        run.__module__ = self.function.__module__
        signature = inspect.signature(self.function)
        kept = [parameter for name, parameter in signature.parameters.items() if name != "out"]
        keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in kept]
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=keyword, return_annotation=Artifact
        )
        return run

    def _record(self, context: TaskRunContext, arguments: dict[str, Any]) -> str | None:
        """Prefect's cache key: where it finds its record, fresh from the manifest, or finds none.

        Where it raised, Prefect would go on and print the exception; the task's body meets the
        same error again and raises it properly.
        """
        task_runs[context.task_run.id] = None  # so that its end can be waited for
        try:
            store = current_store()
            key = self.key(store, arguments)
            name = f"{self.kind}/{key}/{RECORD}"
            if artifact := store.find(self.kind, key):
                context.result_store.write(artifact, key=name)
            else:
                (store.root / name).unlink(missing_ok=True)
        except Exception:
            return None
        return name

    def key(self, store: Store, arguments: Mapping[str, Any]) -> str:
        """The key of what these arguments make; one that has its default counts for nothing."""
        given = {
            name: value
            for name, value in arguments.items()
            if name not in self.defaults or self.defaults[name] != value
        }
        return key_of(self.kind, self.version, given, store.fingerprints)

    def _find_or_make(self, arguments: dict[str, Any]) -> Artifact:
        forbid_core_dumps()
        store = current_store()
        key = self.key(store, arguments)
        log = get_run_logger()

        def waiting() -> None:
            log.info("another run is making %s/%s; waiting for it", self.kind, key)

        refresh = bool(TaskRunContext.get().task.refresh_cache)  # type: ignore[union-attr]
        with store.lock(self.kind, key, waiting=waiting):
            made, problem = (None, None) if refresh else store.examine(self.kind, key)
            if made:
                log.info("%s/%s was made meanwhile; reusing it", self.kind, key)
                return made
            if not may_make(self.stage, self.kind):
                raise StoreError(
                    f"the artifact {self.kind}/{key} is {'damaged' if problem else 'missing'} and "
                    "make_missing is false; run its stage first, or leave make_missing on"
                )
            why = self._why(store, refresh, problem, arguments)
            log.log(WARNING if problem else INFO, "making %s/%s: %s", self.kind, key, why)
            with store.reading(inputs_of(arguments), hashes_of_this_run()):
                artifact = self._write(store, key, arguments)
        log.info("made %s/%s: %s", self.kind, key, _in_words(artifact.counts))
        return artifact

    def _why(
        self, store: Store, refresh: bool, problem: Problem | None, arguments: dict[str, Any]
    ) -> str:
        """Why the artifact is made, in a few words."""
        if refresh:
            return "asked for anew"
        if problem:
            return f"the one that is there is damaged ({problem})"
        return why_made(store, self.kind, self.version, describe(arguments, store.fingerprints))

    def _write(self, store: Store, key: str, arguments: dict[str, Any]) -> Artifact:
        began = time.monotonic()
        out = store.fresh(self.kind, key, resume=self.resumable)
        with progress(_title(self.kind, arguments), f"{self.kind}-{key}"):
            counts = self.function(out, **_resolved(arguments, store))  # type: ignore[call-arg]
        facts = {
            "kind": self.kind,
            "key": key,
            "version": self.version,
            "config": describe(arguments, store.fingerprints),
            "inputs": [
                {"kind": artifact.kind, "key": artifact.key, "digest": artifact.digest}
                for artifact in inputs_of(arguments)
            ],
            "counts": dict(counts),
            "seconds": round(time.monotonic() - began, 3),
            "peak_mib": round(peak_mib(), 1),
            **provenance(),
            **run_ids(),
        }
        return store.commit(out, facts)


def step(
    kind: str, *, version: int, resumable: bool = False
) -> Callable[[Callable[Concatenate[Path, Arguments], Counts]], Step[Arguments]]:
    """Make a function `(out, **arguments) -> counts` a step that makes artifacts of that kind.

    Raise `version` when the bytes that it writes change. A `resumable` step finds what it left
    in the folder `work` of `out` when it was interrupted.
    """

    def decorate(function: Callable[Concatenate[Path, Arguments], Counts]) -> Step[Arguments]:
        return Step(kind, version, resumable, function)

    return decorate


def in_shards(function: Callable[..., Counts], shards: Sequence[Mapping[str, Any]]) -> list[Counts]:
    """Call the function with each shard's arguments, under the flow's task runner.

    Within a step; the function, of a module and not of another function, writes files and returns
    counts. One shard alone is not worth a task run.
    """
    if len(shards) < 2:
        return [function(**shard) for shard in shards]
    futures = [_shard.submit(function, dict(shard)) for shard in shards]
    counts = []
    for number, future in enumerate(futures, 1):
        counts.append(future.result())
        report(Reading(number, len(futures), "shards"))
    return counts


@prefect.task(name="shard", persist_result=False, cache_policy=NO_CACHE)
def _shard(function: Callable[..., Counts], arguments: dict[str, Any]) -> Counts:
    def work() -> Counts:  # in a worker's process, maybe: its umask and limits are not ours
        forbid_core_dumps()
        current_store()
        return function(**arguments)

    return guarded(function.__name__, work)


def warn(sentence: str) -> None:
    """Say it in the run's log; like an error's, its words quote no note and name no patient."""
    get_run_logger().warning(sentence)


def _resolved(value: Any, store: Store) -> Any:
    match value:
        case Artifact():
            return store.path(value.kind, value.key)
        case BaseModel():
            return value.model_copy(update=_resolved(dict(value), store))
        case Mapping():
            return {name: _resolved(item, store) for name, item in value.items()}
        case list() | tuple():
            return type(value)(_resolved(item, store) for item in value)
        case _:
            return value


def _task_run_name() -> str:
    from prefect.runtime import task_run

    return _title(task_run.task_name, task_run.parameters)


def _title(kind: str, arguments: Mapping[str, Any]) -> str:
    """The kind and what tells it from others of its kind: plain words, and a job's name."""
    words = [getattr(value, "name", value) for value in arguments.values()]
    return " ".join(dict.fromkeys([kind, *(word for word in words if isinstance(word, str))]))


def _can_be_retried(task: Any, task_run: Any, state: Any) -> bool:
    """Only ranks that died are worth a retry: the training resumes from its checkpoint."""
    return isinstance(state.result(raise_on_failure=False), RanksDied)


def _in_words(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in counts.items()) or "nothing to count"
