"""Start a training program on N ranks, follow its progress, and stop it when we stop.

    launch("tasks.pretrain.train", job, work, LaunchConfig(ranks=2))

runs `torchrun --nproc-per-node 2 -m tasks.pretrain.train work/job.json`. The program opens with
`tasks.training.program.run`, the other half of what is here.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from pydantic import Field, model_validator

from tasks import errors
from tasks.config import Config, Unkeyed
from tasks.errors import ClinfuseError, ConfigError, RanksDied, TrainingError

STOP_SECONDS = 25.0  # Prefect kills a cancelled flow after 30 s
SAVE_SECONDS = 20  # of those, what torchrun gives the ranks to save and leave
POLL_SECONDS = 0.1
PREEMPTED = 75  # a rank's exit code: saved a checkpoint because it was asked to stop
PARENT = "CLINFUSE_LAUNCHED"  # set: the program's stdin ends when its launcher dies

JOB, PROGRESS, ERROR, LOGS, LOCK = "job.json", "progress.jsonl", "error.json", "logs", "ranks.lock"
OPERATORS = "operators"  # what DeepSpeed compiles at run time, if it must

# of our environment, what ranks may see: the system's, and how GPUs and networks are reached
PASSED = re.compile(
    "PATH|HOME|USER|LOGNAME|TMPDIR|TZ|LANG|LC_.*|LD_LIBRARY_PATH|PYTHONDONTWRITEBYTECODE"
    "|OPENBLAS_CORETYPE|CUDA_HOME|CUDA_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|CUBLAS_WORKSPACE_CONFIG"
    "|PYTORCH_CUDA_ALLOC_CONF|PYTORCH_ALLOC_CONF|NVIDIA_.*|NCCL_.*|GLOO_.*|UCX_.*|FI_.*"
)


class LaunchConfig(Unkeyed):
    """How training programs are started. Not part of any artifact's key."""

    ranks: int = Field(
        default=1, ge=1, description="Processes on this machine: one a GPU, or one or two on a CPU"
    )
    threads_per_rank: int | None = Field(
        default=None,
        ge=1,
        description="Threads of a rank (OMP_NUM_THREADS); empty: the cores divided by the ranks",
    )
    accelerator: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: the GPUs where there are any"
    )
    nodes: int = Field(
        default=1,
        ge=1,
        description="Machines, each with so many ranks. On the others start by hand the command "
        "that logs/launcher.log opens with; they must see the same store",
    )
    rendezvous: str | None = Field(
        default=None, description="host:port of this machine, where the other machines report"
    )

    @model_validator(mode="after")
    def _nodes_can_meet(self) -> LaunchConfig:
        if self.nodes > 1 and not self.rendezvous:
            raise ValueError("nodes is above 1; set rendezvous to this machine's host:port")
        return self


@dataclass(frozen=True)
class Progress:
    """One reading of a training program's progress; it names no patient."""

    arm: str
    step: int
    total: int
    loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    peak_mib: float | None = None
    validation: float | None = None
    note: str = ""

    @property
    def done(self) -> int:
        return self.step

    @property
    def words(self) -> str:
        """What a progress bar or a log line says beside the count."""
        shown = [self.arm, self.note]
        if self.loss is not None:
            shown.append(f"loss {self.loss:.4g}")
        if self.validation is not None:
            shown.append(f"validation {self.validation:.3f}")
        if self.learning_rate is not None:
            shown.append(f"rate {self.learning_rate:.2g}")
        if self.tokens_per_second is not None:
            shown.append(f"{self.tokens_per_second:,.0f} tokens/s")
        if self.peak_mib is not None:
            shown.append(f"{self.peak_mib:,.0f} MiB")
        return ", ".join(word for word in shown if word)

    @property
    def row(self) -> dict[str, object] | None:
        """A row of the training's table, where there is a loss or a validation."""
        if self.loss is None and self.validation is None:
            return None
        return {
            "training": self.arm,
            "step": self.step,
            "of": self.total,
            "loss": "" if self.loss is None else round(self.loss, 4),
            "validation AUROC": "" if self.validation is None else round(self.validation, 4),
        }

    @property
    def milestone(self) -> bool:
        return self.validation is not None


def launch(
    module: str,
    job: Config,
    work: Path,
    config: LaunchConfig,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Run `python -m module work/job.json` on the ranks of the config, until all have ended.

    Args:
        module: a training program, e.g. "tasks.pretrain.train".
        job: what it shall do; written to work/job.json.
        work: a folder of its own: checkpoints, logs, progress. Kept, it resumes there.
        on_progress: told every new reading, in this thread.

    Raises what a rank raised, if that was a ClinfuseError; RanksDied where ranks were killed or
    told to stop (a new launch resumes); TrainingError otherwise, naming the log. Whatever ends
    this call early, also a signal, ends the ranks: they get STOP_SECONDS to save.
    """
    work = work.resolve()
    (work / LOGS).mkdir(parents=True, exist_ok=True)
    _wait_for_earlier_ranks(work)
    for lock in work.glob(f"{OPERATORS}/*/lock"):  # of a run that was killed; nobody holds it now
        lock.unlink()
    (work / JOB).write_text(job.model_dump_json(indent=1))
    (work / PROGRESS).write_bytes(b"")
    (work / ERROR).unlink(missing_ok=True)
    with _started(_command(module, work, config), work, config) as process:
        read = 0
        while (code := _wait(process)) is None:
            read = _follow(work / PROGRESS, read, on_progress)
        _follow(work / PROGRESS, read, on_progress)
    if code != 0:
        raise _failure(work, code)


def _command(module: str, work: Path, config: LaunchConfig) -> list[str]:
    program = ["-m", module, str(work / JOB)]
    if config.nodes == 1 and config.ranks == 1:
        return [sys.executable, *program]  # torchrun itself would take 2 s
    meeting = ["--standalone"]
    if config.nodes > 1:
        meeting = [
            f"--nnodes={config.nodes}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={config.rendezvous}",
            "--rdzv-id=clinfuse",
        ]
    ranks = [f"--nproc-per-node={config.ranks}", f"--shutdown-timeout={SAVE_SECONDS}"]
    return [sys.executable, "-m", "torch.distributed.run", *meeting, *ranks, *program]


def _environment(work: Path, config: LaunchConfig) -> dict[str, str]:
    """What a rank finds in its environment: the names of PASSED, and what the config says.

    Nothing else of ours: a pod's or a scheduler's WORLD_SIZE, MASTER_ADDR or PET_* would overrule
    the config, and an API key has no business in a training.
    """
    passed = {name: value for name, value in os.environ.items() if PASSED.fullmatch(name)}
    cores = len(os.sched_getaffinity(0))
    threads = config.threads_per_rank or max(1, cores // config.ranks)
    chosen = {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(_import_path()),
        "PYTHONSAFEPATH": "1",  # not the current folder, which may have a `tasks` of its own
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "HF_HOME": str(work / "cache"),  # no library leaves a copy under the home directory
        # a DeepSpeed configuration may ask for an operator that is compiled at run time (offload
        # to a disk, say); shared with others, its lock would outlive a killed run
        "TORCH_EXTENSIONS_DIR": str(work / OPERATORS),
        PARENT: "1",
    }
    if config.accelerator == "cpu":
        chosen |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    elif config.accelerator == "cuda":
        chosen |= {"DS_ACCELERATOR": "cuda"}
    return passed | chosen


def _import_path() -> list[str]:
    """Where this process imports from, this code's own root first: ranks run the same code."""
    return list(dict.fromkeys(filter(None, [str(Path(__file__).parents[1]), *sys.path])))


@contextmanager
def _started(
    command: list[str], work: Path, config: LaunchConfig
) -> Iterator[subprocess.Popen[bytes]]:
    """The running command; whatever leaves the block, nothing of it runs on."""
    with (work / LOGS / "launcher.log").open("wb") as log:
        log.write((" ".join(command) + "\n").encode())
        log.flush()
        process = subprocess.Popen(
            command,
            env=_environment(work, config),
            stdin=subprocess.PIPE,  # ends when we die, and the ranks with it
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone; we tell the ranks
        )
    try:
        yield process
    finally:
        _stop(process)
        if process.stdin:
            process.stdin.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children: first asked, so that they save, then killed."""
    if process.poll() is not None:
        return
    tree = _tree(process.pid)
    process.send_signal(signal.SIGTERM)  # torchrun passes it on to the ranks
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for child in {*tree, *_tree(process.pid)}:
            if child.is_running():
                child.kill()
        process.wait()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return []


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _wait_for_earlier_ranks(work: Path) -> None:
    """Ranks whose launcher was killed may take a moment to notice; never work beside them."""
    with (work / LOCK).open("a") as file:
        deadline = time.monotonic() + STOP_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TrainingError(
                        f"ranks of an earlier run still work in {work}; end them and run again"
                    ) from None
                time.sleep(POLL_SECONDS)


def _follow(path: Path, read: int, on_progress: Callable[[Progress], None] | None) -> int:
    """Report the whole lines beyond `read` bytes; return how far was read."""
    with path.open("rb") as file:
        file.seek(read)
        lines, newline, _ = file.read().rpartition(b"\n")
    for line in lines.splitlines():
        if on_progress:
            on_progress(Progress(**json.loads(line)))
    return read + len(lines) + len(newline)


def _failure(work: Path, code: int) -> ClinfuseError:
    """What went wrong, from the note that a rank left, or from how the processes ended."""
    told = _told(work / ERROR)
    known = getattr(errors, told.get("error", ""), None)
    if isinstance(known, type) and issubclass(known, ClinfuseError):
        return known(told["message"])
    rank, ended = _first_death(work / LOGS / "launcher.log", code)
    logs = work / LOGS
    if ended == PREEMPTED:
        return RanksDied("training was told to stop and saved a checkpoint; run again to resume")
    if ended < 0:
        name = signal.Signals(-ended).name
        memory = "; if memory ran out, lower micro_batch_size" if name == "SIGKILL" else ""
        return RanksDied(
            f"rank {rank} was ended by {name}{memory}; its log is {logs / f'rank-{rank}.log'}; "
            "run again to resume from the last checkpoint"
        )
    if told.get("exception") == "OutOfMemoryError":
        return ConfigError(
            f"rank {told['rank']} ran out of GPU memory at {told['place']}; lower "
            "micro_batch_size or max_tokens, or set deepspeed to configs/deepspeed/zero3.json"
        )
    if told:
        cause = f" ({told['cause']})" if told["cause"] else ""
        return TrainingError(
            f"rank {told['rank']} stopped with {told['exception']} at {told['place']}{cause}; "
            f"see {logs / 'rank-{}.log'.format(told['rank'])}"
        )
    return TrainingError(f"rank {rank} ended with exit code {ended}; see the logs in {logs}")


def _told(path: Path) -> dict[str, str]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _first_death(log: Path, code: int) -> tuple[int, int]:
    """Which rank ended how; torchrun's report names every rank that failed.

    A rank that was killed counts before one that then found its partner gone, and both before one
    that torchrun ended (SIGTERM) because of them.
    """
    report = log.read_text(errors="replace")
    found = re.findall(r"rank\s*: (\d+) \(local_rank: \d+\)\s*exitcode\s*: (-?\d+)", report)
    deaths = [(int(rank), int(ended)) for rank, ended in found]
    if not deaths:
        return 0, code
    told_to_stop = (PREEMPTED, -signal.SIGTERM)
    return min(deaths, key=lambda death: (death[1] in told_to_stop, death[1] > 0))
