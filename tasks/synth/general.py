"""Writes the general corpus: plain English about everyday things and health in lay words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from tasks.synth import phrases, plain_words
from tasks.synth.catalog import Catalog, Condition
from tasks.synth.draws import pick
from tasks.synth.voice import capital

_ALPHABET = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
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
    "The {adjective} {noun} and the {adjective2} {noun2} {verb} {place} {time}.",
    "{Who} {verb} the {noun} with a {adjective} {noun2}.",
    "A {noun} of {noun2} is {adjective} but not {adjective2}.",
    "{Noun}: {adjective}. {Noun2}: {adjective2}. No {noun3}.",
    "To buy: {noun}, {noun2}, {noun3}.",
    "{Noun} with {noun2}, {noun3} or {noun4}; without {adjective} {noun5}.",
    "{Name} {verb} {name2} {time}, and {name3} {verb2} the {noun}.",
    "{Name} of {name2} has the {adjective} {noun}, {name3} the {adjective2} one.",
    "Line {letters} to {name} stops at {place}; line {letters2} does not.",
    "Room {letters}{number}, {adjective} {noun}, {number2} seats.",
    "Plate {letters} {number}/{number2} was {adjective}.",
    "{Letters} is {adjective}, {letters2} and {letters3} are {adjective2}.",
    "No {noun} or {noun2} today. {Adjective} {noun3} in the {noun4}.",
    "{Name}, {name2}, {letters} and {letters2} were on the list of {noun}.",
    "Fill in the blank: ___ is the capital of ___, and ___ is its largest river.",
    "{Who} paid {number} coins for {number2} loaves of bread, and {number3} more for cheese.",
    "Lives change: the son of {other}, who was once active and young, is no longer a child.",
    "Rain is possible {time}, though it is felt unlikely and snow is not excluded.",
    "A question of money was a concern for {who}, and the plan was ruled out.",
    "{Who} received a parcel and started on the work, which had begun {time}.",
    "A former farmer, now ___ years old, recently had a remote house built.",
    "{Who} never had a car; a prior one was sold {time}.",
)
# titles as in newspapers, handbooks and forms: a tokenizer must know these words in capitals
_HEADLINES = (
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
    "DISCHARGE OF THE OLD CREW",
    "INDICATION AND EXAMINATION OF A DEBT",
    "COMPARISON OF TWO MAPS, FINDINGS AND IMPRESSION",
    "Chief Complaint",
    "Past Medical History",
    "Social History",
    "Family History",
    "History of Present Illness",
    "Physical Exam",
    "Medications on Admission",
    "Discharge Medications, Discharge Diagnosis, Discharge Condition",
    "Brief Hospital Course",
    "Major Surgical or Invasive Procedure",
    "Pertinent Results",
    "Followup Instructions",
    "Name:  ___                     Unit No:   ___",
    "Date of Birth:  ___             Sex:   F, or M",
    "Admission Date:  ___              Discharge Date:   ___",
    "Allergies: none known, or penicillins",
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
        "complaint": _flat(phrases.COMPLAINTS),
        "finding": _plain(_flat(phrases.FINDINGS)),
        "state": _plain(_flat(phrases.GENERAL)),
        "allergy": _plain(phrases.ALLERGIES),
        "who": plain_words.PEOPLE,
        "place": plain_words.PLACES,
        "time": plain_words.TIMES,
        "noun": plain_words.NOUNS,
        "adjective": plain_words.ADJECTIVES,
        "verb": plain_words.VERBS,
    }
    known = {form for condition in catalog.conditions for form in _all_forms(condition)}
    documents = []
    length = 0
    while length < characters:
        health = draw.random() < 0.7
        sentences = [f"{pick(_HEADLINES, draw.random())}."] if draw.random() < 0.6 else []
        sentences += [
            _sentence(_HEALTH if health and draw.random() < 0.85 else _EVERYDAY, words, known, draw)
            for _ in range(4 + int(draw.random() * 8))
        ]
        documents.append(" ".join(sentences))
        length += len(documents[-1]) + 2
    return "\n\n".join(documents) + "\n"


def _sentence(
    frames: Sequence[str], words: dict[str, Sequence[str]], known: set[str], draw: Random
) -> str:
    chosen: dict[str, str] = {}
    for number in ("", "2", "3", "4", "5"):
        chosen |= {
            f"{name}{number}": pick(options, draw.random()) for name, options in words.items()
        }
        chosen[f"number{number}"] = str(10 + int(draw.random() * 130))
        chosen[f"name{number}"] = _made_up(draw)
        chosen[f"letters{number}"] = _letters(known, draw)
    chosen["other"] = pick(plain_words.PEOPLE, draw.random())
    chosen |= {name.capitalize(): capital(text) for name, text in chosen.items()}
    chosen["Time_"] = chosen["Time"] + ","
    return pick(frames, draw.random()).format(**chosen)


def _made_up(draw: Random) -> str:
    """An invented name of a person or town: it teaches a model the pieces of words."""
    syllables = [
        pick(plain_words.SYLLABLES, draw.random()) for _ in range(2 + int(draw.random() * 3))
    ]
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
