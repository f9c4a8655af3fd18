"""Start a training program on N ranks, follow its progress, and stop it when we stop.

    launch("tasks.pretrain.train", job, work, LaunchConfig(ranks=2))

does what `torchrun --nproc-per-node 2 -m tasks.pretrain.train work/job.json` does, but its ranks
are forked from a process that has imported what they need (`tasks/warm.py`). The program opens
with `tasks.training.program.run`, the other half of what is here.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Literal, TextIO

from pydantic import Field, model_validator

from tasks import nodes, pulse, warm
from tasks.config import Config, Unkeyed
from tasks.errors import RanksDied, TrainingError
from tasks.failures import ERROR, LAUNCHER, LOGS, failure_of
from tasks.provenance import has_gpu
from tasks.training_progress import PROGRESS, follow, show
from tasks.training_progress import Progress as Progress
from tasks.warm import ALONE_SECONDS, SAVE_SECONDS, STOP_SECONDS, Request

POLL_SECONDS = 0.1
GPU_LIMIT = "CLINFUSE_GPU_LIMIT"  # names a Prefect concurrency limit, of GPUs; infra/prefect.yaml
PARENT = "CLINFUSE_LAUNCHED"  # set: the program's stdin ends when its launcher dies

JOB, LOCK = "job.json", "ranks.lock"
OPERATORS = "operators"  # what DeepSpeed compiles at run time, if it must
OF_THE_WORK = ("HF_HOME", "TORCH_EXTENSIONS_DIR")  # of a rank's environment, what lies in its work

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
        description="Machines, each with this many ranks. On each of the others run `clinfuse "
        "follow` with the address below, once for a whole run; it must see the same store",
    )
    price_per_hour: float | None = Field(
        default=None,
        gt=0,
        description="Price of an hour of one machine, in a currency of yours; the counts of an "
        "adapter then say what its training cost",
    )
    rendezvous: str | None = Field(
        default=None,
        pattern=r"^.+:\d+$",
        description="host:port of this machine, as the other machines reach it",
    )

    silent_seconds: float = Field(
        default=120,
        ge=10,
        description="A rank whose process gives no sign of life for this long hangs: all are "
        "ended, and the run says which it was. Loading, saving and waiting do give signs",
    )
    step_minutes: float = Field(
        default=30,
        gt=0,
        description="The same for a rank that does not come on within a step of training, a "
        "micro-batch at a time; raise it where one takes longer",
    )

    def price_of(self, seconds: float) -> dict[str, float]:
        """What so many seconds of all machines cost, as a count of an artifact; maybe none."""
        if self.price_per_hour is None:
            return {}
        return {"cost": round(seconds / 3600 * self.nodes * self.price_per_hour, 4)}

    @model_validator(mode="after")
    def _nodes_can_meet(self) -> LaunchConfig:
        if self.nodes > 1 and not self.rendezvous:
            raise ValueError("nodes is above 1; set rendezvous to this machine's host:port")
        return self


def launch(
    module: str,
    job: Config,
    work: Path,
    config: LaunchConfig,
    on_progress: Callable[[Progress], None] = show,
) -> None:
    """Run `python -m module work/job.json` on the ranks of the config, until all have ended.

    Args:
        module: a training program, e.g. "tasks.pretrain.train".
        job: what it shall do; written to work/job.json.
        work: a folder of its own: checkpoints, logs, progress. Kept, it resumes there.
        on_progress: told every new reading, in this thread; by default the step's listener is.

    Raises what a rank raised, if that was a ClinfuseError; RanksDied where ranks were killed or
    told to stop (a new launch resumes); TrainingError otherwise, naming the log. Whatever ends
    this call early, also a signal, ends the ranks: they get STOP_SECONDS to save.
    """
    work = work.resolve()
    (work / LOGS).mkdir(parents=True, exist_ok=True)
    # ranks whose launcher was killed may take a moment to notice; never work beside them
    lock(work, fcntl.LOCK_EX).close()
    for compiling in work.glob(f"{OPERATORS}/*/lock"):  # by a run that was killed; nobody is
        compiling.unlink()
    (work / JOB).write_text(job.model_dump_json(indent=1))
    (work / PROGRESS).write_bytes(b"")
    (work / ERROR).unlink(missing_ok=True)
    shutil.rmtree(work / pulse.FOLDER, ignore_errors=True)
    environment = _environment(work, config)
    request = _request(module, work, config, environment)
    watch = pulse.Watch(
        work, config.ranks * config.nodes, config.silent_seconds, 60 * config.step_minutes
    )
    read = 0
    with _slots(config), _ranks(environment, request, config) as ranks:
        while (deaths := ranks.deaths(POLL_SECONDS)) is None:
            read = follow(work / PROGRESS, read, on_progress)
            if alarm := watch.alarm():
                raise _hung(work, ranks, *alarm)
        follow(work / PROGRESS, read, on_progress)
    if any(code for _, code in deaths):
        raise failure_of(work, deaths, ranks.name_of)


def prepare(config: LaunchConfig, *modules: str) -> None:
    """Begin to import what these training programs need, so that a launch soon finds it there.

    Returns at once; it costs a core for some 5 s, and a few hundred MiB until `warm.let_go`.
    """
    warm.warm_up(environment_of(config), modules)


def environment_of(config: LaunchConfig) -> dict[str, str]:
    """What ranks of all launches on this machine find in their environment."""
    environment = _environment(Path(), config)
    return {name: environment[name] for name in environment if name not in OF_THE_WORK}


def lock(work: Path, kind: int) -> TextIO:
    """Hold the work folder's lock, of a kind of fcntl.flock, until the file is closed.

    The ranks share it, and a launch begins where nobody holds it; the kernel frees it when one
    dies. Raises TrainingError where another holds it for longer than ranks take to end.
    """
    file = (work / LOCK).open("a")
    deadline = time.monotonic() + STOP_SECONDS
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TrainingError(
                    f"ranks of an earlier run still work in {work}; end them and run again"
                ) from None
            time.sleep(POLL_SECONDS)


def _request(module: str, work: Path, config: LaunchConfig, environment: dict[str, str]) -> Request:
    """The ranks to fork on this machine.

    What is of this work alone is taken out of the environment, which the next launch shares.
    """
    log = work / LOGS / LAUNCHER
    log.write_text(" ".join(_command(module, work, config)) + "\n")
    umask = os.umask(0o077)
    os.umask(umask)
    return Request(
        module=module,
        job=str(work / JOB),
        ranks=config.ranks,
        world=config.ranks,
        log=str(log),
        folder=os.getcwd(),
        umask=umask,
        environment={name: environment.pop(name) for name in OF_THE_WORK},
    )


@contextmanager
def _ranks(
    environment: dict[str, str], request: Request, config: LaunchConfig
) -> Iterator[nodes.Ranks]:
    if config.rendezvous is not None and config.nodes > 1:
        with nodes.serving_on(
            config.nodes, environment, request, config, config.rendezvous
        ) as ranks:
            yield ranks
    else:
        with warm.serving(environment, request) as here:
            yield nodes.Ranks(here, [], config.ranks)


def _slots(config: LaunchConfig) -> AbstractContextManager[None]:
    """A GPU a rank, of those that the runs of a server share; nothing without such a limit."""
    if GPU_LIMIT not in os.environ or _on_cpu(config):
        return nullcontext()
    from tasks.slots import gpu_slots  # imports Prefect, which a launch by itself does without

    return gpu_slots(os.environ[GPU_LIMIT], config.ranks * config.nodes)


def _on_cpu(config: LaunchConfig) -> bool:
    return config.accelerator == "cpu" or (config.accelerator == "auto" and not has_gpu())


def _hung(work: Path, ranks: nodes.Ranks, rank: int, how: str) -> RanksDied:
    """End all ranks, which cannot save without the one that hangs; what to say of that one."""
    nodes.stop_the_rest(ranks, ALONE_SECONDS)
    return RanksDied(
        f"{ranks.name_of(rank)} {how}; its log is {work / LOGS / f'rank-{rank}.log'}; run again to "
        "resume from the last checkpoint"
    )


def _command(module: str, work: Path, config: LaunchConfig) -> list[str]:
    """What starts the same ranks by hand."""
    meeting = ["--standalone"]
    if config.nodes > 1:
        meeting = [
            f"--nnodes={config.nodes}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={config.rendezvous}",
            "--rdzv-id=clinfuse",
        ]
    ranks = [f"--nproc-per-node={config.ranks}", f"--shutdown-timeout={SAVE_SECONDS}"]
    program = ["-m", module, str(work / JOB)]
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
        # this code's own root first: ranks run the same code as we do
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)]),
        "PYTHONSAFEPATH": "1",  # not the current folder, which may have a `tasks` of its own
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # oneDNN, which computes bf16 on a CPU, keeps what it compiled for each of the last 1024
        # shapes: 245 MiB after 40 steps on texts of many lengths, so 110. None kept takes three
        # times as long, since the layers of one step share them
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "HF_HOME": str(work / "cache"),  # no library leaves a copy under the home directory
        # a DeepSpeed configuration may ask for an operator that is compiled at run time (offload
        # to a disk, say); shared with others, its lock would outlive a killed run
        "TORCH_EXTENSIONS_DIR": str(work / OPERATORS),
        PARENT: "1",
        pulse.PULSE: pulse.wanted(config.silent_seconds, 60 * config.step_minutes),
    }
    if _on_cpu(config):
        # also for a torch with CUDA in it: asked for devices where there is no driver, it takes
        # every later fork for spoiled
        chosen |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    elif config.accelerator == "cuda":
        chosen |= {"DS_ACCELERATOR": "cuda"}
    return passed | chosen
