"""What `make server` starts holds what it promises: schedules, edited parameters, cancelled runs,
and processes that are killed. The tests follow one another on one server."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.runs import Run, load_runs
from tests.flows.conftest import (
    POSTGRESQL,
    Served,
    api,
    deployment_of,
    ended,
    prefect,
    run_of,
    started,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LONG = ["launch.ranks=2", "pretrain.epochs=500", "pretrain.max_tokens=null"]
PATIENCE_SECONDS = 500.0  # of a busy machine; what is promised is waited for, not timed
INTERVAL = 10  # steps between two checkpoints of tests/flows/tiny.yaml


def wait_until(ready: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := ready()):
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.2)
    return found


def record_of(served: Served, run: str) -> Run:
    return next(each for each in load_runs(served.store.root) if each.id == run)


def service(served: Served, words: str) -> psutil.Process:
    """The process that `make server` has started with these words in its command."""
    return wait_until(lambda: _service(served, words), f"a process of `{words}`")


def _service(served: Served, words: str) -> psutil.Process | None:
    for process in psutil.Process(served.process.pid).children():
        with suppress(psutil.Error):
            if words in " ".join(process.cmdline()):
                return process
    return None


def flow_process(run: str) -> psutil.Process:
    """The process in which the flow runs."""

    def find() -> psutil.Process | None:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                    return process
        return None

    return wait_until(find, "a process of the flow run")


def tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


class Training:
    """The clinical adapter's training in a run, by what it leaves in the store while it goes on."""

    def __init__(self, served: Served) -> None:
        self.making = served.store.root / ".making"

    @property
    def lines(self) -> list[dict[str, Any]]:
        found: list[Path] = [*self.making.glob("clinical-adapter-*/work/progress.jsonl")]
        text = found[0].read_text() if found else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    @property
    def step(self) -> int:
        lines = self.lines
        return lines[-1]["step"] if lines else -1

    def wait_for(self, step: int) -> None:
        wait_until(lambda: self.step >= step, f"step {step} of the training")


def _begun_since(before: dict[str, Any], lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of a later training; the one before may have been resumed, too."""
    return lines if lines and lines[0] != before else []


def events(served: Served, name: str) -> list[dict[str, Any]]:
    """The events of that name, as the UI's feed has them."""
    return api(served, "/events/filter", {"filter": {"event": {"name": [name]}}})["events"]


def api_answers(served: Served) -> bool:
    try:
        return bool(api(served, "/health"))
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@pytest.mark.skipif(not POSTGRESQL, reason="PostgreSQL (initdb) is not on this machine")
def test_the_server_keeps_its_runs_in_postgresql(deployed: Served) -> None:
    assert service(deployed, "bin/postgres -D").username() != "root"
    assert not list(Path(deployed.environment["PREFECT_HOME"]).rglob("*.db"))


def test_a_schedule_fires_and_runs_the_chain(deployed: Served) -> None:
    path = f"/deployments/{deployment_of(deployed, 'adapt')['id']}/schedules"
    parameters = {"preset": str(deployed.config)}
    asked = [{"schedule": {"interval": 60}, "active": True, "parameters": parameters}]
    [schedule] = api(deployed, path, asked)
    of_schedules = {"flow_runs": {"tags": {"all_": ["auto-scheduled"]}}, "sort": "START_TIME_ASC"}

    def first() -> Any:
        runs = api(deployed, "/flow_runs/filter", of_schedules)
        return next((run for run in runs if run["start_time"]), None)

    begun = wait_until(first, "a run of the schedule")
    api(deployed, f"{path}/{schedule['id']}", method="DELETE")
    run = ended(deployed, begun["id"])
    assert run["state_type"] == "COMPLETED"
    record = record_of(deployed, run["id"])
    assert {each.how for each in record.artifacts} == {"reused"}
    assert "report" in {each.kind for each in record.artifacts}


def test_two_runs_of_one_config_do_the_work_once(deployed: Served) -> None:
    edited = ["baselines.tfidf.max_features=400", "report.alarm_below=1"]
    runs = [
        started(deployed, "evaluate", preset=str(deployed.config), overrides=edited)
        for _ in range(2)
    ]
    assert [ended(deployed, run)["state_type"] for run in runs] == ["COMPLETED"] * 2
    made = [
        (each.kind, each.key)
        for run in runs
        for each in record_of(deployed, run).artifacts
        if each.how == "made"
    ]
    assert len(made) == len(set(made))
    # what was edited reached these runs, nothing else was made, and the deployment is as it was
    assert {kind for kind, _ in made} == {"predictions", "metrics", "report"}
    assert {tuple(record_of(deployed, run).parameters["overrides"]) for run in runs} == {(*edited,)}
    assert deployment_of(deployed, "evaluate")["parameters"] == {"preset": "configs/demo.yaml"}
    # and of each, the first model's AUROCs below the bar were told, for automations
    told = wait_until(lambda: events(deployed, "clinfuse.auroc-below"), "the event")
    assert {each["resource"]["prefect.resource.id"] for each in told} == {"clinfuse.run.tiny"}
    assert all("macro AUROC of" in each["payload"]["sentence"] for each in told)


def test_a_run_finishes_though_its_worker_is_killed(deployed: Served) -> None:
    edited = ["baselines.tfidf.max_features=401"]
    run = started(deployed, "evaluate", preset=str(deployed.config), overrides=edited)
    wait_until(lambda: run_of(deployed, run)["state_type"] == "RUNNING", "the run")
    service(deployed, "--pool clinfuse-cpu").kill()
    assert flow_process(run).is_running()
    state = ended(deployed, run)
    assert state["state_type"] == "COMPLETED", state["state"]["message"]
    assert {each.kind for each in record_of(deployed, run).artifacts if each.how == "made"}


@pytest.fixture(scope="module")
def training(deployed: Served) -> Iterator[str]:
    """A run in the middle of a training that would go on for long."""
    run = started(deployed, "pretrain", preset=str(deployed.config), overrides=LONG)
    Training(deployed).wait_for(INTERVAL + 1)
    yield run
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                process.kill()


def test_a_training_goes_on_while_the_server_is_killed_and_restarted(
    deployed: Served, training: str
) -> None:
    server, before = service(deployed, "prefect server start"), Training(deployed).step
    for process in tree(server):
        process.kill()
    wait_until(lambda: server.pid != service(deployed, "prefect server start").pid, "a server")
    wait_until(lambda: api_answers(deployed), "the API")
    Training(deployed).wait_for(before + INTERVAL)
    assert run_of(deployed, training)["state_type"] == "RUNNING"


def test_a_run_whose_worker_and_process_are_killed_is_crashed_and_resumed(
    deployed: Served, training: str
) -> None:
    flow, before = flow_process(training), Training(deployed).lines[0]
    left = tree(flow)
    service(deployed, "--pool clinfuse-gpu").kill()
    flow.kill()
    reached = Training(deployed).step
    assert psutil.wait_procs(left, timeout=30)[1] == []  # its ranks end with it
    wait_until(lambda: run_of(deployed, training)["state_type"] == "CRASHED", "Crashed")
    assert "No heartbeat" in run_of(deployed, training)["state"]["message"]

    prefect(deployed, "flow-run", "retry", training)
    flow_process(training)
    lines = wait_until(lambda: _begun_since(before, Training(deployed).lines), "ranks")
    assert "resumed from step" in lines[0]["note"]
    assert lines[0]["step"] > reached - 2 * INTERVAL
    assert run_of(deployed, training)["run_count"] == 2


def test_a_cancelled_run_stops_every_rank_and_leaves_no_half_artifact(
    deployed: Served, training: str
) -> None:
    Training(deployed).wait_for(Training(deployed).step + 1)
    running = tree(flow_process(training))
    assert len(running) >= 4  # the flow, what ranks are forked from, two ranks
    before = set(deployed.store.folders())
    cancelling = {"state": {"type": "CANCELLING"}}
    api(deployed, f"/flow_runs/{training}/set_state", cancelling)
    asked = time.monotonic()
    alive = psutil.wait_procs(running, timeout=60)[1]
    print(f"every process had ended {time.monotonic() - asked:.1f} s after it was cancelled")
    assert alive == []
    assert ended(deployed, training)["state_type"] == "CANCELLED"
    assert set(deployed.store.folders()) == before
    assert deployed.clinfuse("verify", "--store", str(deployed.store.root)).returncode == 0
