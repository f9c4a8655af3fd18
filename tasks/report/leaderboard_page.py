"""The leaderboard's page: one self-contained HTML file, and Markdown of the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import yaml

from tasks.evaluate.leaderboard import AFTER_LOOKING, Board, Standing
from tasks.measures.seeds import Seeded
from tasks.metrics_table import valued
from tasks.report import leaderboard_figures as figures
from tasks.report.attempts import Missing, attempt, failures
from tasks.report.cells import Cells, Printed
from tasks.report.config import NOTE, Lineage
from tasks.report.document import Facts, Part, written
from tasks.report.facts import Cohort, Making, flattened
from tasks.report.findings import ERROR_RATE
from tasks.report.printing import (
    MISSING,
    environment,
    headline_of,
    number,
    p_value,
    span,
    why_withheld,
)

NOT_COMPARED = ("name", "finetune.seed")  # keys that differ by design


@dataclass(frozen=True)
class Contest:
    """All that the page tells."""

    name: str
    boards: Sequence[Board]
    seeds: tuple[int, ...]
    seconds: Mapping[str, float]  # entry -> of one seed's training, where it is known
    settings: Mapping[str, Mapping[str, Any]]  # run -> its whole configuration
    leaks: Mapping[str, Sequence[str]]  # run -> sentences: what was known too early
    lineage: Lineage
    cohort: Cohort  # the first run's; all have the same test admissions
    smallest_cell: int
    synthetic: bool  # whether the patients were generated
    made: Making

    @cached_property
    def counts(self) -> Printed:
        """In how many test admissions each outcome is known, by outcome; "test": all of them."""
        cells = Cells(self.smallest_cell)
        cells.add("test", self.cohort.splits[-1].admissions)
        cells.nested("test", {(board.outcome,): len(board.known.hadm_id) for board in self.boards})
        return cells.printed()


@dataclass(frozen=True)
class Glance:
    """The main finding of an outcome, above all else on the page."""

    title: str
    value: str  # the highest macro AUROC
    interval: str
    sentences: str


@dataclass(frozen=True)
class Settings:
    """What the runs' configurations have in common, and the keys in which they differ."""

    runs: tuple[str, ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]  # key, a value a run
    common: str  # YAML


def write_page(out: Path, contest: Contest) -> list[Missing]:
    """Write `report.html`, `report.md`, and `headline.json` (the table for a terminal).

    Returns what could not be made; everything else was.
    """
    with failures() as missing:
        rows = attempt("the headline", partial(headline, contest.boards))
        table = [] if isinstance(rows, Missing) else rows
        (out / "headline.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
        templates, shared = environment(), _shared(contest)
        for form, sections in written(templates, "leaderboard", _parts(contest), shared).items():
            top = [section for section in sections if section.name == "top"]
            given = {**shared, "top": top, "sections": sections[len(top) :]}
            text = templates.get_template(f"leaderboard.{form}").render(given)
            (out / f"report.{form}").write_text(text, encoding="utf-8")
    return missing


def headline(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """The table for a terminal: a row for each outcome and model, the best first."""
    return [
        {
            "outcome": board.outcome,
            "model": standing.entry.name,
            "seeds": _seeds(standing),
            **headline_of(as_row(standing.macro)),
            "difference": standing.to_reference and number(as_row(standing.to_reference), "+.3f"),
            "p (Holm)": standing.to_reference and p_value(standing.holm),
            NOTE: why_withheld(as_row(standing.macro)),
        }
        for board in boards
        for standing in board.standings
    ]


def compared(settings: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Tell what differs between the runs from what they share."""
    flat = {
        run: {
            key: value
            for key, value in flattened(dict(found))
            if not any(key == name or key.startswith(f"{name}.") for name in NOT_COMPARED)
        }
        for run, found in settings.items()
    }
    keys = list(dict.fromkeys(key for found in flat.values() for key in found))
    differing, common = [], {}
    for key in keys:
        values = [found.get(key, MISSING) for found in flat.values()]
        if all(value == values[0] for value in values):
            common[key] = values[0]
        else:
            differing.append((key, tuple("none" if one is None else str(one) for one in values)))
    text = yaml.safe_dump(common, sort_keys=False, width=88)
    return Settings(tuple(settings), tuple(differing), text)


def as_row(found: Seeded) -> dict[str, Any]:
    """An estimate over seeds as a metrics row, which is what can be printed."""
    ends = {"value": found.value, "low": found.low, "high": found.high}
    known = {name: None if math.isnan(end) else end for name, end in ends.items()}
    return known | {"method": valued("", found, found.method)["method"]}


def _shared(contest: Contest) -> dict[str, Any]:
    return {
        "contest": contest,
        "boards": contest.boards,
        "seeds": contest.seeds,
        "leaks": {run: found for run, found in contest.leaks.items() if found},
        "after_looking": AFTER_LOOKING,
        "row_of": as_row,
    }


def _parts(contest: Contest) -> list[Part]:
    """The sections of the page in their order; the first stands above the list of them."""
    boards = contest.boards
    names = dict.fromkeys(standing.entry.name for board in boards for standing in board.standings)
    styles = {name: index for index, name in enumerate(sorted(names))}

    def of_results() -> Facts:
        one_checkpoint = any(
            standing.entry.trained("macro").one_checkpoint
            for board in boards
            for standing in board.standings
        )
        return {
            "forests": figures.forests(boards, styles),
            "one_checkpoint": one_checkpoint,
            "seeds_of": _seeds,
        }

    return [
        Part("top", "At a glance", lambda: {"glance": [_glance(board) for board in boards]}),
        Part("results", "Results", of_results),
        Part(
            "cost",
            "Cost",
            lambda: {"efficiencies": figures.efficiency(boards, styles, contest.seconds)},
        ),
        Part("seeds", "Seeds", lambda: {"aurocs_by_seed": _aurocs_by_seed}),
        Part("differs", "What differs", lambda: {"settings": compared(contest.settings)}),
        Part("numbers", "What the numbers mean"),
        Part("lineage", "Lineage"),
    ]


def _glance(board: Board) -> Glance:
    """What an outcome's table says, in words."""
    title, first = figures.outcome_title(board.outcome), board.standings[0]
    row = as_row(first.macro)
    if row["value"] is None:
        return Glance(title, number(row), "", "No label has both cases and controls in test.")
    words = f"{first.entry.name} is highest."
    if board.comparisons:
        parts = [
            f"{side} {board.reference}: {', '.join(names)}"
            for side, names in zip(("above", "below"), _told_apart(board), strict=True)
            if names
        ]
        found = "; ".join(parts) if parts else f"no model is told apart from {board.reference}"
        words = f"{words} After Holm's correction (p below 0.05), {found}."
    if reason := why_withheld(row):
        words = f"{words} Its interval is withheld: {reason}; so the number says little by itself."
    return Glance(title, number(row), span(row), words)


def _told_apart(board: Board) -> tuple[list[str], list[str]]:
    """The models above the reference and those below it, by their corrected p-values."""
    told: tuple[list[str], list[str]] = ([], [])
    for standing in board.standings:
        if standing.to_reference and standing.holm is not None and standing.holm < ERROR_RATE:
            told[standing.to_reference.value < 0].append(standing.entry.name)
    return told


def _seeds(standing: Standing) -> str:
    """How many seeds the row is over.

    A model that came out the same from all of them has nothing to average.
    """
    entry = standing.entry
    return "any" if entry.deterministic else str(len(entry.seeds))


def _aurocs_by_seed(standing: Standing, seeds: Sequence[int]) -> tuple[list[str], str]:
    """The macro AUROC of each seed, and their standard deviation."""
    model = standing.entry.trained("macro")
    estimates = model.estimates * (len(seeds) if standing.entry.deterministic else 1)
    spread = MISSING if math.isnan(model.spread) else f"{model.spread:.4f}"
    return [_number(one.value) for one in estimates], spread


def _number(value: float) -> str:
    return number({"value": None if math.isnan(value) else value})
