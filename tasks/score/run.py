"""Score the texts that models have not scored yet, batch by batch.

By hand: `python -m tasks.score.run work/job.json`. Killed at any moment, it goes on where it was:
a batch is in the store whole, and counts as scored, or it is not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.launch import Progress
from tasks.score.job import ScoreJob
from tasks.score.ledger import Ledger, Texts, commit, fingerprints
from tasks.score.reference import Reference, sections_in
from tasks.score.scorer import Scorer, Scores
from tasks.store import Store
from tasks.training.program import Preempted, World, run

MOST_NOTES = 256  # of a batch, which is scored again where the program was killed in it
MOST_CELLS = 1 << 20  # of a batch: texts times labels of all models

Indices = NDArray[np.int64]
Wanted = tuple[str, str]  # a model's key, and an outcome


def main(job: ScoreJob, world: World) -> None:
    """Leave batches in the store, and counts in the work folder."""
    scorer = Scorer(Store(job.store), device=str(world.device), base=job.base)
    work = _Work(job, scorer, Ledger(job.store), world.work / f"batch-{world.rank}")
    table, scored = job.arrivals / "admissions", 0
    batches = -(-tables.rows(table) // work.batch_notes)
    for number, batch in enumerate(work.batches(table)):
        if number % world.size == world.rank:
            if world.told_to_stop:
                raise Preempted
            scored += work.score(batch)
            world.report(Progress("score", number + 1, batches))
    (total,) = world.sum(float(scored))
    if world.first:
        (world.work / "counts.json").write_text(json.dumps({"scored": int(total)}))


@dataclass
class _Work:
    job: ScoreJob
    scorer: Scorer
    ledger: Ledger
    making: Path

    def __post_init__(self) -> None:
        self.members = {key: self.scorer.member(key) for key in self.job.members}
        self.references = {key: Reference.read(self.job.references[key]) for key in self.members}
        self.done = {
            (key, outcome): self.ledger.by(key, member.digest, outcome)
            for key, member in self.members.items()
            for outcome in member.outcomes
            if not self.job.outcomes or outcome in self.job.outcomes
        }
        cells = sum(len(self.members[key].outcomes[name].labels) for key, name in self.done)
        self.batch_notes = max(1, min(MOST_NOTES, MOST_CELLS // max(1, cells)))

    def batches(self, table: Path) -> Iterator[pa.Table]:
        """The arrivals, in batches of `batch_notes` but for the last."""
        columns = ["hadm_id", "admittime", "note"]
        for batch in tables.stream(table, schemas.ADMISSIONS, columns, self.batch_notes):
            yield pa.Table.from_batches([batch])

    def score(self, batch: pa.Table) -> int:
        """Score what is new of a batch of arrivals; how many texts of an outcome by a model."""
        texts = fingerprints(batch["hadm_id"].to_pylist(), batch["note"].to_pylist())
        scores: list[pa.Table] = []
        scored: list[pa.Table] = []
        for rows, wanted in _groups({of: ~np.isin(texts, done) for of, done in self.done.items()}):
            new = batch.take(pa.array(rows))
            notes = new["note"].to_pylist()
            outcomes = {outcome for _, outcome in wanted}
            told = self.scorer.score(notes, dict(wanted), outcomes)
            for key, outcome in wanted:
                scores.append(_scores(new, key, outcome, told[key][outcome]))
                scored.append(self._scored(new, texts[rows], key, outcome))
        if scored:
            commit(self.job.store, self.making, pa.concat_tables(scores), pa.concat_tables(scored))
        return sum(len(part) for part in scored)

    def _scored(self, new: pa.Table, texts: Texts, key: str, outcome: str) -> pa.Table:
        notes = new["note"].to_pylist()
        ids = self.scorer.encode(notes, key)
        return pa.table(
            {
                "hadm_id": new["hadm_id"],
                "text": texts,
                "model": pa.repeat(key, len(notes)),
                "digest": pa.repeat(self.members[key].digest, len(notes)),
                "outcome": pa.repeat(outcome, len(notes)),
                "tokens": [len(of_note) for of_note in ids],
                "rare": self.references[key].rare(ids),
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
