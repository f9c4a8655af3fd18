"""What a run measured, as files that TensorBoard reads: numbers, and names of the configuration.

    FOLDER/RUN/task-adapter/fused-5cacba09/    a training's history, a scalar a column
    FOLDER/RUN/report/fused-0f2b7c11/          a model's AUROCs, of the report's first table

They are written from the store, so that a training or an evaluation that was reused has them, too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from prefect.logging import get_run_logger

from flows.publish import lastly
from tasks import schemas, tables
from tasks.flow_run import current_store, reached
from tasks.runs import Reached
from tasks.store import Store

EVENTS = "events.out.tfevents.0.clinfuse"  # TensorBoard goes by the middle of the name


class Scalar(NamedTuple):
    """A number of a training or an evaluation."""

    tag: str
    step: int
    time: float  # seconds since 1970
    value: float


@contextmanager
def tracked(name: str, folder: Path | None) -> Iterator[None]:
    """Within it a flow works; at its end what it came to is written, also where it has failed."""
    with lastly(lambda: _track(name, folder)):
        yield


def _track(name: str, folder: Path | None) -> None:
    if folder is None:
        return
    try:
        for artifact in reached():
            write(current_store(), artifact, folder / name)
    except OSError as error:
        get_run_logger().warning(
            "%s could not be written (%s); correct track.tensorboard", folder, error.strerror
        )


def write(store: Store, artifact: Reached, folder: Path) -> None:
    """Write what TensorBoard shows of the artifact, unless it is there; of most that is nothing."""
    path, short = store.path(artifact.kind, artifact.key), artifact.key[:8]
    manifest = store.manifest(artifact.kind, artifact.key)
    if manifest is None:
        return
    ended = datetime.fromisoformat(manifest.created).timestamp()
    for history in sorted(path.rglob("history.parquet")):
        rows = tables.read(history, schemas.HISTORY).to_pylist()
        if rows:
            inner = history.parent.relative_to(path)
            out = folder / artifact.kind / f"{rows[0]['arm']}-{short}" / inner
            _write(out, of_history(rows, ended), anew=artifact.how == "made")
    if artifact.kind == "report":  # not the metrics: they are not held back where they are of few
        rows = json.loads((path / "headline.json").read_text())
        for variant, scalars in of_results(rows, ended).items():
            out = folder / "report" / f"{variant}-{short}"
            _write(out, scalars, anew=artifact.how == "made")


def of_history(rows: list[dict[str, Any]], ended: float) -> Iterator[Scalar]:
    """The numbers of a training, at the time that each was known.

    Args:
        rows: of schemas.HISTORY.
        ended: when the training did, in seconds since 1970.
    """
    tags = {
        "loss": "train/loss",
        "learning_rate": "train/learning_rate",
        "peak_mib": "train/peak_mib",
        "validation": "validation/auroc_macro",
    }
    began, before = ended - rows[-1]["seconds"], {"tokens": 0, "seconds": 0.0}
    for row in rows:
        time = began + row["seconds"]
        for column, tag in tags.items():
            if row[column] is not None:
                yield Scalar(tag, row["step"], time, row[column])
        tokens, seconds = (row[name] - before[name] for name in ("tokens", "seconds"))
        if tokens > 0 and seconds > 0:
            yield Scalar("train/tokens_per_second", row["step"], time, tokens / seconds)
            before = row


def of_results(rows: Iterable[Mapping[str, Any]], ended: float) -> dict[str, list[Scalar]]:
    """The AUROCs of a report's table of results, by variant."""
    scalars: dict[str, list[Scalar]] = defaultdict(list)
    for row in rows:
        for name in ("macro AUROC", "micro AUROC"):
            if row.get(name) is not None:
                tag = f"test/{name}/{row['outcome']} {row['label space']}".replace(" ", "_")
                scalars[row["variant"]].append(Scalar(tag, 0, ended, row[name]))
    return scalars


def _write(folder: Path, scalars: Iterable[Scalar], *, anew: bool) -> None:
    """Write a file of events, whole or not at all."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    path = folder / EVENTS
    if path.exists() and not anew:
        return
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / ".unfinished"
    with unfinished.open("wb") as file:
        records = RecordWriter(file)
        records.write(Event(file_version="brain.Event:2").SerializeToString())
        for tag, step, time, value in scalars:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            event = Event(wall_time=time, step=step, summary=summary)
            records.write(event.SerializeToString())
    unfinished.replace(path)
