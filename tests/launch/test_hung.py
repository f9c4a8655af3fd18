"""A rank that hangs is found in a bounded time and named; one that is slow, or done, is let be."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from tasks import pulse
from tasks.errors import RanksDied
from tasks.launch import Progress, launch
from tasks.pulse import ENDED, RESTS, WORKS, Pulse, Watch
from tests.launch.test_launch import TOY, TWO, job, ranks_of, wait_until

SILENT, STEP = 5.0, 9.0  # seconds; a first step may take a few on a busy machine
# less than what a user may ask for, so that the tests are quick
SOON = TWO.model_copy(update={"silent_seconds": SILENT, "threads_per_rank": 1})
STEPS_SOON = TWO.model_copy(update={"step_minutes": STEP / 60, "threads_per_rank": 1})


@pytest.mark.slow
def test_a_stopped_rank_is_found_and_the_next_run_goes_on(tmp_path: Path) -> None:
    stopped: list[float] = []

    def stop(progress: Progress) -> None:
        if progress.step > 3 and not stopped:
            rank_1 = max(ranks_of(tmp_path), key=lambda rank: rank.pid)
            rank_1.send_signal(signal.SIGSTOP)
            stopped.append(time.monotonic())

    endless = job(steps=10_000, slow_seconds=0.05, training={"checkpoint_every_steps": 2})
    with pytest.raises(RanksDied) as raised:
        launch(TOY, endless, tmp_path, SOON, on_progress=stop)
    assert time.monotonic() - stopped[0] < SILENT + 15  # 5 of them to end the other rank
    assert str(raised.value).startswith("rank 1 has given no sign of life for 5 s (launch.silent")
    assert str(tmp_path / "logs" / "rank-1.log") in str(raised.value)
    assert wait_until(lambda: not ranks_of(tmp_path), 5)
    seen: list[Progress] = []
    launch(TOY, job(steps=20), tmp_path, SOON, on_progress=seen.append)
    assert seen[0].words.startswith("first, resumed from step ")


@pytest.mark.slow
def test_a_rank_that_comes_to_no_end_of_its_step_is_found(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(RanksDied) as raised:
        launch(TOY, job(at_step=1, hang_rank=1), tmp_path, STEPS_SOON)
    assert time.monotonic() - began < 120
    assert str(raised.value).startswith("rank 1 has not come on in its step for 0.15 minutes")
    log = (tmp_path / "logs" / "rank-1.log").read_text()
    assert 'toy.py", line ' in log  # where it hangs


@pytest.mark.slow
def test_a_stopped_rank_dies_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    """No thread of it can see that the launcher is gone."""
    ranks: list[psutil.Process] = []

    def kill(progress: Progress) -> None:
        if progress.step > 2 and not ranks:
            ranks.extend(ranks_of(tmp_path))
            ranks[0].send_signal(signal.SIGSTOP)
            [parent] = {rank.ppid() for rank in ranks}
            psutil.Process(parent).send_signal(signal.SIGKILL)

    with pytest.raises(RanksDied, match="the process that ranks are started from was ended"):
        launch(TOY, job(steps=10_000, slow_seconds=0.05), tmp_path, SOON, on_progress=kill)
    assert psutil.wait_procs(ranks, timeout=5)[1] == []


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.02)
    return Watch(tmp_path, ranks=2, silent_seconds=0.5, step_seconds=0.5)


def looked_at(watch: Watch, seconds: float) -> tuple[int, str] | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if alarm := watch.alarm():
            return alarm
        time.sleep(0.01)
    return None


def rank(watch: Watch, number: int) -> Pulse:
    return Pulse(watch.work / pulse.FOLDER / str(number), seconds=0.05, step_seconds=0.5)


def test_loading_saving_and_waiting_are_no_alarm(watch: Watch) -> None:
    first, second = rank(watch, 0), rank(watch, 1)
    assert looked_at(watch, 1.2) is None  # loading, for longer than either limit
    for _ in range(3):
        first.sign(), second.sign()
        time.sleep(0.1)
    first.rest(), second.rest()
    assert looked_at(watch, 1.2) is None  # saving
    first.end(), second.end()


def test_who_has_left_is_no_alarm_while_others_work(watch: Watch) -> None:
    first, second = rank(watch, 0), rank(watch, 1)
    assert looked_at(watch, 0.1) is None
    second.end()
    assert looked_at(watch, 1.2) is None
    first.end()


def test_the_rank_that_has_done_least_is_named(watch: Watch) -> None:
    first, second = rank(watch, 0), rank(watch, 1)
    for _ in range(2):
        first.sign()
    second.sign()
    alarm = looked_at(watch, 3)
    assert alarm is not None
    assert alarm[0] == 1
    first.end(), second.end()


def test_no_rank_has_met_yet(watch: Watch) -> None:
    assert looked_at(watch, 1.2) is None


def test_time_in_which_the_launcher_was_stopped_itself_does_not_count(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after Ctrl-Z, or on a machine that slept: the ranks had no time to beat either."""
    now = [time.monotonic()]
    monkeypatch.setattr(pulse.time, "monotonic", lambda: now[0])
    path = watch.work / pulse.FOLDER / "0"
    path.parent.mkdir()
    path.write_text(f"1 1 {WORKS}")
    for passed in (0.05, 3600.0, 0.05):
        now[0] += passed
        assert watch.alarm() is None
    for _ in range(100):
        now[0] += 0.03
        alarm = watch.alarm()
    assert alarm is not None


def test_a_full_disk_does_not_stop_the_pulse(tmp_path: Path) -> None:
    """It is written in place, always as long."""
    beating = Pulse(tmp_path / "pulse" / "0", seconds=0.01, step_seconds=1)
    time.sleep(0.2)
    path = tmp_path / "pulse" / "0"
    inode, size = path.stat().st_ino, path.stat().st_size
    text = path.read_text()
    time.sleep(0.2)
    assert path.read_text() != text
    assert (path.stat().st_ino, path.stat().st_size) == (inode, size)
    assert text.split()[2] == RESTS
    beating.end()
    assert path.read_text().split()[2] == ENDED
