"""Notes as MIMIC-III has them: bracketed placeholders, headings in capitals, addenda, nursing."""

from __future__ import annotations

import re
from random import Random

from tasks.synth.draws import pick
from tasks.synth.phrases import PHRASES

_PHRASES = PHRASES.mimic_iii
_HEADING = re.compile(rf"^({'|'.join(_PHRASES.headings)}):[ ]*\n?", re.MULTILINE)
_DATED = re.compile(r"(Admission Date|Discharge Date|Date of Birth): {2,3}___")
_AGE = re.compile(r"___(?= year old| yo )")
_DICTATED_SHARE = 0.4  # of the summaries: capitals, the body on the heading's line


def summary_iii(text: str, age: int, admitted: str, discharged: str, draw: Random) -> str:
    """A discharge note of MIMIC-IV's layout in MIMIC-III's; dates are days."""
    days = {"Admission Date": plain_day(admitted), "Discharge Date": plain_day(discharged)}
    text = _DATED.sub(lambda match: f"{match[1]}:  [**{days.get(match[1]) or _year(draw)}**]", text)
    return placeholders(text, age, draw).replace("\n \n", "\n\n")


def restyled(text: str, draw: Random) -> str:
    """The summary unchanged, or in the style that was dictated in earlier years."""
    return _HEADING.sub(_dictated, text) if draw.random() < _DICTATED_SHARE else text


def placeholders(text: str, age: int, draw: Random) -> str:
    """Put an age or a bracketed placeholder wherever the text has ___.

    >>> placeholders("___ yo man", 64, Random(1)), placeholders("___ yo man", 91, Random(1))
    ('64 yo man', '[**Age over 90 **] yo man')
    """
    text = _AGE.sub(str(age) if age < 90 else "[**Age over 90 **]", text)
    return re.sub("___", lambda _: _placeholder(draw), text)


def addendum(draw: Random) -> str:
    """A later addition to a summary, with nothing that was known at admission."""
    return placeholders(
        "Name:  ___                     Unit No:   ___\n\nAddendum:\n"
        "The patient was seen again on the day of discharge.\n\n"
        f"Discharge Disposition:\nHome\n\nCompleted by:[**{_year(draw)}**]",
        age=0,
        draw=draw,
    )


def nursing_note(draw: Random) -> str:
    """A note of the category Nursing/other."""
    lines = draw.sample(_PHRASES.nursing, 4)
    values = {"hr": 60 + int(draw.random() * 60), "sbp": 90 + int(draw.random() * 70)}
    return "NPN 7p-7a\n\n" + "\n".join(
        line.format(state=pick(_PHRASES.states, draw.random()), **values) for line in lines
    )


def plain_day(day: str) -> str:
    """A day as the notes write it: 2150-1-9.

    >>> plain_day("2150-01-09")
    '2150-1-9'
    """
    return "-".join(str(int(part)) for part in day.split("-"))


def _dictated(heading: re.Match[str]) -> str:
    name = heading[1].upper()
    return f"{_PHRASES.older.get(name, name)}:  "


def _placeholder(draw: Random) -> str:
    return pick(_PHRASES.placeholders, draw.random()).format(n=1 + int(draw.random() * 28))


def _year(draw: Random) -> str:
    return str(2020 + int(draw.random() * 60))
