"""The words of headings: which make one, which may accompany them, and what each is short for.

Written from general knowledge and the development part of `tests/ingest/headings.yaml`, a third of
which is held out to measure with.
"""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# What a heading consists of, and what may accompany it; the first row that fits counts
ROWS = (
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
        "history present presenting current illness complaint problem injury summary consulting"
        " interval admission resident note reason consultation chief medicine micu icu initial"
        " event recent synopsis",
    ),
    (
        "SOCIAL HISTORY",
        "social history | psychosocial history | psychosocial | social | social habit"
        " | social factor | social function | substance history | sexual history",
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
        " | chronic problem | active problem | current problem | chronic illness",
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
        "course | hospital summary | summary hospitalization | assessment plan | impression plan",
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
        "discharge instruction | discharge plan",
        "plan home followup care",
    ),
    (
        "FOLLOWUP",
        "followup",
        "discharge instruction appointment plan care recommended recommendation needed",
    ),
    ("DISCHARGE INSTRUCTIONS", "instruction", "plan home care"),
    ("FACILITY", "facility", "discharge"),
    ("SERVICE", "service", ""),
    ("ATTENDING", "attending", "physician"),
)
# Spellings and abbreviations; other plurals lose their s
MEANING = {
    **dict.fromkeys(("hx", "hist", "histories"), "history"),
    **dict.fromkeys(("meds", "med", "medications", "medicines", "medicine"), "medication"),
    **dict.fromkeys(("fhx", "fh", "famhx", "fmh", "fmhx"), "family history"),
    **dict.fromkeys(("shx", "sh", "sochx", "sohx"), "social history"),
    **dict.fromkeys(("pmh", "pmhx", "pmhs", "mhx"), "past medical history"),
    **dict.fromkeys(("psh", "pshx", "pshs"), "past surgical history"),
    **dict.fromkeys(("pmsh", "pmshx", "pmhsx"), "past medical surgical history"),
    **dict.fromkeys(("hpi", "hopi"), "history present illness"),
    **dict.fromkeys(("admit", "admitting", "admissions"), "admission"),
    **dict.fromkeys(("exams", "examination", "examinations", "px"), "exam"),
    **dict.fromkeys(("lab", "labs", "laboratories", "bloodwork"), "laboratory"),
    **dict.fromkeys(("ecg", "cxr", "echo"), "ekg"),
    **dict.fromkeys(("dc", "dch", "discharging"), "discharge"),
    **dict.fromkeys(("dx", "diagnoses"), "diagnosis"),
    **dict.fromkeys(("allergies", "allergic", "all"), "allergy"),
    **dict.fromkeys(("vitals", "vs"), "vital"),
    **dict.fromkeys(("onc", "oncological", "oncology"), "oncologic"),
    "adrs": "adr",
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

BINDING = _set("of the and on at upon to for by in per or with s a from his her")
PREPOSITIONS = _set("on at upon in per for by from with of to and or")
# Words that alone may be a section's heading or the beginning of a sentence
BARE = _set(
    "exam laboratory data study imaging ekg course medication condition disposition"
    " instruction followup procedure operation radiology status social microbiology"
)
# May accompany every heading; they do not make a bare word more likely to be one
QUALIFIERS = _set(
    "active additional brief complete current detailed general known other patient underlying"
)
AT_ADMISSION = _set("admission initial presentation arrival")
AT_HOME = _set("home preadmission outpatient prior before previous")
# Also abbreviations of a disease: pulmonary embolism, acute lymphoblastic leukemia
SHORT = frozenset(("pe", "all", "px", "med", "meds"))
EXAM_WORDS = _set("physical exam vital sign weight")
TIME_WORDS = _set("day time prior before final")
