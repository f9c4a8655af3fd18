"""Made-up runs that enter a leaderboard: one hospital, seeds that differ by noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tasks.evaluate.leaderboard_entries import Entrant
from tasks.variants import FILE
from tests.evaluate.made_up import MadeUp, write_predictions


def entrant(
    made: MadeUp,
    run: str,
    *,
    seeds: Sequence[int] = (1, 2, 3),
    noise: float = 0.5,
    members: Sequence[str] = ("fused", "unfused"),
    others: Sequence[str] = ("fused-without-clinical", "tfidf"),
) -> Entrant:
    """A run whose members are the made-up ones with a seed's noise added; others are as made up.

    With a noise of 0 the seeds' predictions differ in nothing but the file's name.
    """
    same = [
        artifact
        for artifact in made.artifacts
        if any((artifact / name).is_dir() for name in others)
    ]
    finetuned = made.histories["finetune"]
    return Entrant(
        run=run,
        cohort=made.cohort,
        outcomes=made.outcomes,
        predictions={
            seed: [*(_with_noise(made, run, member, seed, noise) for member in members), *same]
            for seed in seeds
        },
        adapters={seed: [finetuned / member for member in members] for seed in seeds},
        clinical=made.histories["pretrain"],
    )


def _with_noise(made: MadeUp, run: str, member: str, seed: int, noise: float) -> Path:
    """An artifact of the member's predictions."""
    artifact = made.folder / f"{run}-{member}-{seed}"
    for outcome, folder in made.predictions[member].items():
        table = pq.read_table(folder / "test.parquet")
        logits = np.array(table["logits"].to_pylist())
        random = np.random.default_rng([seed, len(run), sum(run.encode()), len(member)])
        noisy = logits + noise * random.normal(size=logits.shape)
        path = artifact / member / outcome / "test.parquet"
        write_predictions(path, table["hadm_id"].to_pylist(), noisy)
        record = (folder.parent / FILE).read_bytes()
        (artifact / member / FILE).write_bytes(record)
    return artifact
