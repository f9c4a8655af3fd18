"""What to say of ranks that ended badly: from the note that one left, or from how they ended."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks import errors
from tasks.errors import ClinfuseError, ConfigError, RanksDied, TrainingError
from tasks.warm import Death

PREEMPTED = 75  # a rank's exit code: saved a checkpoint because it was asked to stop
ERROR, LOGS, LAUNCHER = "error.json", "logs", "launcher.log"


def failure_of(
    work: Path, deaths: list[Death], name_of: Callable[[int], str] = "rank {}".format
) -> ClinfuseError:
    """What went wrong, from the note that a rank left, or from how the processes ended."""
    note = _note(work / ERROR)
    known = getattr(errors, note.get("error", ""), None)
    if isinstance(known, type) and issubclass(known, ClinfuseError):
        return known(note["message"])
    logs = work / LOGS
    rank, ended = _first(deaths)
    if ended == PREEMPTED:
        return RanksDied("training was told to stop and saved a checkpoint; run again to resume")
    if ended < 0:
        name = signal.Signals(-ended).name
        memory = "; if memory ran out, lower micro_batch_size" if name == "SIGKILL" else ""
        return RanksDied(
            f"{name_of(rank)} was ended by {name}{memory}; its log is {logs / f'rank-{rank}.log'}; "
            "run again to resume from the last checkpoint"
        )
    if note.get("exception") == "OutOfMemoryError":
        return ConfigError(
            f"{name_of(note['rank'])} ran out of GPU memory at {note['place']}; lower "
            "micro_batch_size or max_tokens, or set deepspeed to configs/deepspeed/zero3.json"
        )
    if note:
        cause = f" ({note['cause']})" if note["cause"] else ""
        return TrainingError(
            f"{name_of(note['rank'])} stopped with {note['exception']} at {note['place']}{cause}; "
            f"see {logs / 'rank-{}.log'.format(note['rank'])}"
        )
    return TrainingError(f"{name_of(rank)} ended with exit code {ended}; see the logs in {logs}")


def _note(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _first(deaths: list[Death]) -> Death:
    """A rank that was killed counts before one that then found its partner gone, and both before
    one that was told to stop because of them.
    """
    told_to_stop = (PREEMPTED, -signal.SIGTERM)
    failed = [death for death in deaths if death[1] != 0]
    return min(failed, key=lambda death: (death[1] in told_to_stop, death[1] > 0))
