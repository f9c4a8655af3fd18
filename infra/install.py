"""Install on a Prefect server what clinfuse needs: work pools, the limit of GPUs, automations,
deployments. What is there already is brought up to date.

    export PREFECT_API_URL=http://127.0.0.1:4200/api CLINFUSE_STORE=/data/clinfuse/store
    python infra/install.py --type process --gpus 2
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from tasks.provenance import gpus

ROOT = Path(__file__).resolve().parents[1]
INFRA = ROOT / "infra"
POOLS = ("clinfuse-cpu", "clinfuse-gpu")
LIMIT = "gpu"  # CLINFUSE_GPU_LIMIT in infra/prefect.yaml


class Type(StrEnum):
    """Of what the work pools are."""

    process = "process"
    docker = "docker"
    kubernetes = "kubernetes"


TEMPLATES = {
    Type.docker: INFRA / "docker" / "job-template.json",
    Type.kubernetes: INFRA / "k8s" / "job-template.json",
}


def install(
    type: Annotated[Type, typer.Option(help="Of what the pools are.")] = Type.process,
    gpus: Annotated[
        int, typer.Option(help="How many GPUs all runs together may hold.", min=1)
    ] = max(1, len(gpus())),
    notify: Annotated[
        str | None,
        typer.Option(
            metavar="KIND/NAME",
            help="A notification block of the server, such as slack-webhook/ward, that is told of "
            "failed runs and of AUROCs below the bar.",
        ),
    ] = None,
) -> None:
    """Install work pools, the limit of GPUs, automations and deployments."""
    for name in ("PREFECT_API_URL", "CLINFUSE_STORE"):
        if not os.environ.get(name):
            raise typer.BadParameter(f"{name} is not set; the first lines of {__file__} show how")
    with get_client(sync_client=True) as client:
        for name in POOLS:
            _install_pool(client, name, type)
        client.upsert_global_concurrency_limit_by_name(LIMIT, gpus)
        for automation in automations(_block(client, notify)):
            _install_automation(client, automation)
    prefect = str(Path(sys.executable).parent / "prefect")
    command = [prefect, "--no-prompt", "deploy", "--all", "--prefect-file", "infra/prefect.yaml"]
    # where a run's process goes first; a container has no PWD of its own
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PWD": str(ROOT)}, check=True)


def automations(block: str | None) -> list[AutomationCore]:
    """Those of automations.yaml, with the id of the block that they notify by, or with none."""
    found: list[dict[str, Any]] = yaml.safe_load((INFRA / "automations.yaml").read_text())[
        "automations"
    ]
    for automation in found:
        for action in automation["actions"]:
            if action["type"] != "send-notification":
                continue
            if block:
                action["block_document_id"] = block
            else:
                action.clear()
                action["type"] = "do-nothing"
    return [AutomationCore.model_validate(each) for each in found]


def _install_pool(client: SyncPrefectClient, name: str, type: Type) -> None:
    path = TEMPLATES.get(type)
    if path:
        template = json.loads(path.read_text())
    else:
        template = asyncio.run(get_default_base_job_template_for_infrastructure_type(type))
    try:
        known = client.read_work_pool(name)
    except ObjectNotFound:
        known = None
    if known and known.type != type:
        raise typer.BadParameter(
            f"the pool {name} is of type {known.type}; delete it (`prefect work-pool delete "
            f"{name}`) to have one of type {type}"
        )
    pool = WorkPoolCreate(name=name, type=type, base_job_template=template)
    client.create_work_pool(pool, overwrite=True)


def _install_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    known = client.read_automations_by_name(automation.name)
    if known:
        client.update_automation(known[0].id, automation)
    else:
        client.create_automation(automation)


def _block(client: SyncPrefectClient, notify: str | None) -> str | None:
    """The id of a block that is written as kind/name."""
    if notify is None:
        return None
    kind, _, name = notify.partition("/")
    try:
        return str(client.read_block_document_by_name(name, kind).id)
    except ObjectNotFound:
        raise typer.BadParameter(
            f"--notify: the server has no block {notify}; make one in the UI (Blocks), and name it "
            "as kind/name"
        ) from None


if __name__ == "__main__":
    typer.run(install)
