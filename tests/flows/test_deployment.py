"""The deployments of infra/prefect.yaml, on a real server, picked up by a real worker."""

from __future__ import annotations

import json
import urllib.error
from typing import Any

import pytest

from tasks.runs import load_runs
from tests.flows.conftest import World, api, ended, started

NAMES = {
    "adapt",
    "ingest",
    "pretrain",
    "finetune",
    "baselines",
    "evaluate",
    "audit",
    "memory",
    "compare",
    "search",
    "score",
}


def run_deployment(world: World, flow: str, **parameters: Any) -> dict[str, Any]:
    """Start a deployment's run as the UI would, and wait for its end."""
    return ended(world, started(world, flow, **parameters))


def test_every_flow_has_a_deployment_and_the_schedule_is_paused(deployed: World) -> None:
    flows = {flow["id"]: flow["name"] for flow in api(deployed, "/flows/filter", {})}
    found = api(deployed, "/deployments/filter", {})
    assert {flows[each["flow_id"]] for each in found} == NAMES
    adapt = next(each for each in found if flows[each["flow_id"]] == "adapt")
    assert [(each["schedule"]["cron"], each["active"]) for each in adapt["schedules"]] == [
        ("0 3 * * 0", False)
    ]


def test_every_field_of_the_form_is_described(deployed: World) -> None:
    for deployment in api(deployed, "/deployments/filter", {}):
        fields = deployment["parameter_openapi_schema"]["properties"]
        assert [name for name, field in fields.items() if not field.get("description")] == []


def test_a_worker_runs_the_chain_and_one_stage(deployed: World) -> None:
    preset = str(deployed.config)
    whole = run_deployment(deployed, "adapt", preset=preset)
    assert whole["state_type"] == "COMPLETED"
    record = next(each for each in load_runs(deployed.store.root) if each.id == whole["id"])
    assert record.deployment == whole["deployment_id"]
    assert all(reached.how == "reused" for reached in record.artifacts)
    assert "report" in {reached.kind for reached in record.artifacts}

    stage = run_deployment(deployed, "evaluate", preset=preset, refresh=["evaluate", "report"])
    assert stage["state_type"] == "COMPLETED"
    record = next(each for each in load_runs(deployed.store.root) if each.id == stage["id"])
    made = [each.kind for each in record.artifacts if each.how == "made"]
    assert made == ["predictions", "predictions", "metrics", "report"], "stacks are of the stage"


def test_a_stage_that_there_is_not_is_refused_before_anything_runs(deployed: World) -> None:
    with pytest.raises(urllib.error.HTTPError, match="409"):
        run_deployment(deployed, "adapt", preset=str(deployed.config), refresh=["pretain"])


def test_a_wrong_key_fails_the_run_in_one_sentence(deployed: World) -> None:
    overrides = ["finetune.epocs=1"]
    run = run_deployment(deployed, "adapt", preset=str(deployed.config), overrides=overrides)
    assert run["state_type"] == "FAILED"
    assert "no key 'finetune.epocs'; did you mean 'epochs'?" in run["state"]["message"]
    assert run["name"] == "tiny, finetune.epocs=1"


def test_the_run_page_has_the_results_the_report_and_the_curve(world: World) -> None:
    found = api(world, "/artifacts/filter", {})
    artifacts = [each for each in found if each["key"]]  # Prefect's own of a result have none
    kinds = {each["key"].rpartition("-")[2] for each in artifacts}
    assert {"results", "report", "page", "progress", "curve"} <= kinds
    report = next(each for each in world.store.manifests() if each.kind == "report")
    keys = {each["key"] for each in artifacts}
    assert f"tiny-{report.key}-report" in keys
    page = next(each["data"] for each in artifacts if each["key"] == f"tiny-{report.key}-report")
    assert f"http://127.0.0.1:4280/report/{report.key}/report.html" in page
    assert "macro AUROC" in page
    members = [each for each in world.store.manifests() if each.kind == "task-adapter"]
    for member in members:
        key = f"task-adapter-{member.key}-curve"
        rows = json.loads(next(each["data"] for each in artifacts if each["key"] == key))
        assert {row["training"] for row in rows} == {member.counts["member"]}
        assert any(row["validation AUROC"] for row in rows)
    assert {member.counts["member"] for member in members} >= {"fused", "unfused"}


def test_the_same_run_again_adds_to_its_history_and_another_has_its_own(world: World) -> None:
    """Two experiments of one name once wrote over each other."""
    before = {each["key"] for each in api(world, "/artifacts/filter", {})}
    world.clinfuse("run", str(world.config))
    assert {each["key"] for each in api(world, "/artifacts/filter", {})} == before
    world.clinfuse("run", str(world.config), "--set", "evaluate.smallest_cell=8")
    new = {each["key"] for each in api(world, "/artifacts/filter", {})} - before
    assert {key.rpartition("-")[2] for key in new} >= {"results", "report", "page"}
