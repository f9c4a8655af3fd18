"""Metric rows of one outcome: AUROCs of every variant, their paired differences, every label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.inputs import Known, bands_of
from tasks.measures.auroc import LabelAurocs, label_aurocs
from tasks.measures.bootstrap import cluster_bootstrap
from tasks.measures.classes import one_vs_one
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import (
    METHOD,
    P_METHOD,
    PAIRED_METHOD,
    Interval,
    difference,
    interval,
    label_interval,
    share_of_the_way,
)
from tasks.measures.micro import micro_with_ranks
from tasks.metrics_table import BANDS, counted, valued

AVERAGE_PRECISION = "precision at each case, ties called together"


@dataclass(frozen=True)
class Measured:
    """One variant's ranking of an outcome: by label, and by code system (None: pooled)."""

    variant: str
    labels: LabelAurocs  # its groups are the bands of the first code system, then of the next
    aurocs: Mapping[tuple[str, int | None], Estimate]  # ("macro", ...), ("micro", ...), ...
    micro_precision: Mapping[int | None, float]  # average precision of all cells together

    def macro(self, space: int | None) -> Estimate:
        return self.aurocs["macro", space]


def measure(
    variant: str,
    scores: NDArray[np.float32],
    known: Known,
    observed: NDArray[np.bool_] | None = None,
) -> Measured:
    """Rank the scores, [admissions, labels], within each label and pooled, by code system."""
    seen = known.observed if observed is None else observed
    cells = scores, known.cases, seen, known.patients
    labels = label_aurocs(*cells, known.cells)
    aurocs: dict[tuple[str, int | None], Estimate] = {}
    precision: dict[int | None, float] = {}
    spaces = spaces_of(known)
    for space in spaces:
        aurocs["macro", space] = labels.macro(label_groups(known, space))
        aurocs["weighted", space] = labels.weighted(label_groups(known, space))
        if space is None and len(spaces) == 2:  # one code system: pooled is the same
            aurocs["micro", space], precision[space] = aurocs["micro", 0], precision[0]
        else:
            chosen = slice(None) if space is None else np.flatnonzero(known.group == space)
            aurocs["micro", space], ranks = micro_with_ranks(*cells, chosen)
            precision[space] = ranks.average_precision if ranks.defined else float("nan")
        if _inside(known, space).sum() == 1:  # its patients are counted there
            aurocs["micro", space] = aurocs["macro", space]
    if known.one_of:
        ovo = one_vs_one(*cells)
        aurocs |= {("ovo", space): ovo for space in spaces}
    return Measured(variant, labels, aurocs, precision)


def spaces_of(known: Known) -> list[int | None]:
    """Every code system, and pooled (None) last."""
    return [*range(len(known.code_systems)), None]


def label_groups(known: Known, space: int | None, band: int | None = None) -> list[int]:
    """The groups of labels of a code system (None: all) and of a band (None: all)."""
    systems = range(len(known.code_systems)) if space is None else [space]
    bands = range(len(BANDS)) if band is None else [band]
    return [system * len(BANDS) + one for system in systems for one in bands]


def variant_rows(measured: Measured, known: Known) -> Iterator[dict[str, Any]]:
    """The averages with intervals, how many labels are defined, the bands, and every label."""
    for space in spaces_of(known):
        base = counts(known, space) | {"variant": measured.variant}
        for (average, of), found in measured.aurocs.items():
            if of == space:
                yield base | valued(f"auroc_{average}", interval(found, known.patients), METHOD)
        groups = label_groups(known, space)
        defined = measured.labels.defined(groups)
        alone = int((defined & (measured.labels.rarer < 2)).sum())
        yield base | counted("labels", int(_inside(known, space).sum()))
        yield base | counted("labels_defined", int(defined.sum()))
        yield base | counted("labels_of_one_patient", alone)
        precision = measured.labels.average_precision[defined]
        mean = float(precision.mean()) if len(precision) else float("nan")
        yield base | counted("average_precision_macro", mean, AVERAGE_PRECISION)
        pooled = measured.micro_precision[space]
        yield base | counted("average_precision_micro", pooled, AVERAGE_PRECISION)
        yield from _band_rows(measured, known, space)
    yield from _label_rows(measured, known)


def _band_rows(measured: Measured, known: Known, space: int | None) -> Iterator[dict[str, Any]]:
    """The macro AUROC of the labels of each band that has any."""
    for band, (_, name) in enumerate(BANDS):
        total = int(_inside(known, space, band).sum())
        if not total:
            continue
        base = counts(known, space, band) | {"variant": measured.variant, "group": name}
        groups = label_groups(known, space, band)
        found = interval(measured.labels.macro(groups), known.patients)
        yield base | valued("auroc_macro", found, METHOD)
        yield base | counted("labels", total)
        yield base | counted("labels_defined", int(measured.labels.defined(groups).sum()))


def comparison_rows(first: Measured, second: Measured, known: Known) -> Iterator[dict[str, Any]]:
    """First minus second on the same admissions, with the p-value of no difference."""
    for space in spaces_of(known):
        base = counts(known, space) | {"variant": first.variant, "against": second.variant}
        for (name, of), ours in first.aurocs.items():
            if of != space:
                continue
            found = difference(ours, second.aurocs[name, of], known.patients)
            yield base | valued(f"auroc_{name}_difference", found, PAIRED_METHOD)
            yield base | counted(f"auroc_{name}_difference_p", found.p_value, P_METHOD)


def share_rows(measured: Measured, best: Measured, known: Known) -> Iterator[dict[str, Any]]:
    """How far the variant comes from chance to the best reachable macro AUROC."""
    for space in spaces_of(known):
        base = counts(known, space) | {"variant": measured.variant}
        found = share_of_the_way(measured.macro(space), best.macro(space), known.patients)
        yield base | valued("share_of_best", found, "delta method, clustered by patient")


def bootstrap_rows(
    measured: Measured, scores: NDArray[np.float32], known: Known, draws: int
) -> Iterator[dict[str, Any]]:
    """The macro AUROC with the cluster bootstrap's interval, and that bootstrap's standard error.

    The check on the rows of `variant_rows`.
    """
    cells = scores, known.cases, known.observed, known.patients
    found = cluster_bootstrap(*cells, draws, known.group)
    for space in spaces_of(known):
        drawn = found.macro(None if space is None else [space])
        base = counts(known, space) | {"variant": measured.variant}
        checked = Interval(measured.macro(space).value, *drawn.bounds)
        yield base | valued("auroc_macro_bootstrap", checked, drawn.method)
        error = drawn.standard_error
        yield base | counted("auroc_macro_bootstrap_error", error, drawn.method)


def change_rows(
    variant: str, scores: NDArray[np.float32], whole: NDArray[np.float32], known: Known
) -> Iterator[dict[str, Any]]:
    """How much the test logits change when one adapter is zeroed: zero would mean it is unused."""
    apart = np.abs(scores - whole)
    base = counts(known, None) | {"variant": variant}
    yield base | counted("logit_change_largest", float(apart.max()), "one adapter zeroed")
    yield base | counted("logit_change_mean", float(apart.mean()), "one adapter zeroed")


def counts(known: Known, space: int | None, band: int | None = None) -> dict[str, Any]:
    """A row's code system, and how many admissions, patients and cases it is over."""
    return {
        "outcome": known.outcome,
        "code_system": None if space is None else known.code_systems[space],
        **known.described(_inside(known, space, band)),
    }


def _label_rows(measured: Measured, known: Known) -> Iterator[dict[str, Any]]:
    found = measured.labels
    patients = [counts(known, space)["n_patients"] for space in range(len(known.code_systems))]
    for index, code in enumerate(known.codes):
        own = label_interval(
            float(found.auroc[index]),
            float(found.standard_error[index]),
            int(found.case_patients[index]),
            int(found.control_patients[index]),
        )
        group = int(known.group[index])
        base = {
            "variant": measured.variant,
            "outcome": known.outcome,
            "code_system": known.code_systems[group],
            "code": code,
            "n": int(found.cases[index] + found.controls[index]),
            "n_patients": patients[group],
            "positives": int(found.cases[index]),
        }
        yield base | valued("auroc", own, METHOD)
        precision = float(found.average_precision[index])
        yield base | counted("average_precision", precision, AVERAGE_PRECISION)


def _inside(known: Known, space: int | None, band: int | None = None) -> NDArray[np.bool_]:
    """Which labels are of a code system (None: any) and of a band (None: any); [labels]."""
    inside = np.ones(known.labels, bool) if space is None else known.group == space
    return inside if band is None else inside & (bands_of(known.train) == band)
