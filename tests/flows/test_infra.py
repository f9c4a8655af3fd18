"""What infra/ holds for containers, clusters and servers is read by what knows its format."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from docker.models.containers import _create_container_args
from prefect.utilities.templating import apply_values

from infra.install import POOLS, TEMPLATES, Type, automations
from tests.flows.conftest import BIN, ROOT

INFRA = ROOT / "infra"
KUBERNETES = "1.31"  # the oldest that infra/k8s/run.yaml names
DEPLOYMENTS = yaml.safe_load((INFRA / "prefect.yaml").read_text())
USER = 1001  # of infra/Dockerfile


def template(type: Type) -> dict[str, Any]:
    return json.loads(TEMPLATES[type].read_text())


def job_of(type: Type, given: dict[str, Any]) -> dict[str, Any]:
    """What a worker starts for a deployment with these job variables, as Prefect fills it in."""
    found = template(type)
    properties = found["variables"]["properties"]
    defaults = {name: each["default"] for name, each in properties.items() if "default" in each}
    known = {name: value for name, value in given.items() if name in properties}
    jsonschema.validate(defaults | known, found["variables"])
    return apply_values(found["job_configuration"], defaults | known)


def variables_of(pool: str) -> dict[str, Any]:
    """The job variables of the pool's deployments, which are the same for all."""
    of_pool = [each["work_pool"] for each in DEPLOYMENTS["deployments"]]
    [found] = {
        json.dumps(each["job_variables"], sort_keys=True)
        for each in of_pool
        if each["name"] == pool
    }
    return json.loads(found)


def test_stages_that_need_no_gpu_hold_none() -> None:
    pools = {each["name"]: each["work_pool"]["name"] for each in DEPLOYMENTS["deployments"]}
    assert set(pools.values()) == set(POOLS)
    for name in ("demo-ingest", "demo-baselines", "demo-evaluate", "demo-audit"):
        assert pools[name] == "clinfuse-cpu"
    assert "CLINFUSE_GPU_LIMIT" not in variables_of("clinfuse-cpu")["env"]
    assert variables_of("clinfuse-gpu")["env"]["CLINFUSE_GPU_LIMIT"] == "gpu"


@pytest.mark.parametrize("pool", POOLS)
def test_a_kubernetes_job_is_one(pool: str) -> None:
    job = job_of(Type.kubernetes, variables_of(pool))["job_manifest"]
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    limits = container["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == (1 if pool == "clinfuse-gpu" else 0)
    assert pod["securityContext"]["runAsUser"] == USER
    # as the worker does: a command and an environment as Kubernetes writes them
    container["args"] = ["python"]
    container["env"] = [
        {"name": name, "value": value} for name, value in variables_of(pool)["env"].items()
    ]
    job["metadata"] |= {"labels": {}, "generateName": "clinfuse-"}
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    mounted = {each["name"] for each in container["volumeMounts"]}
    assert mounted == {each["name"] for each in pod["volumes"]}
    misplaced = deepcopy(job)
    misplaced["spec"]["template"]["spec"]["completions"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misplaced, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["run.yaml", "install.yaml"])
def test_kubernetes_takes_the_file(name: str) -> None:
    documents = [*yaml.safe_load_all((INFRA / "k8s" / name).read_text())]
    assert len(documents) > 1
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_claims_of_a_job_are_those_that_are_installed() -> None:
    documents = yaml.safe_load_all((INFRA / "k8s" / "install.yaml").read_text())
    claims = {
        each["metadata"]["name"] for each in documents if each["kind"] == "PersistentVolumeClaim"
    }
    properties = template(Type.kubernetes)["variables"]["properties"]
    assert claims == {properties[name]["default"] for name in ("store_claim", "source_claim")}


def test_the_charts_get_the_server_and_the_pools_that_there_are() -> None:
    server, worker = (
        yaml.safe_load((INFRA / "k8s" / name).read_text())
        for name in ("server.yaml", "worker.yaml")
    )
    [version] = re.findall(r'"prefect==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    tags = [server["global"]["prefect"]["image"], worker["worker"]["image"]]
    assert [tag["prefectTag"].split("-")[0] for tag in tags] == [version, version]
    assert worker["worker"]["config"]["workPool"] in POOLS
    assert worker["worker"]["apiConfig"] + "ApiConfig" in worker["worker"]
    text = (INFRA / "k8s" / "server.yaml").read_text()
    assert f"create secret generic {server['secret']['name']}" in text


@pytest.mark.parametrize("pool", POOLS)
def test_a_docker_container_is_one(pool: str) -> None:
    job = job_of(Type.docker, variables_of(pool))
    more = job.pop("container_create_kwargs", {})
    made = _create_container_args(
        {"image": job["image"], "command": "python", "version": "1.43", "volumes": job["volumes"]}
        | {"auto_remove": job["auto_remove"], "privileged": job["privileged"], **more}
    )
    requests = made["host_config"].get("DeviceRequests", [])
    capabilities = [each["Capabilities"] for each in requests]
    assert capabilities == ([[["gpu"]]] if pool == "clinfuse-gpu" else [])


def check_jsonschema(path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_compose_takes_the_file(tmp_path: Path) -> None:
    checked = check_jsonschema(INFRA / "compose.yaml")
    assert checked.returncode == 0, checked.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((INFRA / "compose.yaml").read_text().replace("depends_on", "depend_on"))
    assert check_jsonschema(wrong).returncode == 1


def test_the_services_of_compose_wait_for_one_another_and_share_the_store() -> None:
    compose = yaml.safe_load((INFRA / "compose.yaml").read_text())
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            name = volume.partition(":")[0]
            assert name.startswith("$") or name in compose["volumes"]
    targets = set(re.findall(r"^FROM \S+ AS (\w+)", (INFRA / "Dockerfile").read_text(), re.M))
    assert {each["build"]["target"] for each in services.values() if "build" in each} <= targets
    pools = {each["command"][-1] for name, each in services.items() if "worker" in name}
    assert pools == set(POOLS)
    for name, service in services.items():
        if "worker" in name:
            assert "store:/data/store" in service["volumes"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "nobody is asked for a password"


def test_the_image_copies_what_it_needs_and_runs_as_no_root() -> None:
    text = re.sub(r"\\\n", " ", (INFRA / "Dockerfile").read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]
    known = {"FROM", "RUN", "WORKDIR", "USER", "COPY", "ENV", "ARG", "CMD"}
    assert {word for word, _ in lines} <= known
    users = [rest for word, rest in lines if word == "USER"]
    assert users == [f"{USER}:{USER}"]
    stages = [rest.split() for word, rest in lines if word == "FROM"]
    assert [stage[-1] for stage in stages] == ["base", "cuda", "cpu"]
    assert [stage[0] for stage in stages[1:]] == ["base", "base"]  # after USER
    kept = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    names = [line[1:] for line in kept if line.startswith("!")]
    assert all((ROOT / name).exists() for name in names)
    assert {"flows", "tasks", "infra", "configs", "Makefile", "pyproject.toml"} <= set(names)


def test_a_port_that_is_taken_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = ["--folder", str(tmp_path), "--port", port]
        command = [sys.executable, str(INFRA / "server.py"), *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"clinfuse: port {port} of 127.0.0.1 cannot be had")
    assert "make server PORT=" in line


def test_the_automations_are_ones_and_notify_by_a_block_where_there_is_one() -> None:
    block = "00000000-0000-0000-0000-000000000001"
    kinds = {
        given: [action.type for each in automations(given) for action in each.actions]
        for given in (None, block)
    }
    marked = ["change-flow-run-state"] * 2
    assert kinds[None] == [*marked, "do-nothing", "do-nothing"]
    assert kinds[block] == [*marked, *["send-notification"] * 2]
    [heartbeat, *_] = automations(None)
    beats = [
        int(each["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
        for each in DEPLOYMENTS["deployments"]
    ]
    within = heartbeat.trigger.within.total_seconds()  # type: ignore[union-attr]
    assert 3 * max(beats) <= within < 110  # a run that is gone is marked within two minutes
    assert all("clinfuse" in each["tags"] for each in DEPLOYMENTS["deployments"])
