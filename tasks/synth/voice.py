"""The writer of one note: which form of a name it uses, and how it affirms and denies."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tasks.synth import draws
from tasks.synth.catalog import Catalog
from tasks.synth.phrases import PHRASES

_PHRASES = PHRASES.admission
COMPLAINTS = tuple(word for words in _PHRASES.complaints for word in words)
_COMPLAINT_REPEATED = 0.1
_ABSENT_FINDINGS = 2  # pertinent negatives of each exam


class Voice:
    """Takes the catalog's names, that share of them held-out forms, as the draws decide."""

    def __init__(self, catalog: Catalog, held_out_share: float, draw: Random) -> None:
        self._conditions = catalog.conditions
        self._held_out_share = held_out_share
        self._draw = draw

    def pick(self, options: Sequence[str]) -> str:
        return draws.pick(options, self._draw.random())

    def name(self, condition: int) -> str:
        known = self._conditions[condition]
        held_out = self._draw.random() < self._held_out_share
        return self.pick(known.held_out if held_out else known.forms)

    def frame(self, frames: Sequence[str], condition: int) -> str:
        name = self.name(condition)
        who = self.pick(_PHRASES.relatives)
        return self.pick(frames).format(
            name=name, Name=capital(name), who=who, who_small=who.lower()
        )

    def negated(self, frames: Sequence[str], conditions: list[int]) -> list[str]:
        """Deny the conditions, up to four in one sentence."""
        sentences = []
        for start in range(0, len(conditions), 4):
            names = [self.name(condition) for condition in conditions[start : start + 4]]
            sentences.append(named(self.pick(frames), names))
        return sentences

    def opening(self, known: list[str], sex: str, complaint: str) -> str:
        """The first sentence; most leave the complaint to the section for it."""
        frames: Sequence[str]
        if self._draw.random() < _COMPLAINT_REPEATED:
            frames = _PHRASES.openings if known else _PHRASES.bare_openings
        else:
            frames = _PHRASES.vague_openings if known else _PHRASES.bare_vague_openings
        return self.pick(frames).format(sex=sex, known=", ".join(known), complaint=complaint)

    def exam(self, finding: int) -> str:
        """The finding, and absent ones, which say nothing about the patient."""
        others = [words for index, words in enumerate(_PHRASES.findings[:-1]) if index != finding]
        absent = [self.pick(words) for words in self._draw.sample(others, _ABSENT_FINDINGS)]
        lines = [capital(self.pick(_PHRASES.findings[finding])) + "."]
        lines.append(named(self.pick(_PHRASES.not_found), absent))
        self._draw.shuffle(lines)
        return "\n".join(lines)

    def affirmed(self, conditions: list[int]) -> tuple[list[str], list[str]]:
        """Spread the names over the opening sentence and the past history, a few in both."""
        opening, past = [], []
        for condition in conditions:
            uniform = self._draw.random()
            if uniform < 0.5:
                opening.append(self.name(condition))
            if uniform > 0.4:
                past.append(self.name(condition))
        return opening, past


def named(frame: str, names: Sequence[str]) -> str:
    joined = " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    return frame.format(names=joined, Names=capital(joined))


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
