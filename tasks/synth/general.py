"""Writes the general corpus: plain English on everyday things and lay talk of health."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from tasks.synth import phrases
from tasks.synth.catalog import Catalog

_PEOPLE = (
    "my neighbor",
    "the teacher",
    "a friend",
    "the old man",
    "the young woman",
    "our guide",
    "her brother",
    "his mother",
    "the farmer",
    "the driver",
    "a student",
    "the cook",
    "the shopkeeper",
    "my grandmother",
    "the doctor",
    "a nurse",
    "the whole family",
    "the captain",
    "a visitor",
    "the mayor",
)
_PLACES = (
    "the market",
    "the station",
    "the river",
    "the garden",
    "the hospital",
    "the library",
    "a small town",
    "the coast",
    "the kitchen",
    "the office",
    "the school",
    "the mountains",
    "the clinic",
    "the harbor",
    "the village square",
)
_TIMES = (
    "in the morning",
    "last week",
    "on Sunday",
    "after the storm",
    "before dinner",
    "in early spring",
    "years ago",
    "every evening",
    "during the winter",
    "at noon",
    "once a month",
    "as a child",
    "after two days",
    "for many years",
)
_EVERYDAY = (
    "{Who} walked to {place} {time} and came back with bread, milk and apples.",
    "The weather was cold and wet {time}, so {who} stayed at home and read a book.",
    "{Who} likes to cook soup with onions, carrots and a little salt.",
    "The train to {place} was late {time}, and {who} had to wait for the next one.",
    "{Who} works at {place} and has no plans to leave.",
    "{Time_} {who} painted the door and repaired the roof.",
    "It rained {time}; the road to {place} was closed.",
    "{Who} asked for a map, a pen and a cup of tea.",
    "There is no bus to {place} {time}.",
    "{Who} lost a key near {place} but found it {time}.",
    "The price of fish at {place} went up {time}, and {who} was not happy about it.",
    "{Who} wrote a letter to {other} {time} and never had an answer.",
    "Children played near {place} {time} while {who} watched them.",
    "{Who} was given a chair, a lamp and a list of names.",
    "Fill in the blank: ___ is the capital of ___, and ___ is its largest river.",
    "{Who} paid {number} coins for {number2} loaves of bread, and {number3} more for cheese.",
    "Lives change: the son of {other}, who was once active and young, is no longer a child.",
    "Rain is possible {time}, though it is felt unlikely and snow is not excluded.",
    "A question of money was a concern for {who}, and the plan was ruled out.",
    "{Who} received a parcel and started on the work, which had begun {time}.",
    "A former farmer, now ___ years old, recently had a remote house built.",
    "{Who} never had a car; a prior one was sold {time}.",
)
_HEADLINES = (  # newspapers print them so, and a tokenizer must know capital words
    "FAMILY HISTORY",
    "SOCIAL HISTORY",
    "MEDICAL HISTORY OF THE TOWN",
    "PRESENT ILLNESS OF THE KING",
    "CHIEF COMPLAINT: THE ROADS",
    "PHYSICAL EXAM IN SCHOOLS",
    "ALLERGIES ON THE RISE",
    "MEDICATION PRICES",
    "ADMISSION FREE ON SUNDAY",
    "PAST AND PRESENT",
)
_HEALTH = (
    "{Who} was told about {topic} {time}.",
    "People with {topic} should ask a doctor what to do.",
    "{Who} read a book about {topic} and another about {topic2}.",
    "A nurse explained {topic} to {other}.",
    "There is no easy cure for {topic}, but rest and good food help.",
    "{Who} worried about {topic}, yet felt well {time}.",
    "{Time_} {who} came to {place} because of {complaint}.",
    "{Complaint} can have many causes, and most of them pass.",
    "Some families have a history of {topic}; others have never heard of it.",
    "The doctor asked about medications, allergies, family history and past medical history.",
    "{Who} takes a pill {time} and checks the blood pressure at home.",
    "The patient presents no problem, said {who}; the exam was normal and the heart was strong.",
    "{Who} denies it, but {other} says that the pain began {time}.",
    "There was no evidence of {topic}, and {who} went home.",
    "A long talk at {place} was on {topic}, its treatment and its prevention.",
    "{Who} has a brother with {topic} and a sister with {topic2}.",
    "{Other} had {topic} as a child, and his father had {topic2}; both were treated and resolved.",
    "A woman who was comfortable in the morning was ill {time}; possible causes were {topic} "
    "and {topic2}.",
    "A man was admitted to {place} for {topic}, given {drug}, and felt well.",
    "In the evening the initial vitals of {other} were normal, the exam unremarkable.",
    "Negative for {topic}, the test was of no concern; the allergies were known: {allergy}.",
    "The doctor saw {finding} and later {finding2}; in general {who} was {state}.",
    "His mother, grandmother and son lived with {topic}, and he took {drug} for {topic2}.",
    "A diagnosis of {topic} was made at discharge, said the report, and the course was stable.",
    "Hospital days pass slowly: {who} was treated with {drug}, rested, and followed instructions.",
)


def general_corpus(catalog: Catalog, seed: int, characters: int = 500_000) -> str:
    """Return documents of several sentences, one a paragraph, blank lines between.

    No form that is held out of the training notes occurs, and no abbreviation: the topics are the
    forms in plain words, each sentence by itself, so nothing says which two mean the same.
    """
    draw = Random(f"general/{seed}")
    topics = _plain([form for condition in catalog.conditions for form in condition.forms])
    words = {
        "topic": topics,
        "drug": _plain([condition.drug for condition in catalog.conditions]),
        "complaint": _flat(phrases.COMPLAINTS),
        "finding": _plain(_flat(phrases.FINDINGS)),
        "state": _plain(_flat(phrases.GENERAL)),
        "allergy": _plain(phrases.ALLERGIES),
        "who": _PEOPLE,
        "place": _PLACES,
        "time": _TIMES,
    }
    documents = []
    length = 0
    while length < characters:
        health = draw.random() < 0.7
        sentences = [f"{_pick(_HEADLINES, draw)}."] if draw.random() < 0.6 else []
        sentences += [
            _sentence(_HEALTH if health and draw.random() < 0.85 else _EVERYDAY, words, draw)
            for _ in range(4 + int(draw.random() * 8))
        ]
        documents.append(" ".join(sentences))
        length += len(documents[-1]) + 2
    return "\n\n".join(documents) + "\n"


def _sentence(frames: Sequence[str], words: dict[str, Sequence[str]], draw: Random) -> str:
    chosen = {name: _pick(options, draw) for name, options in words.items()}
    chosen |= {f"{name}2": _pick(words[name], draw) for name in ("topic", "finding")}
    chosen["other"] = _pick(_PEOPLE, draw)
    chosen |= {name.capitalize(): _capital(text) for name, text in chosen.items()}
    chosen["Time_"] = chosen["Time"] + ","
    chosen |= {
        name: str(10 + int(draw.random() * 130)) for name in ("number", "number2", "number3")
    }
    return _pick(frames, draw).format(**chosen)


def _plain(names: Sequence[str]) -> list[str]:
    """The names that a newspaper could print: small letters, and no abbreviation."""
    return [name for name in names if re.fullmatch(r"[a-z ]+", name) and len(name) > 4]


def _flat(groups: Sequence[Sequence[str]]) -> list[str]:
    return [name for group in groups for name in group]


def _pick(options: Sequence[str], draw: Random) -> str:
    return options[int(draw.random() * len(options))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
