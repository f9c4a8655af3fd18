"""An estimate with the influence of each admission on it, and what its variance rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.measures.small_samples import degrees_of_freedom, expected_variance, reason_to_withhold


@dataclass(frozen=True)
class Estimate:
    """A value with the influence of each admission on it.

    The influences add up to zero but for what labels of one patient are given
    (`small_samples.py`).
    """

    value: float  # NaN: undefined
    influence: NDArray[np.float64]  # [admissions]
    reason: str = ""  # why it can have no interval
    degrees: float | None = None  # of freedom of its variance; None: patients that vary, less one
    expected: float = 0.0  # its variance by the model of Hanley & McNeil; 0: of none

    @classmethod
    def of_aurocs(
        cls,
        value: float,
        influence: NDArray[np.float64],
        case_patients: ArrayLike,
        control_patients: ArrayLike,
        patients: int,
        weight: ArrayLike = 1.0,
    ) -> Estimate:
        """An AUROC, or the mean of those of some labels.

        Args:
            case_patients, control_patients: how many have the label and lack it; [labels] or one.
            patients: on how many it rests, each counted once.
            weight: the label's share of the mean; [labels] or one.
        """
        rarer = np.minimum(case_patients, control_patients)
        others = int(np.maximum(case_patients, control_patients).max())
        return cls(
            value,
            influence,
            reason_to_withhold(patients, rarer),
            min(  # labels of the same patients know no more than these do
                degrees_of_freedom(case_patients, control_patients, weight),
                degrees_of_freedom(patients, others),
            ),
            expected_variance(value, case_patients, control_patients, weight),
        )

    def minus(self, other: Estimate) -> Estimate:
        """The difference on the same admissions; what both find hard cancels.

        >>> influence = np.array([0.5, -0.5])
        >>> apart = Estimate(0.75, influence).minus(Estimate(0.5, influence))
        >>> apart.value, apart.influence.tolist()
        (0.25, [0.0, 0.0])
        """
        degrees = [of.degrees for of in (self, other) if of.degrees is not None]
        return Estimate(
            self.value - other.value,
            self.influence - other.influence,
            self.reason or other.reason,
            min(degrees, default=None),
        )


@dataclass(frozen=True)
class Bearers:
    """The patients on whom each label rests: who have it, or lack it where those are fewer."""

    label: NDArray[np.int64]  # [pairs]
    patient: NDArray[np.int64]  # [pairs]

    @classmethod
    def of(cls, pairs: list[tuple[int, NDArray[np.int64]]]) -> Bearers:
        """Join labels, each with its patients."""
        labels = np.array([label for label, _ in pairs], np.int64)
        sizes = np.array([len(patients) for _, patients in pairs], np.int64)
        none = np.zeros(0, np.int64)
        joined = np.concatenate([none, *(patients for _, patients in pairs)])
        return cls(np.repeat(labels, sizes), joined)

    def count(self, labels: NDArray[np.bool_]) -> int:
        """On how many patients these labels rest together; [labels] bool."""
        return int(np.count_nonzero(np.bincount(self.patient[labels[self.label]])))
