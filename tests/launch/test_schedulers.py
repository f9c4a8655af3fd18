"""What infra/ starts on several machines: one run and its followers, whose commands are ours."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from flows.cli import app
from flows.loading import load_config
from tests.launch.test_launch import ROOT

INFRA = ROOT / "infra"
CONFIG = "configs/mimic-iv-llama-7b.yaml"
# stand-ins: what would have been called is noted; ssh runs its command here, and srun one a node
STUBS = {
    "clinfuse": 'printf "%q " "$@" >> "$CALLS"; echo >> "$CALLS"',
    "ssh": 'shift 2; exec bash -c "$1"',
    # slow: a reader that has gone after the first name must not end the job
    "scontrol": "for name in gpu-1 gpu-2 gpu-3; do echo $name; sleep 0.1; done",
    "srun": (
        'while [[ $1 == --* ]]; do shift; done; for node in 0 1 2; do SLURM_NODEID=$node "$@"; done'
    ),
}


@dataclass
class Machine:
    """Where the stand-ins lie."""

    folder: Path

    def run(self, *command: str, **environment: str) -> list[list[str]]:
        """The calls of clinfuse that the command led to, in any order."""
        calls = self.folder / "calls"
        given = {
            **{"PATH": f"{self.folder}:{os.environ['PATH']}", "CALLS": str(calls)},
            **{"CLINFUSE": str(self.folder / "clinfuse")},
            **environment,
        }
        subprocess.run(command, cwd=self.folder, env=given, check=True, timeout=60)
        return [shlex.split(line) for line in calls.read_text().splitlines()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for name, body in STUBS.items():
        path = tmp_path / name
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(0o755)
    return Machine(tmp_path)


def parsed(call: list[str]) -> dict[str, Any]:
    """The call's parameters, as the command line takes them."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands[call[0]].make_context(call[0], call[1:]).params)


def assert_they_meet(calls: list[list[str]], nodes: int, ranks: int, rendezvous: str) -> None:
    [run] = [call for call in calls if call[0] == "run"]
    followers = [call for call in calls if call[0] == "follow"]
    assert len(calls) == 1 + len(followers) == nodes
    given = parsed(run)
    launch = load_config(ROOT / CONFIG, given["sets"]).launch
    assert (launch.nodes, launch.ranks, launch.rendezvous) == (nodes, ranks, rendezvous)
    for follower in map(parsed, followers):
        assert (follower["rendezvous"], follower["ranks"]) == (rendezvous, ranks)
        assert follower["store"] == given["store"]


def test_a_hostfile(machine: Machine, tmp_path: Path) -> None:
    command = [str(INFRA / "on_hosts.sh"), str(INFRA / "hostfile"), CONFIG, "/data/a store"]
    # the first ends at once, the others are given time to be noted
    slow = f"[[ $1 == run ]] && sleep 1; {STUBS['clinfuse']}"
    (tmp_path / "clinfuse").write_text(f"#!/usr/bin/env bash\n{slow}\n")
    assert_they_meet(machine.run(*command), 2, 8, "gpu-1:29500")
    for wrong in ("gpu-1 slots=8\ngpu-2 slots=4\n", "gpu-1\n"):
        (tmp_path / "hostfile").write_text(wrong)
        refused = subprocess.run(
            [command[0], str(tmp_path / "hostfile"), *command[2:]], capture_output=True
        )
        assert refused.returncode == 2
        assert b"all need as many slots" in refused.stderr


def test_slurm(machine: Machine) -> None:
    script = INFRA / "slurm" / "run.sbatch"
    given = {"SLURM_NNODES": "3", "SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_NODELIST": "gpu-[1-3]"}
    calls = machine.run("bash", str(script), CONFIG, "/data/a store", **given)
    assert_they_meet(calls, 3, 4, "gpu-1:29500")
    lines = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    options = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines)
    assert options["ntasks-per-node"] == "1"
    assert "requeue" in options


def test_kubernetes(machine: Machine) -> None:
    service, job = yaml.safe_load_all((INFRA / "k8s" / "run.yaml").read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    spec = job["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    assert spec["completions"] == spec["parallelism"] == int(given["NODES"])
    assert container["resources"]["limits"]["nvidia.com/gpu"] == int(given["RANKS"])
    # the first pod's name, by the service
    name = job["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert given["RENDEZVOUS"] == f"{name}-0.{pod['subdomain']}:29500"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    assert pod["terminationGracePeriodSeconds"] > 30
    calls: list[list[str]] = []
    for index in range(spec["completions"]):
        calls = machine.run(*container["command"], JOB_COMPLETION_INDEX=str(index), **given)
    for call in calls:
        call[1] = CONFIG if call[0] == "run" else call[1]
    assert_they_meet(calls, 2, 8, given["RENDEZVOUS"])


@pytest.mark.parametrize("name", ["hostfile", "on_hosts.sh", "slurm/run.sbatch", "k8s/run.yaml"])
def test_each_says_the_exact_command(name: str) -> None:
    text = (INFRA / name).read_text()
    command = {
        "hostfile": "infra/on_hosts.sh",
        "on_hosts.sh": "infra/on_hosts.sh infra/hostfile configs/mine.yaml /data/clinfuse/store",
        "slurm/run.sbatch": "sbatch infra/slurm/run.sbatch configs/mine.yaml /data/clinfuse/store",
        "k8s/run.yaml": "kubectl apply -f infra/k8s/run.yaml",
    }[name]
    assert command in text
    if text.startswith("#!"):
        assert subprocess.run(["bash", "-n", str(INFRA / name)]).returncode == 0
