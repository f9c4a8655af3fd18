"""Score the texts that models have not scored yet, batch by batch.

By hand: `python -m tasks.score.run work/job.json`. Killed at any moment, it goes on where it was:
a batch is in the store whole, and counts as scored, or it is not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.config import Config
from tasks.launch import Progress
from tasks.score.ledger import Ledger, Texts, commit, fingerprints
from tasks.score.reference import Reference, sections_in
from tasks.score.scorer import Scorer, Scores
from tasks.store import Store
from tasks.training.program import Preempted, World, run

MOST_NOTES = 256  # of a batch, which is scored again where the program was killed in it
MOST_CELLS = 1 << 20  # of a batch: texts times labels of all models

Indices = NDArray[np.int64]


class ScoreJob(Config):
    """Which texts are scored, by which models."""

    store: Path
    arrivals: Path  # an artifact of that kind
    members: tuple[str, ...]  # keys of task-adapter artifacts
    outcomes: tuple[str, ...] = ()  # empty: all that they have
    references: Mapping[str, Path]  # by the member's key, an artifact of that kind
    base: Path | None = None  # where it is no artifact


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
        members = {key: self.scorer.member(key) for key in self.job.members}
        self.digests = {key: member.digest for key, member in members.items()}
        self.done = {key: self.ledger.by(key, digest) for key, digest in self.digests.items()}
        paths = self.job.references
        self.references = {key: Reference.read(paths[key]) for key in members}
        cells = sum(len(of.labels) for each in members.values() for of in each.outcomes.values())
        self.batch_notes = max(1, min(MOST_NOTES, MOST_CELLS // cells))

    def batches(self, table: Path) -> Iterator[pa.Table]:
        """The arrivals, in batches of `batch_notes` but for the last."""
        columns = ["hadm_id", "admittime", "note"]
        for batch in tables.stream(table, schemas.ADMISSIONS, columns, self.batch_notes):
            yield pa.Table.from_batches([batch])

    def score(self, batch: pa.Table) -> int:
        """Score what is new of a batch of arrivals; how many (text, model) pairs that was."""
        texts = fingerprints(batch["hadm_id"].to_pylist(), batch["note"].to_pylist())
        scores: list[pa.Table] = []
        scored: list[pa.Table] = []
        for rows, keys in _groups({key: ~np.isin(texts, done) for key, done in self.done.items()}):
            notes = batch["note"].take(pa.array(rows)).to_pylist()
            told = self.scorer.score(notes, keys, self.job.outcomes)
            about = batch.select(["hadm_id", "admittime"]).take(pa.array(rows))
            for key in keys:
                scores += [_scores(about, key, name, of) for name, of in told[key].items()]
                scored.append(self._scored(about["hadm_id"], texts[rows], notes, key))
        if scored:
            commit(self.job.store, self.making, pa.concat_tables(scores), pa.concat_tables(scored))
        return sum(len(part) for part in scored)

    def _scored(
        self, hadm_ids: pa.ChunkedArray, texts: Texts, notes: Sequence[str], key: str
    ) -> pa.Table:
        ids = self.scorer.encode(notes, key)
        return pa.table(
            {
                "hadm_id": hadm_ids,
                "text": texts,
                "model": [key] * len(notes),
                "digest": [self.digests[key]] * len(notes),
                "tokens": [len(of_note) for of_note in ids],
                "rare": self.references[key].rare(ids),
                "sections": [sections_in(note) for note in notes],
            }
        ).cast(schemas.SCORED)


def _groups(pending: Mapping[str, NDArray[np.bool_]]) -> Iterator[tuple[Indices, list[str]]]:
    """The rows that the same models have to score, with these; mostly all by all.

    Args:
        pending: by model, [texts].
    """
    keys = list(pending)
    flags = np.stack([pending[key] for key in keys], axis=1)
    for which in np.unique(flags, axis=0):
        if which.any():
            rows = np.flatnonzero((flags == which).all(axis=1))
            yield rows, [key for key, wanted in zip(keys, which, strict=True) if wanted]


def _scores(about: pa.Table, key: str, outcome: str, scores: Scores) -> pa.Table:
    """The rows of SCORES, label by label of each admission."""
    texts, labels = scores.logits.shape
    owner = pa.array(np.repeat(np.arange(texts), labels))
    cells = texts * labels
    return pa.table(
        {
            "hadm_id": about["hadm_id"].take(owner),
            "admittime": about["admittime"].take(owner),
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
