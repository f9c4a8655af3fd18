"""What a model of a leaderboard cost: the seconds that one seed's training took."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

from tasks.evaluate.leaderboard_entries import Entrant
from tasks.report.facts import read_arms
from tasks.store import MANIFEST

USES_CLINICAL = "fused"  # the arm to which the clinical adapter's pretraining is counted
CLINICAL = "clinical"


def seconds_of(entrant: Entrant) -> dict[str, float]:
    """Entry name -> seconds, a mean over seeds; an entry whose history is not there is left out.

    An arm's are of its history, with the clinical adapter's where it is fused. What no
    history tells of (TF-IDF) took as long as its step, by the manifest.
    """
    seconds: dict[str, list[float]] = {}
    before = _trained(entrant.clinical).get(CLINICAL, 0.0) if entrant.clinical else 0.0
    for seed, variants in entrant.predictions.items():
        arms = _trained(entrant.adapters[seed]) if seed in entrant.adapters else {}
        for variant, places in variants.items():
            took = arms.get(variant)
            if took is not None:
                took += before if variant == USES_CLINICAL else 0.0
            elif places:
                took = _of_step(next(iter(places.values())))
            if took is not None:
                seconds.setdefault(f"{entrant.run}/{variant}", []).append(took)
    return {name: mean(found) for name, found in seconds.items()}


def _trained(place: Path) -> dict[str, float]:
    """Arm -> seconds of training, over all histories below the place."""
    found: dict[str, float] = {}
    for arm in read_arms({"": (place,)}):
        found[arm.name] = found.get(arm.name, 0.0) + arm.seconds
    return found


def _of_step(place: Path) -> float | None:
    manifest = place / MANIFEST
    return float(json.loads(manifest.read_text())["seconds"]) if manifest.is_file() else None
