"""The eight sections of generated notes: recall, precision and MB/s, beside two published rules.

Characters of aligned words count (`tests/ingest/section_scores.py`); a row holds the worst and the
mean section. The full table, section by section, is printed above the bench's.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.ingest.sections import SECTIONS, sections_of
from tests.ingest.layouts import Note, Part, write_note
from tests.ingest.published_rules import core_rule, port_rule
from tests.ingest.section_scores import Rule, Scores, score

_NOTES = 1_000
_PARTS: tuple[Part, ...] = ("template", "development", "held out")
_PEERS: dict[str, Rule] = {"CORE's rule": core_rule, "its MIMIC-IV port": port_rule}
_GOAL = 0.99
_GOAL_SPEED = 20.0  # MB/s a core
_TURNS = 3
_HARD = {
    "line feeds": "\n" * 5_000_000,
    "blanks": "Physical Exam:\n" + " " * 5_000_000,
    "lines of blanks": " \n" * 2_500_000,
    "colons": "Physical Exam" + ":" * 5_000_000,
    "quotes": "HPI:\n" + '"' * 5_000_000,
    "headings": "Past Medical History:\n" * 230_000,
}


def rows() -> list[dict[str, Any]]:
    """Each measure once a peer."""
    found = []
    for part in _PARTS:
        notes = [write_note(part, Random(f"{part} {i}")) for i in range(_NOTES)]
        ours = score(sections_of, notes)
        peers = {name: score(rule, notes) for name, rule in _PEERS.items()}
        _show(part, {"ours": ours, **peers})
        for name, peer in peers.items():
            found += _quality(part, ours, name, peer)
        found += _speed(part, notes)
    return found + _hard()


def _quality(part: Part, ours: Scores, peer_name: str, peer: Scores) -> list[dict[str, Any]]:
    measures: dict[str, Callable[[Scores], float]] = {
        "recall, mean section": lambda scores: scores.macro()[0],
        "precision, mean section": lambda scores: scores.macro()[1],
        "recall, worst section": lambda scores: min(map(scores.recall, SECTIONS)),
        "precision, worst section": lambda scores: min(map(scores.precision, SECTIONS)),
        "recall, all characters": lambda scores: scores.pooled()[0],
        "precision, all characters": lambda scores: scores.pooled()[1],
    }
    rows = []
    for what, measure in measures.items():
        mine, other = measure(ours), measure(peer)
        ratio = mine / other if other else None
        rows.append(_row(f"{part}: {what}", "share", mine, other, peer_name, ratio, _GOAL))
    return rows


def _speed(part: Part, notes: list[Note]) -> list[dict[str, Any]]:
    texts = [note.text for note in notes]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    mine = megabytes / _seconds(sections_of, texts)
    tracemalloc.start()
    score(sections_of, notes[:200])
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    rows = []
    for name, rule in _PEERS.items():
        other = megabytes / _seconds(rule, texts)
        row = _row(f"{part}: speed", "MB/s", mine, other, name, mine / other, _GOAL_SPEED)
        rows.append({**row, "peak_mib": peak})
    return rows


def _hard() -> list[dict[str, Any]]:
    """5 MB of what makes a backtracking pattern quadratic."""
    return [
        _row(f"5 MB of {what}", "MB/s", len(text) / 1e6 / _seconds(sections_of, [text]))
        for what, text in _HARD.items()
    ]


def _seconds(rule: Rule, texts: list[str]) -> float:
    def once() -> float:
        began = time.process_time()
        for text in texts:
            rule(text)
        return time.process_time() - began

    return min(once() for _ in range(_TURNS))


def _row(
    what: str,
    unit: str,
    ours: float,
    peer: float | None = None,
    peer_name: str | None = None,
    ratio: float | None = None,
    goal: float | None = None,
) -> dict[str, Any]:
    return {
        "what": what,
        "unit": unit,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": ratio,
        "goal": goal,
        "peak_mib": None,
    }


def _show(part: Part, all_scores: dict[str, Scores]) -> None:
    table = Table("section", *all_scores, title=f"{part}: recall / precision")
    for section in SECTIONS:
        cells = [
            f"{s.recall(section):.4f} / {s.precision(section):.4f}" for s in all_scores.values()
        ]
        table.add_row(section, *cells)
    Console().print(table)
