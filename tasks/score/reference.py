"""What the notes are like that a member learned from: their length, rare tokens, and sections."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.ingest.sections import SECTIONS
from tasks.measures.stability import counts_in, edges_of

FILE = "reference.json"
COMMON_SHARE = 0.99  # of training's tokens; those that are none of the commonest that make it up


@dataclass(frozen=True)
class Reference:
    """Of the notes of training patients."""

    notes: int
    common: NDArray[np.int64]  # the ids of tokens that are not rare, ascending
    edges: Mapping[str, NDArray[np.float64]]  # of the bins of `words` and `rare`
    counts: Mapping[str, NDArray[np.int64]]  # notes in those bins
    sections: Mapping[str, int]  # how many notes have each; empty: texts have no sections

    @classmethod
    def read(cls, folder: Path) -> Reference:
        """Read what `write_reference` wrote."""
        given = json.loads((folder / FILE).read_text())
        return cls(
            given["notes"],
            np.array(given["common"], np.int64),
            {name: np.array(values, np.float64) for name, values in given["edges"].items()},
            {name: np.array(values, np.int64) for name, values in given["counts"].items()},
            given["sections"],
        )

    def rare(self, ids: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
        """The share of rare tokens in each text, [texts]; an empty one has none."""
        return _shares(ids, self.common)


def sections_in(text: str) -> list[str]:
    r"""The sections that an admission note has; none of a text of another view.

    >>> sections_in("CHIEF COMPLAINT: pain\n\nALLERGIES: none")
    ['CHIEF COMPLAINT', 'ALLERGIES']
    """
    heads = {paragraph.partition(": ")[0] for paragraph in text.split("\n\n")}
    return [section for section in SECTIONS if section in heads]


def words_in(text: str) -> int:
    """How many there are, parted by white space; not only of what is read, which ends somewhere."""
    return len(text.split())


def write_reference(out: Path, cohort: Path, encoded: Path) -> dict[str, int]:
    """Write out/reference.json, of the training split."""
    ids = _training_ids(encoded)
    common, words = _common(ids), list[int]()
    sections: Counter[str] = Counter()
    for batch in tables.stream(cohort / "admissions", schemas.ADMISSIONS, ["split", "note"]):
        kept = batch.filter(pc.equal(batch["split"], "train"))
        for note in kept["note"].to_pylist():
            sections.update(sections_in(note))
            words.append(words_in(note))
    values = {"words": np.array(words, np.float64), "rare": _shares(ids, common)}
    edges = {name: edges_of(of_notes) for name, of_notes in values.items()}
    written = {
        "notes": len(ids),
        "common": common.tolist(),
        "edges": {name: edges[name].tolist() for name in values},
        "counts": {name: counts_in(edges[name], values[name]).tolist() for name in values},
        "sections": {section: sections[section] for section in SECTIONS if section in sections},
    }
    (out / FILE).write_text(json.dumps(written) + "\n")
    return {"notes": len(ids), "common_tokens": len(common)}


def _training_ids(encoded: Path) -> list[NDArray[np.int32]]:
    ids = []
    for batch in tables.stream(encoded / "encoded", schemas.ENCODED, ["split", "input_ids"]):
        kept = batch.filter(pc.equal(batch["split"], "train"))
        ids += [of_note.values.to_numpy() for of_note in kept["input_ids"]]
    return ids


def _common(ids: Sequence[NDArray[np.int32]]) -> NDArray[np.int64]:
    """The commonest tokens that together make up COMMON_SHARE of all."""
    counts = np.bincount(np.concatenate([*ids, np.zeros(0, np.int32)]))
    order = np.argsort(-counts, kind="stable")
    needed = int(np.searchsorted(np.cumsum(counts[order]), COMMON_SHARE * counts.sum())) + 1
    return np.sort(order[:needed])


def _shares(ids: Sequence[NDArray[np.int32]], common: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array(
        [1 - np.isin(of_note, common).mean() if len(of_note) else 0.0 for of_note in ids]
    )
