"""A leaderboard: the models of several runs over their seeds, ranked on the same admissions.

Of each outcome every model is compared with one reference, chosen beforehand; those p-values are
corrected together (Holm). A comparison with the best row is another thing: which row that is was
learned from the same numbers, so its p-value is shown and marked as chosen after looking.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import EvaluationError
from tasks.evaluate.known import Known
from tasks.evaluate.leaderboard_entries import (
    Entrant,
    Entry,
    read_entries,
    same_predictions,
)
from tasks.measures.comparisons import holm
from tasks.measures.seeds import Seeded, Trained, difference_over_seeds, over_seeds
from tasks.metrics_table import counted, valued

BASELINE = "tfidf"  # the reference, where the first run has it and none is named
AFTER_LOOKING = "chosen after looking"


@dataclass(frozen=True)
class Standing:
    """A model's row of an outcome's table; differences are of the pooled macro AUROC."""

    entry: Entry
    twins: tuple[str, ...]  # entries that predict the same, byte for byte
    macro: Seeded
    micro: Seeded
    to_reference: Seeded | None  # None: it is the reference
    holm: float | None  # its p-value among all comparisons of the outcome
    to_best: Seeded | None  # None: it is the best row, which was chosen after looking


@dataclass(frozen=True)
class Board:
    """An outcome's leaderboard, the highest macro AUROC first."""

    known: Known
    reference: str
    best: str
    standings: tuple[Standing, ...]  # each distinct model once

    @property
    def outcome(self) -> str:
        return self.known.outcome

    @property
    def labels_defined(self) -> int:
        return self.standings[0].entry.checkpoints[0].defined[None]

    @property
    def comparisons(self) -> int:
        """How many p-values Holm's correction is over."""
        return sum(standing.to_reference is not None for standing in self.standings)


def boards(entrants: Sequence[Entrant], reference: str | None) -> list[Board]:
    """Rank and compare the models of every outcome.

    Args:
        reference: "run/variant"; None: the first run's TF-IDF, or else its first model.

    Raises EvaluationError where the runs cannot be compared or the reference is not among them.
    """
    return [board(*read_entries(outcome, entrants), reference) for outcome in entrants[0].outcomes]


def board(known: Known, entries: Sequence[Entry], reference: str | None = None) -> Board:
    """Compare an outcome's entries with the reference and with the best of them."""
    first_of = same_predictions(entries)
    distinct = list({entry.name: entry for entry in first_of.values()}.values())
    base = first_of[_reference(entries, reference).name]
    patients = known.patients
    macro = {entry.name: over_seeds(entry.trained("macro"), patients) for entry in distinct}
    best = max(distinct, key=lambda entry: _or_lowest(macro[entry.name].value))
    compared = [entry for entry in distinct if entry is not base]
    apart = {entry.name: _difference(entry, base, known) for entry in compared}
    adjusted = _adjusted({name: found.p_value for name, found in apart.items()})
    standings = [
        Standing(
            entry=entry,
            twins=tuple(
                name for name, one in first_of.items() if one is entry and name != entry.name
            ),
            macro=macro[entry.name],
            micro=over_seeds(entry.trained("micro"), patients),
            to_reference=apart.get(entry.name),
            holm=adjusted.get(entry.name),
            to_best=None if entry is best else _difference(entry, best, known),
        )
        for entry in distinct
    ]
    standings.sort(key=lambda one: -_or_lowest(one.macro.value))
    return Board(known, base.name, best.name, tuple(standings))


def board_rows(found: Board) -> Iterator[dict[str, Any]]:
    """Each entry over its seeds (a seed of None), by code system; its checkpoints; two comparisons.

    Models that predict the same have the same rows, each under its own run.
    """
    bases = {of.code_system: of.row for of in found.known.sets}
    for standing in found.standings:
        for name in (standing.entry.name, *standing.twins):
            run, _, variant = name.partition("/")
            rows = [
                *_entry_rows(standing.entry, found.known.patients, bases),
                *({**bases[None], **row} for row in _compared(standing, found)),
            ]
            for row in rows:
                against = row.pop("against", "")
                yield {"seed": None, **row, "run": run, "variant": variant + against}


def _entry_rows(
    entry: Entry, patients: NDArray[np.int64], bases: Mapping[str | None, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    how = "deterministic" if entry.deterministic else "count"
    for space, base in bases.items():
        for average in entry.averages(space):
            model, metric = entry.trained(average, space), f"auroc_{average}"
            yield base | _told(metric, over_seeds(model, patients))
            if not math.isnan(model.spread):
                words = "standard deviation over seeds"
                yield base | counted(f"{metric}_seed_sd", model.spread, words)
            for seed, checkpoint in entry.by_seed():
                alone = over_seeds(Trained((checkpoint.aurocs[average, space],)), patients)
                yield base | {"seed": seed} | _told(metric, alone)
        yield base | counted("labels_defined", entry.checkpoints[0].defined[space])
        yield base | counted("seeds", len(entry.seeds), how)


def _compared(standing: Standing, found: Board) -> Iterator[dict[str, Any]]:
    if (apart := standing.to_reference) is not None:
        against = {"against": f"-{found.reference}"}
        yield against | _told("auroc_macro_difference", apart)
        yield against | counted("auroc_macro_difference_p", apart.p_value, apart.method)
        words = f"{apart.method}; Holm over {found.comparisons} comparisons"
        yield against | counted(
            "auroc_macro_difference_p_holm",
            math.nan if standing.holm is None else standing.holm,
            words,
        )
    if (apart := standing.to_best) is not None:
        against = {"against": f"-{found.best}"}
        words = f"{AFTER_LOOKING}; {apart.method}"
        yield against | _told("auroc_macro_difference_to_best", apart) | {"method": words}
        yield against | counted("auroc_macro_difference_to_best_p", apart.p_value, words)


def _reference(entries: Sequence[Entry], wanted: str | None) -> Entry:
    by_name = {entry.name: entry for entry in entries}
    if wanted is None:
        return by_name.get(f"{entries[0].run}/{BASELINE}", entries[0])
    if wanted not in by_name:
        raise EvaluationError(
            f"the reference '{wanted}' is none of the {len(by_name)} models that are compared: "
            f"{', '.join(by_name)}; correct 'reference'"
        )
    return by_name[wanted]


def _difference(first: Entry, second: Entry, known: Known) -> Seeded:
    return difference_over_seeds(first.trained("macro"), second.trained("macro"), known.patients)


def _adjusted(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's p-values; an undefined one is no comparison and stays undefined."""
    known = [name for name, p_value in p_values.items() if not math.isnan(p_value)]
    adjusted = holm([p_values[name] for name in known])
    return {**p_values, **dict(zip(known, adjusted, strict=True))}


def _told(metric: str, seeded: Seeded) -> dict[str, Any]:
    return valued(metric, seeded, seeded.method)


def _or_lowest(value: float) -> float:
    return -1.0 if math.isnan(value) else value
