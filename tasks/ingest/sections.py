"""Cut a discharge summary into the eight sections that are known at admission.

A heading is a line's beginning up to a colon that stands in the table below. The published rules
take any words before a colon for a heading, which cuts the present illness at "In the ED, initial
vitals:", or ask for an empty line before it, which MIMIC-IV's whitespace-only lines are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# The name under which a section stands in an admission note, in CORE's order
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
_NEEDED = SECTIONS[:3]  # a note without any of them says nothing about the admission
_ELSEWHERE = ""  # a heading that ends a section and begins none of the eight
_COURSE = "hospital course"  # from here on, nothing but the admission's medications is known early

_HEADINGS = {
    "CHIEF COMPLAINT": ("chief complaint", "chief complaints", "cc", "reason for admission"),
    "PRESENT ILLNESS": (
        "history of present illness",
        "history of the present illness",
        "present illness",
        "hpi",
    ),
    "MEDICAL HISTORY": (
        "past medical history",
        "past medical and surgical history",
        "past medical/surgical history",
        "past surgical history",
        "medical history",
        "pmh",
        "pmhx",
        "pmh/psh",
        "psh",
    ),
    "MEDICATION ON ADMISSION": (
        "medications on admission",
        "medication on admission",
        "meds on admission",
        "admission medications",
        "preadmission medications",
        "home medications",
        "home meds",
        "medications prior to admission",
    ),
    "ALLERGIES": ("allergies", "allergies/adverse drug reactions", "allergy"),
    "PHYSICAL EXAM": (
        "physical exam",
        "physical examination",
        "admission physical exam",
        "admission physical examination",
        "admission exam",
        "physical exam on admission",
        "exam on admission",
    ),
    "FAMILY HISTORY": ("family history", "fhx", "family hx"),
    "SOCIAL HISTORY": ("social history", "shx", "social hx"),
    _COURSE: (
        "brief hospital course",
        "hospital course",
        "summary of hospital course",
        "course in hospital",
        "hospital course by system",
        "hospital course by problem",
    ),
    _ELSEWHERE: (
        "attending",
        "service",
        "major surgical or invasive procedure",
        "pertinent results",
        "pertinent labs",
        "laboratory data",
        "admission labs",
        "discharge labs",
        "discharge physical exam",
        "discharge physical examination",
        "discharge exam",
        "discharge medications",
        "discharge disposition",
        "discharge diagnosis",
        "discharge diagnoses",
        "final diagnosis",
        "discharge condition",
        "discharge instructions",
        "followup instructions",
        "follow-up instructions",
        "facility",
    ),
}
_SECTION_OF = {words: section for section, all_words in _HEADINGS.items() for words in all_words}

# Both are anchored at a line feed and bounded, so their time is linear in the text
_HEADING = re.compile(r"\n[ \t]*([A-Za-z][A-Za-z /&-]{1,60}?)[ \t]*:")
_EXAM_PART = re.compile(
    r"""\n[^\w\n]{0,20}
    (?: (?P<discharge> (?:discharge|d/c|dc)\b (?=[ \t]*(?:[-:=/(\n]|$
            |(?:day|physical|exam|examination|pe|vitals?|vs|weight|labs)\b))
        | (?:physical|exam|examination|pe|vitals?|vs|vital\ signs)\b [^.:\n]{0,40}
          \b(?:on|at|upon|prior\ to|of|before)\ (?:the\ )?(?:day\ of\ )?(?:discharge|d/c|dc)\b
        | (?:on|at|upon|prior\ to)\ (?:discharge|d/c)\b (?=[ \t]*[:\n]) )
    | (?P<admission> (?:admission|admit)\b (?=[ \t]*(?:[-:=/(\n]
            |(?:day|physical|exam|examination|pe|vitals?|vs)\b))
        | (?:physical|exam|examination|pe|vitals?|vs|vital\ signs)\b [^.:\n]{0,40}
          \b(?:on|at|upon)\ (?:admission|presentation|arrival)\b
        | (?:on|at|upon)\ admission\b (?=[ \t]*[:\n]) ) )""",
    re.IGNORECASE | re.VERBOSE,
)
# CORE's rule: in these two sections the phrase goes, elsewhere the admission (`mortality.py`)
_DEATH = re.compile(
    r"\b(?:patient|pt)\s{1,3}(?:had\s|has\s)?(?:expired|died|passed\saway|deceased)\b",
    re.IGNORECASE,
)
_WITHOUT_DEATH = ("MEDICATION ON ADMISSION", "PHYSICAL EXAM")


def sections_of(text: str) -> dict[str, str]:
    r"""The sections of one note that are there and not empty, white space made single blanks.

    A section that occurs twice is joined. After the hospital course began, only the medications
    on admission are taken. In the physical exam, what stands under a discharge heading is left
    out.

    >>> sections_of("Allergies: \nnone\n \nSocial History:\n___\nFamily History:\ngout")
    {'ALLERGIES': 'none', 'FAMILY HISTORY': 'gout', 'SOCIAL HISTORY': '___'}
    """
    found: dict[str, list[str]] = {}
    for section, body in _pieces("\n" + text):
        if section == "PHYSICAL EXAM":
            body = _at_admission(body)
        if section in _WITHOUT_DEATH:
            body = _DEATH.sub(" ", body)
        if body := " ".join(body.split()):
            found.setdefault(section, []).append(body)
    return {section: " ".join(found[section]) for section in SECTIONS if section in found}


def admission_note(notes: Iterable[dict[str, str]]) -> str:
    """The admission note made of the sections of an admission's notes; "" if it says nothing.

    The sections stand in CORE's order under CORE's headings; those that are absent are left out. A
    note that only repeats a section adds nothing.
    """
    parts: dict[str, list[str]] = {}
    for note in notes:
        for section, body in note.items():
            if body not in parts.setdefault(section, []):
                parts[section].append(body)
    if not any(section in parts for section in _NEEDED):
        return ""
    return "\n\n".join(
        f"{section}: {' '.join(parts[section])}" for section in SECTIONS if section in parts
    )


def _pieces(text: str) -> Iterable[tuple[str, str]]:
    """Each section's name and body, in the note's order; other parts are passed over."""
    section, start, after_course = _ELSEWHERE, 0, False
    for heading in _HEADING.finditer(text):
        words = " ".join(heading[1].lower().split())
        following = _SECTION_OF.get(words)
        if following is None:
            continue
        if section in SECTIONS:
            yield section, text[start : heading.start()]
        after_course |= following == _COURSE
        if after_course and following != "MEDICATION ON ADMISSION":
            following = _ELSEWHERE
        section, start = following, heading.end()
    if section in SECTIONS:
        yield section, text[start:]


def _at_admission(exam: str) -> str:
    """The exam without the parts that stand under a heading of the discharge."""
    kept, start, at_discharge = [], 0, False
    exam = "\n" + exam
    for part in _EXAM_PART.finditer(exam):
        if not at_discharge:
            kept.append(exam[start : part.start()])
        at_discharge = part["discharge"] is not None
        start = part.start()
    if not at_discharge:
        kept.append(exam[start:])
    return "".join(kept)


_LATER = {
    "brief hospital course": "HOSPITAL COURSE",
    "hospital course": "HOSPITAL COURSE",
    "pertinent results": "PERTINENT RESULTS",
    "discharge medications": "DISCHARGE MEDICATIONS",
    "discharge diagnosis": "DISCHARGE DIAGNOSIS",
    "discharge condition": "DISCHARGE CONDITION",
    "discharge disposition": "DISCHARGE DISPOSITION",
    "discharge instructions": "DISCHARGE INSTRUCTIONS",
    "followup instructions": "FOLLOWUP",
    "major surgical or invasive procedure": "PROCEDURE",
    "discharge physical exam": "DISCHARGE EXAM",
    "service": "SERVICE",
}


def all_sections(text: str) -> list[tuple[str, str]]:
    """Every section of a note under its name, in the note's order; a stand-in."""
    names = {words: name for words, name in _SECTION_OF.items() if name in SECTIONS} | _LATER
    found, section, start = [], "HEADER", 0
    for heading in _HEADING.finditer("\n" + text):
        following = names.get(" ".join(heading[1].lower().split()))
        if following is not None:
            found.append((section, text[start : max(heading.start() - 1, 0)]))
            section, start = following, heading.end() - 1
    found.append((section, text[start:]))
    return [(name, " ".join(body.split())) for name, body in found if body.strip()]
