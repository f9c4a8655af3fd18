"""Two models on the same admissions: is one better, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tasks.report.document import Facts
from tasks.report.figures import Figure, compared, draw, style_of, whisker
from tasks.report.findings import Findings, Pair, Space
from tasks.report.grids import Cell, Grid, Row, by_space, cell
from tasks.report.printing import p_value

_OTHERS = (
    ("Weighted AUROC", "auroc_weighted_difference"),
    ("Micro AUROC", "auroc_micro_difference"),
    ("One class against one", "auroc_ovo_difference"),
    ("Average precision, macro", "average_precision_macro_difference"),
    ("Average precision, micro", "average_precision_micro_difference"),
)


def differences(findings: Findings) -> Facts:
    """The tables and charts; shares are of the variants whose share of the best is known."""
    shared = {row["variant"] for row in findings.of("share_of_best")}
    count = len(findings.holm)
    comparisons = f"{count} comparison{'s' * (count != 1)}"
    return {
        "pairs": findings.pairs,
        "forests": draw((pair.title, partial(_forest, findings, pair)) for pair in findings.pairs),
        "others": _others(findings),
        "shares": [variant for variant in findings.records if variant.name in shared],
        "altered": [variant for variant in findings.records if variant.is_altered],
        "merges": any(variant.merged_by for variant in findings.records),
        "p_values": partial(_p_values, findings),
        "correction": f"Holm's is corrected for the {comparisons} of this table",
    }


def _p_values(findings: Findings, pair: Pair, space: Space) -> str:
    """A p-value of the main table, as it stands alone and adjusted; "p 0.012, Holm 0.036"."""
    row = findings.within("auroc_macro_difference_p", pair, space)
    adjusted = findings.holm.get((pair, space))
    return f"p {p_value(row['value'] if row else None)}, Holm {p_value(adjusted)}"


def _forest(findings: Findings, pair: Pair) -> Figure | None:
    """The difference of macro AUROC, a row an outcome."""
    rows = [
        whisker(space.title, row, style_of(findings, pair.second), f"{row['value']:+.3f}")
        for space in findings.headline_spaces
        if (row := findings.within("auroc_macro_difference", pair, space))
    ]
    across, words = "difference of macro AUROC (dotted: none)", "difference of macro AUROC"
    return compared(pair.title, rows, across, f"{pair.title}, {words}", reference=0.0)


def _others(findings: Findings) -> Grid | None:
    """The differences of the other summaries, with their p-values."""
    kept = {heading: metric for heading, metric in _OTHERS if findings.of(metric)}

    def difference(metric: str, pair: Pair, space: Space) -> Cell:
        printed = cell(findings.within(metric, pair, space), "+.3f")
        p = findings.within(f"{metric}_p", pair, space)
        words = [printed.span, f"p {p_value(p['value'])}" if p else ""]
        return Cell(printed.value, ", ".join(filter(None, words)))

    def rows(space: Space) -> Iterator[Row]:
        for pair in findings.pairs if kept else ():
            yield pair.title, tuple(difference(metric, pair, space) for metric in kept.values())

    caption = "Paired differences of the other measures"
    return by_space(findings, caption, "Models", kept, rows)
