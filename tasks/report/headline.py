"""The run's table for a terminal and for Prefect."""

from __future__ import annotations

from typing import Any

from tasks.report.config import NOTE
from tasks.report.findings import Findings
from tasks.report.printing import headline_of, why_withheld


def headline(findings: Findings) -> list[dict[str, Any]]:
    """A row for each outcome, label space and variant; with each AUROC its interval, or why not."""
    rows: list[dict[str, Any]] = []
    for space in findings.all_spaces:
        for variant in findings.variants:
            macro = findings.over("auroc_macro", variant, space)
            micro = findings.within("auroc_micro", variant, space)
            count = findings.within("labels_defined", variant, space)
            if variant.ablates or macro is None or count is None:
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
