"""Parts of which notes of realistic length are put together: each is one field's text, CSV-quoted.

The sections that carry the evidence come from the generator; laboratory tables, courses,
medications and instructions are added around them. Parts are drawn apart from each other, so two
notes are not near-duplicates of each other although each part occurs often.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tasks.synth.catalog import Catalog, load
from tasks.synth.chunk_rows import write_chunk
from tasks.synth.difficulty import Difficulty
from tasks.synth.hospital import COLUMNS
from tasks.synth.population import World, chunks
from tasks.synth.to_mimic_iii import Named

Parts = list[bytes]
_POOL = 3000
_LABS = (
    *("WBC", "RBC", "Hgb", "Hct", "MCV", "MCH", "MCHC", "RDW", "RDWSD", "Plt", "Neuts", "Lymphs"),
    *("Monos", "Eos", "Baso", "Glucose", "UreaN", "Creat", "Na", "K", "Cl", "HCO3", "AnGap", "ALT"),
    *("AST", "AlkPhos", "TotBili", "Albumin", "Calcium", "Phos", "Mg", "Lactate", "INR", "PTT"),
)
_COURSE = (
    "The patient was started on {drug} for {name} with good effect.",
    "{name} was felt to be stable, and {drug} was continued at {n} mg daily.",
    "Consultants recommended {n} days of {drug} given concern for {name}.",
    "On hospital day {n} the patient developed {name}, for which {drug} was held.",
    "Home {drug} was resumed at {n} mg prior to discharge.",
    "Blood cultures from ___ were without growth after {n} hours.",
    "Creatinine peaked at {n}.{m} and trended down with fluids.",
    "He was seen by physical therapy, who walked him {n} feet.",
    "Repeat imaging on ___ showed no change; outpatient follow-up of {name} was arranged.",
    "Pain was controlled with acetaminophen {n}0 mg and tapered over {m} days.",
)
_FINDINGS = (
    "The heart size is within {n} mm of the prior study.",
    "There is a {n} x {m} mm nodule in the right upper lobe, unchanged from ___.",
    "No focal consolidation, effusion or pneumothorax is seen on image {n}.",
    "Aorta measures {n} mm at the level of the main pulmonary artery (series {m}, image {n}).",
    "Changes compatible with {name} are again noted.",
    "Bones are demineralized, with degenerative change at L{m}.",
    "The liver enhances homogeneously, without lesion above {m} mm.",
    "Lines and tubes: tip of the catheter {m}.{n} cm above the carina.",
)
_ADVICE = (
    "Dear ___,\nIt was a pleasure taking care of you at ___.",
    "You came to the hospital because of {name}.",
    "Please take {drug} every {m} hours for {n} days.",
    "Weigh yourself every morning, call your doctor if your weight goes up more than {m} lbs.",
    "Do not lift more than {n} pounds for {m} weeks.",
    "Return to the hospital if you have fever above 10{m}.{n}, chest pain or {name}.",
    "We stopped {drug}; ask your primary care doctor when to start it again.",
)
_DOSES = ("PO DAILY", "PO BID", "PO Q6H:PRN pain", "IV Q8H", "SC BID", "PO QHS")


@dataclass(frozen=True)
class NoteParts:
    """Pools; a note takes one part of each, in this order (course and findings several)."""

    heads: Parts  # up to the laboratory results
    labs: Parts
    findings: Parts  # paragraphs of imaging
    courses: Parts  # the generator's hospital course
    paragraphs: Parts  # of the course
    medications: Parts  # from "Medications on Admission" to the discharge medications
    endings: Parts  # disposition to condition
    advice: Parts
    reports: Parts  # radiology reports of the generator


def note_parts(seed: int) -> NoteParts:
    """Build the pools; a few seconds."""
    catalog, draw = load(), Random(seed)
    notes, reports = _generated(seed)
    heads, courses, endings = zip(*map(_divided, notes), strict=True)

    def pool(make: Callable[[], str]) -> Parts:
        return [_quoted(make()) for _ in range(_POOL)]

    def prose(frames: tuple[str, ...], least: int, most: int) -> str:
        count = draw.randint(least, most)
        return " ".join(_sentence(catalog, draw.choice(frames), draw) for _ in range(count))

    return NoteParts(
        heads=[_quoted(text) for text in heads],
        labs=pool(lambda: _labs(draw)),
        findings=pool(lambda: prose(_FINDINGS, 6, 15) + "\n \n"),
        courses=[_quoted(text) for text in courses],
        paragraphs=pool(lambda: f"# {prose(_COURSE, 6, 22)}\n"),
        medications=pool(lambda: _medications(catalog, draw)),
        endings=[_quoted(text) for text in endings],
        advice=pool(lambda: f"Discharge Instructions:\n{prose(_ADVICE, 10, 24)}\n \n"),
        reports=[_quoted(text) for text in reports],
    )


def _generated(seed: int) -> tuple[list[str], list[str]]:
    """Discharge notes and radiology reports as the generator writes them."""
    found: dict[str, list[str]] = {"note/discharge": [], "note/radiology": []}

    class Kept:
        def add(self, name: str, rows: list[Named]) -> None:
            if name in found:
                text = COLUMNS[name].split().index("text")
                found[name] += [row[text] for row in rows]

    world = World.of(load(), Difficulty())
    for chunk in chunks(world, seed, _POOL * 3 // 4):
        write_chunk(Kept(), world, seed, chunk)  # type: ignore[arg-type]
    return found["note/discharge"], found["note/radiology"]


def _divided(note: str) -> tuple[str, str, str]:
    """A note up to its results, its hospital course, and what follows its discharge drugs."""
    head, rest = note.split("Pertinent Results:\n", 1)
    course = rest[rest.index("Brief Hospital Course:") : rest.index("Medications on Admission:")]
    ending = rest[rest.index("Discharge Disposition:") : rest.index("Discharge Instructions:")]
    return head + "Pertinent Results:\n", course.rstrip() + "\n", ending


def _labs(draw: Random) -> str:
    lines = []
    for _ in range(draw.randint(8, 26)):
        values = [f"{lab}-{draw.random() * 100:.1f}" for lab in draw.sample(_LABS, 9)]
        flag = "*" if draw.random() < 0.3 else ""
        clock = f"{draw.randint(1, 12):02d}:{draw.randint(0, 59):02d}"
        lines.append(f"___ {clock}AM BLOOD {' '.join(values)}{flag}")
    return "\n".join(lines) + "\n \nIMAGING:\n"


def _medications(catalog: Catalog, draw: Random) -> str:
    def listed(least: int, most: int) -> str:
        drugs = [draw.choice(catalog.conditions).drug for _ in range(draw.randint(least, most))]
        return "\n".join(
            f"{place}. {drug.capitalize()} {draw.randint(1, 80) * 5} mg {draw.choice(_DOSES)}"
            + (f" \nRX *{drug} {draw.randint(1, 9)} tablet(s) by mouth Disp #*{place} Refills:*0")
            * (least > 5)
            for place, drug in enumerate(drugs, 1)
        )

    return (
        " \nMedications on Admission:\nThe Preadmission Medication list is accurate and "
        f'"complete".\n{listed(2, 14)}\n \nDischarge Medications:\n{listed(6, 22)}\n \n'
    )


def _sentence(catalog: Catalog, frame: str, draw: Random) -> str:
    condition = draw.choice(catalog.conditions)
    numbers = {"n": draw.randint(2, 40), "m": draw.randint(1, 9)}
    return frame.format(name=draw.choice(condition.forms), drug=condition.drug, **numbers)


def _quoted(text: str) -> bytes:
    """The inside of a quoted CSV field."""
    return re.sub('"', '""', text).encode()
