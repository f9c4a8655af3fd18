"""Writes the general corpus: plain English on everyday things and lay talk of health, no clinical notes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from tasks.synth import phrases
from tasks.synth.catalog import Catalog

_PEOPLE = (
    "my neighbor,the teacher,a friend,the old man,the young woman,our guide,her brother,his mother,"
    "the farmer,the driver,a student,the cook,the shopkeeper,my grandmother,the doctor,a nurse,"
    "the whole family,the captain,a visitor,the mayor"
).split(",")
_PLACES = (
    "the market,the station,the river,the garden,the hospital,the library,a small town,the coast,"
    "the kitchen,the office,the school,the mountains,the clinic,the harbor,the village square"
).split(",")
_TIMES = (
    "in the morning,last week,on Sunday,after the storm,before dinner,in early spring,years ago,"
    "every evening,during the winter,at noon,once a month,as a child,after two days,for many years"
).split(",")
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
)


def general_corpus(catalog: Catalog, seed: int, characters: int = 500_000) -> str:
    """Return documents of several sentences, one a paragraph, blank lines between.

    No form that is held out of the training notes occurs, and no abbreviation: the topics are the
    forms in plain words, each sentence by itself, so nothing says which two mean the same.
    """
    draw = Random(f"general/{seed}")
    topics = _plain_names(catalog)
    complaints = [word for words in phrases.COMPLAINTS for word in words]
    documents = []
    length = 0
    while length < characters:
        health = draw.random() < 0.6
        sentences = [
            _sentence(_HEALTH if health and draw.random() < 0.75 else _EVERYDAY, topics, complaints, draw)
            for _ in range(4 + int(draw.random() * 8))
        ]
        documents.append(" ".join(sentences))
        length += len(documents[-1]) + 2
    return "\n\n".join(documents) + "\n"


def _sentence(
    frames: Sequence[str], topics: Sequence[str], complaints: Sequence[str], draw: Random
) -> str:
    who, other, place, time = (_pick(words, draw) for words in (_PEOPLE, _PEOPLE, _PLACES, _TIMES))
    complaint = _pick(complaints, draw)
    return _pick(frames, draw).format(
        who=who,
        Who=_capital(who),
        other=other,
        place=place,
        time=time,
        Time_=_capital(time) + ",",
        topic=_pick(topics, draw),
        topic2=_pick(topics, draw),
        complaint=complaint,
        Complaint=_capital(complaint),
    )


def _plain_names(catalog: Catalog) -> list[str]:
    """The forms that a newspaper could print: small letters, and no abbreviation."""
    forms = [form for condition in catalog.conditions for form in condition.forms]
    drugs = [condition.drug for condition in catalog.conditions]
    return [name for name in forms + drugs if re.fullmatch(r"[a-z ]+", name) and len(name) > 4]


def _pick(options: Sequence[str], draw: Random) -> str:
    return options[int(draw.random() * len(options))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
