"""The leaderboard's page: one self-contained HTML file, and Markdown of the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tasks.measures.efficiency import efficiencies
from tasks.report import leaderboard_figures as figures
from tasks.report.cells import Cells, Printed
from tasks.report.config import NOTE, Lineage, Published, PublishedRow
from tasks.report.document import Facts, Part, write_document
from tasks.report.facts import CohortFlow, Making, flattened
from tasks.report.findings import ERROR_RATE, outcome_title
from tasks.report.missing import Missing
from tasks.report.printing import (
    MISSING,
    UNDEFINED,
    headline_of,
    number,
    p_value,
    span,
    why_withheld,
)
from tasks.report.summaries import Summary
from tasks.standings import AFTER_LOOKING, Board, Spent, Standing, Standings

NOT_COMPARED = ("name", "finetune.training.seed")  # keys that differ by design


@dataclass(frozen=True)
class Leaderboard:
    """All that the page tells."""

    name: str
    standings: Standings
    settings: Mapping[str, Mapping[str, Any]]  # run -> its whole configuration
    leaks: Mapping[str, Sequence[str]]  # run -> sentences: what was known too early
    lineage: Lineage
    cohort: CohortFlow  # the first run's; all have the same test admissions
    smallest_cell: int
    synthetic: bool  # whether the patients were generated
    made: Making
    published: Published | None = None

    @property
    def title(self) -> str:
        """Of the page."""
        return f"{self.name}: leaderboard on the test split"

    @cached_property
    def counts(self) -> Printed:
        """In how many test admissions each outcome is known, by outcome; "test": all of them."""
        cells = Cells(self.smallest_cell)
        cells.add("test", self.cohort.splits[-1].admissions)
        cells.nested(
            "test", {(board.outcome,): board.admissions for board in self.standings.boards}
        )
        return cells.printed()


@dataclass(frozen=True)
class Settings:
    """What the runs' configurations have in common, and the keys in which they differ."""

    runs: tuple[str, ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]  # key, a value a run
    common: str  # YAML


def write_page(out: Path, leaderboard: Leaderboard) -> list[Missing]:
    """Write `report.html`, `report.md`, and `headline.json` (the table for a terminal).

    Returns what could not be made; everything else was.
    """
    boards = leaderboard.standings.boards
    shared = {
        "leaderboard": leaderboard,
        "boards": boards,
        "seeds": leaderboard.standings.seeds,
        "leaks": {run: sentences for run, sentences in leaderboard.leaks.items() if sentences},
        "after_looking": AFTER_LOOKING,
        "row_of": vars,  # a number as a metrics row, which is what can be printed
    }
    return write_document(out, "leaderboard", _parts(leaderboard), shared, lambda: headline(boards))


def headline(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """The table for a terminal: a row for each outcome and model, the best first."""
    return [
        {
            "outcome": board.outcome,
            "model": standing.name,
            "seeds": _seeds(standing),
            **headline_of(vars(standing.macro)),
            "difference": standing.to_reference and number(vars(standing.to_reference), "+.3f"),
            "p (Holm)": standing.to_reference and p_value(standing.holm),
            NOTE: why_withheld(vars(standing.macro)),
        }
        for board in boards
        for standing in board.standings
    ]


def compared(settings: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Part what differs between the runs from what they share."""
    flat = {
        run: {
            key: value
            for key, value in flattened(dict(config))
            if not any(key == name or key.startswith(f"{name}.") for name in NOT_COMPARED)
        }
        for run, config in settings.items()
    }
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    differing, common = [], {}
    for key in keys:
        values = [of_run.get(key, MISSING) for of_run in flat.values()]
        if all(value == values[0] for value in values):
            common[key] = values[0]
        else:
            words = tuple("none" if value is None else str(value) for value in values)
            differing.append((key, words))
    text = yaml.safe_dump(common, sort_keys=False, width=88)
    return Settings(tuple(settings), tuple(differing), text)


def costs(standings: Standings) -> list[tuple[str, Spent, float | None]]:
    """What each model took, in the order of the first board, with Taylor's efficiency."""
    ranked = [standing.name for board in standings.boards for standing in board.standings]
    spent = [
        (name, standings.spent[name]) for name in dict.fromkeys(ranked) if name in standings.spent
    ]
    known = {
        name: (took.flops_to_best, took.adapter_parameters)
        for name, took in spent
        if took.flops_to_best is not None and took.adapter_parameters is not None
    }
    scores = efficiencies(
        [flops for flops, _ in known.values()], [parameters for _, parameters in known.values()]
    )
    by_name = dict(zip(known, map(float, scores), strict=True))
    return [(name, took, by_name.get(name)) for name, took in spent]


def _parts(leaderboard: Leaderboard) -> list[Part]:
    """The sections of the page in their order; the first stands above the list of them."""
    boards, spent = leaderboard.standings.boards, leaderboard.standings.spent
    seconds = {name: took.seconds for name, took in spent.items() if took.seconds}
    standings = [standing for board in boards for standing in board.standings]
    styles = {
        name: index for index, name in enumerate(sorted({standing.name for standing in standings}))
    }

    def of_results() -> Facts:
        return {
            "forests": figures.forests(boards, styles),
            "one_checkpoint": any(standing.one_checkpoint for standing in standings),
            "seeds_of": _seeds,
        }

    def of_cost() -> Facts:
        return {
            "efficiencies": figures.efficiency(boards, styles, seconds),
            "costs": costs(leaderboard.standings),
            "priced": any(took.cost is not None for took in spent.values()),
        }

    return [
        Part("top", "At a glance", lambda: {"summaries": list(map(_summary, boards))}),
        Part("results", "Results", of_results),
        *_beside(leaderboard),
        Part("cost", "Cost", of_cost),
        Part("seeds", "Seeds", lambda: {"aurocs_by_seed": _aurocs_by_seed}),
        Part("differs", "What differs", lambda: {"settings": compared(leaderboard.settings)}),
        Part("numbers", "What the numbers mean"),
        Part("lineage", "Lineage"),
    ]


def _beside(leaderboard: Leaderboard) -> list[Part]:
    """The section with figures of others, where there are any."""
    published = leaderboard.published
    if not published:
        return []
    ours = {
        (standing.name, board.outcome): number(vars(standing.macro))
        for board in leaderboard.standings.boards
        for standing in board.standings
    }
    outcomes = dict.fromkeys(outcome for row in published.rows for outcome in row.auroc)

    def theirs(row: PublishedRow) -> list[str]:
        return [f"{row.auroc[each]:.3f}" if each in row.auroc else MISSING for each in outcomes]

    def beside(row: PublishedRow) -> list[str]:
        return [ours.get((row.beside or "", each), MISSING) for each in outcomes]

    def facts() -> Facts:
        return {
            "source": published.source,
            "outcomes": [outcome_title(outcome) for outcome in outcomes],
            "rows": [(row, theirs(row), beside(row)) for row in published.rows],
        }

    return [Part("published", "Published figures", facts)]


def _summary(board: Board) -> Summary:
    """What an outcome's table says, in words."""
    title, first = outcome_title(board.outcome), board.standings[0]
    row = vars(first.macro)
    if row["value"] is None:
        return Summary(title, number(row), "", "No label has both cases and controls in test.")
    words = f"{first.name} is highest."
    if board.comparisons:
        parts = [
            f"{side} {board.reference}: {', '.join(names)}"
            for side, names in zip(("above", "below"), _told_apart(board), strict=True)
            if names
        ]
        result = "; ".join(parts) if parts else f"no model is told apart from {board.reference}"
        words = f"{words} After Holm's correction (p below 0.05), {result}."
    if reason := why_withheld(row):
        words = f"{words} Its interval is withheld: {reason}; so the number says little by itself."
    return Summary(title, number(row), span(row), words)


def _told_apart(board: Board) -> tuple[list[str], list[str]]:
    """The models above the reference and those below it, by their corrected p-values."""
    above: list[str] = []
    below: list[str] = []
    for standing in board.standings:
        difference = standing.to_reference.value if standing.to_reference else None
        if difference is not None and standing.holm is not None and standing.holm < ERROR_RATE:
            (below if difference < 0 else above).append(standing.name)
    return above, below


def _seeds(standing: Standing) -> str:
    """How many seeds the row is over.

    A model that came out the same from all of them has nothing to average.
    """
    return "any" if standing.deterministic else str(standing.seeds)


def _aurocs_by_seed(standing: Standing, seeds: Sequence[int]) -> tuple[list[str], str]:
    """The macro AUROC of each seed, and their standard deviation."""
    aurocs = standing.by_seed * (len(seeds) if standing.deterministic else 1)
    spread = MISSING if standing.spread is None else f"{standing.spread:.4f}"
    return [UNDEFINED if auroc is None else f"{auroc:.3f}" for auroc in aurocs], spread
