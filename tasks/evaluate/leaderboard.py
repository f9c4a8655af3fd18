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
from tasks.evaluate.known import Known
from tasks.evaluate.leaderboard_costs import spent_by
from tasks.evaluate.leaderboard_entries import (
    Entrant,
    Entry,
    read_entries,
    same_predictions,
)
from tasks.measures.intervals import holm
from tasks.measures.seeds import Seeded, Trained, difference_over_seeds, over_seeds
from tasks.metrics_table import counted, to_table
from tasks.standings import AFTER_LOOKING, Board, Number, Standing, Standings


@dataclass(frozen=True)
class Ranking:
    """The board of an outcome, and what it was made from."""

    board: Board
    known: Known
    entries: Mapping[str, Entry]  # by name, each distinct model once


def write_standings(
    out: Path, entrants: Sequence[Entrant], reference: str | None
) -> dict[str, int]:
    """Write `metrics.parquet` and `standings.json`; nothing unless all runs could be compared."""
    ranked = rankings(entrants, reference)
    table = to_table(row for ranking in ranked for row in ranking_rows(ranking))
    tables.write(out / "metrics.parquet", schemas.METRICS, table)
    Standings(
        seeds=entrants[0].seeds,
        boards=tuple(ranking.board for ranking in ranked),
        spent={name: took for entrant in entrants for name, took in spent_by(entrant).items()},
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
    distinct = {entry.name: entry for entry in first_of.values()}
    base = first_of[_reference(entries, reference).name]
    trained = {name: entry.trained("macro") for name, entry in distinct.items()}
    macro = {name: over_seeds(model, known.patients) for name, model in trained.items()}
    best = max(distinct, key=lambda name: _or_lowest(macro[name].value))

    def apart(name: str, other: str) -> Number | None:
        if name == other:
            return None
        return _number(difference_over_seeds(trained[name], trained[other], known.patients))

    to_reference = {name: apart(name, base.name) for name in distinct}
    adjusted = _adjusted(to_reference)
    standings = [
        Standing(
            name=name,
            seeds=len(entry.seeds),
            deterministic=entry.deterministic,
            one_checkpoint=trained[name].one_checkpoint,
            twins=tuple(
                other for other, first in first_of.items() if first is entry and other != name
            ),
            macro=_number(macro[name]),
            micro=_number(over_seeds(entry.trained("micro"), known.patients)),
            by_seed=tuple(_or_none(estimate.value) for estimate in trained[name].estimates),
            spread=_or_none(trained[name].spread),
            to_reference=to_reference[name],
            holm=adjusted.get(name),
            to_best=apart(name, best),
        )
        for name, entry in distinct.items()
    ]
    standings.sort(key=lambda standing: -_or_lowest(standing.macro.value))
    board = Board(
        outcome=known.outcome,
        admissions=len(known.hadm_id),
        labels=known.labels,
        labels_defined=base.checkpoints[0].defined[None],
        reference=base.name,
        best=best,
        standings=tuple(standings),
    )
    return Ranking(board, known, distinct)


def ranking_rows(ranking: Ranking) -> Iterator[dict[str, Any]]:
    """Each entry over its seeds (a seed of None), by code system; its checkpoints; two comparisons.

    Models that predict the same have the same rows, each under its own run.
    """
    bases = {of.code_system: of.row for of in ranking.known.sets}
    for standing in ranking.board.standings:
        for name in (standing.name, *standing.twins):
            run, _, variant = name.partition("/")
            rows = [
                *_entry_rows(ranking.entries[standing.name], ranking.known.patients, bases),
                *({**bases[None], **row} for row in _difference_rows(standing, ranking.board)),
            ]
            for row in rows:
                yield {"seed": None, **row, "run": run, "variant": variant}


def _entry_rows(
    entry: Entry, patients: NDArray[np.int64], bases: Mapping[str | None, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    how = "deterministic" if entry.deterministic else "count"
    for space, base in bases.items():
        for average in entry.averages(space):
            model, metric = entry.trained(average, space), f"auroc_{average}"
            yield base | _row(metric, _number(over_seeds(model, patients)))
            if not math.isnan(model.spread):
                words = "standard deviation over seeds"
                yield base | counted(f"{metric}_seed_sd", model.spread, words)
            for seed, checkpoint in entry.by_seed():
                alone = over_seeds(Trained((checkpoint.aurocs[average, space],)), patients)
                yield base | {"seed": seed} | _row(metric, _number(alone))
        yield base | counted("labels_defined", entry.checkpoints[0].defined[space])
        yield base | counted("seeds", len(entry.seeds), how)


def _difference_rows(standing: Standing, board: Board) -> Iterator[dict[str, Any]]:
    metric = "auroc_macro_difference"
    if (apart := standing.to_reference) is not None:
        against = {"against": board.reference}
        yield against | _row(metric, apart)
        yield against | {"metric": f"{metric}_p", "method": apart.method, "value": apart.p_value}
        words = f"{apart.method}; Holm over {board.comparisons} comparisons"
        yield against | {"metric": f"{metric}_p_holm", "method": words, "value": standing.holm}
    if (apart := standing.to_best) is not None:
        chosen = {"against": board.best, "method": f"{AFTER_LOOKING}; {apart.method}"}
        yield _row(f"{metric}_to_best", apart) | chosen
        yield {"metric": f"{metric}_to_best_p", "value": apart.p_value} | chosen


def _row(metric: str, number: Number) -> dict[str, Any]:
    return {"metric": metric, **number.model_dump(exclude={"p_value"})}


def _reference(entries: Sequence[Entry], wanted: str | None) -> Entry:
    by_name = {entry.name: entry for entry in entries}
    if wanted is None:
        of_first_run = (entry for entry in entries if entry.run == entries[0].run)
        return next((entry for entry in of_first_run if entry.variant.baseline), entries[0])
    if wanted not in by_name:
        raise EvaluationError(
            f"the reference '{wanted}' is none of the {len(by_name)} models that are compared: "
            f"{', '.join(by_name)}; correct 'reference'"
        )
    return by_name[wanted]


def _adjusted(differences: Mapping[str, Number | None]) -> dict[str, float]:
    """Holm's p-values; an undefined one is no comparison and has none."""
    p_values = {
        name: number.p_value
        for name, number in differences.items()
        if number and number.p_value is not None
    }
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def _number(seeded: Seeded) -> Number:
    ends = ("value", "low", "high", "p_value")
    known = {name: _or_none(getattr(seeded, name)) for name in ends}
    return Number(method=seeded.method, **known)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _or_lowest(value: float | None) -> float:
    return -1.0 if value is None or math.isnan(value) else value
