"""Writes radiology reports: unlabelled notes in which rare names of a condition are explained.

A report speaks of a condition in the words of the admission notes, with its common form, its
held-out form, or one as a gloss of the other, so that a language model can learn that they are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from tasks.synth import phrases
from tasks.synth.catalog import Catalog, Condition

_EXAMS = (
    "CHEST (PORTABLE AP)",
    "CHEST (PA AND LAT)",
    "CT ABD AND PELVIS",
    "CT HEAD W/O CONTRAST",
    "ABDOMEN US",
    "MR HEAD",
    "UNILAT LOWER EXT VEINS",
)
_GLOSSES = ("{rare} ({common})", "{common} ({rare})", "{rare}, i.e. {common}", "{common}, {rare}")
_TREATED = ("{name} on {drug}.", "{name}, treated with {drug}.", "{drug} for {name}.")
_FINDINGS = (
    "Findings in keeping with {name}.",
    "Changes of {name}.",
    "Appearance typical of {name}.",
    "Known {name}, unchanged.",
)
T = TypeVar("T")

_HELD_OUT_SHARE = 0.6
_GLOSS_SHARE = 0.5


def radiology_report(
    catalog: Catalog, present: Sequence[int], others: Sequence[int], sex: str, draw: Random
) -> str:
    """Write one report of a patient with these conditions; others are asked about and not found."""
    chosen = [catalog.conditions[index] for index in present]
    asked = [catalog.conditions[index] for index in others]
    known = ", ".join(_name(condition, draw) for condition in chosen[:4]) or "no known illness"
    complaints = _pick(phrases.COMPLAINTS, draw)
    question = _name(asked[0], draw) if asked else "acute process"
    lines = []
    for condition in chosen:
        lines.append(_said(_pick(_TREATED, draw), condition, draw))
        lines.append(_said(_pick(_FINDINGS, draw), condition, draw))
    lines += [f"No evidence of {_name(condition, draw)}." for condition in asked]
    draw.shuffle(lines)
    impression = [_name(condition, draw) for condition in chosen[:3]] or ["No acute process"]
    return "\n \n".join(
        (
            f"EXAMINATION:  {_pick(_EXAMS, draw)}",
            f"INDICATION:  ___ year old {sex} with {known} presents with "
            f"{_pick(complaints, draw)}  // eval for {question}",
            "COMPARISON:  ___",
            "FINDINGS: \n" + " ".join(lines),
            "IMPRESSION: \n" + "\n".join(_capital(text) + "." for text in impression),
        )
    )


def _said(frame: str, condition: Condition, draw: Random) -> str:
    return _capital(frame.format(name=_name(condition, draw), drug=condition.drug))


def _name(condition: Condition, draw: Random) -> str:
    common, rare = _pick(condition.forms, draw), _pick(condition.held_out, draw)
    if draw.random() >= _HELD_OUT_SHARE:
        return common
    if draw.random() < _GLOSS_SHARE:
        return _pick(_GLOSSES, draw).format(rare=rare, common=common)
    return rare


def _pick(options: Sequence[T], draw: Random) -> T:
    return options[int(draw.random() * len(options))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
