"""The search for the settings of TF-IDF that score best on validation.

A grid of two lengths of n-grams, two lists of stop words and five values of C would take 20 fits of
every label; this takes five to ten. The stop words are chosen first, then the n-grams, both at the
middle C, then C by climbing from there as long as the score rises; where C has moved, stop words
and n-grams are chosen anew at that C, and so on until C stays. Large values of C, which take the
longest to fit, are so tried only where smaller ones do not score better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tasks.baselines.config import TfidfConfig
from tasks.baselines.vocabularies import Vocabulary


@dataclass(frozen=True)
class Settings:
    """What the terms are, and how strongly the regressions on them are regularized."""

    vocabulary: Vocabulary
    strength: float  # C: the smaller, the stronger


Score = Callable[[Settings], float]  # higher is better; asked of the same settings more than once


def best_settings(config: TfidfConfig, score: Score) -> Settings:
    """The settings that nothing scores above that differs in one of the three choices.

    Of equal ones, those that were tried first.
    """
    strengths = sorted(config.strengths)
    vocabulary = Vocabulary(config.longest_ngrams[0], config.stop_words[0])
    best = Settings(vocabulary, strengths[(len(strengths) - 1) // 2])
    while True:
        best = _with_best_vocabulary(best, config, score)
        climbed = _with_best_strength(best, strengths, score)
        if climbed == best:
            return best
        best = climbed


def expected_tries(config: TfidfConfig) -> int:
    """How many settings the search tries where C stays at the middle one; else it is more."""
    vocabularies = len(config.stop_words) + len(config.longest_ngrams) - 1
    return vocabularies + min(2, len(config.strengths) - 1)


def _with_best_vocabulary(best: Settings, config: TfidfConfig, score: Score) -> Settings:
    """Choose the stop words, then the n-grams."""

    def with_best(vocabularies: Iterable[Vocabulary]) -> Settings:
        return max([best, *(replace(best, vocabulary=other) for other in vocabularies)], key=score)

    best = with_best(replace(best.vocabulary, stop_words=words) for words in config.stop_words)
    return with_best(replace(best.vocabulary, longest_ngram=n) for n in config.longest_ngrams)


def _with_best_strength(best: Settings, strengths: Sequence[float], score: Score) -> Settings:
    """Climb to smaller values of C, or else to larger ones."""
    start = strengths.index(best.strength)
    for ladder in (strengths[:start][::-1], strengths[start + 1 :]):
        climbed = best
        for strength in ladder:
            candidate = replace(best, strength=strength)
            if score(candidate) <= score(climbed):
                break
            climbed = candidate
        if climbed != best:
            return climbed
    return best
