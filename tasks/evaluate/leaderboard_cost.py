"""What a model of a leaderboard cost: the seconds that one seed's training took."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

from tasks import schemas, tables
from tasks.evaluate.leaderboard_entries import Entrant
from tasks.store import MANIFEST
from tasks.variants import read_variants


def seconds_of(entrant: Entrant) -> dict[str, float]:
    """Entry name -> seconds, a mean over seeds; an entry whose history is not there is left out.

    A member's are of its history, with those of the adapters that it shares with others. What has
    no history (a baseline) took as long as the step that predicted, by the manifest.
    """
    seconds: dict[str, list[float]] = {}
    for seed, artifacts in entrant.predictions.items():
        shared = [entrant.clinical] if entrant.clinical else []
        histories = _histories([*entrant.adapters.get(seed, ()), *shared])
        for variant, folders in read_variants(artifacts).values():
            if not variant.is_model:
                continue
            if variant.member in histories:
                took = sum(histories.get(name, 0.0) for name in variant.trained)
            else:
                took = sum(map(_of_step, {folder.parent for folder in folders}))
            if took:
                seconds.setdefault(f"{entrant.run}/{variant.name}", []).append(took)
    return {name: mean(of_seeds) for name, of_seeds in seconds.items()}


def _histories(artifacts: Iterable[Path]) -> dict[str, float]:
    """Member or shared adapter -> seconds of training, over all histories of these artifacts."""
    seconds: dict[str, float] = {}
    for artifact in artifacts:
        latest: dict[str, float] = {}
        for path in artifact.rglob("history.parquet"):
            for row in tables.read(path, schemas.HISTORY, ["arm", "seconds"]).to_pylist():
                latest[row["arm"]] = max(latest.get(row["arm"], 0.0), row["seconds"])
        for name, took in latest.items():
            seconds[name] = seconds.get(name, 0.0) + took
    return seconds


def _of_step(artifact: Path) -> float:
    manifest = artifact / MANIFEST
    facts = json.loads(manifest.read_text()) if manifest.is_file() else {}
    return float(facts.get("seconds", 0.0))
