"""kill -9 at any moment, of the run, of all of it, or of one of its children: nothing is left.

CLINFUSE_KILLS=20 makes it twenty kills; each takes about half a minute.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import yaml

from tasks.store import Store
from tests.flows.conftest import BIN, ROOT, TINY
from tests.flows.planted import RARE, WORDS, identifiers, plant

KILLS = int(os.environ.get("CLINFUSE_KILLS", "4"))
SEED = int(os.environ.get("CLINFUSE_KILLS_SEED", "2026"))
# how long after its first step a run that makes this stage anew is surely still at work
STAGES = {"ingest": 1.5, "pretrain": 15, "finetune": 15, "evaluate": 1.5}
END_SECONDS = 60  # processes may take that long to notice that their parent is gone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass
class Machine:
    """What a run sees of the machine: folders of its own, and the processes that it started."""

    root: Path
    started: set[psutil.Process] = field(default_factory=set)

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def outside(self) -> list[Path]:
        """Where nothing of a note may be left."""
        return [self.root / name for name in ("temporary", "home", "prefect")]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        kept = {key: value for key, value in os.environ.items() if "PREFECT" not in key}
        places = dict(zip(("TMPDIR", "HOME", "PREFECT_HOME"), map(str, self.outside), strict=True))
        with (self.root / "log").open("wb") as log:
            return subprocess.Popen(
                [str(BIN / "clinfuse"), *arguments, "--store", str(self.store)],
                env={**kept, **places, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"},
                cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def clinfuse(self, *arguments: str) -> str:
        process = self.start(*arguments)
        code = process.wait(900)
        assert code == 0, self.printed
        return self.printed

    @property
    def printed(self) -> str:
        return (self.root / "log").read_text(errors="replace")

    def children(self, process: subprocess.Popen[bytes]) -> list[psutil.Process]:
        found = psutil.Process(process.pid).children(recursive=True)
        self.started.update(found)
        return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which the chain has run once, over patients with planted words."""
    machine = Machine(tmp_path_factory.mktemp("kills"))
    for folder in machine.outside:
        folder.mkdir()
    synth = [str(BIN / "clinfuse"), "synth", str(machine.root / "synth"), "--patients", "300"]
    subprocess.run(synth, check=True, cwd=ROOT)
    plant(machine.root / "synth" / "mimic")
    config = yaml.safe_load(TINY.read_text())
    config["ingest"]["source"] = str(machine.root / "synth" / "mimic")
    config["ingest"]["outcomes"] = [{"kind": "diagnoses", "min_count": 2}, {"kind": "mortality"}]
    config["evaluate"]["truth"] = None
    config["pretrain"]["base"]["corpus"] = str(machine.root / "synth" / "general.txt")
    (machine.root / "config.yaml").write_text(yaml.safe_dump(config))
    machine.clinfuse("run", str(machine.root / "config.yaml"))
    yield machine
    for process in machine.started:
        if process.is_running():
            process.kill()


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


def digests(store: Store) -> dict[str, str]:
    return {f"{each.kind}/{each.key}": each.digest for each in store.manifests()}


def kill(
    machine: Machine, process: subprocess.Popen[bytes], whom: str, chance: random.Random
) -> None:
    """Kill -9 the run, the run and all its children, or one of these.

    Not the temporary server alone: without its API a flow can only end.
    """
    children = machine.children(process)
    victims = [psutil.Process(process.pid)]
    own = [child for child in children if "flows.server" not in command_of(child)]
    if whom == "all":
        victims += children
    elif whom == "child" and own:
        victims = [chance.choice(own)]
    for victim in victims:
        if victim.is_running():
            victim.send_signal(signal.SIGKILL)


def wait_for_work(machine: Machine, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while process.poll() is None and not re.search(r"(making|reused) \w", machine.printed):
        assert time.monotonic() < deadline, machine.printed
        time.sleep(0.05)


def left(machine: Machine) -> list[str]:
    """The processes that go on though their run is over."""
    alive = psutil.wait_procs(list(machine.started), timeout=END_SECONDS)[1]
    named = [each for each in psutil.process_iter() if str(machine.root) in command_of(each)]
    going_on = {*alive, *named} - {psutil.Process()}
    return [command_of(each) for each in going_on if command_of(each)]  # a zombie has none


def told(machine: Machine) -> list[str]:
    """Words of patients outside of the store."""
    secrets = [*WORDS, RARE, *identifiers(machine.root / "synth" / "mimic")]
    pids = [str(process.pid) for process in machine.started]
    shared = [path for path in Path("/dev/shm").glob("*") if any(pid in path.name for pid in pids)]
    found = [str(path) for path in shared]
    for path in (each for folder in machine.outside for each in folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            found += [f"{word} in {path}" for word in secrets if word.encode() in content]
    return found


def test_nothing_hangs_and_nothing_is_left(machine: Machine) -> None:
    chance = random.Random(SEED)
    config = str(machine.root / "config.yaml")
    before = digests(Store(machine.store, read_only=True))
    assert len(before) > 15
    kills = 0
    for number in range(KILLS):
        whom, stage = chance.choice(["run", "all", "child"]), chance.choice(list(STAGES))
        process = machine.start("run", config, "--refresh", stage)
        wait_for_work(machine, process)
        deadline = time.monotonic() + chance.uniform(0, STAGES[stage])
        while process.poll() is None and time.monotonic() < deadline:
            machine.children(process)
            time.sleep(0.1)
        what = f"{number}: {whom}, while it made {stage} anew; seed {SEED}"
        if process.poll() is None:
            kill(machine, process, whom, chance)
            kills += 1
        process.wait(600)
        print(f"{what}: exit code {process.returncode}", flush=True)
        assert "Traceback" not in machine.printed, f"{what}\n{machine.printed}"
        assert left(machine) == [], what
        assert told(machine) == [], what
    assert kills > KILLS / 2, "most runs had ended before they were to be killed"
    machine.clinfuse("run", config)
    after = digests(Store(machine.store, read_only=True))
    for name in before:  # a report tells how long things took
        assert after[name] == before[name] or name.startswith("report/"), name
    assert ", 0 damaged files" in machine.clinfuse("verify")
    machine.clinfuse("gc", "--delete", "--older-than", "0", "--keep-runs", "1")
    assert list((machine.store / ".making").iterdir()) == []
    kept = {f"{path.parent.name}-{path.name}" for path in Store(machine.store).folders()}
    assert {path.name for path in (machine.store / ".locks").iterdir()} <= kept
    assert ", 0 made," in machine.clinfuse("run", config)
