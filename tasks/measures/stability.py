"""The population stability index: how far a distribution has moved from that of a reference.

PSI = sum over bins of (q - p) ln(q / p), with p and q the shares of the reference and of what is
new (Siddiqi, Credit Risk Scorecards, 2006, who calls more than 0.25 a large shift). Where nothing
has moved, PSI / (1/n + 1/m) is about chi-squared with one degree of freedom less than there are
bins (Yurdakul, Statistical Properties of Population Stability Index, 2018): of few notes it is
large by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10
_SHARES = np.linspace(0, 1, BINS + 1)[1:-1]
_BY_CHANCE = 0.01  # how often one of all indices may exceed what chance explains


@dataclass(frozen=True)
class Stability:
    """An index, and how large it gets by chance."""

    psi: float
    chance: float
    new: int  # how many were compared with the reference
    reference: int

    def moved(self, bound: float) -> bool:
        """Whether it is above the bound, and chance does not explain it."""
        return self.psi > max(bound, self.chance)


def stability(reference: NDArray[np.int64], new: NDArray[np.int64], tests: int = 1) -> Stability:
    """The index of counts in the same bins.

    So that it is finite, the reference has half a count more in each bin, and what is new as many
    in all, in the reference's shares: they draw it towards no movement.

    Args:
        reference, new: [bins].
        tests: how many indices are looked at together (Bonferroni).

    >>> found = stability(np.array([50, 50]), np.array([10, 90]))
    >>> round(found.psi, 3), found.moved(0.25)
    (0.853, True)
    >>> stability(np.array([50, 50]), np.array([1, 3])).moved(0.25)
    False
    """
    from scipy.stats import chi2

    n, m, added = int(reference.sum()), int(new.sum()), 0.5 * len(reference)
    p = (reference + 0.5) / (n + added)
    q = (new + added * p) / (m + added)
    spread = 1 / max(n, 1) + 1 / max(m, 1)
    chance = float(chi2.ppf(1 - _BY_CHANCE / tests, max(len(p) - 1, 1))) * spread
    return Stability(float(((q - p) * np.log(q / p)).sum()), chance, m, n)


def edges_of(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Where to cut these values into about BINS bins of equal mass, ascending.

    A value that is an edge belongs to the bin above it. One that many share has a bin for itself.

    >>> edges_of(np.arange(100.0))
    array([10., 20., 30., 40., 50., 60., 70., 80., 90.])
    >>> counts_in(edges_of(np.ones(9)), np.array([0.0, 1, 1, 2]))
    array([1, 2, 1])
    """
    if not len(values):
        return values
    cuts, times = np.unique(np.quantile(values, _SHARES, method="higher"), return_counts=True)
    shared = cuts[times > 1]
    parted = np.concatenate([cuts[cuts > values.min()], shared, np.nextafter(shared, np.inf)])
    return np.unique(parted).astype(values.dtype)


def counts_in(edges: NDArray[np.floating], values: NDArray[np.floating]) -> NDArray[np.int64]:
    """How many values each bin holds, [edges + 1].

    >>> counts_in(np.array([2.0, 3.0]), np.array([1.0, 2.0, 2.5, 9.0]))
    array([1, 2, 1])
    """
    bins = np.searchsorted(edges, values, side="right")
    return np.bincount(bins, minlength=len(edges) + 1)
