"""What enters a leaderboard: the models of several runs, each ranked once for every checkpoint.

All runs must know the same test admissions and labels, or their AUROCs are of different things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.data.reading import read_admissions
from tasks.errors import EvaluationError
from tasks.evaluate.inputs import read_known, read_scores
from tasks.evaluate.known import Known
from tasks.evaluate.rows import measure
from tasks.keys import sha256_of
from tasks.measures.estimates import Estimate
from tasks.measures.seeds import Trained
from tasks.variants import Variant, read_variants


@dataclass(frozen=True)
class Entrant:
    """A run that takes part: where its artifacts lie."""

    run: str
    cohort: Path
    outcomes: Mapping[str, Path]
    predictions: Mapping[int, Sequence[Path]]  # seed -> artifacts of predictions
    adapters: Mapping[int, Sequence[Path]] = field(default_factory=dict)  # seed -> one a member
    clinical: Path | None = None
    ontology: Path | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.predictions)

    def models(self, outcome: str) -> dict[str, tuple[Variant, list[Path]]]:
        """The variants that predict the outcome: name -> record, test predictions of each seed."""
        models: dict[str, tuple[Variant, list[Path]]] = {}
        for artifacts in self.predictions.values():
            for name, (variant, folders) in read_variants(artifacts).items():
                paths = [folder / outcome for folder in folders if (folder / outcome).is_dir()]
                if variant.is_model and paths:
                    models.setdefault(name, (variant, []))[1].append(paths[0] / "test.parquet")
        return models


@dataclass(frozen=True)
class Checkpoint:
    """One trained model's ranking of an outcome, by code system (None: pooled)."""

    aurocs: Mapping[tuple[str, str | None], Estimate]  # ("macro", ...), ("micro", ...), ...
    defined: Mapping[str | None, int]  # labels with a case and a control


@dataclass(frozen=True)
class Entry:
    """A model of a run on one outcome, with its checkpoints: one a seed, or one for all seeds."""

    run: str
    variant: Variant
    seeds: tuple[int, ...]
    checkpoints: tuple[Checkpoint, ...]
    prints: tuple[str, ...]  # SHA-256 of each seed's predictions

    @property
    def name(self) -> str:
        return f"{self.run}/{self.variant.name}"

    @property
    def deterministic(self) -> bool:
        """Whether several seeds made the same predictions, byte for byte."""
        return len(self.seeds) > 1 and len(self.checkpoints) == 1

    def averages(self, space: str | None) -> list[str]:
        """What is averaged over the labels of a code system: macro, micro, ..."""
        return [average for average, system in self.checkpoints[0].aurocs if system == space]

    def trained(self, average: str, space: str | None = None) -> Trained:
        """An average AUROC of each checkpoint."""
        estimates = tuple(checkpoint.aurocs[average, space] for checkpoint in self.checkpoints)
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
        _entry(entrant, *model, known, admissions, ranked)
        for entrant in entrants
        for model in entrant.models(outcome).values()
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
    variant: Variant,
    paths: Sequence[Path],
    known: Known,
    admissions: pa.Table,
    ranked: dict[str, Checkpoint],
) -> Entry:
    """Rank each seed's predictions, but never the same bytes twice."""
    prints = []
    for path in paths:
        prints.append(sha256_of(path))
        if prints[-1] not in ranked:
            scores = read_scores(f"{entrant.run}/{variant.name}", path, known, admissions)
            measured = measure(variant.name, known.sample(scores), known)
            defined = {
                of.code_system: int(measured.labels.defined(of.groups).sum()) for of in known.sets
            }
            ranked[prints[-1]] = Checkpoint(measured.aurocs, defined)
    distinct = prints if len(set(prints)) > 1 else prints[:1]
    checkpoints = tuple(ranked[sha256] for sha256 in distinct)
    return Entry(entrant.run, variant, entrant.seeds, checkpoints, tuple(prints))


def _refuse_other_worlds(outcome: str, known: Known, entrants: Sequence[Entrant]) -> None:
    """Every run must have the first one's test admissions and labels of the outcome."""
    first = entrants[0]
    checked = {(first.cohort, first.outcomes[outcome])}
    for other in entrants[1:]:
        if set(other.outcomes) != set(first.outcomes):
            raise EvaluationError(
                f"runs '{first.run}' and '{other.run}' cannot be compared: '{first.run}' predicts "
                f"{_listed(first.outcomes)}, '{other.run}' {_listed(other.outcomes)}; give both "
                "the same ingest.outcomes"
            )
        cohort, path = other.cohort, other.outcomes[outcome]
        if (cohort, path) not in checked:
            theirs = read_known(outcome, path, read_admissions(cohort))
            _refuse_another(known, theirs, first.run, other.run)
            checked.add((cohort, path))


def _refuse_another(ours: Known, theirs: Known, run: str, other: str) -> None:
    labels = [_labels(known) for known in (ours, theirs)]
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
