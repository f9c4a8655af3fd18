"""The deployments of infra/prefect.yaml, on a real server, picked up by a real worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tasks.runs import load_runs
from tests.flows.conftest import BIN, ROOT, World

NAMES = {"adapt", "ingest", "pretrain", "finetune", "evaluate", "audit", "compare"}


def prefect(world: World, *arguments: str) -> str:
    done = subprocess.run(
        [str(BIN / "prefect"), "--no-prompt", *arguments],
        cwd=ROOT,
        env=world.environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def api(world: World, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{world.environment['PREFECT_API_URL']}{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    for wait in (1, 2, 4, 8, 0):  # SQLite under load: the server asks to be asked again
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 503 or not wait:
                raise
            time.sleep(wait)
    raise AssertionError("unreachable")


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    prefect(world, "work-pool", "create", "clinfuse", "--type", "process")
    prefect(world, "deploy", "--all", "--prefect-file", "infra/prefect.yaml")
    return world


@pytest.fixture(scope="module")
def worker(deployed: World) -> Iterator[None]:
    log = (deployed.folder / "worker.log").open("w")
    process = subprocess.Popen(
        [str(BIN / "prefect"), "worker", "start", "--pool", "clinfuse", "--type", "process"],
        cwd=ROOT,
        env=deployed.environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    yield
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:  # seen once on a busy machine; nothing runs in it any more
        os.killpg(process.pid, signal.SIGKILL)
    log.close()


def run_deployment(world: World, name: str, **parameters: Any) -> dict[str, Any]:
    """Start a deployment's run as the UI would, and wait for its end."""
    found = api(world, "/deployments/filter", {})
    flows = {flow["id"]: flow["name"] for flow in api(world, "/flows/filter", {})}
    deployment = next(each for each in found if flows[each["flow_id"]] == name)
    started = api(
        world, f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters}
    )
    for _ in range(240):
        [run] = api(world, "/flow_runs/filter", {"flow_runs": {"id": {"any_": [started["id"]]}}})
        if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return run
        time.sleep(1)
    raise AssertionError(f"{name} did not end: {run['state_name']}")


def test_every_flow_has_a_deployment_and_the_schedule_is_paused(deployed: World) -> None:
    flows = {flow["id"]: flow["name"] for flow in api(deployed, "/flows/filter", {})}
    found = api(deployed, "/deployments/filter", {})
    assert {flows[each["flow_id"]] for each in found} == NAMES
    adapt = next(each for each in found if flows[each["flow_id"]] == "adapt")
    assert [(each["schedule"]["cron"], each["active"]) for each in adapt["schedules"]] == [
        ("0 3 * * 0", False)
    ]


def test_the_form_of_the_ui_has_every_key_with_a_description(deployed: World) -> None:
    found = api(deployed, "/deployments/filter", {})
    schema = found[0]["parameter_openapi_schema"]["definitions"]
    undescribed = [
        f"{model}.{name}"
        for model, definition in schema.items()
        for name, field in definition.get("properties", {}).items()
        if "description" not in field and "const" not in field and "$ref" not in field
    ]
    assert undescribed == []


def test_a_worker_runs_the_chain_and_one_stage(deployed: World, worker: None) -> None:
    config = yaml.safe_load(deployed.config.read_text())
    whole = run_deployment(deployed, "adapt", config=config)
    assert whole["state_type"] == "COMPLETED"
    record = next(each for each in load_runs(deployed.store.root) if each.id == whole["id"])
    assert record.deployment == whole["deployment_id"]
    assert all(reached.how == "reused" for reached in record.artifacts)
    assert "report" in {reached.kind for reached in record.artifacts}

    stage = run_deployment(deployed, "evaluate", config=config, refresh=["evaluate"])
    assert stage["state_type"] == "COMPLETED"
    record = next(each for each in load_runs(deployed.store.root) if each.id == stage["id"])
    assert [each.kind for each in record.artifacts if each.how == "made"] == ["metrics", "report"]


def test_a_wrong_key_is_refused_before_anything_runs(deployed: World) -> None:
    config = yaml.safe_load(deployed.config.read_text()) | {"no_such_key": 1}
    with pytest.raises(urllib.error.HTTPError, match="409"):
        run_deployment(deployed, "adapt", config=config)


def test_the_run_page_has_the_table_and_the_report(deployed: World) -> None:
    found = api(deployed, "/artifacts/filter", {})
    types = {each["type"] for each in found}
    assert {"table", "markdown", "progress"} <= types
    pages = [each["data"] for each in found if each["type"] == "markdown"]
    page = next(text for text in pages if f"file://{deployed.store.root}/report/" in text)
    assert "macro AUROC" in page
