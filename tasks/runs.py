"""Run records: which artifacts each flow run reached, and whether it made or reused them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from tasks.keys import Artifact


class Reached(BaseModel):
    """An artifact that a run came to, in the run's order."""

    kind: str
    key: str
    digest: str
    how: Literal["made", "reused"]
    seconds: float


class Run(BaseModel):
    """One flow run: `STORE/runs/<flow-run-id>.json`, rewritten after every step."""

    id: str
    name: str
    flow: str
    deployment: str | None
    started: str
    parameters: dict[str, Any]
    artifacts: list[Reached] = []

    def reach(self, artifact: Artifact, how: Literal["made", "reused"], seconds: float) -> None:
        self.artifacts.append(
            Reached(
                kind=artifact.kind,
                key=artifact.key,
                digest=artifact.digest,
                how=how,
                seconds=round(seconds, 3),
            )
        )

    def save(self, root: Path) -> None:
        """Write the record under the store's root, whole or not at all."""
        folder = root / "runs"
        folder.mkdir(exist_ok=True)
        temporary = folder / f".{self.id}.{os.getpid()}"
        temporary.write_text(self.model_dump_json(indent=1))
        temporary.replace(folder / f"{self.id}.json")


def load_run(root: Path, run_id: str) -> Run:
    """The record of one flow run; empty where it came to no artifact."""
    try:
        return Run.model_validate_json((root / "runs" / f"{run_id}.json").read_text())
    except (OSError, ValidationError):
        return Run(id=run_id, name="", flow="", deployment=None, started="", parameters={})


def load_runs(root: Path) -> list[Run]:
    """Every run that the store remembers, oldest first; unreadable records are passed over."""
    found = []
    for path in (root / "runs").glob("[!.]*.json"):
        try:
            found.append(Run.model_validate(json.loads(path.read_text())))
        except (OSError, ValueError, ValidationError):
            continue
    return sorted(found, key=lambda run: run.started)
