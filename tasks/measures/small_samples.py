"""What an interval needs where few patients decide it: what it rests on, and a limit.

An AUROC compares patients who have a label with patients who do not, so it rests on the fewer of
the two. Four things make the plain interval wrong there (`make bench NAME=coverage`):

- The influence of a case is its placement less the mean placement of the label's cases
  (`auroc.py`). Where one patient alone has the label, or alone lacks it, that is zero: the label
  hides how much it varies. Its AUROC is then taken for what it is, one draw from the labels: its
  patient has the influence value - mean, the mean being over the labels that rest on more. Their
  spread holds the spread of true AUROCs too, so this is wide rather than narrow. It is an influence
  like any other: two models' may be subtracted, seeds' averaged.
- A variance estimated from few patients is itself uncertain, hence Student's t. Its degrees of
  freedom follow from how many patients there are, never from how much each of them happened to
  contribute: one outlying case would leave hardly any, just where it has already made the variance
  large. They are Satterthwaite's (Biometrics Bulletin 2:110-114, 1946) of the variance of cases and
  that of controls, with their numbers of patients less one, as in Brunner & Munzel (Biometrical
  Journal 42:17-25, 2000); both are taken to vary alike.
- Of an AUROC near 1 most samples of few cases lack the rare low ones: the AUROC is too high and its
  variance too small. So the side towards 0.5 has two degrees of freedom more, of what Hanley &
  McNeil (Radiology 143:29-36, 1982) expect of an AUROC of that size: as if on either side one
  patient more had been seen who varies so.
- With fewer than 10 patients on either side none holds what it says: of 7 with a label of AUROC
  0.95 this one would hold the truth in 91% of times, of 4 in 86%. It is withheld.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_PATIENTS = 10
ASSUMED = 2  # degrees of freedom: of a patient on either side
FEW_PATIENTS = f"fewer than {FEWEST_PATIENTS} patients"
TOO_FEW = f"{FEW_PATIENTS} with the label or without it"
ALL_LONE = "no label rests on more than one patient"


def lone_influence(
    auroc: NDArray[np.float64],
    weight: NDArray[np.float64],
    rarer: NDArray[np.int64],
    lone: NDArray[np.float64],
    admissions: int,
) -> NDArray[np.float64]:
    """The influences of the patients on whom alone a label rests; [admissions].

    Args:
        auroc: [labels].
        weight: [labels], the label's share of the mean; 0: not in it.
        rarer: [labels], how many patients have the label, or lack it if those are fewer.
        lone: [3, cells], the lone patients' cells: which label, which admission, and what share of
            the patient's admissions it is.

    >>> aurocs, weights, rarer = np.array([0.75, 0.5]), np.array([0.5, 0.5]), np.array([1, 5])
    >>> lone_influence(aurocs, weights, rarer, np.array([[0], [2], [1.0]]), 3)
    array([0.   , 0.   , 0.125])
    """
    label, row = lone[:2].astype(np.int64)
    several = (weight > 0) & (rarer > 1)
    inside = weight[label] > 0
    if not several.any() or not inside.any():
        return np.zeros(admissions)
    label, row, share = label[inside], row[inside], lone[2, inside]
    apart = weight[label] * (auroc[label] - auroc[several].mean())
    return np.bincount(row, apart * share, minlength=admissions).astype(np.float64)


def satterthwaite(variances: ArrayLike, degrees: ArrayLike) -> float:
    """The degrees of freedom of a sum of variances, given each with its own.

    >>> satterthwaite([1.0, 1.0], [2.0, 2.0])
    4.0
    """
    terms = np.asarray(variances, np.float64)
    return float(terms.sum() ** 2 / (terms**2 / np.asarray(degrees)).sum())


def degrees_of_freedom(
    case_patients: ArrayLike, control_patients: ArrayLike, weight: ArrayLike = 1.0
) -> float:
    """Of the variance of an AUROC, or of the mean of those of several labels.

    Args:
        case_patients, control_patients: how many have the label and lack it; [labels] or one.
        weight: the label's share of the mean; [labels] or one.

    >>> degrees_of_freedom(11, 11)
    20.0
    """
    patients = np.stack(np.broadcast_arrays(case_patients, control_patients))
    return satterthwaite(np.square(weight) / patients, np.maximum(patients - 1, 1))


def expected_variance(
    auroc: float, case_patients: ArrayLike, control_patients: ArrayLike, weight: ArrayLike = 1.0
) -> float:
    """The variance that Hanley & McNeil (1982) expect, of the mean over labels of these sizes.

    By their exponential model the placements of one side, of cases above 0.5, vary by
    A^2 (1 - A) / (1 + A), those of the other by less; here both are taken to vary by that.

    >>> round(expected_variance(0.8, 10, 10), 4)
    0.0142
    """
    further = max(auroc, 1 - auroc)
    patients = np.stack(np.broadcast_arrays(case_patients, control_patients))
    of_one = further**2 * (1 - further) / (1 + further)
    return float(of_one * (np.square(weight) / patients).sum())


def with_expected(variance: float, degrees: float, expected: float) -> tuple[float, float]:
    """A variance and its degrees of freedom, after ASSUMED degrees more of what is expected.

    >>> with_expected(1.0, 8.0, 2.0)
    (1.2, 10.0)
    """
    total = degrees + ASSUMED
    return (degrees * variance + ASSUMED * expected) / total, total


def reason_to_withhold(patients: int, rarer: ArrayLike) -> str:
    """Why a mean over labels gets no interval; empty: it gets one.

    Args:
        patients: on how many it rests, each counted once.
        rarer: on how many each label rests; [labels].

    >>> reason_to_withhold(10, [1, 1]), reason_to_withhold(10, [1, 9])
    ('no label rests on more than one patient', '')
    """
    if patients < FEWEST_PATIENTS:
        return TOO_FEW
    return "" if (np.asarray(rarer) > 1).any() else ALL_LONE
