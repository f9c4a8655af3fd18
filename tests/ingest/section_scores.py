"""Recall and precision of sections: the share of the characters of words that were found in place.

The words of what a section holds and of what was found are aligned (difflib's matching blocks, so
never more than their longest common subsequence), and each word counts by its length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from tasks.ingest.headings import SECTIONS
from tests.ingest.layouts import Note

Rule = Callable[[str], dict[str, str]]


@dataclass
class Scores:
    """Characters of words per section."""

    held: Counter[str] = field(default_factory=Counter)
    extracted: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)

    def recall(self, section: str) -> float:
        return self.right[section] / self.held[section]

    def precision(self, section: str) -> float:
        return self.right[section] / max(self.extracted[section], 1)

    def macro(self) -> tuple[float, float]:
        """Recall and precision, the mean of the eight sections."""
        recalls = sum(map(self.recall, SECTIONS)) / len(SECTIONS)
        return recalls, sum(map(self.precision, SECTIONS)) / len(SECTIONS)

    def pooled(self) -> tuple[float, float]:
        """Recall and precision over all characters of the eight sections."""
        right = self.right.total()
        return right / self.held.total(), right / self.extracted.total()


def score(rule: Rule, notes: Iterable[Note]) -> Scores:
    """Score a rule on notes of which the sections are known."""
    scores = Scores()
    for note in notes:
        sections = rule(note.text)
        for section in SECTIONS:
            held, taken = note.held.get(section, ""), sections.get(section, "")
            scores.held[section] += _characters(held.split())
            scores.extracted[section] += _characters(taken.split())
            scores.right[section] += in_common(held, taken)
    return scores


def in_common(one: str, other: str) -> int:
    """The characters of the words that both texts have in the same order.

    >>> in_common("no chest pain", "he has chest pain no")
    9
    """
    words, others = one.split(), other.split()
    if words == others:
        return _characters(words)
    blocks = SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    return sum(_characters(words[block.a : block.a + block.size]) for block in blocks)


def _characters(words: list[str]) -> int:
    return sum(map(len, words))
