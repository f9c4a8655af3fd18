"""Of which predictions the evidence is gathered, and the notes that they were made from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.notes import Notes
from tasks.data.outcomes import Outcome, split_rows
from tasks.data.predictions import read_predictions
from tasks.data.tokenizer import LoadedTokenizer
from tasks.data.words import Words
from tasks.errors import ModelError
from tasks.finetune.encode import cut
from tasks.finetune.jobs import EvidenceJob
from tasks.finetune.removal import ReadNote

SPLIT = "test"


@dataclass(frozen=True)
class Case:
    """A prediction: of a label of an admission."""

    row: int  # of the admission
    outcome: Outcome
    label: int


def most_probable(job: EvidenceJob, outcome: Outcome, notes: Notes) -> Iterator[Case]:
    """The test admissions that are given the highest probability of the commonest labels.

    Of a label only admissions in whose code system it is. Raises ModelError where the predictions
    are of other admissions.
    """
    rows = split_rows(notes.splits, SPLIT)
    path = job.predictions / job.variant / outcome.name / f"{SPLIT}.parquet"
    hadm_ids, logits = read_predictions(path)
    if not np.array_equal(hadm_ids, notes.hadm_ids[rows]):
        raise ModelError(
            f"the predictions of '{outcome.name}' are of other admissions than the encoded notes; "
            "run finetune anew"
        )
    scores = outcome.rankable(logits)
    for label in _commonest(outcome, notes)[: job.config.labels]:
        known = np.flatnonzero(outcome.admission_system[rows] == outcome.label_system[label])
        order = known[np.argsort(-scores[known, label], kind="stable")]
        for index in order[: job.config.admissions]:
            yield Case(int(rows[index]), outcome, int(label))


def read_notes(job: EvidenceJob, notes: Notes, rows: Collection[int]) -> dict[int, ReadNote]:
    """The text, tokens and words of these admissions' notes, by row.

    Raises ModelError where a text is not the one that was encoded.
    """
    tokenizer = LoadedTokenizer.load(job.member.tokenizer)
    last = max(job.tail_tokens, len(tokenizer.frame[1]))
    row_of = {int(notes.hadm_ids[row]): row for row in rows}
    wanted = pa.array(list(row_of), pa.int64())
    read: dict[int, ReadNote] = {}
    for batch in tables.stream(job.cohort / "admissions", schemas.ADMISSIONS, ["hadm_id", "note"]):
        some = batch.filter(pc.is_in(batch["hadm_id"], wanted))
        for hadm_id, text in zip(
            some["hadm_id"].to_pylist(), some["note"].to_pylist(), strict=True
        ):
            row = row_of[hadm_id]
            ids = notes.tokens[notes.offsets[row] : notes.offsets[row + 1]]
            encoding = tokenizer.tokenizer.encode(text)
            kept = cut(np.arange(len(encoding.ids), dtype=np.int32), len(ids), last)
            if not np.array_equal(np.array(encoding.ids, np.int32)[kept], ids):
                raise ModelError(
                    "the cohort's notes are not those that were encoded; finetune anew"
                )
            offsets, added = encoding.offsets, encoding.special_tokens_mask
            words = Words.of(text, [offsets[i] for i in kept], [not added[i] for i in kept])
            read[row] = ReadNote(row, text, ids, words)
    return read


def _commonest(outcome: Outcome, notes: Notes) -> NDArray[np.int64]:
    """The labels, [labels], the one with the most training cases first."""
    training = np.asarray(notes.splits) == "train"
    values = outcome.values[np.repeat(training, np.diff(outcome.offsets))]
    counts = np.bincount(values, minlength=len(outcome.labels))
    return np.argsort(-counts, kind="stable")
