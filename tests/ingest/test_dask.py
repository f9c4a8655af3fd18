"""The stage on a real Dask cluster: the same bytes as without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prefect import Flow, flow

from tasks.errors import StepFailed
from tasks.ingest import cohort
from tasks.ingest.config import IngestConfig
from tasks.ingest.outcomes.config import DiagnosesConfig
from tasks.ingest.steps import Ingested, ingest
from tasks.step import in_shards, step
from tasks.store import Store
from tests.ingest.conftest import SmallSource

WORKERS = 2


def on_dask(function: Flow) -> Flow:
    """The flow, its shards on a cluster of two worker processes."""
    from prefect_dask import DaskTaskRunner

    cluster = {"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": None}
    return function.with_options(task_runner=DaskTaskRunner(cluster_kwargs=cluster))


@pytest.fixture
def many(source: SmallSource, monkeypatch: pytest.MonkeyPatch) -> IngestConfig:
    """Forty admissions in four shards of ten notes, one with an addendum in a later shard."""
    monkeypatch.setattr(cohort, "SHARD_NOTES", 10)
    for subject_id in range(1, 41):
        source.patient(subject_id)
        source.admission(subject_id, 100 + subject_id)
        source.code("diagnoses_icd", subject_id, 100 + subject_id, ("I10", 10))
    source.note(3, 103, "Allergies:\nlatex\n", kind="AD", seq=2)
    outcomes = (DiagnosesConfig(min_count=1),)
    return IngestConfig(source=source.write(), include_radiology=False, outcomes=outcomes)


def test_two_dask_workers_leave_the_same_bytes(
    many: IngestConfig, prefect_store: Store, tmp_path: Path
) -> None:
    made: list[Ingested] = []

    @flow(persist_result=False, result_serializer="json")
    def ingesting() -> None:
        made.append(ingest(many))

    ingesting()
    (alone,) = made
    path = prefect_store.path(alone.cohort.kind, alone.cohort.key)
    assert len(list((path / "admissions").glob("part-*.parquet"))) == 4
    prefect_store.root.rename(tmp_path / "alone")
    on_dask(ingesting)()
    _, together = made
    assert together == alone  # digests are over the files' bytes
    assert path.is_dir()


@step("shards-of-a-test", version=1)
def spread_out(out: Path, secret: str) -> dict[str, int]:
    shards = [{"out": out, "number": number, "secret": secret} for number in range(4)]
    counts = in_shards(work_on, shards)
    return {"processes": len({count["process"] for count in counts})}


def work_on(out: Path, number: int, secret: str) -> dict[str, int]:
    if secret and number == 2:
        raise ValueError(f"a note says {secret}")
    (out / f"part-{number}").write_text(str(number))
    return {"process": os.getpid()}


def test_shards_run_in_the_workers_and_what_fails_there_says_nothing_of_a_note(
    prefect_store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    counts: list[object] = []

    @flow(persist_result=False, result_serializer="json")
    def spreading(secret: int) -> None:
        counts.append(spread_out(secret="canary" * secret).counts["processes"])

    on_dask(spreading)(0)
    assert counts == [WORKERS]
    with pytest.raises(StepFailed, match=r"step 'work_on' stopped with ValueError at tests/ingest"):
        on_dask(spreading)(1)
    printed = capfd.readouterr()
    assert "canary" not in printed.out + printed.err
