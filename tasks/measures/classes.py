"""One-vs-one AUROC of classes (Hand & Till 2001), with its influence function."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from tasks.measures.auroc import label_aurocs
from tasks.measures.estimates import Estimate


def one_vs_one(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    patients: NDArray[np.int64],
) -> Estimate:
    """The mean over ordered pairs of classes (a, b): a's score told members of a from those of b.

    Pairs of which a class has no member are left out. Unlike the macro AUROC it does not depend on
    how frequent the classes are.

    Args:
        scores: [admissions, classes], comparable between admissions (log-odds, see class_scores).
        cases, observed: [admissions, classes]; an observed admission has exactly one class.
        patients: [admissions], whose admission it is, as 0, 1, 2, ...
    """
    pairs = np.array(list(permutations(range(scores.shape[1]), 2)), np.int64).reshape(-1, 2)
    one, other = pairs.T
    known = cases & observed
    return label_aurocs(
        scores[:, one], known[:, one], known[:, one] | known[:, other], patients
    ).macro()
