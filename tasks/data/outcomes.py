"""What is known of the admissions: outcomes lined up with their rows, and which of them train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.errors import TrainingError
from tasks.measures.ranking import class_scores
from tasks.sampling import keyed_numbers

Rows = NDArray[np.int64]

BLOCK = 4096  # admissions whose labels are looked at together


def _none_coded() -> NDArray[np.int64]:
    return np.empty((0, 3), np.int64)


@dataclass(frozen=True)
class Outcome:
    """An outcome's labels, and for each admission which of them it has and which are known.

    Positives are kept as one list of indices for all admissions: 120,000 admissions and 2,000
    labels would be 240 MB as a matrix, and are 10 MB as a list.
    """

    name: str
    labels: tuple[tuple[str, str], ...]  # (code_system, code) of each
    titles: tuple[str | None, ...]  # of each label
    label_system: NDArray[np.int64]  # [labels], an index of code systems
    admission_system: NDArray[np.int64]  # [admissions], the same index; -1: unobserved
    offsets: NDArray[np.int64]  # [admissions + 1]: whose positives are where
    values: NDArray[np.int64]  # label indices
    one_of: bool = False  # an observed admission has exactly one of the labels: classes
    code_titles: tuple[str, ...] = ()  # of the codes below the labels
    coded: NDArray[np.int64] = field(default_factory=_none_coded)
    """[pairs, 3]: an admission's row, a label, and the title (of `code_titles`) of a code for which
    it has the label; of training admissions"""

    def title_counts(self, rows: Rows) -> NDArray[np.int64]:
        """How often codes stand for labels among these admissions, [pairs, 3]: label, title, count.

        Titles are indices into `code_titles`.
        """
        pairs, counts = np.unique(
            self.coded[np.isin(self.coded[:, 0], rows), 1:], axis=0, return_counts=True
        )
        return np.column_stack([pairs, counts])

    def positives(self, rows: Rows) -> NDArray[np.bool_]:
        """Which labels these admissions have, [rows, labels]."""
        has = np.zeros((len(rows), len(self.labels)), bool)
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        starts = np.repeat(self.offsets[rows] - np.cumsum(lengths) + lengths, lengths)
        values = self.values[starts + np.arange(lengths.sum())]
        has[np.repeat(np.arange(len(rows)), lengths), values] = True
        return has

    def observed(self, rows: Rows) -> NDArray[np.bool_]:
        """Which labels are known of these admissions, [rows, labels]."""
        return self.admission_system[rows][:, None] == self.label_system[None, :]

    def rankable(self, logits: NDArray[np.floating]) -> NDArray[np.floating]:
        """Scores that may be compared between admissions, [rows, labels]."""
        return class_scores(logits) if self.one_of else logits

    def observed_cells(self, rows: Rows) -> int:
        """How many (admission, label) pairs are known among these admissions.

        Of classes, which are known together, an admission counts once.
        """
        systems = self.admission_system[rows]
        if self.one_of:
            return int((systems >= 0).sum())
        by_system = np.bincount(self.label_system)
        return int(by_system[systems[systems >= 0]].sum())


def read_outcome(name: str, folder: Path, hadm_ids: NDArray[np.int64]) -> Outcome:
    """Read an outcome artifact and line it up with these admissions.

    An admission that the outcome does not know is unobserved.
    """
    labels = tables.read(folder / "labels", schemas.LABELS).sort_by("index")
    if not len(labels):
        raise TrainingError(
            f"outcome '{name}' has no label; lower ingest.outcomes' min_count, or leave it out"
        )
    rows = tables.read(folder / "outcomes", schemas.OUTCOMES).combine_chunks()
    names = labels["code_system"].to_pylist()
    systems = {system: index for index, system in enumerate(dict.fromkeys(names))}
    known = np.where(
        rows["observed"].to_numpy(),
        [systems.get(system, -1) for system in rows["code_system"].to_pylist()],
        -1,
    )
    where = pc.index_in(pa.array(hadm_ids), rows["hadm_id"].combine_chunks())
    where = pc.fill_null(where, -1).to_numpy().astype(np.int64)  # [admissions], -1: not there
    lists = rows["labels"].combine_chunks()
    starts = lists.offsets.to_numpy().astype(np.int64)
    lengths = np.where(where >= 0, starts[where + 1] - starts[where], 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    picked = np.repeat(starts[where] - offsets[:-1], lengths) + np.arange(offsets[-1])
    return Outcome(
        name=name,
        labels=tuple(zip(names, labels["code"].to_pylist(), strict=True)),
        titles=tuple(labels["title"].to_pylist()),
        label_system=np.array([systems[system] for system in names], np.int64),
        admission_system=np.where(where >= 0, known[where], -1).astype(np.int64),
        offsets=offsets,
        values=lists.values.to_numpy()[picked].astype(np.int64),
        one_of=pc.any(labels["one_of"]).as_py(),
        **_coded(folder, hadm_ids),
    )


def admissions_of(folder: Path) -> NDArray[np.int64]:
    """The hadm_ids of all admissions of an outcome artifact."""
    table = tables.read(folder / "outcomes", schemas.OUTCOMES, ["hadm_id"])
    hadm_ids: NDArray[np.int64] = table["hadm_id"].to_numpy()
    return hadm_ids


def _coded(folder: Path, hadm_ids: NDArray[np.int64]) -> dict[str, Any]:
    if not (folder / "codes").is_dir():
        return {}
    table = tables.read(folder / "codes", schemas.CODED)
    rows = pc.index_in(table["hadm_id"], pa.array(hadm_ids))
    table = table.append_column("row", rows).filter(pc.is_valid(rows))
    titles = table["title"].combine_chunks().dictionary_encode()
    return {
        "code_titles": tuple(titles.dictionary.to_pylist()),
        "coded": np.column_stack(
            [table["row"].to_numpy(), table["index"].to_numpy(), titles.indices.to_numpy()]
        ).astype(np.int64),
    }


def training_rows(
    hadm_ids: NDArray[np.int64],
    splits: Sequence[str],
    outcomes: Sequence[Outcome],
    most: int | None,
    seed: int,
    *,
    cases_per_label: int | None = None,
) -> Rows:
    """The training admissions of which an outcome is known; only some of them, chosen by a hash.

    All arms and the TF-IDF baseline learn from the same ones.

    Args:
        most: at most this many.
        cases_per_label: this many with each label, and as many without it.
    """
    observed = np.any([outcome.admission_system >= 0 for outcome in outcomes], axis=0)
    rows = np.flatnonzero((np.asarray(splits) == "train") & observed)
    if not len(rows):
        raise TrainingError(
            "no training admission has a known outcome; check the split and the outcomes' counts"
        )
    if cases_per_label is None and (most is None or most >= len(rows)):
        return rows
    numbers = keyed_numbers(hadm_ids[rows], f"labelled-{seed}", digest_bytes=7)
    ordered = rows[np.argsort(numbers, kind="stable")]
    if cases_per_label is None:
        return np.sort(ordered[:most])
    few = [_few_of_each_label(outcome, ordered, cases_per_label) for outcome in outcomes]
    return np.unique(np.concatenate(few))


def _few_of_each_label(outcome: Outcome, ordered: Rows, few: int) -> Rows:
    """The first `few` admissions that have a label, and the first that lack it, for each label."""
    cases, controls = np.zeros((2, len(outcome.labels)), np.int32)
    chosen = [ordered[:0]]
    for start in range(0, len(ordered), BLOCK):
        rows = ordered[start : start + BLOCK]
        has, known = outcome.positives(rows), outcome.observed(rows)
        for counts, cells in ((cases, known & has), (controls, known & ~has)):
            before = counts + np.cumsum(cells, axis=0, dtype=np.int32) - cells
            chosen.append(rows[(cells & (before < few)).any(axis=1)])
            counts += cells.sum(axis=0, dtype=np.int32)
    return np.concatenate(chosen)


def split_rows(splits: Sequence[str], split: str) -> Rows:
    """The admissions of a split, all of them, in the order of the cohort."""
    return np.flatnonzero(np.asarray(splits) == split)
