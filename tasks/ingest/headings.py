"""Read the words of a heading: which section they begin, in whatever style they are written.

The table (`heading_words.yaml`) has no phrases, but the words that make a heading (`past` and
`history`) and those that may accompany them (`medical`, `surgical`), so that their order, number,
abbreviations and connecting words do not matter. Any other word (`In the ED, initial vitals`)
makes it prose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

# The names of the sections in an admission note, in CORE's order
SECTIONS = (
    "CHIEF COMPLAINT",
    "PRESENT ILLNESS",
    "MEDICAL HISTORY",
    "MEDICATION ON ADMISSION",
    "ALLERGIES",
    "PHYSICAL EXAM",
    "FAMILY HISTORY",
    "SOCIAL HISTORY",
)


@dataclass(frozen=True, slots=True)
class Heading:
    """The section that a line's first words are the heading of."""

    section: str
    bare: bool = False  # a word that often begins a sentence, too: "Labs", "Exam"
    short: bool = False  # also an abbreviation of a disease: PE, ALL
    of_admission: bool = False  # says that it describes the admission, or the time before it
    part: bool = False  # a heading only within an exam: "On discharge"
    whole: bool = True  # False: the rest of a sentence follows


@lru_cache(maxsize=1 << 16)
def read_heading(line: str) -> Heading | None:
    """The heading that these words are, from the start of a line to a colon or the line's end.

    >>> read_heading("Hx of Present Illness").section, read_heading("PMHx/PSHx").section
    ('PRESENT ILLNESS', 'MEDICAL HISTORY')
    >>> read_heading("Past history is notable for") is None
    True
    """
    words = _words(line)
    if not words or len(words) > _MOST_WORDS:
        return None
    content = frozenset(words) - _BINDING
    if words[0] not in _PREPOSITIONS and not re.search(r"\d", line):
        for section, cores, beside in _TABLE:
            if any(core <= content and content - core <= beside for core in cores):
                letters = "".join(re.findall("[a-z]", line.lower()))
                return Heading(
                    section,
                    bare=content - _QUALIFIERS <= _BARE,
                    short=letters in _SHORT,
                    of_admission=bool(content & (_AT_ADMISSION | _AT_HOME)),
                )
    return _part_of_exam(words)


_WORDS: dict[str, Any] = yaml.safe_load(
    Path(__file__).with_name("heading_words.yaml").read_text(encoding="utf-8")
)


def _set(name: str) -> frozenset[str]:
    return frozenset(_WORDS[name].split())


_BINDING, _PREPOSITIONS, _QUALIFIERS = _set("binding"), _set("prepositions"), _set("qualifiers")
_BARE, _SHORT = _set("bare"), _set("short")
_AT_ADMISSION, _AT_HOME = _set("at_admission"), _set("at_home")
_EXAM_WORDS, _TIME_WORDS = _set("exam_words"), _set("time_words")
_MEANING: dict[str, str] = {
    spelling: meaning
    for meaning, spellings in _WORDS["spellings"].items()
    for spelling in spellings.split()
}
_PLURAL = re.compile(r"(?<=[a-z]{4})(?<![siu])s$")  # complaints, but not illness or status
_MOST_WORDS = 14
_OF_EXAM = _EXAM_WORDS | _TIME_WORDS | _AT_ADMISSION | _BINDING | {"discharge"}


def _part_of_exam(words: list[str]) -> Heading | None:
    """A subheading of the exam; a sentence may follow one that names both exam and time."""
    exam_words = set(takewhile(_OF_EXAM.__contains__, words))
    whole = exam_words == set(words)
    discharge, admission = "discharge" in exam_words, bool(exam_words & _AT_ADMISSION)
    if discharge == admission or not (whole or exam_words & (_EXAM_WORDS | _TIME_WORDS)):
        return None
    section = "DISCHARGE EXAM" if discharge else "PHYSICAL EXAM"
    return Heading(section, of_admission=admission, part=True, whole=whole)


def _words(line: str) -> list[str]:
    """The line's words in the spelling of the table.

    >>> _words("P.E. on D/C")
    ['physical', 'exam', 'on', 'discharge']
    """
    line = re.sub(r"\bd[./]c\b", "discharge", line.lower())
    line = re.sub(r"^a\s?[&/]\s?p\b", "assessment plan", line)
    line = re.sub(r"\b([a-z])\.(?=[a-z]\b)|(?<=\.[a-z])\.", r"\1", line)  # h.p.i.
    line = re.sub(r"follow[- ]?up", "followup", line)
    line = re.sub(r"\bpre-?\s?(?=admi|hosp)", "pre", line)
    line = re.sub(r"\bmed(?= (?:hx|history|hist|problem)s?\b)", "medical", line)
    words: list[str] = []
    for word in re.findall("[a-z]+", line):
        words += (_MEANING[word] if word in _MEANING else _PLURAL.sub("", word)).split()
    return words


_TABLE = [
    (
        entry["section"],
        [frozenset(words.split()) for words in entry["words"].split("|")],
        frozenset(entry.get("beside", "").split()) | _QUALIFIERS,
    )
    for entry in _WORDS["headings"]
]
_VOCABULARY = frozenset(
    word for _, cores, beside in _TABLE for words in (*cores, beside) for word in words
)
# Most lines begin with another word, and need no further look
FIRST_WORDS = (
    _VOCABULARY
    | {word + "s" for word in _VOCABULARY}
    | frozenset(_MEANING)
    | frozenset(("on", "at", "upon", "day", "follow", *"acdfhps"))
)
