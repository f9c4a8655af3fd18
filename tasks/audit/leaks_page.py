"""The leak audit as a Markdown page, and as a table of section by outcome."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.audit.config import LeaksConfig

LEAK = "LEAK"
_TERMS_SHOWN = 8
_METHOD = """\
A bag of words (which terms a section uses, not how often) is learned from each section alone, by \
ridge regression on training patients, and ranks the validation patients; the test split is not \
read. ADMISSION NOTE is the same model on the eight admission sections together. AUROC is the mean \
over labels, its 95% interval clustered by patient. A later section is marked {leak} where it \
ranks better than the admission note on the same admissions: the paired difference is above zero, \
p < 0.05 after Holm over all sections and outcomes ({tested} tests). Labels are those that at \
least {smallest} training and {validation} validation patients have, at most {labels} of a code \
system. A section that is not marked may still hold what was known only later; and what gives an \
outcome away within the admission sections raises their own AUROC, so look at it and at its terms.

Terms used by fewer than {smallest} training patients are not in the models, so no such term is \
named here. Nor is one a tokenizer piece: the tokenizer of a base made from nothing is trained on \
`pretrain.base.corpus`, text without clinical notes, and the others come with their base model.
"""

Row = Mapping[str, Any]


def report(
    sections: Sequence[Row], terms: Sequence[Row], left_out: Sequence[str], config: LeaksConfig
) -> str:
    """The page as Markdown: aggregates, and terms that enough patients use.

    Args:
        sections, terms: rows of schemas.LEAKS and schemas.TERMS.
        left_out: outcomes without a label that enough patients have.
    """
    method = _METHOD.format(
        leak=LEAK,
        tested=sum(row["p_value"] is not None for row in sections),
        smallest=config.smallest_patients,
        validation=config.validation_patients,
        labels=config.most_labels,
    )
    parts = ["# Leak audit", _summary(sections), method]
    if left_out:
        parts.append(f"Not asked, as no label has enough patients: {', '.join(left_out)}.")
    for space in dict.fromkeys(map(_space, sections)):
        of_space = [row for row in sections if _space(row) == space]
        parts.append("\n".join([f"## {_title(*space)}", "", *_table(of_space)]))
        parts += [
            f"**{row['section']}**: {_words(row, terms)}" for row in of_space if row["flagged"]
        ]
    return "\n\n".join(parts) + "\n"


def overview(sections: Sequence[Row]) -> str:
    """One row a section, one column an outcome and code system, as JSON for terminal and UI."""
    names = list(dict.fromkeys(row["section"] for row in sections))
    rows = [
        {"section": name}
        | {_title(*_space(row)): _cell(row) for row in sections if row["section"] == name}
        for name in names
    ]
    return json.dumps(rows, indent=1) + "\n"


def _summary(sections: Sequence[Row]) -> str:
    flagged = [row for row in sections if row["flagged"]]
    if not sections:
        return "No outcome has a label that enough patients have: nothing was asked."
    if not flagged:
        return "No section says more of an outcome than the admission note."
    named: dict[str, list[str]] = {}
    for row in flagged:
        named.setdefault(_title(*_space(row)), []).append(row["section"])
    listed = "\n".join(f"- {space}: {', '.join(names)}" for space, names in named.items())
    return f"Sections that give an outcome away:\n\n{listed}"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    first = rows[0]
    yield (
        f"{first['labels']:,} labels, {first['n']:,} validation admissions of "
        f"{first['n_patients']:,} patients, {first['positives']:,} positive (admission, label) "
        "pairs."
    )
    yield ""
    yield "| section | known at admission | AUROC | 95% | above the admission note | |"
    yield "|---|---|---:|---:|---:|---|"
    for row in rows:
        early = "yes" if row["at_admission"] else ""
        above = f"{row['above']:+.3f} ({_span(row['above_low'], row['above_high'], '+.3f')})"
        yield (
            f"| {row['section']} | {early} | {row['auroc']:.3f} | "
            f"{_span(row['low'], row['high'], '.3f')} | {above if row is not first else ''} | "
            f"{LEAK if row['flagged'] else ''} |"
        )


def _span(low: float, high: float, form: str) -> str:
    """An interval; the one of an AUROC of exactly 1, or of too few patients, is not given."""
    return "interval withheld" if math.isnan(low) else f"{low:{form}} to {high:{form}}"


def _words(row: Row, terms: Sequence[Row]) -> str:
    """The section's terms with the largest weights over the labels, each once."""
    of_section = [
        term for term in terms if term["section"] == row["section"] and _space(term) == _space(row)
    ]
    largest = sorted(of_section, key=lambda term: -abs(term["weight"]))
    first = {term["term"]: term for term in reversed(largest)}
    shown = [first[name] for name in dict.fromkeys(t["term"] for t in largest)][:_TERMS_SHOWN]
    return ", ".join(f"`{t['term']}` ({t['code']} {t['weight']:+.2f})" for t in shown)


def _space(row: Row) -> tuple[str, str]:
    return row["outcome"], row["code_system"]


def _title(outcome: str, code_system: str) -> str:
    return outcome if outcome == code_system else f"{outcome} ({code_system})"


def _cell(row: Row) -> str:
    return f"{row['auroc']:.3f}" + (f" {LEAK}" if row["flagged"] else "")
