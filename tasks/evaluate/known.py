"""What is known of an outcome's admissions, and the sets of its labels that means are over."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.measures.sample import Sample, positives_of
from tasks.metrics_table import BANDS


@dataclass(frozen=True)
class LabelSet:
    """Labels that a mean is over: of one code system or of all, whole or in one band."""

    row: dict[str, Any]  # what every metrics row over them says
    labels: NDArray[np.bool_]  # [labels]
    groups: list[int]  # which of `Known.groups` they are
    bands: list[LabelSet]  # its parts by band of training cases; none of a band

    @property
    def code_system(self) -> str | None:
        """None: all of them."""
        return self.row["code_system"]

    @property
    def size(self) -> int:
        return int(np.count_nonzero(self.labels))


@dataclass(frozen=True)
class Known:
    """An outcome of a split's observed admissions, in rising order of hadm_id."""

    outcome: str
    hadm_id: NDArray[np.int64]  # [admissions]
    patients: NDArray[np.int64]  # [admissions]; 0, 1, 2, ... a patient
    cases: NDArray[np.bool_]  # [admissions, labels]
    observed: NDArray[np.bool_]  # [admissions, labels]
    code_systems: tuple[str, ...]
    group: NDArray[np.int64]  # [labels]; index into code_systems
    codes: tuple[str, ...]  # [labels]
    train: NDArray[np.int64]  # [labels]; training admissions with the label
    admissions: pa.Table  # the cohort's columns, row by row as above
    one_of: bool = False  # the labels are classes, of which each admission has one

    @property
    def labels(self) -> int:
        return len(self.codes)

    def sample(
        self, scores: NDArray[np.float32], observed: NDArray[np.bool_] | None = None
    ) -> Sample:
        """Scores, [admissions, labels], with what is known, of all cells or of these."""
        observed = self.observed if observed is None else observed
        return Sample(scores, self.cases, observed, self.patients, self.groups)

    @cached_property
    def positives(self) -> NDArray[np.int64]:
        """How many observed admissions have each label; [labels]."""
        return positives_of(self.cases, self.observed)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """A number for each (code system, band of training cases), system by system; [labels]."""
        return self.group * len(BANDS) + bands_of(self.train)

    @cached_property
    def sets(self) -> list[LabelSet]:
        """The labels of each code system, and all of them last."""
        return [self._set(system) for system in (*range(len(self.code_systems)), None)]

    def rows_of(self, labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The admissions in which a code system of these labels is observed; [admissions]."""
        return np.any(self._observed_systems[np.unique(self.group[labels])], axis=0)

    @cached_property
    def _observed_systems(self) -> NDArray[np.bool_]:
        """Which admissions are observed in each code system, all of its labels at once.

        [code systems, admissions]
        """
        first = [int(np.argmax(self.group == system)) for system in range(len(self.code_systems))]
        return np.ascontiguousarray(self.observed[:, first].T)

    def _set(self, system: int | None, band: int | None = None) -> LabelSet:
        """The labels of a code system (None: all) and of a band (None: all)."""
        labels = np.ones(self.labels, bool) if system is None else self.group == system
        if band is not None:
            labels = labels & (self.groups % len(BANDS) == band)
        rows = self.rows_of(labels)
        row = {
            "outcome": self.outcome,
            "code_system": None if system is None else self.code_systems[system],
            "group": "all" if band is None else BANDS[band][1],
            "n": int(rows.sum()),
            "n_patients": len(np.unique(self.patients[rows])),
            "positives": int(self.positives[labels].sum()),
        }
        groups = np.unique(self.groups[labels])
        bands = np.unique(groups % len(BANDS)).tolist() if band is None else []
        return LabelSet(row, labels, groups.tolist(), [self._set(system, part) for part in bands])


def bands_of(cases: NDArray[np.int64]) -> NDArray[np.int64]:
    """The index into BANDS of each label's band; [labels].

    >>> [BANDS[band][1] for band in bands_of(np.array([24, 25, 40_000]))]
    ['cases=1-24', 'cases=25-99', 'cases=1000+']
    """
    return np.searchsorted([fewest for fewest, _ in BANDS], cases, "right") - 1
