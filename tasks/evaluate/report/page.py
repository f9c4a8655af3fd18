"""The report: one self-contained HTML page, and Markdown of the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.evaluate.config import EvaluateConfig, Lineage
from tasks.evaluate.perplexity import OUTCOME
from tasks.evaluate.report import figures
from tasks.evaluate.report.card import write_card
from tasks.evaluate.report.facts import Arm, Cohort, Label
from tasks.evaluate.report.findings import SYSTEMS, Findings, Space, summary, variant_title
from tasks.evaluate.rows import BEST, WITHOUT

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_LABELS = 10  # best and worst of an outcome, above the full table
MISSING = "\u2013"  # an en dash
NAMED = {  # within a sentence
    "fused": "the fused model",
    "unfused": "the task adapter alone",
    "tfidf": "TF-IDF with logistic regression",
}
# Gema et al., arXiv 2307.03042, Table 3 (v3): MIMIC-III, CORE's splits and labels, one seed
PUBLISHED = (
    ("CORe", {"diagnoses": 0.7240, "procedures": 0.7273, "mortality": 0.7152}),
    ("LLaMA 7B + LoRA", {"diagnoses": 0.7837, "procedures": 0.8749, "mortality": 0.7489}),
    (
        "LLaMA 7B + clinical LoRA (trainable) + downstream LoRA",
        {"diagnoses": 0.7852, "procedures": 0.8715, "mortality": 0.7736},
    ),
)


@dataclass(frozen=True)
class Story:
    """All that a report tells."""

    run: str
    findings: Findings
    cohort: Cohort
    labels: Sequence[Label]
    arms: Sequence[Arm]
    curves: Path  # curves.parquet
    difficulty: Mapping[str, Any]
    quality: Sequence[Mapping[str, Any]]  # checks of the source that hit a row
    contamination: Mapping[str, Any]  # what the guard counted; empty where nothing was compared
    leaks: Sequence[str]  # sentences: what was known too early
    settings: Mapping[str, Any]
    lineage: Lineage
    config: EvaluateConfig


@dataclass(frozen=True)
class LabelRow:
    """A label with its AUROC in each model."""

    label: Label
    aurocs: tuple[Mapping[str, Any] | None, ...]  # a metrics row a model


def write_report(out: Path, story: Story) -> None:
    """Write `report.html`, `report.md`, and `headline.json` (the table for a terminal)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_filters(story.config.smallest_cell))
    context = _context(story)
    for name in ("report.html", "report.md"):
        (out / name).write_text(environment.get_template(name).render(context), encoding="utf-8")
    rows = [{key: _rounded(value) for key, value in row.items()} for row in summary(story.findings)]
    (out / "headline.json").write_text(json.dumps(rows, indent=1))
    write_card(out, story)


def _filters(smallest_cell: int) -> dict[str, Callable[..., str]]:
    """How the templates print a metrics row, a name, or a count."""
    return {
        "auroc": _auroc,
        "span": _span,
        "signed": _signed,
        "signed_span": lambda row: _span(row, sign=True),
        "percent": _percent,
        "share": _share,
        "p_value": _p_value,
        "count": _count,
        "small": lambda count: _small(count, smallest_cell),
        "variant": variant_title,
        "short": figures.short,
        "fact": lambda value: f"{value:.4g}" if isinstance(value, float) else str(value),
        "system": lambda name: str(SYSTEMS.get(name, name)),
    }


def _context(story: Story) -> dict[str, Any]:
    findings = story.findings
    return {
        "run": story.run,
        "story": story,
        "findings": findings,
        "glance": _glance(findings),
        "columns": [*findings.models, *([BEST] if BEST in findings.variants else [])],
        "spaces": [space for name in findings.outcomes for space in findings.spaces(name)],
        "pairs": findings.pairs,
        "shares": list(dict.fromkeys(row["variant"] for row in findings.of("share_of_best"))),
        "zeroed": [name for name in findings.variants if WITHOUT in name]
        or list(dict.fromkeys(row["variant"] for row in findings.of("logit_change_largest"))),
        "forests": figures.forests(findings),
        "rocs": figures.roc_figures(story.curves, findings),
        "frequencies": figures.frequency_figures(findings, story.labels),
        "bands": {
            name: figures.band_table(findings, story.labels, name) for name in findings.outcomes
        },
        "training": figures.training_figures(story.arms),
        "perplexity": {
            name: findings.get(f"perplexity_{name}", "clinical", OUTCOME)
            for name in ("before", "after", "ratio")
        },
        "label_rows": {name: _label_rows(story, name) for name in findings.outcomes},
        "shown_labels": SHOWN_LABELS,
        "groups": _groups(findings),
        "published": PUBLISHED if story.config.published else (),
        "settings": yaml.safe_dump(dict(story.settings), sort_keys=False, width=88),
        "one_patient": any((row["value"] or 0) > 0 for row in findings.of("labels_of_one_patient")),
    }


def _glance(findings: Findings) -> list[str]:
    """The main findings, a few plain sentences an outcome."""
    paragraphs = []
    model = findings.models[0]
    for outcome in findings.outcomes:
        space = findings.overall(outcome)
        row = findings.get("auroc_macro", model, outcome, space.code_system)
        if row is None:
            paragraphs.append(f"{space.title}: no label has both cases and controls in test.")
            continue
        words = f"{space.title}: {_named(model)} reaches a macro AUROC of {_auroc(row)}"
        words += f" (95% interval {_span(row)})." if row["low"] is not None else "."
        paragraphs.append(" ".join([words, *_compared(findings, space)]))
    return paragraphs


def _compared(findings: Findings, space: Space) -> Iterator[str]:
    """What the paired differences of a space say, in words."""
    for pair in findings.pairs:
        row = findings.get("auroc_macro_difference", pair.name, space.outcome, space.code_system)
        if row is None or row["low"] is None:
            continue
        other, size = _named(pair.second), abs(row["value"])
        low, high = sorted((abs(row["low"]), abs(row["high"])))
        if row["low"] > 0 or row["high"] < 0:
            side = "above" if row["low"] > 0 else "below"
            yield f"It is {side} {other} by {size:.3f} ({low:.3f} to {high:.3f})."
        else:
            yield f"It is not told apart from {other} ({_signed(row)}, {_span(row, sign=True)})."


def _named(variant: str) -> str:
    return NAMED.get(variant, variant_title(variant))


def _label_rows(story: Story, outcome: str) -> list[LabelRow]:
    """The outcome's labels, the best of the first model first, undefined ones last."""
    rows = [
        LabelRow(
            label,
            tuple(
                story.findings.get("auroc", variant, outcome, label.code_system, label.code)
                for variant in story.findings.models
            ),
        )
        for label in story.labels
        if label.outcome == outcome
    ]
    return sorted(rows, key=lambda row: -(row.aurocs[0]["value"] if row.aurocs[0] else -1))


def _groups(findings: Findings) -> dict[str, list[tuple[str, str, Mapping[str, Any]]]]:
    """Subgroup rows by outcome: (column, group, its row)."""
    found: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for row in findings.rows:
        if row["group"] != "all" and row["metric"] == "auroc_macro":
            column, _, name = row["group"].partition("=")
            found.setdefault(row["outcome"], []).append((column.replace("_", " "), name, row))
    return found


def _auroc(row: Mapping[str, Any] | None) -> str:
    return MISSING if row is None or row["value"] is None else f"{row['value']:.3f}"


def _span(row: Mapping[str, Any] | None, sign: bool = False) -> str:
    if row is None or row["low"] is None:
        return "interval withheld"
    form = "+.3f" if sign else ".3f"
    return f"{row['low']:{form}} to {row['high']:{form}}"


def _signed(row: Mapping[str, Any] | None) -> str:
    return MISSING if row is None or row["value"] is None else f"{row['value']:+.3f}"


def _percent(row: Mapping[str, Any] | None) -> str:
    return MISSING if row is None or row["value"] is None else f"{100 * row['value']:.0f}%"


def _share(row: Mapping[str, Any] | None) -> str:
    if row is None or row["low"] is None:
        return "interval withheld"
    return f"{100 * row['low']:.0f}% to {100 * row['high']:.0f}%"


def _p_value(row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return MISSING
    return "< 0.001" if row["value"] < 0.001 else f"{row['value']:.3f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _small(count: int, smallest: int) -> str:
    return f"<{smallest}" if 0 < count < smallest else f"{count:,}"


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
