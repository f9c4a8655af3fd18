"""One label after another: its observed cells as contiguous arrays, on two cores at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.measures.sample import Sample
from tasks.threads import in_parts

PARTS = 2  # in which sums over labels are made, whatever the machine: the same bytes
BLOCK_LABELS = 32  # copied at once by a part: 13 MB for 50,000 admissions

Done = TypeVar("Done")


@dataclass(frozen=True)
class Column:
    """The observed admissions of one label."""

    label: int
    rows: NDArray[np.int64]  # [observed] which admissions
    scores: NDArray[np.float32]  # [observed]
    cases: NDArray[np.bool_]  # [observed]


def by_column(
    work: Callable[[Iterator[Column]], Done], sample: Sample, labels: NDArray[np.int64]
) -> list[Done]:
    """Give every part of the labels to `work`; what each returned, in the order of parts.

    Args:
        labels: the labels wanted; one that is never observed has an empty column.

    >>> sample = Sample.of([[1, 2, 3], [4, 5, 6]], [[0, 1, 0], [1, 1, 0]])
    >>> by_column(lambda columns: [c.scores.tolist() for c in columns], sample, np.arange(3))
    [[[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]], []]
    """
    blocks = [labels[start : start + BLOCK_LABELS] for start in range(0, len(labels), BLOCK_LABELS)]

    def columns(part: int) -> Iterator[Column]:
        for block in blocks[part::PARTS]:
            yield from _columns(sample, block)

    return in_parts(lambda part: work(columns(part)), range(PARTS))


def _columns(sample: Sample, block: NDArray[np.int64]) -> Iterator[Column]:
    scores = np.ascontiguousarray(sample.scores[:, block].T)
    cases = np.ascontiguousarray(sample.cases[:, block].T)
    observed = np.ascontiguousarray(sample.observed[:, block].T)
    everybody = np.arange(sample.admissions)
    for row, label in enumerate(block):
        if observed[row].all():  # nothing to pick
            yield Column(int(label), everybody, scores[row], cases[row])
            continue
        rows = np.flatnonzero(observed[row])
        yield Column(int(label), rows, scores[row][rows], cases[row][rows])
