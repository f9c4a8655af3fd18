"""Signs of life: each rank keeps a small file up to date, and the launcher looks at it.

Two numbers are in it. The first counts on by itself, in a thread: it stands still where the process
is stopped or its machine hangs, and goes on while a rank loads, saves, or waits for others. The
second counts what the training loop does: it stands still where a step comes to no end. It is
looked at within steps only, so that a long validation or a slow disk is no alarm.

The file lies in the work folder, which all machines see.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

PULSE = "CLINFUSE_PULSE"  # set: the seconds between two beats, and those that a step may take
BEATS_OF_SILENCE = 10  # how many beats fit into a silence that is too long
TRACE_SHARE = 0.9  # of the time that a step may take: then a rank's log says where it is
LOOK_SECONDS = 1.0  # between two looks of the launcher
FOLDER = "pulse"

RESTS, WORKS, ENDED = "rests", "works", "ended"


def wanted(silent_seconds: float, step_seconds: float) -> str:
    """What PULSE says, where a rank may be silent and a step may take so long."""
    return f"{min(silent_seconds, step_seconds) / BEATS_OF_SILENCE} {step_seconds}"


class Pulse:
    """A rank's own; it costs nothing where nobody listens."""

    def __init__(
        self, path: Path | None = None, seconds: float = 0.0, step_seconds: float = 0.0
    ) -> None:
        self.path, self.seconds, self.step_seconds = path, seconds, step_seconds
        self.beats, self.signs, self.state = 0, 0, RESTS
        if path is not None:
            path.parent.mkdir(exist_ok=True)
            self._write()
            threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    @classmethod
    def of_rank(cls, work: Path, rank: int) -> Pulse:
        """The one that the launcher wants, by the environment."""
        seconds, _, step_seconds = os.environ.get(PULSE, "").partition(" ")
        if not seconds:
            return cls()
        return cls(work / FOLDER / str(rank), float(seconds), float(step_seconds))

    def sign(self) -> None:
        """A step is under way and comes on."""
        self.signs += 1
        self.state = WORKS

    def rest(self) -> None:
        """What follows may take as long as it likes."""
        self.state = RESTS

    def end(self) -> None:
        """This rank leaves; the others may still be at work."""
        self.state = ENDED
        if self.path is not None:
            self._write()

    def _beat(self) -> None:
        seen, since, traced = 0, time.monotonic(), False
        while self.state != ENDED:
            time.sleep(self.seconds)
            self.beats += 1
            self._write()
            if self.signs != seen or self.state != WORKS:
                seen, since, traced = self.signs, time.monotonic(), False
            elif not traced and time.monotonic() - since > TRACE_SHARE * self.step_seconds:
                traced = True
                faulthandler.dump_traceback()

    def _write(self) -> None:
        """In place, which needs no space on a disk that is full, and whole, being that short."""
        assert self.path is not None
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(file, f"{self.beats:12} {self.signs:12} {self.state:>5}\n".encode(), 0)
            finally:
                os.close(file)
        except OSError:  # a file system that is full or away for a moment: the next beat tries
            pass


@dataclass
class _Seen:
    """What was last seen of a rank, and for how long that has not changed."""

    beats: int = -1
    signs: int = -1
    state: str = RESTS
    silent: float = 0.0
    stuck: float = 0.0


@dataclass
class Watch:
    """The launcher's look at all ranks of a launch."""

    work: Path
    ranks: int
    silent_seconds: float
    step_seconds: float
    looked: float = field(default_factory=time.monotonic)
    seen: dict[int, _Seen] = field(default_factory=dict)

    def alarm(self) -> tuple[int, str] | None:
        """A rank that hangs, and how that shows; None where all is well.

        A rank that gave no sign yet is left to the time limit of their meeting.
        """
        now = time.monotonic()
        if now - self.looked < LOOK_SECONDS:
            return None
        # not the time in which we were stopped ourselves, perhaps together with the ranks
        passed, self.looked = min(now - self.looked, 2 * LOOK_SECONDS), now
        for rank in range(self.ranks):
            if read := _read(self.work / FOLDER / str(rank)):
                self._note(self.seen.setdefault(rank, _Seen()), read, passed)
        alive = {rank: seen for rank, seen in self.seen.items() if seen.state != ENDED}
        for rank, seen in alive.items():
            if seen.silent > self.silent_seconds:
                return rank, (
                    f"has given no sign of life for {self.silent_seconds:g} s "
                    "(launch.silent_seconds): its process is stopped, or its machine hangs"
                )
        if any(seen.stuck > self.step_seconds for seen in alive.values()):
            # the others wait for the one that has done least; where that is several, for each other
            least = min(seen.signs for seen in alive.values())
            rank, *more = (rank for rank, seen in alive.items() if seen.signs == least)
            others = f", nor have {len(more)} others" if more else ""
            return rank, (
                f"has not come on in its step for {self.step_seconds / 60:g} minutes{others} "
                "(launch.step_minutes)"
            )
        return None

    def _note(self, seen: _Seen, read: tuple[int, int, str], passed: float) -> None:
        beats, signs, state = read
        seen.silent = seen.silent + passed if beats == seen.beats else 0.0
        seen.stuck = seen.stuck + passed if signs == seen.signs and state == WORKS else 0.0
        seen.beats, seen.signs, seen.state = beats, signs, state


def _read(path: Path) -> tuple[int, int, str] | None:
    try:
        beats, signs, state = path.read_text().split()
        return int(beats), int(signs), state
    except (OSError, ValueError):
        return None
