"""Writes discharge notes in MIMIC-IV's layout: admission sections, then those that tell it all.

The admission sections are a function of the evidence's symbols, the patient's sex, and draws that
know nothing else; the later sections are written from the latent state and the outcome itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tasks.synth import draws
from tasks.synth.catalog import Catalog
from tasks.synth.evidence import Mention
from tasks.synth.phrases import PHRASES
from tasks.synth.voice import COMPLAINTS, Voice, capital, named

_PHRASES = PHRASES.admission
# systolic and diastolic pressure: lowest and highest of each level; at the first, none is written
_VITALS = (None, ((112, 138), (64, 84)), ((98, 112), (52, 66)), ((70, 92), (36, 52)))
_DENIED_COMPLAINTS = 3  # pertinent negatives of each note, drawn independently of the patient
BLANK_LINE = "\n \n"  # the separator lines of real notes hold a blank


@dataclass(frozen=True)
class AdmissionSections:
    """The eight sections that are known at admission."""

    chief_complaint: str
    present_illness: str
    medical_history: str
    medications: str
    allergies: str
    physical_exam: str
    family_history: str
    social_history: str


@dataclass(frozen=True)
class Symbols:
    """The evidence's symbols of one admission."""

    mentions: list[tuple[int, Mention]]  # (condition, how), without the omitted ones
    complaint: int
    finding: int
    general: int
    vitals: int


@dataclass(frozen=True)
class Course:
    """What the later sections of an admission give away."""

    conditions: list[int]
    diagnoses: list[str]  # titles of the codes
    procedures: list[str]
    died: bool
    ventilated: bool
    days: int


def admission_sections(
    catalog: Catalog, symbols: Symbols, sex: str, held_out_share: float, draw: Random
) -> AdmissionSections:
    """Write the eight sections; that share of the names are held-out forms."""
    voice = Voice(catalog, held_out_share, draw)
    pick = voice.pick
    by_mention: dict[Mention, list[int]] = {mention: [] for mention in Mention}
    for condition, mention in symbols.mentions:
        by_mention[mention].append(condition)
    for group in by_mention.values():
        draw.shuffle(group)
    affirmed = by_mention[Mention.AFFIRMED] + by_mention[Mention.AFFIRMED_WITH_DRUG]
    opening, past = voice.affirmed(affirmed)
    negated_now, negated_past = _halves(by_mention[Mention.NEGATED], draw)
    family_now, family = _halves(by_mention[Mention.RELATIVE], draw, share=0.2)
    drugs = by_mention[Mention.AFFIRMED_WITH_DRUG] + by_mention[Mention.DRUG_ONLY]
    home = [condition for condition in drugs if catalog.conditions[condition].chronic]
    given = [condition for condition in drugs if not catalog.conditions[condition].chronic]
    complaint = COMPLAINTS[symbols.complaint]
    history = [voice.opening(opening, sex, complaint)]
    others = [word for word in COMPLAINTS if word != complaint]
    history.append(named(pick(_PHRASES.denied), draw.sample(others, _DENIED_COMPLAINTS)))
    history += [voice.frame(_PHRASES.relative_in_history, name) for name in family_now]
    history += voice.negated(_PHRASES.negated_in_history, negated_now)
    emergency = _vitals(symbols.vitals, draw)
    emergency += [voice.frame(_PHRASES.uncertain, name) for name in by_mention[Mention.UNCERTAIN]]
    for drug in (catalog.conditions[condition].drug for condition in given):
        emergency.append(pick(_PHRASES.given).format(drug=drug, Drug=capital(drug)))
    past += [voice.frame(_PHRASES.historical, name) for name in by_mention[Mention.HISTORICAL]]
    past += voice.negated(_PHRASES.negated_in_past, negated_past)
    draw.shuffle(past)
    return AdmissionSections(
        chief_complaint=complaint.capitalize(),
        present_illness=" ".join(history) + (BLANK_LINE + " ".join(emergency) if emergency else ""),
        medical_history=_lines(past) or pick(_PHRASES.no_past),
        medications="\n".join(catalog.conditions[condition].drug for condition in home)
        or pick(_PHRASES.no_medication),
        allergies=pick(_PHRASES.allergies),
        physical_exam=f"{capital(pick(_PHRASES.general[symbols.general]))}\n{voice.exam(symbols.finding)}",
        family_history=_lines([voice.frame(_PHRASES.of_relative, name) for name in family])
        or pick(_PHRASES.no_family),
        social_history="___",
    )


def discharge_note(
    catalog: Catalog, sections: AdmissionSections, course: Course, sex: str, draw: Random
) -> str:
    """Write the whole note around its admission sections."""
    pick = Voice(catalog, 0.0, draw).pick
    alive, dead = not course.died, "Expired"
    return BLANK_LINE.join(_PHRASES.note).format(
        sections=sections,
        sex=sex,
        later_exam=pick(("Improved, ambulating", "Stable", "No distress")) if alive else dead,
        service=pick(("MEDICINE", "SURGERY", "NEUROLOGY", "ORTHOPAEDICS", "OMED")),
        procedures=", ".join(course.procedures) or "None",
        results=_results(draw),
        course=_course(catalog, course, draw),
        drugs=_discharge_drugs(catalog, course),
        disposition=pick(("Home", "Extended Care")) if alive else dead,
        diagnoses="\n".join(course.diagnoses) or "See above",
        condition="Stable" if alive else dead,
        instructions="You were in the hospital. Rest." if alive else "N/A",
    )


def _halves(conditions: list[int], draw: Random, share: float = 0.5) -> tuple[list[int], list[int]]:
    first: list[int] = []
    second: list[int] = []
    for condition in conditions:
        (first if draw.random() < share else second).append(condition)
    return first, second


def _lines(items: list[str]) -> str:
    return "\n".join(f"{capital(item)}." for item in items)


def _vitals(level: int, draw: Random) -> list[str]:
    ranges = _VITALS[level]
    if ranges is None:
        return []
    systolic, diastolic = (low + int(draw.random() * (high - low)) for low, high in ranges)
    return [f"In the ED, initial vitals: {systolic}/{diastolic}."]


def _results(draw: Random) -> str:
    hemoglobin, platelets = 7 + draw.random() * 8, 90 + int(draw.random() * 260)
    return f"___ BLOOD Hgb-{hemoglobin:.1f} Plt Ct-{platelets}"


def _course(catalog: Catalog, course: Course, draw: Random) -> str:
    lines = []
    for index in course.conditions:
        condition = catalog.conditions[index]
        name = draws.pick(condition.forms, draw.random())
        lines.append(f"# {capital(name)}: treated with {condition.drug}.")
    if course.ventilated:
        lines.append("Intubated and ventilated in the ICU.")
    lines.append(f"Hospital stay of {course.days} days.")
    if course.died:
        lines.append("The patient expired with family at the bedside.")
    return "\n".join(lines)


def _discharge_drugs(catalog: Catalog, course: Course) -> str:
    if course.died:
        return "None"
    drugs = [
        catalog.conditions[index].drug
        for index in course.conditions
        if catalog.conditions[index].chronic
    ]
    return "\n".join(drugs) or "None"
