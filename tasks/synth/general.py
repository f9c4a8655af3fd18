"""Writes the general corpus: plain English about everyday things and health in lay words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from tasks.synth.catalog import Catalog, Condition
from tasks.synth.draws import pick
from tasks.synth.phrases import PHRASES
from tasks.synth.voice import capital

_ALPHABET = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_PLAIN = PHRASES.plain


def general_corpus(catalog: Catalog, seed: int, characters: int = 600_000) -> str:
    """Return documents of several sentences, one a paragraph, with blank lines between them.

    No form that is held out of the training notes occurs, and no abbreviation: the topics are
    forms in plain words, each in a sentence of its own, so nothing says which two mean the same.
    """
    draw = Random(f"general/{seed}")
    topics = _plain([form for condition in catalog.conditions for form in condition.forms])
    words: dict[str, Sequence[str]] = {
        "topic": topics,
        "drug": _plain([condition.drug for condition in catalog.conditions]),
        "complaint": _flat(PHRASES.admission.complaints),
        "finding": _plain(_flat(PHRASES.admission.findings)),
        "state": _plain(_flat(PHRASES.admission.general)),
        "allergy": _plain(PHRASES.admission.allergies),
        "who": _PLAIN.people,
        "place": _PLAIN.places,
        "time": _PLAIN.times,
        "noun": _PLAIN.nouns,
        "adjective": _PLAIN.adjectives,
        "verb": _PLAIN.verbs,
    }
    known = {form for condition in catalog.conditions for form in _all_forms(condition)}
    documents = []
    length = 0
    while length < characters:
        health = draw.random() < 0.7
        sentences = [f"{pick(_PLAIN.headlines, draw.random())}."] if draw.random() < 0.6 else []
        sentences += [
            _sentence(words, known, draw, health=health and draw.random() < 0.85)
            for _ in range(4 + int(draw.random() * 8))
        ]
        documents.append(" ".join(sentences))
        length += len(documents[-1]) + 2
    return "\n\n".join(documents) + "\n"


def _sentence(
    words: dict[str, Sequence[str]], known: set[str], draw: Random, *, health: bool
) -> str:
    chosen: dict[str, str] = {}
    for number in ("", "2", "3", "4", "5"):
        chosen |= {
            f"{name}{number}": pick(options, draw.random()) for name, options in words.items()
        }
        chosen[f"number{number}"] = str(10 + int(draw.random() * 130))
        chosen[f"name{number}"] = _made_up(draw)
        chosen[f"letters{number}"] = _letters(known, draw)
    chosen["other"] = pick(_PLAIN.people, draw.random())
    chosen |= {name.capitalize(): capital(text) for name, text in chosen.items()}
    chosen["Time_"] = chosen["Time"] + ","
    frames = _PLAIN.health if health else _PLAIN.everyday
    return pick(frames, draw.random()).format(**chosen)


def _made_up(draw: Random) -> str:
    """An invented name of a person or town: it teaches a model the pieces of words."""
    syllables = [pick(_PLAIN.syllables, draw.random()) for _ in range(2 + int(draw.random() * 3))]
    return capital("".join(syllables))


def _letters(known: set[str], draw: Random) -> str:
    """Two to four capital letters that are no clinical abbreviation."""
    while True:
        text = "".join(pick(_ALPHABET, draw.random()) for _ in range(2 + int(draw.random() * 3)))
        if text.lower() not in known:
            return text


def _all_forms(condition: Condition) -> list[str]:
    forms = (*condition.forms, *condition.held_out, condition.drug)
    return [word for form in forms for word in form.lower().split()]


def _plain(names: Sequence[str]) -> list[str]:
    """The names that a newspaper could print: lower case, and no abbreviation."""
    return [name for name in names if re.fullmatch(r"[a-z ]+", name) and len(name) > 4]


def _flat(groups: Sequence[Sequence[str]]) -> list[str]:
    return [name for group in groups for name in group]
