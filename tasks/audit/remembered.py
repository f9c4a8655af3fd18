"""The memory audit: what an adapter gives away of the very notes that it was trained on.

Two questions, each asked of the base as well, which has read none of these notes:

- Exposure: how far up does a planted number stand among numbers that were not planted, by its
  likelihood? log2(alternatives + 1) - log2(rank); about 1.4 for one that is not remembered.
- Membership: does the likelihood tell notes of training patients from those of validation patients?
  An AUROC: once by the loss with the adapter, once by how far that is below the base's loss, which
  takes out how hard a note is to read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.measures.auroc import label_aurocs
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import Interval, difference, holm, interval
from tasks.measures.sample import Sample

ERROR_RATE = 0.05  # of any false finding in the whole audit, after Holm (1979)
_NO_BOUNDS = (-np.inf, np.inf)


@dataclass(frozen=True)
class Exposure:
    """Of the canaries that were planted so often."""

    repeats: int
    canaries: int
    before: Interval  # mean exposure by the base
    after: Interval  # and with the adapter
    p_value: float  # of the latter, if nothing is remembered; corrected
    first: int  # canaries likelier than every alternative, with the adapter


@dataclass(frozen=True)
class Membership:
    """How well training patients' notes are told from validation patients'."""

    by: str
    auroc: Interval
    p_value: float  # if they cannot be told apart; corrected
    members: int  # notes
    others: int
    patients: int


@dataclass(frozen=True)
class Memory:
    """What the audit measured."""

    alternatives: int
    chance: float  # the mean exposure of what is not remembered
    exposures: tuple[Exposure, ...]
    memberships: tuple[Membership, ...]

    @property
    def remembers(self) -> tuple[bool, bool]:
        """Whether some exposure, and some membership, is above chance beyond doubt."""
        exposed = any(
            exposure.after.value > self.chance and exposure.p_value < ERROR_RATE
            for exposure in self.exposures
        )
        told = any(
            membership.auroc.value > 0.5 and membership.p_value < ERROR_RATE
            for membership in self.memberships[1:]  # the first is the base's
        )
        return exposed, told


def measure(canaries: Path, candidates: Path, members: Path, others: Path) -> Memory:
    """Rank the canaries, and tell members from others.

    Args:
        canaries: which candidates were planted how often: the first ones.
        candidates, members, others: artifacts of likelihoods, a row a note.
    """
    repeats = tables.read(canaries / "canaries", schemas.CANARIES)["repeats"].to_numpy()
    before, after = (
        exposures(_column(candidates, f"nll_{end}"), len(repeats)) for end in ("before", "after")
    )
    alternatives = len(_column(candidates, "nll_after")) - len(repeats)
    best = np.log2(alternatives + 1)
    chance = float(np.mean(best - np.log2(np.arange(1, alternatives + 2))))
    found = [
        Exposure(
            repeats=int(count),
            canaries=int((repeats == count).sum()),
            before=_interval(_mean(before[repeats == count])),
            after=_interval(_mean(after[repeats == count])),
            p_value=_p_value(_mean(after[repeats == count]), chance),
            first=int((after[repeats == count] >= best).sum()),
        )
        for count in np.unique(repeats)
    ]
    control, *told = _memberships(members, others)
    p_values = [exposure.p_value for exposure in found]
    corrected = holm([*p_values, *(membership.p_value for membership in told)])
    return Memory(
        alternatives,
        chance,
        tuple(
            replace(exposure, p_value=p_value)
            for exposure, p_value in zip(found, corrected[: len(found)], strict=True)
        ),
        (
            control,
            *(
                replace(membership, p_value=p_value)
                for membership, p_value in zip(told, corrected[len(found) :], strict=True)
            ),
        ),
    )


def exposures(nats: NDArray[np.float64], canaries: int) -> NDArray[np.float64]:
    """The exposure of each of the first candidates among the others.

    >>> exposures(np.array([1.0, 9.0, 2.0, 3.0, 4.0]), 2).tolist()  # first of four, and last
    [2.0, 0.0]
    """
    alternatives = np.sort(nats[canaries:])
    likelier = np.searchsorted(alternatives, nats[:canaries], side="left")
    equal = np.searchsorted(alternatives, nats[:canaries], side="right") - likelier
    rank = 1 + likelier + equal / 2
    values: NDArray[np.float64] = np.log2(len(alternatives) + 1) - np.log2(rank)
    return values


def _memberships(members: Path, others: Path) -> list[Membership]:
    notes = [tables.read(path / "perplexity", schemas.PERPLEXITY) for path in (members, others)]
    table = pa.concat_tables(notes)
    table = table.filter(pc.greater(table["tokens"], 0))
    tokens = table["tokens"].to_numpy()
    before, after = table["nll_before"].to_numpy() / tokens, table["nll_after"].to_numpy() / tokens
    # a patient is in one split
    trained_on = np.isin(table["subject_id"].to_numpy(), notes[0]["subject_id"].to_numpy())
    patients = np.unique(table["subject_id"].to_numpy(), return_inverse=True)[1]
    measured = []
    for by, scores in (
        ("loss of the base (control)", -before),
        ("loss", -after),
        ("loss minus the base's", before - after),
    ):
        sample = Sample.of(scores[:, None], trained_on[:, None], patients=patients)
        estimate = label_aurocs(sample).macro()
        auroc, p_value = interval(estimate, patients), _p_value(estimate, 0.5, patients)
        counts = int(trained_on.sum()), int((~trained_on).sum()), int(patients.max()) + 1
        measured.append(Membership(by, auroc, p_value, *counts))
    return measured


def _mean(values: NDArray[np.float64]) -> Estimate:
    """A mean over canaries, each drawn by itself."""
    mean = float(values.mean())
    return Estimate(mean, (values - mean) / len(values))


def _interval(mean: Estimate) -> Interval:
    return interval(mean, np.arange(len(mean.influence)), _NO_BOUNDS)


def _p_value(estimate: Estimate, chance: float, patients: NDArray[np.int64] | None = None) -> float:
    """Of an estimate as far from chance as this one; 1 where too few take part to say."""
    whose = np.arange(len(estimate.influence)) if patients is None else patients
    apart = difference(estimate, Estimate(chance, np.zeros(len(whose))), whose)
    # no p-value although it is away from chance: all canaries have the same rank
    return 1.0 if apart.reason else float(np.nan_to_num(apart.p_value, nan=0.0))


def _column(artifact: Path, name: str) -> NDArray[np.float64]:
    table = tables.read(artifact / "perplexity", schemas.PERPLEXITY, [name])
    values: NDArray[np.float64] = table[name].to_numpy()
    return values
