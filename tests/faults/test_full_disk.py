"""What the operating system refuses is said in its own words, and the next run goes on."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prefect import flow

from tasks import tables
from tasks.errors import StepFailed, StoreError, SystemRefused
from tasks.keys import Artifact
from tasks.schemas import NOTES
from tasks.step import Counts, step
from tasks.store import Store

SECRET = "/notes/of/10000032"  # no name of a file gets out
SCHEMA = pa.schema([pa.field("number", pa.float64())])


def _table(out: Path) -> None:
    numbers = np.random.default_rng(0).random(1 << 20)
    tables.write(out / "numbers.parquet", SCHEMA, pa.table({"number": numbers}, SCHEMA))


def _parts(out: Path) -> None:
    notes = {"note_id": "n", "subject_id": 1, "note_type": "DS"}
    texts = [os.urandom(1 << 20).hex() for _ in range(6)]
    rows = [pa.RecordBatch.from_pylist([{**notes, "text": text}], NOTES) for text in texts]
    tables.write_parts(out / "notes", NOTES, iter(rows))


def _bytes(out: Path) -> None:
    (out / "scratch").write_bytes(bytes(1 << 23))


def _array(out: Path) -> None:
    from tasks.ingest.cohort import Shard

    numbers = np.arange(1 << 20)
    Shard(pa.table({"hadm_id": numbers}), numbers, numbers).save(out / "work")


WRITERS: dict[str, Callable[[Path], None]] = {
    write.__name__: write for write in (_table, _parts, _bytes, _array)
}


@step("large", version=1)
def write_much(out: Path, how: str) -> Counts:
    WRITERS[how](out)
    return {}


@step("refused", version=1)
def refuse(out: Path, number: int) -> Counts:
    raise OSError(number, f"cannot open {SECRET}", SECRET)


@flow(persist_result=False, result_serializer="json")
def make(how: str) -> Artifact:
    return write_much(how=how)


@flow(persist_result=False, result_serializer="json")
def fail(number: int) -> Artifact:
    return refuse(number=number)


@pytest.fixture
def small_disk(prefect_server: None, small_mount: Path) -> Iterator[Path]:
    """A file system of 4 MiB that holds the store."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: str(small_mount / "store")}):
        yield small_mount


@pytest.mark.parametrize("how", list(WRITERS))
def test_a_full_disk_is_called_full_and_the_next_run_goes_on(small_disk: Path, how: str) -> None:
    with pytest.raises(SystemRefused) as raised:
        make(how)
    message = str(raised.value)
    assert message.startswith("step 'large' stopped: No space left on device; free space where")
    assert str(small_disk) not in message
    store = Store(small_disk / "store")
    assert not store.manifests()
    enlarge = ["mount", "-o", "remount,size=64m", str(small_disk)]
    subprocess.run(enlarge, check=True)
    made = make(how)
    assert store.find("large", made.key)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EDQUOT, "Disk quota exceeded; free space where the store"),
        (errno.EROFS, "Read-only file system; choose a store that can be written"),
        (errno.EACCES, "Permission denied; check the permissions of the store"),
        (errno.EIO, "Input/output error; check the disk"),
        (errno.EMFILE, "Too many open files; raise the limit"),
        (errno.ENAMETOOLONG, "File name too long; correct that"),
    ],
)
def test_what_the_system_refuses_is_said_without_a_name(
    prefect_store: Store, caplog: pytest.LogCaptureFixture, number: int, words: str
) -> None:
    with pytest.raises(SystemRefused) as raised:
        fail(number)
    assert str(raised.value).startswith(f"step 'refused' stopped: {words}")
    assert str(raised.value).endswith(", and run again")
    assert SECRET not in str(raised.value) + caplog.text
    assert raised.value.__context__ is None


def test_a_number_that_is_no_errors_is_withheld(prefect_store: Store) -> None:
    with pytest.raises(StepFailed) as raised:
        fail(10000032)
    assert "10000032" not in str(raised.value)


def test_a_part_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "numbers.parquet"
    tables.write(path, SCHEMA, pa.table({"number": [1.0]}, SCHEMA))

    def refuse_open(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, f"Failed to open {SECRET}")

    monkeypatch.setattr(tables.pq, "ParquetFile", refuse_open)
    with pytest.raises(StoreError, match=r"numbers\.parquet cannot be read: Permission denied"):
        tables.read(path, SCHEMA)


def test_a_disk_that_fills_as_the_run_is_recorded_is_called_full(
    prefect_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space", SECRET)

    monkeypatch.setattr("tasks.runs.Run.save", full)
    with pytest.raises(SystemRefused, match="step 'large' stopped: No space left on device"):
        make("_table")
