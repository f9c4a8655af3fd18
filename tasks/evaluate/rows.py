"""Metric rows of one outcome: AUROCs of every variant, their paired differences, every label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.known import Known, LabelSet
from tasks.measures.auroc import LabelAurocs, label_aurocs, one_vs_one
from tasks.measures.bootstrap import cluster_bootstrap
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import (
    P_METHOD,
    PAIRED_METHOD,
    Interval,
    difference,
    interval,
    label_interval,
    share_of_the_way,
)
from tasks.measures.pool import micro_with_ranks
from tasks.measures.sample import Sample
from tasks.metrics_table import counted, valued

AVERAGE_PRECISION = "precision at each case, ties called together"
Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Measured:
    """One variant's ranking of an outcome: by label, and by code system (None: pooled)."""

    variant: str
    labels: LabelAurocs  # its groups are those of Known
    aurocs: Mapping[tuple[str, str | None], Estimate]  # ("macro", ...), ("micro", ...), ...
    micro_precision: Mapping[str | None, float]  # average precision of all cells together


def measure(variant: str, sample: Sample, known: Known) -> Measured:
    """Rank the sample within each label and pooled, by code system."""
    labels = label_aurocs(sample)
    aurocs: dict[tuple[str, str | None], Estimate] = {}
    precision: dict[str | None, float] = {}
    for of in known.sets:
        system = of.code_system
        aurocs["macro", system] = labels.macro(of.groups)
        aurocs["weighted", system] = labels.weighted(of.groups)
        if system is None and len(known.code_systems) == 1:  # pooled is the same
            alone = known.code_systems[0]
            aurocs["micro", system], precision[system] = aurocs["micro", alone], precision[alone]
        else:
            chosen = slice(None) if system is None else np.flatnonzero(of.labels)
            aurocs["micro", system], ranks = micro_with_ranks(sample, chosen)
            precision[system] = ranks.average_precision if ranks.defined else float("nan")
        if of.size == 1:  # its patients are counted there
            aurocs["micro", system] = aurocs["macro", system]
    if known.one_of:
        ovo = one_vs_one(sample)
        aurocs |= {("ovo", of.code_system): ovo for of in known.sets}
    return Measured(variant, labels, aurocs, precision)


def variant_rows(measured: Measured, known: Known) -> Rows:
    """The averages with intervals, how many labels are defined, the bands, and every label."""
    for of in known.sets:
        base = of.row | {"variant": measured.variant}
        for (average, system), estimate in measured.aurocs.items():
            if system == of.code_system:
                yield base | valued(f"auroc_{average}", interval(estimate, known.patients))
        defined = measured.labels.defined(of.groups)
        alone = int((defined & (measured.labels.rarer < 2)).sum())
        yield base | counted("labels", of.size)
        yield base | counted("labels_defined", int(defined.sum()))
        yield base | counted("labels_of_one_patient", alone)
        precision = measured.labels.average_precision[defined]
        mean = float(precision.mean()) if len(precision) else float("nan")
        yield base | counted("average_precision_macro", mean, AVERAGE_PRECISION)
        pooled = measured.micro_precision[of.code_system]
        yield base | counted("average_precision_micro", pooled, AVERAGE_PRECISION)
        for band in of.bands:
            yield from _band_rows(measured, known, band)
    yield from _label_rows(measured, known)


def _band_rows(measured: Measured, known: Known, band: LabelSet) -> Rows:
    base = band.row | {"variant": measured.variant}
    macro = interval(measured.labels.macro(band.groups), known.patients)
    yield base | valued("auroc_macro", macro)
    yield base | counted("labels", band.size)
    yield base | counted("labels_defined", int(measured.labels.defined(band.groups).sum()))


def comparison_rows(first: Measured, second: Measured, known: Known) -> Rows:
    """First minus second on the same admissions, with the p-value of no difference."""
    for of in known.sets:
        base = of.row | {"variant": first.variant, "against": second.variant}
        for (name, system), estimate in first.aurocs.items():
            if system != of.code_system:
                continue
            apart = difference(estimate, second.aurocs[name, system], known.patients)
            yield base | valued(f"auroc_{name}_difference", apart, PAIRED_METHOD)
            yield base | counted(f"auroc_{name}_difference_p", apart.p_value, P_METHOD)


def share_rows(measured: Measured, best: Measured, known: Known) -> Rows:
    """How far the variant comes from chance to the best reachable macro AUROC."""
    for of in known.sets:
        macro, reachable = (model.aurocs["macro", of.code_system] for model in (measured, best))
        share = share_of_the_way(macro, reachable, known.patients)
        base = of.row | {"variant": measured.variant}
        yield base | valued("share_of_best", share, "delta method, clustered by patient")


def bootstrap_rows(measured: Measured, sample: Sample, known: Known, draws: int) -> Rows:
    """The macro AUROC with the cluster bootstrap's interval, and that bootstrap's standard error.

    The check on the rows of `variant_rows`.
    """
    bootstrap = cluster_bootstrap(sample, draws)
    for of in known.sets:
        drawn = bootstrap.macro(of.groups)
        base = of.row | {"variant": measured.variant}
        checked = Interval(measured.aurocs["macro", of.code_system].value, *drawn.bounds)
        yield base | valued("auroc_macro_bootstrap", checked, drawn.method)
        error = drawn.standard_error
        yield base | counted("auroc_macro_bootstrap_error", error, drawn.method)


def change_rows(
    variant: str, scores: NDArray[np.float32], whole: NDArray[np.float32], known: Known
) -> Rows:
    """How much the test logits change when one adapter is zeroed: zero would mean it is unused."""
    apart = np.abs(scores - whole)
    base = known.sets[-1].row | {"variant": variant}
    yield base | counted("logit_change_largest", float(apart.max()), "one adapter zeroed")
    yield base | counted("logit_change_mean", float(apart.mean()), "one adapter zeroed")


def _label_rows(measured: Measured, known: Known) -> Rows:
    aurocs = measured.labels
    for index, code in enumerate(known.codes):
        auroc = label_interval(
            float(aurocs.auroc[index]),
            float(aurocs.standard_error[index]),
            int(aurocs.case_patients[index]),
            int(aurocs.control_patients[index]),
        )
        cases = int(aurocs.cases[index])
        base = known.sets[known.group[index]].row | {
            "variant": measured.variant,
            "code": code,
            "n": cases + int(aurocs.controls[index]),
            "positives": cases,
        }
        yield base | valued("auroc", auroc)
        precision = float(aurocs.average_precision[index])
        yield base | counted("average_precision", precision, AVERAGE_PRECISION)
