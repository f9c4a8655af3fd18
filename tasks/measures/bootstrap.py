"""The cluster bootstrap of the macro AUROC: the check on the analytic intervals.

A draw takes as many patients as there are, with replacement, each with all its admissions (Field &
Welsh, J. R. Statist. Soc. B 69:369-390, 2007). That is to weight admissions by how often their
patient was drawn, so a label is sorted once for all draws: the controls between two cases in that
order are rows of a sparse matrix, which times the weights of all draws gives what a draw has there.
A label of few patients is undefined in many draws; a draw's mean is over the labels defined in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.measures.ranks import Ranked, ranked_labels
from tasks.measures.sample import Sample
from tasks.threads import in_parts

BLOCK_DRAWS = 128  # their weights stay in a core's cache: 3.6 MB of 7,000 patients
PARTS = 4  # of the labels, side by side; sums in the same order on every machine
BATCH_DRAWS = 1024  # drawn between two sorts: 135 MB of 33,000 patients
_Weights = NDArray[np.float32]  # [patients, draws of a block] how often each patient was drawn


@dataclass(frozen=True)
class Bootstrap:
    """What each draw adds up to, over each group of labels."""

    auroc: NDArray[np.float64]  # [groups, draws] sum of the AUROCs of the labels defined in it
    defined: NDArray[np.int64]  # [groups, draws] how many those are

    def macro(self, groups: Sequence[int] | None = None) -> Drawn:
        """The mean over the labels of these groups (all by default) in every draw."""
        rows = list(range(len(self.auroc))) if groups is None else list(groups)
        defined = self.defined[rows].sum(axis=0)
        some = defined > 0
        return Drawn(self.auroc[rows].sum(axis=0)[some] / defined[some], defined[some])


@dataclass(frozen=True)
class Drawn:
    """A value in every draw in which it is defined."""

    values: NDArray[np.float64]  # [draws]
    labels: NDArray[np.int64]  # [draws] how many labels it is the mean of

    @property
    def standard_error(self) -> float:
        """The standard deviation over draws; NaN for fewer than two."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else float("nan")

    @property
    def bounds(self) -> tuple[float, float]:
        """The percentile interval, 2.5 to 97.5; NaN without a draw."""
        if not len(self.values):
            return float("nan"), float("nan")
        low, high = np.percentile(self.values, (2.5, 97.5))
        return float(low), float(high)

    @property
    def method(self) -> str:
        """The words for a row of metrics."""
        least, most = (self.labels.min(), self.labels.max()) if len(self.labels) else (0, 0)
        return (
            f"cluster bootstrap, {len(self.values)} draws, percentiles; each draw's mean is over "
            f"the labels defined in it ({least} to {most})"
        )


def cluster_bootstrap(sample: Sample, draws: int, seed: int = 0) -> Bootstrap:
    """Draw patients, and sum every draw's AUROCs over the labels defined in it.

    >>> random = np.random.default_rng(0)
    >>> cases = random.random((200, 1)) < 0.5
    >>> sample = Sample.of(random.normal(size=cases.shape) + cases, cases)
    >>> drawn = cluster_bootstrap(sample, 1000).macro()
    >>> round(drawn.standard_error, 3)  # as DeLong's
    0.033
    """
    random = np.random.default_rng(seed)
    parts = np.array_split(np.arange(sample.labels), PARTS)
    batches = []
    for start in range(0, draws, BATCH_DRAWS):
        weights = _weights(int(sample.patients.max()) + 1, min(BATCH_DRAWS, draws - start), random)

        def work(labels: NDArray[np.int64], weights: list[_Weights] = weights) -> Bootstrap:
            return _summed(ranked_labels(sample, labels), sample, weights)

        done = in_parts(work, parts)
        batches.append([sum(part.auroc for part in done), sum(part.defined for part in done)])
    auroc, defined = (np.concatenate(rows, axis=1) for rows in zip(*batches, strict=True))
    return Bootstrap(auroc, defined.astype(np.int64))


def label_draws(
    ranked: Ranked, patients: NDArray[np.int64], weights: Sequence[_Weights]
) -> NDArray[np.float64]:
    """One label's AUROC in every draw; [draws], NaN where it has no case or no control.

    >>> [ranked] = ranked_labels(Sample.of([[1], [2], [3], [4]], [[0], [1], [0], [1]]))
    >>> twice = np.float32([[1, 0], [1, 1], [1, 2], [1, 1]])  # all once; 3 twice and 1 never
    >>> label_draws(ranked, np.arange(4), [twice])
    array([0.75, 0.5 ])
    """
    from scipy.sparse import csr_matrix

    first, last = ranked.ends
    before = np.concatenate(([0], np.cumsum(ranked.case)))
    owner = patients[ranked.order].astype(np.int32)
    is_control = ~ranked.case
    # controls below the first score of a case, those with it, those below the next, ...
    edges = np.empty(2 * len(first) + 2, np.int32)
    edges[0], edges[-1] = 0, np.count_nonzero(is_control)
    edges[1:-1:2], edges[2:-1:2] = first - before[first], last - before[last]
    ones = np.ones(len(owner), np.float32)
    shape = (len(edges) - 1, len(weights[0]))
    controls = csr_matrix((ones[: edges[-1]], owner[is_control], edges), shape)
    runs = np.concatenate(([0], before[last])).astype(np.int32)
    cases = csr_matrix((ones[: runs[-1]], owner[ranked.case], runs), (len(first), shape[1]))
    aurocs = []
    for weight in weights:
        between, drawn = controls @ weight, cases @ weight  # counts: float32 holds them exactly
        tied = between[1::2]
        below = np.cumsum(between[0:-1:2], axis=0) + np.cumsum(tied, axis=0) - tied
        won = np.einsum("rd,rd->d", drawn, below + 0.5 * tied, dtype=np.float64)
        pairs = drawn.sum(axis=0, dtype=np.float64) * between.sum(axis=0, dtype=np.float64)
        aurocs.append(np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0))
    return np.concatenate(aurocs)


def _weights(patients: int, draws: int, random: np.random.Generator) -> list[_Weights]:
    """How often each patient is drawn, in blocks of draws."""
    blocks = []
    for start in range(0, draws, BLOCK_DRAWS):
        block = np.empty((patients, min(BLOCK_DRAWS, draws - start)), np.float32)
        for draw in range(block.shape[1]):
            chosen = random.integers(0, patients, patients)
            block[:, draw] = np.bincount(chosen, minlength=patients)
        blocks.append(block)
    return blocks


def _summed(labels: Iterable[Ranked], sample: Sample, weights: list[_Weights]) -> Bootstrap:
    shape = sample.n_groups, sum(block.shape[1] for block in weights)
    auroc, defined = np.zeros(shape), np.zeros(shape, np.int64)
    for ranked in labels:
        if not ranked.case.any() or ranked.case.all():
            continue
        values = label_draws(ranked, sample.patients, weights)
        auroc[sample.groups[ranked.label]] += np.nan_to_num(values)
        defined[sample.groups[ranked.label]] += ~np.isnan(values)
    return Bootstrap(auroc, defined)
