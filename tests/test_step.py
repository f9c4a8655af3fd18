"""A step runs once for the same inputs, again when its artifact goes, and lets no text out."""

from __future__ import annotations

import contextvars
import ctypes
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
from mypy import api
from prefect import flow

from tasks.errors import SourceError, StepFailed, StoreError
from tasks.flow_run import steering
from tasks.keys import Artifact
from tasks.runs import load_runs
from tasks.step import Counts, Step, in_shards, step, warn
from tasks.store import RECORD, Store

SECRET = "zanthropic-planted-word"
calls: list[str] = []


@step("spoken", version=1)
def speak(out: Path, text: str) -> Counts:
    calls.append("spoken")
    (out / "text").write_text(text[::-1])  # so that the planted word is in no parameter
    return {"characters": len(text)}


@step("echo", version=1)
def echo(out: Path, spoken: Path, failure: str = "") -> Counts:
    calls.append("echo")
    text = (spoken / "text").read_text()
    if failure == "unexpected":
        raise ValueError(f"cannot parse {text}")
    if failure == "expected":
        try:
            raise KeyError(text)
        except KeyError:
            raise SourceError("table notes, line 3: not a date; correct the file")  # noqa: B904
    (out / "text").write_text(text * 2)
    warn("an echo is no answer")
    return {}


@flow(persist_result=False, result_serializer="json")
def talk(
    text: str,
    failure: str = "",
    refresh: tuple[str, ...] = (),
    makers: tuple[str, ...] | None = None,
) -> tuple[Artifact, Artifact]:
    with steering(refresh=refresh, makers=makers):
        spoken = speak(text=text)
        return spoken, echo(spoken=spoken, failure=failure)


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


def test_a_warning_is_in_the_runs_log(
    prefect_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    talk("a")
    found = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "an echo is no answer" in [record.getMessage() for record in found]


def test_a_second_run_makes_nothing(prefect_store: Store) -> None:
    first, second = talk("a"), talk("a")
    assert calls == ["spoken", "echo"]
    assert first == second
    made, reused = load_runs(prefect_store.root)
    assert [reached.how for reached in made.artifacts] == ["made", "made"]
    assert [reached.how for reached in reused.artifacts] == ["reused", "reused"]


def test_a_deleted_artifact_is_made_again_and_what_follows_is_not(prefect_store: Store) -> None:
    spoken, _ = talk("a")
    shutil.rmtree(prefect_store.path("spoken", spoken.key))
    talk("a")
    assert calls == ["spoken", "echo", "spoken"]


def test_a_damaged_artifact_is_made_again_and_said_to_be_so(
    prefect_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    spoken, echoed = talk("a")
    path = prefect_store.path("spoken", spoken.key) / "text"
    status = path.stat()
    path.write_text("b")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert talk("a", failure="none") == (spoken, talk("a", failure="none")[1])
    assert calls == ["spoken", "echo", "spoken", "echo"]
    assert path.read_text() == "a"
    damage = "the one that is there is damaged (text is not what its manifest says)"
    assert f"making spoken/{spoken.key}: {damage}" in caplog.text
    assert prefect_store.find("echo", echoed.key) == echoed


def test_a_damaged_artifact_is_refused_where_only_other_stages_may_make(
    prefect_store: Store,
) -> None:
    spoken, _ = talk("a")
    (prefect_store.path("spoken", spoken.key) / "text").write_text("b")
    with pytest.raises(StoreError, match="is damaged and make_missing is false"):
        talk("a", makers=("another",))


def test_what_was_damaged_within_a_run_is_not_read(prefect_store: Store) -> None:
    """An artifact that was whole when the run came to it, and is read much later."""

    @flow(persist_result=False, result_serializer="json")
    def talk_late() -> None:
        spoken = speak(text="late")
        path = prefect_store.path("spoken", spoken.key) / "text"
        path.write_text(path.read_text().upper())
        echo(spoken=spoken)

    with pytest.raises(StoreError, match=r"spoken/\w+ is damaged"):
        talk_late()
    assert calls == ["spoken"]


def test_a_refreshed_kind_runs_again(prefect_store: Store) -> None:
    talk("a")
    talk("a", refresh=("echo",))
    assert calls == ["spoken", "echo", "echo"]


def test_prefects_record_is_never_trusted(prefect_store: Store) -> None:
    spoken, _ = talk("a")
    record = prefect_store.path("spoken", spoken.key) / RECORD
    record.write_text(record.read_text().replace(spoken.digest, "0" * 64))
    assert talk("a")[0] == spoken
    assert calls == ["spoken", "echo"]


def test_what_is_missing_is_refused_where_only_other_stages_may_make(prefect_store: Store) -> None:
    with pytest.raises(StoreError, match="make_missing is false"):
        talk("a", makers=("another",))
    assert calls == []


def test_an_unexpected_failure_leaves_only_its_type_and_place(
    prefect_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StepFailed) as caught:
        talk(SECRET[::-1], failure="unexpected")
    assert "ValueError" in str(caught.value)
    assert "test_step.py" in str(caught.value)
    assert SECRET not in str(caught.value) + caplog.text
    assert caught.value.__context__ is None


def test_an_expected_failure_passes_without_its_cause(prefect_store: Store) -> None:
    with pytest.raises(SourceError, match="line 3") as caught:
        talk(SECRET[::-1], failure="expected")
    assert caught.value.__context__ is None


def test_an_argument_that_is_given_its_default_changes_no_key(prefect_store: Store) -> None:
    """So that a step may grow an argument."""

    @step("grown", version=1)
    def grow(out: Path, text: str, times: int = 1) -> Counts:
        (out / "text").write_text(text * times)
        return {}

    @flow(persist_result=False, result_serializer="json")
    def compare() -> list[str]:
        return [grow(text="a").key, grow(text="a", times=1).key, grow(text="a", times=2).key]

    bare, given, other = compare()
    assert bare == given == grow.key(prefect_store, {"text": "a"})
    assert other != bare


def test_two_runs_that_want_the_same_artifact_make_it_once(prefect_store: Store) -> None:
    began: list[float] = []

    @step("slow", version=1)
    def slow(out: Path, text: str) -> Counts:
        began.append(time.monotonic())
        time.sleep(1.5)
        (out / "text").write_text(text)
        return {}

    @flow(persist_result=False, result_serializer="json")
    def want() -> Artifact:
        return slow(text="same")

    found: list[Artifact] = []
    contexts = [contextvars.copy_context() for _ in range(2)]  # they carry the store's setting
    threads = [
        threading.Thread(target=context.run, args=(lambda: found.append(want()),))
        for context in contexts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(began) == 1
    assert found[0] == found[1]


def _dumpable(**_: int) -> Counts:
    return {"dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)}


@step("limits", version=1)
def look_at_limits(out: Path) -> Counts:
    assert in_shards(_dumpable, [{"number": 1}, {"number": 2}]) == [{"dumpable": 0}] * 2
    return _dumpable()


@pytest.mark.skipif(sys.platform != "linux", reason="the flag is Linux's")
def test_a_step_and_its_shards_run_where_a_crash_leaves_no_core(prefect_store: Store) -> None:
    @flow(persist_result=False, result_serializer="json")
    def look() -> Artifact:
        return look_at_limits()

    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
    assert _dumpable() == {"dumpable": 1}
    assert look().counts == {"dumpable": 0}


def test_without_a_store_the_error_says_what_to_set(prefect_server: None) -> None:
    with pytest.raises(StoreError, match="--store"):
        talk("a")


def test_a_step_is_described_by_its_function() -> None:
    assert isinstance(speak, Step)
    assert speak.kind == "spoken"
    assert list(speak.task.fn.__signature__.parameters) == ["text"]


def test_a_misspelt_or_missing_argument_of_a_step_is_a_type_error(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from tests.test_step import echo, speak\n"
        'spoken = speak(text="a")\n'
        "echo(spoken=spoken)\n"
        "echo(spokn=spoken)\n"
        "echo()\n"
        "speak(text=1)\n"
    )
    told, _, _ = api.run(["--follow-imports=silent", "--no-error-summary", str(program)])
    lines = [line.partition(".py:")[2] for line in told.splitlines() if " error: " in line]
    assert [line.partition(":")[0] for line in lines] == ["4", "5", "6"], told
