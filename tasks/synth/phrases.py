"""The words of the generated texts, from phrases.yaml: frames, and what fills them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tasks.config import Config

Words = tuple[str, ...]


def from_yaml(name: str) -> Any:
    """What the file of that name beside this module holds."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


class AdmissionPhrases(Config):
    complaints: tuple[Words, ...]
    findings: tuple[Words, ...]
    general: tuple[Words, ...]
    openings: Words
    bare_openings: Words
    vague_openings: Words
    bare_vague_openings: Words
    denied: Words
    not_found: Words
    negated_in_history: Words
    negated_in_past: Words
    uncertain: Words
    given: Words
    historical: Words
    relatives: Words
    of_relative: Words
    relative_in_history: Words
    allergies: Words
    no_family: Words
    no_past: Words
    no_medication: Words
    note: Words


class RadiologyPhrases(Config):
    exams: Words
    glosses: Words
    treated: Words
    findings: Words


class MimicThreePhrases(Config):
    headings: Words
    older: dict[str, str]
    placeholders: Words
    nursing: Words
    states: Words


class OverlayPhrases(Config):
    openings: Words
    past: Words
    note: Words
    report: Words


class PlainPhrases(Config):
    everyday: Words
    headlines: Words
    health: Words
    people: Words
    places: Words
    times: Words
    nouns: Words
    adjectives: Words
    verbs: Words
    syllables: Words


class Phrases(Config):
    admission: AdmissionPhrases
    radiology: RadiologyPhrases
    mimic_iii: MimicThreePhrases
    overlay: OverlayPhrases
    plain: PlainPhrases


PHRASES = Phrases.model_validate(from_yaml("phrases.yaml"))
