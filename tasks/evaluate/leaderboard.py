"""A leaderboard: the models of several runs over their seeds, ranked on the same admissions.

Of each outcome every model is compared with one reference, chosen beforehand; those p-values are
corrected together (Holm). A comparison with the best row is another thing: which row that is was
learned from the same numbers, so its p-value is shown and marked as chosen after looking.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.errors import EvaluationError
from tasks.evaluate.inputs import Known
from tasks.evaluate.leaderboard_cost import seconds_of
from tasks.evaluate.leaderboard_entries import Entrant, Entry, read_entries, same_predictions
from tasks.evaluate.rows import counts, spaces_of
from tasks.measures.comparisons import holm
from tasks.measures.seeds import Seeded, Trained, difference_over_seeds, over_seeds
from tasks.metrics_table import counted, to_table, valued
from tasks.standings import AFTER_LOOKING, Board, Number, Standing, Standings


@dataclass(frozen=True)
class RankedEntry:
    """A model's row of an outcome's table; differences are of the pooled macro AUROC."""

    entry: Entry
    twins: tuple[str, ...]  # entries that predict the same, byte for byte
    macro: Seeded
    micro: Seeded
    to_reference: Seeded | None  # None: it is the reference
    holm: float | None  # its p-value among all comparisons of the outcome
    to_best: Seeded | None  # None: it is the best row, which was chosen after looking


@dataclass(frozen=True)
class Ranking:
    """The entries of an outcome, the highest macro AUROC first."""

    known: Known
    reference: str
    best: str
    entries: tuple[RankedEntry, ...]  # each distinct model once

    @property
    def comparisons(self) -> int:
        """How many p-values Holm's correction is over."""
        return sum(ranked.to_reference is not None for ranked in self.entries)


def write_standings(
    out: Path, entrants: Sequence[Entrant], reference: str | None
) -> dict[str, int]:
    """Write `metrics.parquet` and `standings.json`; nothing unless all runs could be compared."""
    ranked = rankings(entrants, reference)
    table = to_table(row for ranking in ranked for row in ranking_rows(ranking))
    tables.write(out / "metrics.parquet", schemas.METRICS, table)
    Standings(
        seeds=entrants[0].seeds,
        boards=tuple(map(_board, ranked)),
        seconds={name: took for entrant in entrants for name, took in seconds_of(entrant).items()},
    ).write(out)
    return {"rows": len(table), "outcomes": len(ranked), "runs": len(entrants)}


def rankings(entrants: Sequence[Entrant], reference: str | None) -> list[Ranking]:
    """Rank and compare the models of every outcome.

    Args:
        reference: "run/variant"; None: the first run's baseline, or else its first model.

    Raises EvaluationError where the runs cannot be compared or the reference is not among them.
    """
    return [rank(*read_entries(outcome, entrants), reference) for outcome in entrants[0].outcomes]


def rank(known: Known, entries: Sequence[Entry], reference: str | None = None) -> Ranking:
    """Compare an outcome's entries with the reference and with the best of them."""
    first_of = same_predictions(entries)
    distinct = list({entry.name: entry for entry in first_of.values()}.values())
    base = first_of[_reference(entries, reference).name]
    patients = known.patients
    macro = {entry.name: over_seeds(entry.trained("macro"), patients) for entry in distinct}
    best = max(distinct, key=lambda entry: _or_lowest(macro[entry.name].value))
    compared = [entry for entry in distinct if entry is not base]
    apart = {entry.name: _difference(entry, base, known) for entry in compared}
    adjusted = _adjusted({name: difference.p_value for name, difference in apart.items()})
    ranked = [
        RankedEntry(
            entry=entry,
            twins=tuple(
                name for name, first in first_of.items() if first is entry and name != entry.name
            ),
            macro=macro[entry.name],
            micro=over_seeds(entry.trained("micro"), patients),
            to_reference=apart.get(entry.name),
            holm=adjusted.get(entry.name),
            to_best=None if entry is best else _difference(entry, best, known),
        )
        for entry in distinct
    ]
    ranked.sort(key=lambda model: -_or_lowest(model.macro.value))
    return Ranking(known, base.name, best.name, tuple(ranked))


def ranking_rows(ranking: Ranking) -> Iterator[dict[str, Any]]:
    """Each entry over its seeds (a seed of None), by code system; its checkpoints; two comparisons.

    Models that predict the same have the same rows, each under its own run.
    """
    bases = {space: counts(ranking.known, space) for space in spaces_of(ranking.known)}
    for ranked in ranking.entries:
        for name in (ranked.entry.name, *ranked.twins):
            run, _, variant = name.partition("/")
            rows = [
                *_entry_rows(ranked.entry, ranking.known.patients, bases),
                *({**bases[None], **row} for row in _difference_rows(ranked, ranking)),
            ]
            for row in rows:
                yield {"seed": None, **row, "run": run, "variant": variant}


def _entry_rows(
    entry: Entry, patients: NDArray[np.int64], bases: Mapping[int | None, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    how = "deterministic" if entry.deterministic else "count"
    for space, base in bases.items():
        for average in entry.averages(space):
            model, metric = entry.trained(average, space), f"auroc_{average}"
            yield base | _row(metric, over_seeds(model, patients))
            if not math.isnan(model.spread):
                words = "standard deviation over seeds"
                yield base | counted(f"{metric}_seed_sd", model.spread, words)
            for seed, checkpoint in entry.by_seed():
                alone = over_seeds(Trained((checkpoint.aurocs[average, space],)), patients)
                yield base | {"seed": seed} | _row(metric, alone)
        yield base | counted("labels_defined", entry.checkpoints[0].defined[space])
        yield base | counted("seeds", len(entry.seeds), how)


def _difference_rows(ranked: RankedEntry, ranking: Ranking) -> Iterator[dict[str, Any]]:
    if (apart := ranked.to_reference) is not None:
        against = {"against": ranking.reference}
        yield against | _row("auroc_macro_difference", apart)
        yield against | counted("auroc_macro_difference_p", apart.p_value, apart.method)
        words = f"{apart.method}; Holm over {ranking.comparisons} comparisons"
        yield against | counted(
            "auroc_macro_difference_p_holm",
            math.nan if ranked.holm is None else ranked.holm,
            words,
        )
    if (apart := ranked.to_best) is not None:
        against = {"against": ranking.best}
        words = f"{AFTER_LOOKING}; {apart.method}"
        yield against | _row("auroc_macro_difference_to_best", apart) | {"method": words}
        yield against | counted("auroc_macro_difference_to_best_p", apart.p_value, words)


def _reference(entries: Sequence[Entry], wanted: str | None) -> Entry:
    by_name = {entry.name: entry for entry in entries}
    if wanted is None:
        own = (entry for entry in entries if entry.run == entries[0].run)
        return next((entry for entry in own if entry.variant.baseline), entries[0])
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


def _row(metric: str, seeded: Seeded) -> dict[str, Any]:
    return valued(metric, seeded.found, seeded.method)


def _board(ranking: Ranking) -> Board:
    return Board(
        outcome=ranking.known.outcome,
        admissions=len(ranking.known.hadm_id),
        labels=ranking.known.labels,
        labels_defined=ranking.entries[0].entry.checkpoints[0].defined[None],
        reference=ranking.reference,
        best=ranking.best,
        standings=tuple(map(_standing, ranking.entries)),
    )


def _standing(ranked: RankedEntry) -> Standing:
    macro = ranked.entry.trained("macro")
    return Standing(
        name=ranked.entry.name,
        seeds=len(ranked.entry.seeds),
        deterministic=ranked.entry.deterministic,
        one_checkpoint=macro.one_checkpoint,
        twins=ranked.twins,
        macro=_number(ranked.macro),
        micro=_number(ranked.micro),
        by_seed=tuple(_or_none(estimate.value) for estimate in macro.estimates),
        spread=_or_none(macro.spread),
        to_reference=_number(ranked.to_reference) if ranked.to_reference else None,
        holm=_or_none(ranked.holm),
        to_best=_number(ranked.to_best) if ranked.to_best else None,
    )


def _number(seeded: Seeded) -> Number:
    return Number(
        value=_or_none(seeded.value),
        low=_or_none(seeded.low),
        high=_or_none(seeded.high),
        method=valued("", seeded.found, seeded.method)["method"],
        p_value=_or_none(seeded.p_value),
    )


def _or_none(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _or_lowest(value: float) -> float:
    return -1.0 if math.isnan(value) else value
