"""What the models of a leaderboard took to train: by their histories and their manifests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks import schemas, tables
from tasks.evaluate.leaderboard_entries import Entrant
from tasks.standings import Spent
from tasks.store import MANIFEST
from tasks.variants import read_variants


def spent_by(entrant: Entrant) -> dict[str, Spent]:
    """Entry name -> what it took, a mean over seeds; an entry of unknown cost is left out.

    A member's is of its own trainings and of the adapters that it shares with others. What has no
    history (a baseline) took as long as the step that predicted, by the manifest; a stack, as long
    as its member and its baseline.
    """
    spent: dict[str, list[Spent]] = {}
    for seed, artifacts in entrant.predictions.items():
        of_steps: dict[str, Spent] = {}
        shared = [adapter for adapter in (entrant.clinical, entrant.ontology) if adapter]
        trainings = _trainings([*entrant.adapters.get(seed, ()), *shared])
        for variant, folders in read_variants(artifacts).values():
            if not variant.is_model:
                continue
            took = _of_steps({folder.parent for folder in folders})
            of_steps[variant.name] = took
            if variant.member in trainings:  # baselines stand before stacks
                names = variant.trained
                took = Spent.together(
                    [trainings.get(name, of_steps.get(name, Spent())) for name in names]
                )
            if took.seconds:
                spent.setdefault(f"{entrant.run}/{variant.name}", []).append(took)
    return {name: Spent.mean(of_seeds) for name, of_seeds in spent.items()}


def _trainings(artifacts: Iterable[Path]) -> dict[str, Spent]:
    """Member or shared adapter -> what its trainings took, one or one an outcome."""
    parts: dict[str, list[Spent]] = {}
    for artifact in artifacts:
        counts = _manifest(artifact).get("counts", {})
        for path in artifact.rglob("history.parquet"):
            columns = ["arm", "seconds", "peak_mib"]
            rows = tables.read(path, schemas.HISTORY, columns).to_pylist()
            for name in dict.fromkeys(row["arm"] for row in rows):
                of_name = [row for row in rows if row["arm"] == name]
                parts.setdefault(name, []).append(_of_training(of_name, counts))
    return {name: Spent.together(of_name) for name, of_name in parts.items()}


def _of_training(rows: list[dict[str, Any]], counts: Mapping[str, Any]) -> Spent:
    parameters = counts.get("trained_parameters", counts.get("parameters"))
    flops = counts.get("flops")
    return Spent(
        seconds=max(row["seconds"] for row in rows),
        peak_mib=max(row["peak_mib"] for row in rows),
        parameters=parameters,
        # an adapter of the domain has no head, and nothing but its end is kept
        adapter_parameters=counts.get("adapter_parameters", parameters),
        flops=flops,
        flops_to_best=counts.get("flops_to_best", flops),
        cost=counts.get("cost"),
    )


def _of_steps(artifacts: Iterable[Path]) -> Spent:
    """Of what has no history: how long its steps took, and no more."""
    seconds = [float(_manifest(artifact).get("seconds", 0.0)) for artifact in artifacts]
    return Spent(seconds=sum(seconds))


def _manifest(artifact: Path) -> dict[str, Any]:
    path = artifact / MANIFEST
    return json.loads(path.read_text()) if path.is_file() else {}
