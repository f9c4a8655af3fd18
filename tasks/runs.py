"""Run records: which artifacts each flow run reached, and whether it made or reused them."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from tasks.keys import Artifact


class Reached(BaseModel):
    """An artifact that a run reached, in the run's order."""

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
    number: int | None = None  # of the store's runs; None: before they were numbered
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
        if self.number is None:
            self.number = 1 + max((run.number or 0 for run in load_runs(root)), default=0)
        temporary = folder / f".{self.id}.{os.getpid()}"
        temporary.write_text(self.model_dump_json(indent=1))
        temporary.replace(folder / f"{self.id}.json")


def load_run(root: Path, run_id: str) -> Run:
    """The record of one flow run; empty where it reached no artifact."""
    try:
        return Run.model_validate_json((root / "runs" / f"{run_id}.json").read_text())
    except (OSError, ValidationError):
        return Run(id=run_id, name="", flow="", deployment=None, started="", parameters={})


def load_runs(root: Path) -> list[Run]:
    """Every run that the store has a record of, oldest first; unreadable ones are skipped."""
    return [run for _, run in load_records(root)]


def load_records(root: Path) -> list[tuple[Path, Run]]:
    """The runs with their files, in the order in which they first wrote.

    They are numbered, since a machine's clock may be wrong.
    """
    records: list[tuple[int, str, Path, Run]] = []
    for path in (root / "runs").glob("[!.]*.json"):
        try:
            if not path.is_file():
                continue
            run = Run.model_validate(json.loads(path.read_text()))
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except (OSError, ValueError, ValidationError, RecursionError):
            continue
        # a run without a number cannot have begun after its record was written
        began = min(run.started, written.isoformat(timespec="seconds"))
        records.append((run.number or 0, began, path, run))
    return [(path, run) for *_, path, run in sorted(records, key=lambda record: record[:2])]
