"""Metric rows of one outcome: AUROCs of every variant, their paired differences, every label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas
from tasks.evaluate.inputs import Known
from tasks.evaluate.measures.auroc import Estimate, LabelAurocs, label_aurocs, micro
from tasks.evaluate.measures.intervals import (
    METHOD,
    PAIRED_METHOD,
    Interval,
    difference,
    interval,
    label_interval,
    share_of_the_way,
)

BEST = "p_best"  # the variant made of the generator's best predictions
WITHOUT = "-without-"  # variants with an adapter zeroed: shown as a check, never compared
_ROW: dict[str, Any] = {"split": "test", "group": "all", "code_system": None, "code": None}


@dataclass(frozen=True)
class Measured:
    """One variant's ranking of an outcome: by label, and by code system (None: pooled)."""

    variant: str
    labels: LabelAurocs
    macro: Mapping[int | None, Estimate]
    micro: Mapping[int | None, Estimate]


def measure(
    variant: str,
    scores: NDArray[np.float32],
    known: Known,
    observed: NDArray[np.bool_] | None = None,
) -> Measured:
    """Rank the scores, [admissions, labels], within each label and pooled, by code system."""
    seen = known.observed if observed is None else observed
    labels = label_aurocs(scores, known.cases, seen, known.patients, known.group)
    spaces = spaces_of(known)
    macros = {space: labels.macro(None if space is None else [space]) for space in spaces}
    micros: dict[int | None, Estimate] = {}
    for space in spaces:
        if space is None and len(spaces) == 2:  # one code system: pooled is the same
            micros[space] = micros[0]
        else:
            chosen = slice(None) if space is None else known.group == space
            micros[space] = micro(scores[:, chosen], known.cases[:, chosen], seen[:, chosen])
    return Measured(variant, labels, macros, micros)


def spaces_of(known: Known) -> list[int | None]:
    """Every code system, and pooled (None) last."""
    return [*range(len(known.code_systems)), None]


def variant_rows(measured: Measured, known: Known) -> Iterator[dict[str, Any]]:
    """Macro and micro with intervals, how many labels are defined, and every label."""
    for space in spaces_of(known):
        base = _counts(known, space) | {"variant": measured.variant}
        for metric, found in (("macro", measured.macro[space]), ("micro", measured.micro[space])):
            yield base | _valued(f"auroc_{metric}", interval(found, known.patients), METHOD)
        groups = None if space is None else [space]
        defined = measured.labels.defined(groups)
        total = known.labels if space is None else int((known.group == space).sum())
        alone = int((defined & (measured.labels.case_patients < 2)).sum())
        yield base | _counted("labels", total)
        yield base | _counted("labels_defined", int(defined.sum()))
        yield base | _counted("labels_of_one_patient", alone)
    yield from _label_rows(measured, known)


def comparison_rows(first: Measured, second: Measured, known: Known) -> Iterator[dict[str, Any]]:
    """First minus second on the same admissions, with the p-value of no difference."""
    for space in spaces_of(known):
        base = _counts(known, space) | {"variant": f"{first.variant}-{second.variant}"}
        for name, ours, theirs in (
            ("macro", first.macro[space], second.macro[space]),
            ("micro", first.micro[space], second.micro[space]),
        ):
            found = difference(ours, theirs, known.patients)
            yield base | _valued(f"auroc_{name}_difference", found, PAIRED_METHOD)
            yield base | _counted(f"auroc_{name}_difference_p", found.p_value, "normal, two-sided")


def share_rows(measured: Measured, best: Measured, known: Known) -> Iterator[dict[str, Any]]:
    """How far the variant comes from chance to the best reachable macro AUROC."""
    for space in spaces_of(known):
        base = _counts(known, space) | {"variant": measured.variant}
        found = share_of_the_way(measured.macro[space], best.macro[space], known.patients)
        yield base | _valued("share_of_best", found, "delta method, clustered by patient")


def change_rows(
    variant: str, scores: NDArray[np.float32], whole: NDArray[np.float32], known: Known
) -> Iterator[dict[str, Any]]:
    """How much the test logits change when one adapter is zeroed: zero would mean it is unused."""
    apart = np.abs(scores - whole)
    base = _counts(known, None) | {"variant": variant}
    yield base | _counted("logit_change_largest", float(apart.max()), "one adapter zeroed")
    yield base | _counted("logit_change_mean", float(apart.mean()), "one adapter zeroed")


def to_table(rows: Iterable[Mapping[str, Any]], run: str, seed: int) -> pa.Table:
    """The rows as one table of schemas.METRICS; NaN becomes null."""
    listed = [{**_ROW, **row, "run": run, "seed": seed} for row in rows]
    for row in listed:
        for name in ("value", "low", "high"):
            row[name] = _or_null(row.get(name))
    return pa.Table.from_pylist(listed, schemas.METRICS)


def _label_rows(measured: Measured, known: Known) -> Iterator[dict[str, Any]]:
    found = measured.labels
    patients = [_counts(known, space)["n_patients"] for space in range(len(known.code_systems))]
    for index, code in enumerate(known.codes):
        value = float(found.auroc[index])
        low, high = label_interval(value, float(found.standard_error[index]))
        group = int(known.group[index])
        yield {
            "variant": measured.variant,
            "outcome": known.outcome,
            "code_system": known.code_systems[group],
            "code": code,
            "n": int(found.cases[index] + found.controls[index]),
            "n_patients": patients[group],
            "positives": int(found.cases[index]),
        } | _valued("auroc", Interval(value, low, high), f"{METHOD}, logit scale")


def _counts(known: Known, space: int | None) -> dict[str, Any]:
    """The row's outcome and code system, and how many admissions, patients and cases it is over."""
    labels = np.ones(known.labels, bool) if space is None else known.group == space
    rows = known.observed[:, labels].any(axis=1)
    return {
        "outcome": known.outcome,
        "code_system": None if space is None else known.code_systems[space],
        "n": int(rows.sum()),
        "n_patients": len(np.unique(known.patients[rows])),
        "positives": int(np.count_nonzero((known.cases & known.observed)[:, labels])),
    }


def _valued(metric: str, found: Interval, method: str) -> dict[str, Any]:
    bounds = {"low": found.low, "high": found.high}
    return {"metric": metric, "method": method, "value": found.value, **bounds}


def _counted(metric: str, value: float, method: str = "count") -> dict[str, Any]:
    return {"metric": metric, "method": method, "value": float(value)}


def _or_null(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
