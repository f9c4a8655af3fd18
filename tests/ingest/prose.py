"""Sentences for the generated notes; none says which section it stands in."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

# Sections of lines; in the others empty lines part paragraphs
LINES = (
    *("MEDICAL HISTORY", "MEDICATION ON ADMISSION", "PHYSICAL EXAM"),
    *("FAMILY HISTORY", "SOCIAL HISTORY", "PERTINENT RESULTS"),
)

_CONDITIONS = (
    *("hypertension", "COPD on 2L home oxygen", "type 2 diabetes (A1c 8.1%)", "CKD stage III"),
    *("coronary artery disease s/p CABG x3", "atrial fibrillation", "GERD", "gout", "asthma"),
    *("hypothyroidism", "breast cancer s/p lumpectomy", "depression", "obstructive sleep apnea"),
    *("cholecystectomy in ___", "appendectomy", "right hip replacement", "cirrhosis", "anemia"),
)
_DRUGS = (
    *("Aspirin 81 mg PO DAILY", "Lisinopril 10 mg PO DAILY", "Metoprolol 25 mg PO BID"),
    *("Albuterol 0.083% Neb Soln 1 NEB IH Q6H:PRN dyspnea", "Furosemide 40 mg PO DAILY"),
    *("Omeprazole 20 mg PO DAILY", "Warfarin 5 mg PO DAILY16", "Atorvastatin 80 mg PO QPM"),
    *("Glargine 24 Units Bedtime", "Docusate Sodium 100 mg PO BID", "Senna 8.6 mg PO BID:PRN"),
)
_SENTENCES = (
    "___ is a ___ year old patient with {} who presents with two days of worsening symptoms.",
    "There was no fever, but some chills and a productive cough with yellow sputum.",
    "Of the symptoms, the pain was the worst: sharp, 8/10, and worse with movement.",
    "The family history was not available at that time, and no allergies were reported.",
    "Took all home medications as prescribed, including those for {}.",
    "Denies chest pain, shortness of breath, nausea, vomiting, diarrhea or dysuria.",
    "Was seen by the primary care physician, whose physical exam was unremarkable.",
    "Received 2L of normal saline, vancomycin and cefepime; blood cultures were drawn.",
    "The past medical history is otherwise notable for {}, diagnosed ten years ago.",
    "White count 12.4, hemoglobin 9.8, platelets 210, creatinine 1.4 from a baseline of 1.1.",
    "There was purulent discharge from the wound, which had been noted before discharge.",
    "A chest film showed an opacity at the right base that could be {} or atelectasis.",
    "Symptoms improved with nebulizers, and the patient was transferred to the floor.",
    "Imaging from the outside hospital was reviewed with the radiologist on call.",
)
_EXAMS = (
    *("98.4, 128/70, 88, 18, 97% on room air", "well appearing, in no acute distress"),
    *("normocephalic, atraumatic, moist mucous membranes", "regular, no murmurs or gallops"),
    *("clear to auscultation bilaterally, no wheezes", "soft, nontender, nondistended"),
    *("warm and well perfused, no edema", "alert and oriented x3, strength 5/5 throughout"),
    *("no rash, no jaundice", "dressing clean, dry and intact", "purulent, foul smelling"),
)
_COMPLAINTS = (
    *("chest pain", "shortness of breath", "abdominal pain", "fall", "altered mental status"),
    *("fever, cough", "s/p motor vehicle crash", "hematemesis", "left leg swelling"),
)
_ALLERGIES = (
    *("Penicillins", "No Known Allergies / Adverse Drug Reactions", "Sulfa / morphine", "NKDA"),
    *("Patient recorded as having No Known Allergies to Drugs", "latex: rash; codeine: nausea"),
)
_RELATIVES = (
    *("died of myocardial infarction at age 62", "diabetes and {}", "healthy", "breast cancer"),
    *("No history of {}, clotting disorders or sudden death.", "Non-contributory"),
)
_HABITS = (
    *("1 pack a day for 30 years, quit in ___", "two glasses of wine a week", "none"),
    *("Lives with husband in an apartment, two adult children.", "retired teacher"),
)


def header(style: str, draw: Random) -> str:
    """What stands above the first section."""
    sex, service = draw.choice("MF"), draw.choice(("MEDICINE", "SURGERY", "NEUROLOGY"))
    gap = "\n \n" if style == "MIMIC-IV" else "\n\n"
    lines = (
        "Name:  ___                     Unit No:   ___",
        "Admission Date:  ___              Discharge Date:   ___",
        f"Date of Birth:  ___             Sex:   {sex}",
        f"Service: {service}",
    )
    return gap.join((" ", *lines[0 if style == "MIMIC-IV" else 1 :]))


def with_placeholders(text: str) -> str:
    """The text with MIMIC-III's placeholders, the same wherever the words are the same."""
    return re.sub(r"___", "[**2150-1-1**]", text)


def lines(draw: Random, most: int) -> str:
    """A list of conditions, one a line, numbered now and then."""
    return "\n".join(_list(draw, _CONDITIONS, most))


def _list(draw: Random, among: tuple[str, ...], most: int) -> list[str]:
    chosen = draw.sample(among, draw.randint(1, most))
    match draw.randrange(3):
        case 0:
            return [f"{number}. {each}" for number, each in enumerate(chosen, 1)]
        case 1:
            return [f"- {each}" for each in chosen]
        case _:
            return chosen


def _paragraphs(draw: Random, least: int, most: int) -> list[str]:
    return [
        " ".join(
            sentence.format(draw.choice(_CONDITIONS))
            for sentence in draw.sample(_SENTENCES, draw.randint(1, 4))
        )
        for _ in range(draw.randint(least, most))
    ]


def _exam(draw: Random) -> list[str]:
    return draw.sample(_EXAMS, draw.randint(3, 9))


def _one(among: tuple[str, ...]) -> Callable[[Random], str]:
    return lambda draw: draw.choice(among)


def _social(draw: Random) -> str | list[str]:
    return "___" if draw.random() < 0.5 else draw.sample(_HABITS, draw.randint(1, 4))


def _medications(draw: Random) -> list[str]:
    drugs = [f"{number}. {drug}" for number, drug in enumerate(draw.sample(_DRUGS, 6), 1)]
    note = "The Preadmission Medication list is accurate and complete."
    return [note, *drugs] if draw.random() < 0.4 else drugs


def _relatives(draw: Random) -> list[str]:
    chosen = draw.sample(_RELATIVES, draw.randint(1, 3))
    return [each.format(draw.choice(_CONDITIONS)) for each in chosen]


def _results(draw: Random) -> list[str]:
    return [f"___ 06:00AM BLOOD WBC-{draw.randint(3, 20)}.1 Hgb-{draw.randint(7, 15)}.0"] * 4


# A list's members are paragraphs or lines, which may begin with words and a colon
BODIES: dict[str, Callable[[Random], str | list[str]]] = {
    "CHIEF COMPLAINT": _one(_COMPLAINTS),
    "PRESENT ILLNESS": lambda draw: _paragraphs(draw, 2, 5),
    "MEDICAL HISTORY": lambda draw: _list(draw, _CONDITIONS, 8),
    "MEDICATION ON ADMISSION": _medications,
    "ALLERGIES": _one(_ALLERGIES),
    "PHYSICAL EXAM": _exam,
    "FAMILY HISTORY": _relatives,
    "SOCIAL HISTORY": _social,
    "PROCEDURE": _one(("None", "Coronary catheterization with stent", "Right total hip")),
    "PERTINENT RESULTS": _results,
    "HOSPITAL COURSE": lambda draw: _paragraphs(draw, 3, 8),
    "DISCHARGE MEDICATIONS": lambda draw: "\n".join(draw.sample(_DRUGS, 8)),
    "DISCHARGE DISPOSITION": _one(("Home With Service", "Extended Care\n\nFacility:\n___")),
    "DISCHARGE DIAGNOSIS": lambda draw: lines(draw, 4),
    "DISCHARGE CONDITION": _one(("Mental Status: Clear and coherent.\nActivity: bed", "Stable")),
    "DISCHARGE INSTRUCTIONS": lambda draw: "\n".join(_paragraphs(draw, 1, 3)),
    "FOLLOWUP": _one(("___",)),
}
