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

TEMPLATES = Path(__file__).parent / "templates"
MISSING = "\u2013"  # an en dash
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
class Settings:
    """What the runs' configurations have in common, and the keys in which they differ."""

    runs: tuple[str, ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]  # key, a value a run
    common: str  # YAML


def write_page(out: Path, contest: Contest) -> None:
    """Write `report.html`, `report.md`, and `headline.json` (the table for a terminal)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        auroc=_auroc,
        span=_span,
        signed=_signed,
        signed_span=lambda found: _span(found, sign=True),
        p_value=_p_value,
        count=lambda value: f"{value:,.0f}",
        outcome=figures.outcome_title,
    )
    context = _context(contest)
    for made, template in (("report.html", "leaderboard.html"), ("report.md", "leaderboard.md")):
        text = environment.get_template(template).render(context)
        (out / made).write_text(text, encoding="utf-8")
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
            "micro AUROC": _rounded(standing.micro.value),
            "minus the reference": standing.to_reference and _signed(standing.to_reference),
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
        "glance": [_sentence(board) for board in contest.boards],
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


def _sentence(board: Board) -> str:
    """What an outcome's table says, in words."""
    title, first = figures.outcome_title(board.outcome), board.standings[0]
    if math.isnan(first.macro.value):
        return f"{title}: no label has both cases and controls in test."
    words = f"{title}: {first.entry.name} is highest, at {figures.in_words(first)}."
    told = {True: [], False: []}  # type: dict[bool, list[str]]
    for standing in board.standings:
        if standing.holm is not None and standing.holm < 0.05 and standing.to_reference:
            told[standing.to_reference.value > 0].append(standing.entry.name)
    parts = [
        f"{side} {board.reference}: {', '.join(names)}"
        for side, names in (("above", told[True]), ("below", told[False]))
        if names
    ]
    if not board.comparisons:
        return f"{words} There is nothing to compare it with."
    found = "; ".join(parts) if parts else f"no model is told apart from {board.reference}"
    return f"{words} After Holm's correction (p below 0.05), {found}."


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
        return "interval withheld"
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
