"""What enters a leaderboard: the models of several runs, each ranked once for every checkpoint.

All runs must know the same test admissions and labels, or their AUROCs are of different things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.data.admissions import read_admissions
from tasks.errors import EvaluationError
from tasks.evaluate.inputs import predictions_of, read_known, read_scores
from tasks.evaluate.known import Known
from tasks.evaluate.rows import WITHOUT, measure
from tasks.keys import sha256_of
from tasks.measures.estimates import Estimate
from tasks.measures.seeds import Trained


@dataclass(frozen=True)
class Entrant:
    """A run that takes part: where its artifacts lie."""

    run: str
    cohort: Path
    outcomes: Mapping[str, Path]
    predictions: Mapping[int, Mapping[str, Mapping[str, Path]]]  # seed -> variant -> outcome
    adapters: Mapping[int, Path] = field(default_factory=dict)  # seed -> where its history is
    clinical: Path | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.predictions)

    def variants(self, outcome: str) -> list[str]:
        """The models that predict the outcome; none with an adapter zeroed."""
        found = next(iter(self.predictions.values()))
        return [name for name in found if WITHOUT not in name and outcome in found[name]]


@dataclass(frozen=True)
class Checkpoint:
    """One trained model's ranking of an outcome, by code system (None: pooled)."""

    aurocs: Mapping[tuple[str, str | None], Estimate]  # ("macro", ...), ("micro", ...), ...
    defined: Mapping[str | None, int]  # labels with a case and a control


@dataclass(frozen=True)
class Entry:
    """A model of a run on one outcome, with its checkpoints: one a seed, or one for all seeds."""

    run: str
    variant: str
    seeds: tuple[int, ...]
    checkpoints: tuple[Checkpoint, ...]
    prints: tuple[str, ...]  # SHA-256 of each seed's predictions

    @property
    def name(self) -> str:
        return f"{self.run}/{self.variant}"

    @property
    def deterministic(self) -> bool:
        """Whether several seeds made the same predictions, byte for byte."""
        return len(self.seeds) > 1 and len(self.checkpoints) == 1

    def averages(self, space: str | None) -> list[str]:
        """What is averaged over the labels of a code system: macro, micro, ..."""
        return [average for average, of in self.checkpoints[0].aurocs if of == space]

    def trained(self, average: str, space: str | None = None) -> Trained:
        """An average AUROC of each checkpoint."""
        estimates = tuple(one.aurocs[average, space] for one in self.checkpoints)
        return Trained(estimates, self.deterministic)

    def by_seed(self) -> Iterator[tuple[int, Checkpoint]]:
        """Each seed that was trained, and what came out."""
        if not self.deterministic:
            yield from zip(self.seeds, self.checkpoints, strict=True)


def read_entries(outcome: str, entrants: Sequence[Entrant]) -> tuple[Known, list[Entry]]:
    """Rank every model of every run on the outcome; one model's logits are in memory at a time.

    Raises EvaluationError where two runs know other test admissions or labels, or predict other
    outcomes.
    """
    first = entrants[0]
    admissions = read_admissions(first.cohort)
    known = read_known(outcome, first.outcomes[outcome], admissions)
    _refuse_other_worlds(outcome, known, entrants)
    ranked: dict[str, Checkpoint] = {}
    entries = [
        _entry(entrant, variant, known, admissions, ranked)
        for entrant in entrants
        for variant in entrant.variants(outcome)
    ]
    if not entries:
        raise EvaluationError(
            f"no model has predictions for outcome '{outcome}' ({len(known.hadm_id)} test "
            "admissions); run finetune anew"
        )
    return known, entries


def same_predictions(entries: Sequence[Entry]) -> dict[str, Entry]:
    """Entry name -> the first entry that predicts the same, byte for byte; most are their own."""
    first: dict[tuple[str, ...], Entry] = {}
    for entry in entries:
        first.setdefault(entry.prints, entry)
    return {entry.name: first[entry.prints] for entry in entries}


def _entry(
    entrant: Entrant,
    variant: str,
    known: Known,
    admissions: pa.Table,
    ranked: dict[str, Checkpoint],
) -> Entry:
    """Rank each seed's predictions, but never the same bytes twice."""
    prints = []
    for variants in entrant.predictions.values():
        path = predictions_of(variants[variant][known.outcome], variant, known.outcome)
        prints.append(sha256_of(path))
        if prints[-1] not in ranked:
            scores = read_scores(f"{entrant.run}/{variant}", path, known, admissions)
            measured = measure(variant, known.sample(scores), known)
            defined = {
                of.code_system: int(measured.labels.defined(of.groups).sum()) for of in known.sets
            }
            ranked[prints[-1]] = Checkpoint(measured.aurocs, defined)
    distinct = prints if len(set(prints)) > 1 else prints[:1]
    checkpoints = tuple(ranked[one] for one in distinct)
    return Entry(entrant.run, variant, entrant.seeds, checkpoints, tuple(prints))


def _refuse_other_worlds(outcome: str, known: Known, entrants: Sequence[Entrant]) -> None:
    """Every run must have the first one's test admissions and labels of the outcome."""
    first = entrants[0]
    seen = {(first.cohort, first.outcomes[outcome])}
    for other in entrants[1:]:
        if set(other.outcomes) != set(first.outcomes):
            raise EvaluationError(
                f"runs '{first.run}' and '{other.run}' cannot be compared: '{first.run}' predicts "
                f"{_listed(first.outcomes)}, '{other.run}' {_listed(other.outcomes)}; give both "
                "the same ingest.outcomes"
            )
        place = (other.cohort, other.outcomes[outcome])
        if place not in seen:
            theirs = read_known(outcome, place[1], read_admissions(place[0]))
            _refuse_another(known, theirs, first.run, other.run)
            seen.add(place)


def _refuse_another(ours: Known, theirs: Known, run: str, other: str) -> None:
    labels = [_labels(one) for one in (ours, theirs)]
    same = np.array_equal(ours.hadm_id, theirs.hadm_id) and labels[0] == labels[1]
    what = f"runs '{run}' and '{other}' cannot be compared on outcome '{ours.outcome}'"
    if not same:
        both = len(np.intersect1d(ours.hadm_id, theirs.hadm_id))
        raise EvaluationError(
            f"{what}: '{run}' has {len(ours.hadm_id)} observed test admissions and "
            f"{ours.labels} labels, '{other}' {len(theirs.hadm_id)} and {theirs.labels}, of which "
            f"{both} admissions and {len(set(labels[0]) & set(labels[1]))} labels are in both; "
            "give both the same ingest"
        )
    unlike = (
        (ours.cases != theirs.cases).any(axis=1)
        | (ours.observed != theirs.observed).any(axis=1)
        | (ours.patients != theirs.patients)
    )
    if unlike.any():
        raise EvaluationError(
            f"{what}: the labels or patients of {int(unlike.sum())} of {len(unlike)} test "
            "admissions differ; give both the same ingest"
        )


def _labels(known: Known) -> list[tuple[str, str]]:
    systems = [known.code_systems[group] for group in known.group]
    return list(zip(systems, known.codes, strict=True))


def _listed(outcomes: Mapping[str, Path]) -> str:
    return ", ".join(outcomes) or "nothing"
