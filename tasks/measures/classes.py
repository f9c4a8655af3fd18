"""One-vs-one AUROC of classes (Hand & Till 2001), with its influence function."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from tasks.measures.auroc import label_aurocs
from tasks.measures.estimates import Estimate
from tasks.measures.sample import Sample


def one_vs_one(sample: Sample) -> Estimate:
    """The mean over ordered pairs of classes (a, b): a's score told members of a from those of b.

    Pairs of which a class has no member are left out. Unlike the macro AUROC it does not depend on
    how frequent the classes are.

    Args:
        sample: its labels are classes, of which an observed admission has exactly one; its scores
            are comparable between admissions (log-odds, see class_scores).

    >>> scores = [[2, 0, 0], [0, 1, 2], [1, 0, 1.5], [0, 2, 1]]
    >>> sample = Sample.of(scores, np.eye(3, dtype=bool)[[0, 1, 2, 1]])
    >>> round(one_vs_one(sample).value, 4)  # 5.5 of 6 pairs of classes
    0.9167
    """
    pairs = np.array(list(permutations(range(sample.labels), 2)), np.int64).reshape(-1, 2)
    first, second = pairs.T
    known = sample.cases & sample.observed
    scores, cases = sample.scores[:, first], known[:, first]
    return label_aurocs(Sample.of(scores, cases, cases | known[:, second], sample.patients)).macro()
