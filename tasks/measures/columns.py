"""One label after another: its observed cells as contiguous arrays, on two cores at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.threads import in_parts

PARTS = 2  # sums over labels are made in so many parts, whatever the machine: the same bytes
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
    work: Callable[[Iterator[Column]], Done],
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    labels: NDArray[np.int64],
) -> list[Done]:
    """Give every part of the labels to `work`; what each returned, in the order of parts.

    Args:
        scores, cases, observed: [admissions, all labels].
        labels: the labels wanted; one that is never observed has an empty column.
    """
    blocks = [labels[start : start + BLOCK_LABELS] for start in range(0, len(labels), BLOCK_LABELS)]

    def columns(part: int) -> Iterator[Column]:
        for block in blocks[part::PARTS]:
            yield from _columns(scores, cases, observed, block)

    return in_parts(lambda part: work(columns(part)), range(PARTS))


def labels_with(
    cases: NDArray[np.bool_], observed: NDArray[np.bool_], least: int, controls: int = 0
) -> NDArray[np.int64]:
    """The labels that have at least so many observed cases, and so many controls."""
    positives = positives_of(cases, observed)
    negatives = np.count_nonzero(observed, axis=0) - positives
    return np.flatnonzero((positives >= least) & (negatives >= controls))


def positives_of(cases: NDArray[np.bool_], observed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The observed cases of each label, [labels]; through blocks of rows."""
    total = np.zeros(cases.shape[1], np.int64)
    for rows in row_blocks(cases.shape):
        total += np.count_nonzero(cases[rows] & observed[rows], axis=0)
    return total


def row_blocks(shape: tuple[int, ...], cells: int = 1 << 20) -> list[slice]:
    """Slices of admissions that hold about so many cells each."""
    step = max(1, cells // max(1, shape[1]))
    return [slice(start, start + step) for start in range(0, shape[0], step)]


def _columns(
    scores: NDArray[np.float32],
    cases: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    block: NDArray[np.int64],
) -> Iterator[Column]:
    score = np.ascontiguousarray(scores[:, block].T)
    case = np.ascontiguousarray(cases[:, block].T)
    seen = np.ascontiguousarray(observed[:, block].T)
    everybody = np.arange(len(scores))
    for place, label in enumerate(block):
        if seen[place].all():  # nothing to pick
            yield Column(int(label), everybody, score[place], case[place])
            continue
        rows = np.flatnonzero(seen[place])
        yield Column(int(label), rows, score[place][rows], case[place][rows])
