"""Read the words of a heading: which section they begin, whoever wrote them and however.

The table holds no phrases but the words that make a heading (`past` and `history`) and those that
may stand beside them (`medical`, `surgical`), so that their order, their number, abbreviations and
what binds them make no difference. Any other word (`In the ED, initial vitals`) makes it prose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

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


@dataclass(frozen=True, slots=True)
class Heading:
    """What a line's first words are the heading of."""

    section: str
    bare: bool = False  # one word that many a sentence begins with: "Labs", "Exam"
    short: bool = False  # an abbreviation of a disease too: PE, ALL
    of_admission: bool = False  # says that it was so at the admission
    part: bool = False  # only in an exam a heading: "On discharge"
    whole: bool = True  # False: words of a sentence follow


@lru_cache(maxsize=1 << 16)
def read_heading(line: str) -> Heading | None:
    """The heading that a line's words are, from their beginning up to a colon or the line's end.

    >>> read_heading("Hx of Present Illness").section, read_heading("PMHx/PSHx").section
    ('PRESENT ILLNESS', 'MEDICAL HISTORY')
    >>> read_heading("Past history is notable for") is None
    True
    """
    words = _words(line)
    if not words or len(words) > _MOST_WORDS:
        return None
    there = frozenset(words) - _BINDING
    if words[0] not in _PREPOSITIONS and not re.search(r"\d", line):
        for section, cores, beside in _TABLE:
            if any(core <= there and there - core <= beside for core in cores):
                letters = "".join(re.findall("[a-z]", line.lower()))
                return Heading(
                    section,
                    bare=there <= _BARE,
                    short=letters in _SHORT,
                    of_admission=bool(there & _AT_ADMISSION),
                )
    return _part_of_exam(words)


# What a heading consists of, and what may stand beside it; the first row that fits counts
_ROWS = (
    (
        "CHIEF COMPLAINT",
        "complaint | chief concern | reason admission | reason hospitalization | reason visit"
        " | reason presentation | reason referral | reason transfer | presenting symptom"
        " | presenting problem | chief symptom",
        "chief presenting present primary main major principal admission reason patient concern"
        " hospital hospitalization visit presentation transfer",
    ),
    (
        "PRESENT ILLNESS",
        "history illness | present illness | presenting illness | current illness"
        " | history present complaint | history presenting complaint | history present problem"
        " | history presenting problem | present history",
        "history present presenting current illness complaint problem injury brief summary"
        " interval admission resident note reason consultation chief medicine micu icu initial"
        " event recent synopsis",
    ),
    (
        "SOCIAL HISTORY",
        "social history | psychosocial history | psychosocial | social | substance history"
        " | social habit",
        "social personal occupational occupation psychosocial habit substance use abuse family"
        " history pertinent relevant other tobacco alcohol living situation environmental"
        " functional travel",
    ),
    (
        "FAMILY HISTORY",
        "family history",
        "medical psychiatric pertinent relevant significant other genetic cancer cardiac"
        " oncologic surgical past known",
    ),
    (
        "MEDICAL HISTORY",
        "past history | medical history | surgical history | oncologic history | prior history"
        " | medical problem | past problem | past surgery | past illness | prior surgery"
        " | previous surgery | comorbidity | medical condition | medical issue | problem list"
        " | chronic problem",
        "past medical surgical oncologic prior previous pertinent significant relevant other"
        " additional remote known chronic psychiatric cardiac cardiovascular cardiology obstetric"
        " gynecologic neurologic renal pulmonary vascular orthopedic"
        " urologic hematologic transplant history problem list surgery illness hospitalization"
        " procedure",
    ),
    (
        "DISCHARGE MEDICATIONS",
        "discharge medication",
        "list new home medication instruction final patient prescription",
    ),
    ("TRANSFER MEDICATIONS", "transfer medication", "current list icu micu floor"),
    (
        "MEDICATION ON ADMISSION",
        "medication",
        "admission home preadmission outpatient current prior previous before list time hospital"
        " presentation arrival usual chronic regular hospitalization patient taking reported"
        " medication regimen drug prescription past",
    ),
    (
        "MEDICATION ON ADMISSION",
        "home regimen | home drug | drug admission | regimen admission | prescription admission"
        " | prescription home | prescription outpatient",
        "medication admission home outpatient prior list current",
    ),
    (
        "ALLERGIES",
        "allergy | adverse reaction | adr | drug intolerance | drug sensitivity"
        " | medication intolerance | drug reaction",
        "drug medication known adverse reaction food intolerance sensitivity adr environmental"
        " other admission patient list history documented reported status",
    ),
    (
        "DISCHARGE EXAM",
        "discharge exam | discharge physical | discharge vital",
        "physical exam day time vital sign prior before final brief pertinent patient general"
        " hospital",
    ),
    (
        "PHYSICAL EXAM",
        "exam | admission physical | initial physical | admission vital exam",
        "physical admission initial presentation arrival time day vital sign hospital clinical"
        " pertinent presenting brief finding",
    ),
    ("PHYSICAL EXAM", "physical", "finding"),
    ("REVIEW OF SYSTEMS", "review system", "pertinent admission general complete"),
    (
        "PROCEDURE",
        "procedure | operation | invasive surgical | invasive surgery | major surgery",
        "major surgical surgery invasive operative performed operation procedure hospital bedside"
        " diagnostic interventional other principal primary secondary list",
    ),
    (
        "PERTINENT RESULTS",
        "result | laboratory | imaging | study | data | ekg | radiology | laboratory finding"
        " | microbiology",
        "pertinent relevant significant admission discharge result laboratory value test imaging"
        " study data ekg radiology diagnostic initial presentation other finding significant"
        " micro microbiology pathology selected key important summary hospital final radiographic"
        " arrival time report cardiac",
    ),
    (
        "HOSPITAL COURSE",
        "course | hospital summary | summary hospitalization | assessment plan",
        "hospital hospitalization brief summary concise short system problem issue treatment"
        " clinical inpatient organ list diagnosis medical surgical",
    ),
    ("DISCHARGE DISPOSITION", "disposition", "discharge final patient"),
    ("ADMISSION DIAGNOSIS", "admission diagnosis", "primary initial preliminary provisional"),
    (
        "DISCHARGE DIAGNOSIS",
        "discharge diagnosis | final diagnosis",
        "primary secondary principal final other list",
    ),
    ("DISCHARGE CONDITION", "condition | discharge status", "discharge patient status final time"),
    (
        "DISCHARGE INSTRUCTIONS",
        "instruction | discharge plan",
        "discharge patient plan other home followup care",
    ),
    (
        "FOLLOWUP",
        "followup",
        "discharge instruction appointment plan care patient recommended recommendation needed",
    ),
    ("FACILITY", "facility", "discharge"),
    ("SERVICE", "service", ""),
    ("ATTENDING", "attending", "physician"),
)
_MEANING = {
    **dict.fromkeys(("hx", "hist", "histories"), "history"),
    **dict.fromkeys(("meds", "med", "medications", "medicines", "medicine"), "medication"),
    **dict.fromkeys(("fhx", "fh", "famhx", "famhist", "fmh", "fmhx"), "family history"),
    **dict.fromkeys(("shx", "sh", "sochx", "sochist", "sohx"), "social history"),
    **dict.fromkeys(("pmh", "pmhx", "pmhs"), "past medical history"),
    **dict.fromkeys(("psh", "pshx", "pshs"), "past surgical history"),
    **dict.fromkeys(("pmsh", "pmshx"), "past medical surgical history"),
    **dict.fromkeys(("hpi", "hopi"), "history present illness"),
    **dict.fromkeys(("admit", "admitting", "admissions"), "admission"),
    **dict.fromkeys(("exams", "examination", "examinations", "px"), "exam"),
    **dict.fromkeys(("lab", "labs", "laboratories", "bloodwork"), "laboratory"),
    **dict.fromkeys(("ecg", "cxr", "echo"), "ekg"),
    **dict.fromkeys(("dc", "dch", "discharging"), "discharge"),
    **dict.fromkeys(("dx", "diagnoses"), "diagnosis"),
    **dict.fromkeys(("allergies", "allergic", "all"), "allergy"),
    "adrs": "adr",
    **dict.fromkeys(("vitals", "vs"), "vital"),
    **dict.fromkeys(("onc", "oncological", "oncology"), "oncologic"),
    "psych": "psychiatric",
    "outpt": "outpatient",
    "pta": "prior admission",
    **dict.fromkeys(("gyn", "gynecological", "gynecology", "ob", "obgyn"), "gynecologic"),
    **dict.fromkeys(("neuro", "neurological", "neurology"), "neurologic"),
    "surgeries": "surgery",
    "comorbidities": "comorbidity",
    "pe": "physical exam",
    "cc": "chief complaint",
    "ros": "review system",
    "fam": "family",
    "soc": "social",
    "surg": "surgical",
    "pre": "preadmission",
    "studies": "study",
    "sensitivities": "sensitivity",
    "dispo": "disposition",
    "pt": "patient",
    "pts": "patient",
}
_PLURAL = re.compile(r"(?<=[a-z]{4})(?<![siu])s$")  # complaints, but not illness or status
_BINDING = frozenset("of the and on at upon to for by in per or with s a from his her".split())
_PREPOSITIONS = frozenset("on at upon in per for by from with of to and or".split())
_BARE = frozenset(
    "exam laboratory data study imaging ekg course medication condition disposition"
    " instruction followup procedure operation radiology status social microbiology".split()
)
_AT_ADMISSION = frozenset("admission initial presentation arrival".split())
_SHORT = frozenset(("pe", "all", "px", "med", "meds"))
_MOST_WORDS = 14
_EXAM_WORDS = frozenset("physical exam vital sign weight".split())
_TIME_WORDS = frozenset("day time prior before final".split())


def _part_of_exam(words: list[str]) -> Heading | None:
    """A subheading of the exam; a sentence may follow one that names both exam and time."""
    said: set[str] = set()
    known = _EXAM_WORDS | _TIME_WORDS | _AT_ADMISSION | _BINDING | {"discharge"}
    last = next((at for at, word in enumerate(words) if word not in known), len(words))
    said.update(words[:last])
    whole = last == len(words)
    discharge, admission = "discharge" in said, bool(said & _AT_ADMISSION)
    if discharge == admission or not (whole or said & (_EXAM_WORDS | _TIME_WORDS)):
        return None
    section = "DISCHARGE EXAM" if discharge else "PHYSICAL EXAM"
    return Heading(section, of_admission=admission, part=True, whole=whole)


def _words(line: str) -> list[str]:
    """The line's words in the table's spelling.

    >>> _words("P.E. on D/C")
    ['physical', 'exam', 'on', 'discharge']
    """
    line = re.sub(r"\bd[./]c\b", "discharge", line.lower())
    line = re.sub(r"\b([a-z])\.(?=[a-z]\b)|(?<=\.[a-z])\.", r"\1", line)  # h.p.i.
    line = re.sub(r"follow[- ]?up", "followup", line)
    line = re.sub(r"\bpre-?\s?(?=admi|hosp)", "pre", line)
    line = re.sub(r"\bmed(?= (?:hx|history|hist|problem)s?\b)", "medical", line)
    found: list[str] = []
    for word in re.findall("[a-z]+", line):
        word = _MEANING[word] if word in _MEANING else _PLURAL.sub("", word)
        found += word.split()
    return found


_TABLE = [
    (section, [frozenset(core.split()) for core in cores.split("|")], frozenset(beside.split()))
    for section, cores, beside in _ROWS
]
# Most lines begin with another word, and are no further looked at
FIRST_WORDS = (
    frozenset(word for _, cores, beside in _TABLE for core in (*cores, beside) for word in core)
    | frozenset(word + "s" for _, cores, beside in _TABLE for core in (*cores, beside) for word in core)
    | frozenset(_MEANING)
    | frozenset(("on", "at", "upon", "day", "follow", "the", "c", "d", "f", "h", "p", "s"))
)
