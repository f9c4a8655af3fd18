"""Writes radiology reports: unlabeled notes in which rare names of a condition are explained.

A report names a condition as the admission notes do, by its common form, its held-out form, or
one as a gloss of the other, so that a language model can learn that they mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tasks.synth.catalog import Catalog, Condition
from tasks.synth.draws import pick
from tasks.synth.phrases import PHRASES
from tasks.synth.voice import capital

_PHRASES = PHRASES.radiology
_HELD_OUT_SHARE = 0.6
_GLOSS_SHARE = 0.5


def radiology_report(
    catalog: Catalog, present: Sequence[int], others: Sequence[int], sex: str, draw: Random
) -> str:
    """Write one report of a patient with these conditions; `others` are asked about and absent."""
    chosen = [catalog.conditions[index] for index in present]
    asked = [catalog.conditions[index] for index in others]
    known = ", ".join(_name(condition, draw) for condition in chosen[:4]) or "no known illness"
    complaints = pick(PHRASES.admission.complaints, draw.random())
    question = _name(asked[0], draw) if asked else "acute process"
    lines = []
    for condition in chosen:
        lines.append(_filled(pick(_PHRASES.treated, draw.random()), condition, draw))
        lines.append(_filled(pick(_PHRASES.findings, draw.random()), condition, draw))
    lines += [f"No evidence of {_name(condition, draw)}." for condition in asked]
    draw.shuffle(lines)
    impression = [_name(condition, draw) for condition in chosen[:3]] or ["No acute process"]
    return "\n \n".join(
        (
            f"EXAMINATION:  {pick(_PHRASES.exams, draw.random())}",
            f"INDICATION:  ___ year old {sex} with {known} presents with "
            f"{pick(complaints, draw.random())}  // eval for {question}",
            "COMPARISON:  ___",
            "FINDINGS: \n" + " ".join(lines),
            "IMPRESSION: \n" + "\n".join(capital(text) + "." for text in impression),
        )
    )


def _filled(frame: str, condition: Condition, draw: Random) -> str:
    return capital(frame.format(name=_name(condition, draw), drug=condition.drug))


def _name(condition: Condition, draw: Random) -> str:
    common, rare = pick(condition.forms, draw.random()), pick(condition.held_out, draw.random())
    if draw.random() >= _HELD_OUT_SHARE:
        return common
    if draw.random() < _GLOSS_SHARE:
        return pick(_PHRASES.glosses, draw.random()).format(rare=rare, common=common)
    return rare
