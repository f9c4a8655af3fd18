"""The leaderboard's page: one self-contained HTML file, and Markdown of the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.evaluate.config import Lineage
from tasks.evaluate.leaderboard import AFTER_LOOKING, Board, Standing
from tasks.evaluate.measures.seeds import Seeded
from tasks.evaluate.report import leaderboard_figures as figures
from tasks.evaluate.report.facts import flattened
from tasks.evaluate.report.printing import MISSING, WITHHELD, environment

ERROR_RATE = 0.05  # of any false finding among an outcome's comparisons with the reference
NOT_COMPARED = ("name", "preset", "launch", "finetune.seed")  # keys that differ by design


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


def write_page(out: Path, contest: Contest) -> None:
    """Write `report.html`, `report.md`, and `headline.json` (the table for a terminal)."""
    made = environment(smallest_cell=1)  # the page counts whole test splits only
    made.filters.update(
        auroc=_auroc,
        span=_span,
        signed=_signed,
        signed_span=lambda found: _span(found, sign=True),
        p_value=_p_value,
        outcome=figures.outcome_title,
    )
    context = _context(contest)
    for name, template in (("report.html", "leaderboard.html"), ("report.md", "leaderboard.md")):
        text = made.get_template(template).render(context)
        (out / name).write_text(text, encoding="utf-8")
    (out / "headline.json").write_text(json.dumps(headline(contest.boards), indent=1))


def headline(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """The table for a terminal: a row for each outcome and model, the best first."""
    return [
        {
            "outcome": board.outcome,
            "model": standing.entry.name,
            "seeds": _seeds(standing),
            "macro AUROC": _rounded(standing.macro.value),
            "low": _rounded(standing.macro.low),
            "high": _rounded(standing.macro.high),
            "difference": standing.to_reference and _signed(standing.to_reference),
            "p (Holm)": standing.to_reference and _p_value(standing.holm),
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


def _context(contest: Contest) -> dict[str, Any]:
    names = dict.fromkeys(
        standing.entry.name for board in contest.boards for standing in board.standings
    )
    styles = {name: index for index, name in enumerate(sorted(names))}
    return {
        "contest": contest,
        "boards": contest.boards,
        "glance": [_glance(board) for board in contest.boards],
        "seeds_of": _seeds,
        "seeds": contest.seeds,
        "aurocs_by_seed": _aurocs_by_seed,
        "forests": figures.forests(contest.boards, styles),
        "efficiencies": figures.efficiency(contest.boards, styles, contest.seconds),
        "settings": compared(contest.settings),
        "leaks": {run: found for run, found in contest.leaks.items() if found},
        "after_looking": AFTER_LOOKING,
        "one_checkpoint": any(
            standing.entry.trained("macro").one_checkpoint
            for board in contest.boards
            for standing in board.standings
        ),
    }


def _glance(board: Board) -> Glance:
    """What an outcome's table says, in words."""
    title, first = figures.outcome_title(board.outcome), board.standings[0]
    if math.isnan(first.macro.value):
        return Glance(title, MISSING, "", "No label has both cases and controls in test.")
    words = f"{first.entry.name} is highest."
    if board.comparisons:
        parts = [
            f"{side} {board.reference}: {', '.join(names)}"
            for side, names in zip(("above", "below"), _told_apart(board), strict=True)
            if names
        ]
        found = "; ".join(parts) if parts else f"no model is told apart from {board.reference}"
        words = f"{words} After Holm's correction (p below 0.05), {found}."
    return Glance(title, _auroc(first.macro), _span(first.macro), words)


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


def _auroc(found: Seeded) -> str:
    return _number(found.value)


def _number(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.3f}"


def _span(found: Seeded, sign: bool = False) -> str:
    if math.isnan(found.low):
        return WITHHELD
    form = "+.3f" if sign else ".3f"
    return f"{found.low:{form}} to {found.high:{form}}"


def _signed(found: Seeded) -> str:
    return MISSING if math.isnan(found.value) else f"{found.value:+.3f}"


def _p_value(value: float | None) -> str:
    if value is None or math.isnan(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)
