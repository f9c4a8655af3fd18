"""What an interval needs where few patients carry it: lone labels, degrees of freedom, a limit.

Three things make the plain interval too narrow in a small test split (`make bench NAME=coverage`
measures each):

- The influence of a case is its placement less the mean placement of the label's cases
  (`auroc.py`). Where one patient alone has the label, that is zero: the label hides how much it
  varies. Its AUROC is then taken for what it is, one draw from the labels: its case has the
  influence value - mean, the mean being over the labels that more patients have. Their spread holds
  the spread of true AUROCs too, so this is wide rather than narrow. It is an influence like any
  other: two models' may be subtracted, seeds' averaged.
- A variance V = sum(c_p^2) of few patients is itself uncertain. By Satterthwaite (Biometrics
  Bulletin 2:110-114, 1946) it has 2 V^2 / Var(V) degrees of freedom; Var(V) is at most
  sum(E c_p^4), so K = V^2 / sum(c_p^4), the number of patients that would carry V in equal shares,
  gives 2 K; 2 (K - 1), one less for the mean, holds what it says at 10 patients and more.
- Below that nothing does: of 7 patients with a label of AUROC 0.95 the interval of Student's t on
  the logit scale holds the truth in 89% of times, of 5 in 87%. It is withheld, and says why.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEWEST_CASE_PATIENTS = 10
TOO_FEW = f"fewer than {FEWEST_CASE_PATIENTS} patients with the label"
ALL_LONE = "no label is of more than one patient"


def lone_influence(
    auroc: NDArray[np.float64],
    weight: NDArray[np.float64],
    case_patients: NDArray[np.int64],
    label: NDArray[np.int64],
    row: NDArray[np.int64],
    share: NDArray[np.float64],
    admissions: int,
) -> NDArray[np.float64]:
    """The influences of the cases of labels that one patient alone has; [admissions].

    Args:
        auroc: [labels].
        weight: [labels], the label's share of the mean; 0: not in it.
        case_patients: [labels], how many patients have the label.
        label, row, share: [cells], the lone labels' cases: which label, which admission, and what
            share of the label's cases it is (the patient may have come with it more than once).
    """
    several = (weight > 0) & (case_patients > 1)
    inside = weight[label] > 0
    if not several.any() or not inside.any():
        return np.zeros(admissions)
    label, row, share = label[inside], row[inside], share[inside]
    apart = weight[label] * (auroc[label] - auroc[several].mean())
    return np.bincount(row, apart * share, minlength=admissions).astype(np.float64)


def degrees_of_freedom(by_patient: NDArray[np.float64]) -> float:
    """Satterthwaite's degrees of a variance that is the sum of these squares; at least 1.

    >>> degrees_of_freedom(np.array([1.0, -1.0, 1.0, -1.0, 0.0]))
    6.0
    """
    largest = float(np.abs(by_patient).max(initial=0.0))
    if not largest > 0:
        return float("inf")
    squares = np.square(by_patient / largest)
    fourth = np.einsum("i,i->", squares, squares)  # not BLAS, whose threads wait for ours
    effective = float(squares.sum() ** 2 / fourth)
    return max(1.0, 2 * (effective - 1))


def reason_to_withhold(case_patients: NDArray[np.int64]) -> str:
    """Why the mean over labels that so many patients have gets no interval; empty: it gets one."""
    if case_patients.sum() < FEWEST_CASE_PATIENTS:
        return TOO_FEW
    return "" if (case_patients > 1).any() else ALL_LONE
