"""What every measure is taken of: scores of admissions for labels, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Sample:
    """Scores with the truth about them, validated; `Sample.of` fills in what is left out."""

    scores: NDArray[np.float32]  # [admissions, labels], finite
    cases: NDArray[np.bool_]  # [admissions, labels], whether the admission has the label
    observed: NDArray[np.bool_]  # [admissions, labels], whether that is known; or left out
    patients: NDArray[np.int64]  # [admissions], whose admission it is, as 0, 1, 2, ...
    groups: NDArray[np.int64]  # [labels], with which labels each is summed, as 0, 1, 2, ...
    weights: NDArray[np.float64] | None = None  # [admissions], 0 or more; None: each counts 1

    def __post_init__(self) -> None:
        shape = self.scores.shape
        if len(shape) != 2 or not shape == self.cases.shape == self.observed.shape:
            raise ValueError("scores, cases and observed must be [admissions, labels] alike")
        if self.patients.shape != shape[:1] or self.groups.shape != shape[1:]:
            raise ValueError("patients must be [admissions], and groups [labels]")
        if self.weights is not None and self.weights.shape != shape[:1]:
            raise ValueError("weights must be [admissions]")
        ends = [self.scores.min(initial=0), self.scores.max(initial=0)]  # NaN where any score is
        if not np.isfinite(ends).all():
            raise ValueError("scores must be finite")
        if min(self.patients.min(initial=0), self.groups.min(initial=0)) < 0:
            raise ValueError("patients and groups are counted from 0")

    @classmethod
    def of(
        cls,
        scores: ArrayLike,
        cases: ArrayLike,
        observed: ArrayLike | None = None,
        patients: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> Sample:
        """A sample of arrays or lists.

        What is left out: every cell is observed, each admission is another patient's, and all
        labels are of one group.

        >>> Sample.of([[0.1], [0.4], [0.9]], [[0], [1], [1]]).positives.tolist()
        [2]
        """
        scores = np.asarray(scores, np.float32)
        admissions, labels = scores.shape
        return cls(
            scores,
            np.asarray(cases, bool),
            np.ones(scores.shape, bool) if observed is None else np.asarray(observed, bool),
            np.arange(admissions) if patients is None else np.asarray(patients, np.int64),
            np.zeros(labels, np.int64) if groups is None else np.asarray(groups, np.int64),
            None if weights is None else np.asarray(weights, np.float64),
        )

    @property
    def admissions(self) -> int:
        return self.scores.shape[0]

    @property
    def labels(self) -> int:
        return self.scores.shape[1]

    @property
    def n_groups(self) -> int:
        return int(self.groups.max(initial=0)) + 1

    @cached_property
    def positives(self) -> NDArray[np.int64]:
        """The observed cases of each label; [labels]."""
        return positives_of(self.cases, self.observed)

    def labels_with(self, cases: int, controls: int = 0) -> NDArray[np.int64]:
        """The labels of at least this many observed cases and controls.

        >>> Sample.of([[0, 0], [0, 0]], [[1, 0], [0, 0]]).labels_with(1, 1).tolist()
        [0]
        """
        negatives = np.count_nonzero(self.observed, axis=0) - self.positives
        return np.flatnonzero((self.positives >= cases) & (negatives >= controls))


def positives_of(cases: NDArray[np.bool_], observed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The observed cases of each label, [labels]; through blocks of rows.

    >>> cases = np.array([[True, True], [True, False]])
    >>> positives_of(cases, np.array([[True, True], [False, True]]))
    array([1, 1])
    """
    total = np.zeros(cases.shape[1], np.int64)
    for rows in row_blocks(cases.shape):
        total += np.count_nonzero(cases[rows] & observed[rows], axis=0)
    return total


def row_blocks(shape: tuple[int, ...], cells: int = 1 << 20) -> list[slice]:
    """Slices of admissions, each of about this many cells.

    >>> row_blocks((5, 10), cells=20)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    step = max(1, cells // max(1, shape[1]))
    return [slice(start, start + step) for start in range(0, shape[0], step)]
