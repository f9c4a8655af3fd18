"""A lock's file can be removed while others wait for it, and still only one holds the lock."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import StoreError
from tasks.store.locks import discarding, locked


def test_who_waited_for_a_lock_that_was_removed_takes_the_one_that_is_there(
    tmp_path: Path,
) -> None:
    path = tmp_path / "locks" / "notes-k"
    waits, has = threading.Event(), threading.Event()

    def wait() -> None:
        with locked(path, waiting=waits.set):
            has.set()
            with discarding(path) as free:
                assert not free  # it is the file in the folder that is held

    waiter = threading.Thread(target=wait)
    with discarding(path) as free:
        assert free
        waiter.start()
        assert waits.wait(30)
    waiter.join(30)
    assert has.is_set()


def test_a_lock_in_use_is_not_discarded(tmp_path: Path) -> None:
    path = tmp_path / "notes-k"
    with locked(path, shared=True), discarding(path) as free:
        assert not free
    assert path.exists()
    with discarding(path) as free:
        assert free
    assert not path.exists()


def _work(path: Path, turns: int) -> None:
    """Count to `turns` in a file that only a holder of the lock may touch."""
    counter = path.with_suffix(".count")
    for _ in range(turns):
        with locked(path):
            counter.write_text(str(int(counter.read_text()) + 1))
        with discarding(path):
            pass


def test_lock_and_discard_by_many_processes_let_one_in_at_a_time(tmp_path: Path) -> None:
    path, turns = tmp_path / "notes-k", 300
    path.with_suffix(".count").write_text("0")
    # not forked: this process may have threads of a Prefect server, which a fork would not
    spawn: Any = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_work, args=(path, turns)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert path.with_suffix(".count").read_text() == str(4 * turns)


def test_a_lock_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file in its place")
    with pytest.raises(StoreError, match="cannot be taken"), locked(tmp_path / "locks" / "notes-k"):
        pass
