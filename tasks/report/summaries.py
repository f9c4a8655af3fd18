"""The main findings of a run: in a few plain sentences, and as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tasks.report.config import NOTE
from tasks.report.findings import ERROR_RATE, Findings, Space
from tasks.report.printing import figure, headline_of, number, span, why_withheld


@dataclass(frozen=True)
class Summary:
    """An outcome's headline number and interval, and what they say in a few plain sentences."""

    title: str
    value: str
    interval: str
    sentences: str


def summaries(findings: Findings) -> list[Summary]:
    """The headline of the first model, an outcome at a time."""
    made = []
    model = findings.models[0]
    for space in findings.headline_spaces:
        row = findings.over("auroc_macro", model, space)
        if row is None or row["value"] is None:
            words = "No label has both cases and controls in test."
            made.append(Summary(space.title, number(row), "", words))
            continue
        phrase = model.phrase
        words = f"{phrase[:1].upper()}{phrase[1:]} reaches a macro AUROC of {number(row)}"
        if reason := why_withheld(row):
            words += f". Its interval is withheld: {reason}; so the number says little by itself."
        else:
            words += f" (95% interval {span(row)})."
        sentences = " ".join([words, *_compared(findings, space)])
        made.append(Summary(space.title, number(row), span(row), sentences))
    return made


def headline(findings: Findings) -> list[dict[str, Any]]:
    """A row for each outcome, label space and variant; with each AUROC its interval, or why not."""
    rows: list[dict[str, Any]] = []
    for space in findings.all_spaces:
        for variant in findings.variants:
            macro = findings.over("auroc_macro", variant, space)
            micro = findings.within("auroc_micro", variant, space)
            count = findings.within("labels_defined", variant, space)
            if variant.is_altered or macro is None or count is None:
                continue
            rows.append(
                {
                    "outcome": space.outcome,
                    "label space": space.system,
                    "variant": variant.name,
                    **headline_of(macro),
                    "micro AUROC": round(micro["value"], 3) if micro else None,
                    "labels": int(count["value"]),
                    NOTE: why_withheld(macro),
                }
            )
    return rows


def _compared(findings: Findings, space: Space) -> Iterator[str]:
    """What the first model's paired differences of a space say, in words."""
    for pair in findings.pairs:
        row = findings.within("auroc_macro_difference", pair, space)
        if pair.first != findings.models[0]:
            continue
        if row is None or row["low"] is None or row["high"] is None:
            continue
        other, size = pair.second.phrase, abs(row["value"])
        excludes_zero = row["low"] > 0 or row["high"] < 0
        adjusted = findings.holm.get((pair, space))
        if excludes_zero and (adjusted is None or adjusted < ERROR_RATE):
            side = "above" if row["low"] > 0 else "below"
            low, high = sorted((abs(row["low"]), abs(row["high"])))
            apart = figure({"value": size, "low": low, "high": high})
            yield f"It is {side} {other} by {apart}."
        else:
            when = (
                f" after correction for {len(findings.holm)} comparisons" if excludes_zero else ""
            )
            apart = f"{number(row, '+.3f')}, {span(row, '+.3f')}"
            yield f"It is not told apart from {other}{when} ({apart})."
