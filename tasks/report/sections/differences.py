"""Two models on the same admissions: is one better, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from tasks.report.charts import forest
from tasks.report.figures import Figure, around, draw, in_words, style_of, whisker
from tasks.report.findings import Findings, Pair, Space
from tasks.report.grids import Block, Cell, Grid, cell
from tasks.report.printing import p_value
from tasks.variants import Variant

_OTHERS = (
    ("Weighted AUROC", "auroc_weighted_difference"),
    ("Micro AUROC", "auroc_micro_difference"),
    ("One class against one", "auroc_ovo_difference"),
    ("Average precision, macro", "average_precision_macro_difference"),
    ("Average precision, micro", "average_precision_micro_difference"),
)


@dataclass(frozen=True)
class Differences:
    """The section's charts and tables."""

    pairs: list[Pair]
    forests: list[Figure]
    others: Grid | None  # of other measures than macro AUROC
    shares: list[Variant]  # those of which the share of the best reachable is known
    ablations: list[Variant]
    findings: Findings

    def p_values(self, pair: Pair, space: Space) -> str:
        """A p-value of the main table, as it stands alone and adjusted; "p 0.012, Holm 0.036"."""
        row = self.findings.within("auroc_macro_difference_p", pair, space)
        adjusted = self.findings.holm.get((pair, space))
        return f"p {p_value(row['value'] if row else None)}, Holm {p_value(adjusted)}"

    @property
    def correction(self) -> str:
        """What the adjusted p-values are adjusted for."""
        count = len(self.findings.holm)
        return f"Holm's is corrected for the {count} comparison{'s' * (count != 1)} of this table"


def differences(findings: Findings) -> Differences:
    shared = {row["variant"] for row in findings.of("share_of_best")}
    return Differences(
        pairs=findings.pairs,
        forests=_forests(findings),
        others=_others(findings),
        shares=[variant for variant in findings.records if variant.name in shared],
        ablations=[variant for variant in findings.records if variant.ablates],
        findings=findings,
    )


def _forests(findings: Findings) -> list[Figure]:
    """The difference of macro AUROC, a row an outcome; a chart a pair."""
    return draw((pair.title, partial(_forest, findings, pair)) for pair in findings.pairs)


def _forest(findings: Findings, pair: Pair) -> Figure | None:
    rows = [
        whisker(space.title, row, style_of(findings, pair.second), f"{row['value']:+.3f}")
        for space in map(findings.overall, findings.outcomes)
        if (row := findings.within("auroc_macro_difference", pair, space))
    ]
    if not rows:
        return None
    axis = around("difference of macro AUROC (dotted: none)", rows, reference=0.0)
    words = f"{pair.title}, difference of macro AUROC: {in_words(rows)}."
    return Figure(pair.title, forest(rows, axis, description=words, reference=0.0))


def _others(findings: Findings) -> Grid | None:
    """The differences of the other summaries, with their p-values."""
    kept = [(heading, metric) for heading, metric in _OTHERS if findings.of(metric)]
    blocks = []
    for outcome in findings.outcomes:
        space = findings.overall(outcome)
        rows = []
        for pair in findings.pairs:
            cells = []
            for _, metric in kept:
                row = findings.within(metric, pair, space)
                p = findings.within(f"{metric}_p", pair, space)
                printed = cell(row, "+.3f")
                words = [printed.span, f"p {p_value(p['value'])}" if p else ""]
                cells.append(Cell(printed.value, ", ".join(filter(None, words))))
            rows.append((pair.title, tuple(cells)))
        blocks.append(Block(space.title, space.system, tuple(rows)))
    columns = tuple(heading for heading, _ in kept)
    caption = "Paired differences of the other measures"
    return Grid(caption, "Outcome", "Models", columns, tuple(blocks)) if kept and blocks else None
