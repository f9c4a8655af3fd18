"""Map ICD-9 diagnoses forward to ICD-10 by the general equivalence map (GEM) of CMS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import ConfigError
from tasks.ingest.blocks import read_text
from tasks.ingest.outcomes.codes import CodedRows

_NO_MAP = 1  # index in the flags: approximate, no map, combination, scenario, choice list


@dataclass(frozen=True)
class EquivalenceMap:
    """The ICD-10 code that stands for each ICD-9 code, and whether there was a choice.

    codes: ICD-9 code -> ICD-10 code. ambiguous: ICD-9 codes whose targets belong to several
    three-character categories.
    """

    codes: dict[str, str]
    ambiguous: frozenset[str]

    def forward(self, rows: CodedRows) -> tuple[CodedRows, dict[str, int]]:
        """The rows with ICD-9 codes mapped; one without a map is left out. All are counted."""
        nine = rows.version == 9
        codes = rows.code.combine_chunks() if rows.code.num_chunks else pa.array([], pa.string())
        encoded = codes.dictionary_encode()
        names = encoded.dictionary.to_pylist()
        target = pa.array([self.codes.get(name) for name in names], pa.string()).take(
            encoded.indices
        )
        several = np.array([name in self.ambiguous for name in names], bool)
        made = pc.if_else(pa.array(nine), target, codes)
        kept = made.is_valid().to_numpy(zero_copy_only=False)
        mapped = replace(
            rows,
            admission=rows.admission[kept],
            version=np.full(int(kept.sum()), 10),
            code=pa.chunked_array([made.filter(pa.array(kept))]),
        )
        chosen = several[encoded.indices.to_numpy()] if len(names) else np.zeros(0, bool)
        return mapped, {
            "code_rows_mapped": int((nine & kept).sum()),
            "code_rows_mapped_by_majority": int((nine & kept & chosen).sum()),
            "code_rows_without_a_map": int((~kept).sum()),
        }


def read_map(path: Path) -> EquivalenceMap:
    """Read a map with the columns icd_9, icd_10, flags, as CSV or as CMS's text without header.

    Where the targets of a code share their three-character category, the first of them stands for
    it; else the first target of the most frequent category, in a tie of the one listed first.
    Raises ConfigError where the file is not such a map, SourceError where it is not text.
    """
    targets: dict[str, list[str]] = {}
    try:
        for nine, ten, flags in _rows(path):
            if flags[_NO_MAP] == "0":
                targets.setdefault(nine, []).append(ten)
    except (ValueError, IndexError):
        targets = {}
    if not targets:
        raise ConfigError(
            f"{path} is no general equivalence map with icd_9, icd_10 and flags; correct "
            "equivalence_map"
        )
    chosen = {nine: _chosen(tens) for nine, tens in targets.items()}
    several = (nine for nine, tens in targets.items() if len({ten[:3] for ten in tens}) > 1)
    return EquivalenceMap(chosen, frozenset(several))


def _chosen(targets: list[str]) -> str:
    """The target that stands for all.

    >>> _chosen(["T2000XA", "T2040XA"]), _chosen(["A001", "B001", "B002"]), _chosen(["Z1", "A1"])
    ('T2000XA', 'B001', 'Z1')
    """
    counts = Counter(target[:3] for target in targets)
    most = max(counts.values())
    return next(target for target in targets if counts[target[:3]] == most)


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    for line in read_text(path).splitlines():
        cells = line.replace(",", " ").split()
        if cells[:1] and cells[0].lower() != "icd_9":
            nine, ten, flags, *_ = cells
            yield nine.upper(), ten.upper(), flags
