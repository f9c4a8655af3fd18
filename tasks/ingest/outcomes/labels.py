"""An outcome: its label vocabulary, which admissions have which labels, and its tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import tables
from tasks.ingest.stays import Flags
from tasks.patients import SPLITS
from tasks.schemas import CODED, LABELS, OUTCOMES, REJECTS
from tasks.shards import part_of

_SEPARATOR = "\x1f"  # sorts before every character of a code, so that system goes before code


class Coded(NamedTuple):
    """A code for which an admission has a label."""

    admission: int  # row in the cohort
    label: int
    code: str
    title: str


@dataclass(frozen=True)
class Outcome:
    """What an outcome says about each admission of the cohort.

    systems [admissions]: the code system in which it was observed, None where it was not.
    admission, label [pairs]: distinct pairs of a row in the cohort and an index into `labels`.
    labels: (code_system, code), titles beside them.
    """

    systems: Sequence[str | None]
    admission: NDArray[np.int64]
    label: NDArray[np.int64]
    labels: Sequence[tuple[str, str]]
    titles: Sequence[str | None]
    one_of: bool = False  # an observed admission has exactly one of the labels: classes
    codes: Sequence[Coded] = ()  # of the training admissions, where a label is several codes

    @classmethod
    def yes_or_no(
        cls, label: tuple[str, str], title: str, observed: Flags, positive: Flags
    ) -> Outcome:
        """A single label, which an observed admission has or not; both flags are [admissions]."""
        rows = np.flatnonzero(observed & positive)
        return cls(
            systems=[label[0] if known else None for known in observed.tolist()],
            admission=rows,
            label=np.zeros(len(rows), np.int64),
            labels=[label],
            titles=[title],
        )

    def within(self, usable: Flags) -> Outcome:
        """The same outcome with the other admissions unobserved; usable [admissions]."""
        kept = usable[self.admission]
        systems = [s if use else None for s, use in zip(self.systems, usable.tolist(), strict=True)]
        return replace(
            self,
            systems=systems,
            admission=self.admission[kept],
            label=self.label[kept],
            codes=[coded for coded in self.codes if usable[coded.admission]],
        )

    def write(
        self, out: Path, cohort: pa.Table, rejects: Iterable[pa.RecordBatch]
    ) -> dict[str, int]:
        """Write the tables outcomes, labels, codes (if any) and rejects; return the counts."""
        tables.write(part_of(out / "outcomes"), OUTCOMES, self._outcomes(cohort))
        tables.write(part_of(out / "labels"), LABELS, self._labels(cohort))
        if self.codes:
            tables.write(part_of(out / "codes"), CODED, self._codes(cohort))
        rejected = tables.write(part_of(out / "rejects"), REJECTS, rejects)
        return {
            "admissions": cohort.num_rows,
            "observed": sum(system is not None for system in self.systems),
            "labels": len(self.labels),
            "positives": len(self.label),
            "untitled_labels": sum(title is None for title in self.titles),
            "rejected": rejected,
        }

    def _outcomes(self, cohort: pa.Table) -> pa.Table:
        order = np.lexsort((self.label, self.admission))
        held = np.bincount(self.admission, minlength=cohort.num_rows)
        offsets = np.concatenate(([0], np.cumsum(held))).astype(np.int32)
        systems = pa.array(self.systems, pa.string())
        return pa.table(
            {
                "hadm_id": cohort["hadm_id"],
                "observed": systems.is_valid(),
                "code_system": systems,
                "labels": pa.ListArray.from_arrays(
                    pa.array(offsets), pa.array(self.label[order].astype(np.int32))
                ),
            }
        ).cast(OUTCOMES)

    def _codes(self, cohort: pa.Table) -> pa.Table:
        hadm_ids = cohort["hadm_id"].to_numpy()
        rows = [
            {
                "hadm_id": hadm_ids[coded.admission],
                "index": coded.label,
                "code": coded.code,
                "title": coded.title,
            }
            for coded in self.codes
        ]
        return pa.Table.from_pylist(rows, CODED)

    def _labels(self, cohort: pa.Table) -> pa.Table:
        split = np.array(cohort["split"].to_pylist(), dtype=object)[self.admission]
        counts = {
            name: np.bincount(self.label[split == name], minlength=len(self.labels))
            for name in SPLITS
        }
        return pa.table(
            {
                "index": pa.array(range(len(self.labels)), pa.int32()),
                "code_system": pa.array([system for system, _ in self.labels], pa.string()),
                "code": pa.array([code for _, code in self.labels], pa.string()),
                "title": pa.array(self.titles, pa.string()),
                "one_of": pa.repeat(self.one_of, len(self.labels)),
            }
            | counts
        ).cast(LABELS)


def frequent(
    admission: NDArray[np.int64],
    systems: pa.Array,
    codes: pa.ChunkedArray,
    in_training: Flags,
    min_count: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[tuple[str, str]]]:
    """The labels that at least min_count training admissions have.

    From code rows (admission, code system, code), all [rows], return the distinct pairs of
    admission and label that remain, and the labels, ordered by code system and code.
    """
    joined = pc.binary_join_element_wise(systems, codes, _SEPARATOR)
    encoded = pa.chunked_array(joined).combine_chunks().dictionary_encode()
    names = encoded.dictionary
    width = max(len(names), 1)
    rank = np.empty(len(names), np.int64)
    rank[pc.sort_indices(names).to_numpy()] = np.arange(len(names))
    label = rank[encoded.indices.to_numpy()]
    admission, label = np.divmod(np.unique(admission * width + label), width)
    kept = np.bincount(label[in_training[admission]], minlength=len(names)) >= min_count
    index = np.cumsum(kept) - 1
    remain = kept[label]
    ordered = names.take(pc.sort_indices(names)).filter(pa.array(kept))
    labels = [tuple(name.split(_SEPARATOR)) for name in ordered.to_pylist()]
    return admission[remain], index[label[remain]], [(system, code) for system, code in labels]
