"""Score the texts that models have not scored yet, batch by batch.

By hand: `python -m tasks.score.run work/job.json`. Killed at any moment, it goes on where it was:
a batch is in the store whole, and counts as scored, or it is not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas
from tasks.launch import Progress
from tasks.score.job import ScoreJob
from tasks.score.ledger import Ledger, commit, fingerprints
from tasks.score.pending import Pending, Wanted
from tasks.score.reference import Reference, sections_in, words_in
from tasks.score.scorer import Scorer, Scores
from tasks.store import Store
from tasks.training.program import Preempted, World, run

Indices = NDArray[np.int64]


def main(job: ScoreJob, world: World) -> None:
    """Leave batches in the store, and counts in the work folder."""
    scorer = Scorer(Store(job.store), device=str(world.device), base=job.base)
    work = _Work(job, scorer, world.work / f"batch-{world.rank}")
    scored, total = 0, work.pending.count(job.arrivals)
    for number, batch in enumerate(work.pending.batches(job.arrivals)):
        if number % world.size == world.rank:
            if world.told_to_stop:
                raise Preempted
            scored += work.score(batch)
            world.report(Progress("score", number + 1, total))
    (of_all,) = world.sum(float(scored))
    if world.first:
        (world.work / "counts.json").write_text(json.dumps({"scored": int(of_all)}))


class _Work:
    """Scores batches of arrivals."""

    def __init__(self, job: ScoreJob, scorer: Scorer, making: Path) -> None:
        members = [scorer.member(key) for key in job.members]
        self.job, self.scorer, self.making = job, scorer, making
        self.digests = {member.key: member.digest for member in members}
        self.references = {key: Reference.read(job.references[key]) for key in self.digests}
        self.pending = Pending(Ledger(job.store), members, job.outcomes)

    def score(self, batch: pa.Table) -> int:
        """Score what is new of a batch of arrivals; how many texts of an outcome by a model."""
        scores: list[pa.Table] = []
        scored: list[pa.Table] = []
        for rows, wanted in _groups(self.pending.of(batch)):
            new = batch.take(pa.array(rows))
            notes = new["note"].to_pylist()
            told = self.scorer.score(notes, dict(wanted), {outcome for _, outcome in wanted})
            for key, outcome in wanted:
                scores.append(_scores(new, key, outcome, told[key][outcome]))
                scored.append(self._scored(new, key, outcome))
        if scored:
            commit(self.job.store, self.making, pa.concat_tables(scores), pa.concat_tables(scored))
        return sum(len(part) for part in scored)

    def _scored(self, new: pa.Table, key: str, outcome: str) -> pa.Table:
        notes = new["note"].to_pylist()
        rare = self.references[key].rare(self.scorer.encode(notes, key))
        return pa.table(
            {
                "hadm_id": new["hadm_id"],
                "text": fingerprints(new),
                "model": pa.repeat(key, len(notes)),
                "digest": pa.repeat(self.digests[key], len(notes)),
                "outcome": pa.repeat(outcome, len(notes)),
                "words": list(map(words_in, notes)),
                "rare": rare,
                "sections": [sections_in(note) for note in notes],
            }
        ).cast(schemas.SCORED)


def _groups(pending: Mapping[Wanted, NDArray[np.bool_]]) -> Iterator[tuple[Indices, list[Wanted]]]:
    """The rows of which the same is wanted, and that; mostly all of all.

    Args:
        pending: by model and outcome, [texts].
    """
    flags = np.stack(list(pending.values()), axis=1)
    for which in np.unique(flags, axis=0):
        if which.any():
            rows = np.flatnonzero((flags == which).all(axis=1))
            yield rows, [of for of, wanted in zip(pending, which, strict=True) if wanted]


def _scores(new: pa.Table, key: str, outcome: str, scores: Scores) -> pa.Table:
    """The rows of SCORES of new arrivals, label by label of each."""
    texts, labels = scores.logits.shape
    owner = pa.array(np.repeat(np.arange(texts), labels))
    cells = texts * labels
    return pa.table(
        {
            "hadm_id": new["hadm_id"].take(owner),
            "admittime": new["admittime"].take(owner),
            "model": pa.repeat(key, cells),
            "outcome": pa.repeat(outcome, cells),
            "code_system": list(scores.labels.code_systems) * texts,
            "code": list(scores.labels.codes) * texts,
            "probability": scores.probabilities.ravel().astype(np.float32),
            "flagged": scores.flagged.ravel(),
            "scored": pa.repeat(pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC")), cells),
        }
    ).cast(schemas.SCORES)


if __name__ == "__main__":
    run(ScoreJob, main)
