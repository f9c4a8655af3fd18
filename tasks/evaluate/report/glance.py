"""The main findings of a run in a few plain sentences."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.evaluate.report.findings import Findings, Space, variant_title
from tasks.evaluate.report.printing import auroc, signed, span

_NAMED = {  # within a sentence
    "fused": "the fused model",
    "unfused": "the task adapter alone",
    "tfidf": "TF-IDF with logistic regression",
}


def glance(findings: Findings) -> list[tuple[str, str]]:
    """An outcome, and a few plain sentences about it."""
    paragraphs = []
    model = findings.models[0]
    for outcome in findings.outcomes:
        space = findings.overall(outcome)
        row = findings.within("auroc_macro", model, space)
        if row is None:
            words = "no label has both cases and controls in test."
            paragraphs.append((space.title, words))
            continue
        words = f"{_named(model)} reaches a macro AUROC of {auroc(row)}"
        words += f" (95% interval {span(row)})." if row["low"] is not None else "."
        paragraphs.append((space.title, " ".join([words, *_compared(findings, space)])))
    return paragraphs


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
