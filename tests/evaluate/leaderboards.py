"""Made-up runs that enter a leaderboard: one hospital, seeds that differ by noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tasks.evaluate.leaderboard_entries import Entrant
from tests.evaluate.made_up import MadeUp, write_predictions


def entrant(
    made: MadeUp,
    run: str,
    *,
    seeds: Sequence[int] = (1, 2, 3),
    noise: float = 0.5,
    arms: Sequence[str] = ("fused", "unfused"),
) -> Entrant:
    """A run whose arms are the made-up ones with a seed's noise added; TF-IDF is the same for all.

    With a noise of 0 the seeds' predictions differ in nothing but the file's name.
    """
    predictions: dict[int, dict[str, dict[str, Path]]] = {}
    for seed in seeds:
        predictions[seed] = {
            arm: {outcome: _with_noise(made, run, arm, outcome, seed, noise) for outcome in found}
            for arm, found in made.predictions.items()
            if arm in arms
        }
        for name in ("fused-without-clinical", "tfidf"):
            predictions[seed][name] = dict(made.predictions[name])
    return Entrant(
        run=run,
        cohort=made.cohort,
        outcomes=made.outcomes,
        predictions=predictions,
        adapters=dict.fromkeys(seeds, made.histories["finetune"]),
        clinical=made.histories["pretrain"],
    )


def _with_noise(made: MadeUp, run: str, arm: str, outcome: str, seed: int, noise: float) -> Path:
    table = pq.read_table(made.predictions[arm][outcome] / "test.parquet")
    logits = np.array(table["logits"].to_pylist())
    random = np.random.default_rng([seed, len(run), sum(run.encode()), len(arm)])
    place = made.folder / f"{run}-{arm}-{outcome}-{seed}"
    noisy = logits + noise * random.normal(size=logits.shape)
    write_predictions(place / "test.parquet", table["hadm_id"].to_pylist(), noisy)
    return place
