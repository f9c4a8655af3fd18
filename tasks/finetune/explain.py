"""The words that a member's label-wise attention reads, and what taking them out does.

By hand: `python -m tasks.finetune.explain work/job.json`. Which words get the attention need not be
those that a prediction rests on (Jain and Wallace 2019): each is also taken out, and whole orders
of words are, beside random ones (`removal.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks import schemas, tables
from tasks.data.notes import Notes
from tasks.data.outcomes import read_outcome
from tasks.data.tokenizer import LoadedTokenizer
from tasks.finetune.cases import Case, most_probable, read_notes
from tasks.finetune.embed import load_trunk
from tasks.finetune.jobs import EvidenceJob
from tasks.finetune.predict import load_member
from tasks.finetune.removal import Attended, Randomly, ReadNote, Texts, attended, randomly
from tasks.launch import Progress
from tasks.measures.logistic import sigmoid
from tasks.model.bases.load import Base
from tasks.model.heads.attention import attending
from tasks.model.heads.heads import Heads
from tasks.model.score import Logits, score
from tasks.model.trunk import as_kept
from tasks.sampling import keyed_numbers
from tasks.training.engine import without_training
from tasks.training.program import World, run

Floats = NDArray[np.float64]


def main(job: EvidenceJob, world: World) -> None:
    """Leave the tables evidence and words, and counts."""
    pad = LoadedTokenizer.load(job.member.tokenizer).pad
    notes = Notes.read(job.member.encoded, pad)
    outcomes = [
        read_outcome(name, path, notes.hadm_ids) for name, path in job.member.outcomes.items()
    ]
    cases = [case for outcome in outcomes for case in most_probable(job, outcome, notes)]
    read = read_notes(job, notes, {case.row for case in cases})
    texts = Texts(pad)
    with _loaded(job, world) as (heads, module):
        shares = _attention(heads, module, notes, cases, world)
        by_word = [read[case.row].words.sums(of) for case, of in zip(cases, shares, strict=True)]
        random = {
            row: randomly(note, texts, job.config.draws, job.config.words, _draws(notes, row))
            for row, note in read.items()
        }
        removed = [
            attended(read[case.row], texts, of_words, job.config.words)
            for case, of_words in zip(cases, by_word, strict=True)
        ]
        rows = np.arange(len(texts.ids))
        logits = score(module, texts.notes, rows, world, "notes without words")
    if not world.first:
        return
    found = [
        Evidence(case, read[case.row], of_words, without, random[case.row], logits)
        for case, of_words, without in zip(cases, by_word, removed, strict=True)
    ]
    _write(world.work.parent, job.variant, found, notes)
    counts = {"cases": len(cases), "admissions": len(read), "texts": len(texts.ids)}
    (world.work / "counts.json").write_text(json.dumps(counts))


@dataclass(frozen=True)
class Evidence:
    """What is known of a prediction."""

    case: Case
    note: ReadNote
    shares: Floats  # [words] of the note, of the label's attention
    without: Attended
    random: Randomly
    logits: Logits  # of all texts

    def probabilities(self, texts: NDArray[np.int64]) -> Floats:
        """The label's probability where the note is these texts, in their shape."""
        outcome = self.case.outcome
        logits = self.logits[outcome.name][np.asarray(texts).ravel()]
        scores = outcome.rankable(logits)[:, self.case.label]
        return sigmoid(scores.astype(np.float64)).reshape(np.shape(texts))

    def row(self, notes: Notes) -> dict[str, Any]:
        """A row of schemas.EVIDENCE."""
        without = self.without
        row = np.array([self.case.row])
        whole, together = self.probabilities(np.array([without.whole, without.together]))
        return {
            **self.named(notes),
            "title": self.case.outcome.titles[self.case.label],
            "has_label": bool(self.case.outcome.positives(row)[0, self.case.label]),
            "words": len(self.note.words),
            "probability": whole,
            "without": together,
            "without_random": self.probabilities(self.random.few).mean(),
            "deletion": self.probabilities(without.deletion),
            "insertion": self.probabilities(without.insertion),
            "random": self.probabilities(self.random.curves).mean(axis=0),
        }

    def words(self, notes: Notes) -> Iterator[dict[str, Any]]:
        """Rows of schemas.EVIDENCE_WORDS, the most attended first."""
        alone = self.probabilities(self.without.alone)
        for rank, (word, without) in enumerate(zip(self.without.words, alone, strict=True), 1):
            start, end = self.note.words.spans[word]
            yield {
                **self.named(notes),
                "rank": rank,
                "word": self.note.text[start:end],
                "start": start,
                "end": end,
                "attention": self.shares[word],
                "without": without,
            }

    def named(self, notes: Notes) -> dict[str, Any]:
        """What tells the prediction from others."""
        system, code = self.case.outcome.labels[self.case.label]
        return {
            "hadm_id": int(notes.hadm_ids[self.case.row]),
            "outcome": self.case.outcome.name,
            "code_system": system,
            "code": code,
        }


class _HeadsOnTrunk(Heads):
    """Heads that were trained on the kept states of a frozen trunk, on that trunk itself."""

    def __init__(self, trunk: Base) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, input_ids: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Logits [batch, labels] of each outcome, of right-padded ids [batch, tokens]."""
        return super().forward(as_kept(self.trunk.states(input_ids, present)), present)


@contextmanager
def _loaded(job: EvidenceJob, world: World) -> Iterator[tuple[Heads, nn.Module]]:
    """The member's heads, and what is to be called, which gives their logits of token ids."""
    member, training = job.member, job.member.config.training
    if member.states is None:
        model = load_member(member, job.adapter, world)
        with without_training(model, training, world) as module:
            yield model, module
        return
    trunk = load_trunk(member.trunk, world)
    heads = _HeadsOnTrunk(trunk)
    heads.read(job.adapter)
    heads.requires_grad_(False).eval().to(world.device)
    with without_training(trunk.model, training, world):
        yield heads, heads


def _attention(
    heads: Heads, module: nn.Module, notes: Notes, cases: Sequence[Case], world: World
) -> list[Floats]:
    """The attention that each case's label pays to each token of its note, [tokens].

    On every rank, all of it: they are few, and under ZeRO-3 the ranks run together.
    """
    by_row: dict[int, list[int]] = {}
    for index, case in enumerate(cases):
        by_row.setdefault(case.row, []).append(index)
    found: list[Floats] = [np.zeros(0)] * len(cases)
    with attending(heads) as shares:
        for number, (row, indices) in enumerate(by_row.items()):
            arrays = notes.padded(np.array([row]))
            module(*(torch.from_numpy(array).to(world.device) for array in arrays))
            tokens = notes.offsets[row + 1] - notes.offsets[row]  # none of an empty note
            for index in indices:
                of_label = shares[cases[index].outcome.name][0, :tokens, cases[index].label]
                found[index] = of_label.double().cpu().numpy()
            world.report(Progress("attention", number + 1, len(by_row)))
    return found


def _draws(notes: Notes, row: int) -> np.random.Generator:
    """What an admission's random orders are drawn with, whichever others there are."""
    (seed,) = keyed_numbers([notes.hadm_ids[row]], "evidence").tolist()
    return np.random.default_rng(seed)


def _write(out: Path, variant: str, found: Sequence[Evidence], notes: Notes) -> None:
    rows: Mapping[str, tuple[pa.Schema, list[dict[str, Any]]]] = {
        "evidence": (schemas.EVIDENCE, [{"variant": variant, **of.row(notes)} for of in found]),
        "words": (schemas.EVIDENCE_WORDS, [word for of in found for word in of.words(notes)]),
    }
    for name, (schema, listed) in rows.items():
        table = pa.Table.from_pylist(listed, schema)
        tables.write(out / name / "part-0.parquet", schema, table)


if __name__ == "__main__":
    run(EvidenceJob, main)
