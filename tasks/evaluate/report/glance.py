"""The main findings of a run in a few plain sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.evaluate.report.findings import Findings, Space, variant_title
from tasks.evaluate.report.printing import auroc, signed, span

_NAMED = {  # within a sentence
    "fused": "the fused model",
    "unfused": "the task adapter alone",
    "tfidf": "TF-IDF with logistic regression",
}


@dataclass(frozen=True)
class Glimpse:
    """An outcome's headline number and interval, and what they say in a few plain sentences."""

    title: str
    value: str
    interval: str
    sentences: str


def glance(findings: Findings) -> list[Glimpse]:
    """The headline of the first model, an outcome at a time."""
    found = []
    model = findings.models[0]
    for space in map(findings.overall, findings.outcomes):
        row = findings.within("auroc_macro", model, space)
        if row is None:
            words = "No label has both cases and controls in test."
            found.append(Glimpse(space.title, auroc(None), "undefined", words))
            continue
        named = _named(model)
        words = f"{named[:1].upper()}{named[1:]} reaches a macro AUROC of {auroc(row)}"
        words += f" (95% interval {span(row)})." if row["low"] is not None else "."
        sentences = " ".join([words, *_compared(findings, space)])
        found.append(Glimpse(space.title, auroc(row), span(row), sentences))
    return found


def _compared(findings: Findings, space: Space) -> Iterator[str]:
    """What the paired differences of a space say, in words."""
    for pair in findings.pairs:
        row = findings.within("auroc_macro_difference", pair.name, space)
        if row is None or row["low"] is None:
            continue
        other, size = _named(pair.second), abs(row["value"])
        low, high = sorted((abs(row["low"]), abs(row["high"])))
        if row["low"] > 0 or row["high"] < 0:
            side = "above" if row["low"] > 0 else "below"
            yield f"It is {side} {other} by {size:.3f} ({low:.3f} to {high:.3f})."
        else:
            yield f"It is not told apart from {other} ({signed(row)}, {span(row, sign=True)})."


def _named(variant: str) -> str:
    return _NAMED.get(variant, variant_title(variant))
