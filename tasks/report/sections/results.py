"""The headline: macro AUROC of every model, other summaries, and the paper's figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from tasks.report.document import Facts
from tasks.report.figures import Figure, by_outcome, compared, style_of, whisker
from tasks.report.findings import Findings, Space
from tasks.report.grids import Measure, measured
from tasks.report.printing import order_of_sum, why_withheld
from tasks.variants import Variant

# Gema et al., arXiv 2307.03042, Table 3 (v3): MIMIC-III, CORE's splits and labels, one seed
PUBLISHED = (
    ("CORe", {"diagnoses": 0.7240, "procedures": 0.7273, "mortality": 0.7152}),
    ("LLaMA 7B + LoRA", {"diagnoses": 0.7837, "procedures": 0.8749, "mortality": 0.7489}),
    (
        "LLaMA 7B + clinical LoRA (trainable) + downstream LoRA",
        {"diagnoses": 0.7852, "procedures": 0.8715, "mortality": 0.7736},
    ),
)
_SUMMARIES = (
    Measure("Macro AUROC", "auroc_macro"),
    Measure("Weighted by cases", "auroc_weighted"),
    Measure("Micro AUROC", "auroc_micro"),
    Measure("One class against one", "auroc_ovo"),
    Measure("Average precision, macro", "average_precision_macro"),
    Measure("Average precision, micro", "average_precision_micro"),
)
_SEEDS = "Several training seeds: the intervals hold for another training as well."
_ONE_SEED = (
    "One training seed: this checkpoint only. The intervals say how the numbers would vary with "
    "other patients, not with another training of the same model."
)
_MORE = {measure.metric for measure in _SUMMARIES} - {"auroc_macro", "auroc_micro"}


def results(findings: Findings, published: bool, one_seed: bool) -> Facts:
    columns = (*findings.models, *([findings.best] if findings.best else []))
    more = any(findings.of(metric) for metric in _MORE)
    title = "The same rankings summed up in other ways"
    rows = findings.of("labels_of_one_patient")
    return {
        "columns": columns,
        "forests": by_outcome(findings, partial(_forest, findings, columns)),
        "summaries": measured(findings, title, _SUMMARIES) if more else None,
        "sums": list(_sums(findings)),
        "withheld": list(_withheld(findings, columns)),
        "published": _published(findings) if published else [],
        "one_seed": one_seed,
        "several_systems": any(len(findings.spaces(outcome)) > 1 for outcome in findings.outcomes),
        "one_patient": any((row["value"] or 0) > 0 for row in rows),
    }


def what_seeds_say(one_seed: bool) -> str:
    """What the number of seeds says about the intervals."""
    return _ONE_SEED if one_seed else _SEEDS


def _forest(findings: Findings, columns: Sequence[Variant], space: Space) -> Figure | None:
    """Macro AUROC with its interval, a row a variant."""
    rows = [
        whisker(variant.short_title, row, style_of(findings, variant), f"{row['value']:.3f}")
        for variant in columns
        if (row := findings.within("auroc_macro", variant, space))
    ]
    across, words = "macro AUROC (dotted: 0.5, guessing)", f"{space.title}, macro AUROC"
    return compared(space.title, rows, across, words, reference=0.5)


def _withheld(findings: Findings, columns: Sequence[Variant]) -> Iterator[str]:
    """For every headline number without a value or an interval, a line that says why."""
    for space in findings.all_spaces:
        for variant in columns:
            row = findings.over("auroc_macro", variant, space)
            if row and (reason := why_withheld(row)):
                yield f"{space.title} ({space.system}), {variant.short_title}: {reason}."


def _sums(findings: Findings) -> Iterator[str]:
    """For every model whose sum was weighed by validation or training, or hangs on its order."""
    for model in findings.models:
        for adapter in model.chosen:
            weight = model.weights[adapter]
            how = f"added {weight:g} times" if weight else "left out"
            yield f"{model.short_title}: validation chose that the {adapter} adapter be {how}."
        for adapter in model.learned:
            yield (
                f"{model.short_title}: the {adapter} adapter is added {model.weights[adapter]:.2f} "
                "times, the mean of what its layers learned."
            )
        if model.ordered:
            yield f"{model.short_title}: {order_of_sum(model.ordered)}."


def _published(findings: Findings) -> list[tuple[str, bool, dict[str, str]]]:
    """Our macro AUROCs, then the published ones, for the outcomes that the paper has."""
    shown = list(PUBLISHED[0][1])
    ours = []
    for model in findings.models:
        rows = {
            outcome: findings.within("auroc_macro", model, findings.overall(outcome))
            for outcome in shown
            if outcome in findings.outcomes
        }
        printed = {outcome: f"{row['value']:.3f}" for outcome, row in rows.items() if row}
        ours.append((model.short_title, True, printed))
    theirs = [
        (name, False, {outcome: f"{value:.3f}" for outcome, value in values.items()})
        for name, values in PUBLISHED
    ]
    return [*ours, *theirs]
