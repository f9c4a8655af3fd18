"""Cut a discharge summary into its sections; eight of them are known at admission.

A heading is the beginning of a line, up to a colon, that `headings.py` knows. The published rules
take any words before a colon for a heading, which cuts the present illness at "In the ED, initial
vitals:", or need an empty line before it, while MIMIC-IV has lines with only white space there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tasks.ingest.headings import FIRST_WORDS, SECTIONS, Heading, read_heading

__all__ = ["HEADER", "SECTIONS", "admission_note", "all_sections", "sections_of"]

HEADER = "HEADER"  # what stands before the first heading

_NEEDED = SECTIONS[:3]  # a note without any of them says nothing about the admission

# After one of these, nothing but the medications on admission is known early
_LATE = frozenset(
    (
        *("HOSPITAL COURSE", "DISCHARGE MEDICATIONS", "DISCHARGE DISPOSITION"),
        *("DISCHARGE CONDITION", "DISCHARGE INSTRUCTIONS", "FOLLOWUP"),
    )
)
_AFTER_COURSE = _LATE | {"DISCHARGE EXAM", "DISCHARGE DIAGNOSIS", "FACILITY"}
_EXAMS = ("PHYSICAL EXAM", "DISCHARGE EXAM")
_PROSE = ("PRESENT ILLNESS", "REVIEW OF SYSTEMS")  # may have paragraphs that begin like headings
_LISTS = ("MEDICAL HISTORY", "PERTINENT RESULTS", "MEDICATION ON ADMISSION")

# A line's marks and its words up to a colon. Bounded and possessive: linear in the text
_OPENING = re.compile(r"\n([^\w\n]{0,40}+)(([A-Za-z]++)[^\n:]{0,70}+)")
_BEFORE_DASH = re.compile(r"[^\n]{2,50}?(?=[ \t]+[-\u2013\u2014]+[ \t])")
_NOTHING_BESIDE = re.compile(r"[ \t\r]*+:?+[ \t\r]*+(?![^\n])")
_ABBREVIATED = re.compile(r"\.[A-Za-z]\.$")
_REST = re.compile(r"[ \t]*:?+(?:[ \t\r]*\n[ \t]*[-=*#~]{3,}+[ \t\r]*(?![^\n]))?+")
# CORE's rule: in two sections the phrase is cut out, in others the admission is left out
_DEATH = re.compile(
    r"\b(?:patient|pt)\s{1,3}(?:had\s|has\s)?(?:expired|died|passed\saway|deceased)\b",
    re.IGNORECASE,
)
_WITHOUT_DEATH = ("MEDICATION ON ADMISSION", "PHYSICAL EXAM")


def sections_of(text: str) -> dict[str, str]:
    r"""Those of the eight sections that a note has, not empty, with white space as single blanks.

    A section that occurs twice is joined. After the hospital course begins, only the medications
    on admission are taken. An exam at discharge, in the physical exam or after it, is left out.

    >>> sections_of("Allergies: \nnone\n \nSocial History:\n___\nFamily History:\ngout")
    {'ALLERGIES': 'none', 'FAMILY HISTORY': 'gout', 'SOCIAL HISTORY': '___'}
    """
    bodies: dict[str, list[str]] = {}
    for section, body in _pieces("\n" + text):
        if section in SECTIONS and (body := _in_single_blanks(section, body)):
            bodies.setdefault(section, []).append(body)
    return {section: " ".join(bodies[section]) for section in SECTIONS if section in bodies}


def all_sections(text: str) -> list[tuple[str, str]]:
    r"""All sections of a note, in its order: canonical name, and body with single blanks.

    What stands before the first heading is HEADER. A section that occurs twice is listed twice.

    >>> all_sections("Sex: F\nHPI: pain\n\nHospital Course:\n# PMH: gout\n")
    [('HEADER', 'Sex: F'), ('PRESENT ILLNESS', 'pain'), ('HOSPITAL COURSE', '# PMH: gout')]
    """
    sections = []
    for section, body in _pieces("\n" + text):
        body = _in_single_blanks(section, body)
        if body or section != HEADER:
            sections.append((section, body))
    return sections


def admission_note(notes: Iterable[dict[str, str]]) -> str:
    """The admission note made from the sections of an admission's notes; "" if it says nothing.

    The sections are in CORE's order under CORE's headings; absent ones are left out. A note that
    only repeats a section adds nothing.
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


class _Look(NamedTuple):
    """How a heading stands out from the lines around it."""

    mark: str  # what precedes it on its line: "#", "-"
    parted: bool  # an empty line precedes it
    below: bool = True  # its body begins on the next line


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Each section's name and body, in the note's order."""
    section, start, look = HEADER, 0, _Look("", False)
    course: _Look | None = None  # the look of the first of the late headings
    for opening in _OPENING.finditer(text):
        if opening[3].lower() not in FIRST_WORDS:
            continue
        heading, end = _heading(text, opening)
        if heading is None or (heading.part and section not in _EXAMS):
            continue
        heading_look = _look(text, opening)
        if not _begins(heading, heading_look, section, look, course):
            continue
        yield section, text[start : opening.start()]
        section, start, look = heading.section, end, heading_look
        if course is None and section in _LATE:
            course = heading_look
    yield section, text[start:]


def _in_single_blanks(section: str, body: str) -> str:
    if section in _WITHOUT_DEATH:
        body = _DEATH.sub(" ", body)
    return " ".join(body.split())


def _heading(text: str, opening: re.Match[str]) -> tuple[Heading | None, int]:
    """The heading at the beginning of a line, if any, and where its body begins."""
    line, end = opening[2], opening.end()
    ended = text[end : end + 1]
    heading = read_heading(line)
    if heading is not None and not heading.whole:
        return heading, opening.start(2)
    if ended == ":":
        return heading, _body_from(text, end)
    if heading is not None and ended in ("\n", "") and _stands_alone(text, opening, heading):
        return heading, _body_from(text, end)
    if dash := _BEFORE_DASH.match(line):
        heading = read_heading(dash[0])
        if heading is not None and not heading.bare and (dash[0].isupper() or heading.part):
            return heading, opening.start(2) + dash.end()
    return None, end


def _body_from(text: str, end: int) -> int:
    rest = _REST.match(text, end)
    return end if rest is None else rest.end()


def _stands_alone(text: str, opening: re.Match[str], heading: Heading) -> bool:
    """Whether words that fill their line without a colon are a heading."""
    line = opening[2].strip()
    if line.endswith((".", ",", ";")) and not _ABBREVIATED.search(line):
        return False
    parted = _look(text, opening).parted
    if heading.bare or heading.short:
        return line.isupper() and parted
    return line.isupper() or parted or (heading.part and line[0].isupper())


def _look(text: str, opening: re.Match[str]) -> _Look:
    start = opening.start()
    above = text.rfind("\n", 0, start) + 1
    parted = above == start or text[above:start].isspace()
    return _Look(opening[1].strip(), parted, _NOTHING_BESIDE.match(text, opening.end()) is not None)


def _begins(
    heading: Heading, look: _Look, section: str, of_section: _Look, course: _Look | None
) -> bool:
    """Whether a heading begins a section here, or is only a line of the section around it."""
    weak = heading.bare or heading.short
    if course is not None:
        if heading.section == "MEDICATION ON ADMISSION" and heading.of_admission:
            return _like(look, course) and (look.below or not course.below)
        return heading.section in _AFTER_COURSE and (not weak or _like(look, course))
    if heading.section == "REVIEW OF SYSTEMS":
        return section not in _PROSE and section not in _EXAMS
    if section == "DISCHARGE EXAM" and heading.section == "PHYSICAL EXAM":
        return heading.of_admission
    if section in _PROSE and heading.bare:
        is_course = heading.section == "HOSPITAL COURSE" and look.below and _like(look, of_section)
        return is_course or heading.section == "PROCEDURE"
    if section == "MEDICAL HISTORY" and heading.short and not (look.parted or look.below):
        return False  # "PE: in 2010": an entry of the list
    return not (section in _LISTS and weak) or _like(look, of_section)


def _like(look: _Look, other: _Look) -> bool:
    """Whether a heading stands out at least as much as another one of its note."""
    return look.mark == other.mark and (look.parted or not other.parted)
