"""Metric rows and curves of one outcome that are fitted on validation and measured on test.

Calibration as predicted and recalibrated, F1 at chosen thresholds, net benefit, and where an
outcome has labels enough how each admission's are ranked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.inputs import Known
from tasks.evaluate.label_sets import LabelSets
from tasks.measures.calibration import Calibration, calibration
from tasks.measures.coding import DEPTHS, coding
from tasks.measures.columns import labels_with
from tasks.measures.decisions import THRESHOLDS, net_benefit
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import METHOD, interval
from tasks.measures.recalibration import (
    LEAST_CASES,
    Recalibration,
    recalibrate,
    unchanged,
)
from tasks.measures.small_samples import TOO_FEW
from tasks.measures.thresholds import F1, NEVER, best_thresholds, f1_at
from tasks.measures.wilson import Z
from tasks.metrics_table import counted, valued

LEAST_RANKED = 15  # labels: with fewer, precision at 15 says nothing
RECALIBRATED = "_recalibrated"
CHOSEN = "threshold chosen on validation"
BINNED = "equal-mass bins, no interval"
_Rows = list[dict[str, Any]]
Floats = NDArray[np.float64]


def probability_rows(
    variant: str,
    scores: NDArray[np.float32],
    validation_scores: NDArray[np.float32],
    known: Known,
    validation: Known,
    smallest: int = 10,
) -> tuple[_Rows, _Rows]:
    """The rows of schemas.METRICS, and the points of schemas.CURVES.

    Args:
        scores: [test admissions, labels], logits; of classes the log-odds of their softmax.
        validation_scores: [validation admissions, labels], likewise.
        smallest: no point of a curve is of fewer cells.
    """
    sets = LabelSets(known)
    given = (scores, known.cases, known.observed)
    learned = (validation_scores, validation.cases, validation.observed)
    line = recalibrate(*learned)
    thresholds = best_thresholds(*learned)
    measured = {"": unchanged(known.labels), RECALIBRATED: line}
    labels = labels_with(known.cases, known.observed, LEAST_CASES, 1)
    rows: _Rows = []
    curves: _Rows = []
    calibrated = calibration(*given, known.patients, labels, known.cells, list(measured.values()))
    for suffix, found in zip(measured, calibrated, strict=True):
        rows += _calibration_rows(found, sets, suffix)
        curves += _reliability_points(found, suffix, smallest)
    rows += _threshold_rows(thresholds, f1_at(thresholds, *given, sets.spaces), sets)
    rows += _coding_rows(scores, sets)
    curves += _benefit_points(scores, known, labels, line)
    base = {"variant": variant, "outcome": known.outcome}
    return [base | row for row in rows], [base | point for point in curves]


def _calibration_rows(found: Calibration, sets: LabelSets, suffix: str) -> Iterator[dict[str, Any]]:
    share, real = (0.0, 1.0), (-np.inf, np.inf)
    with_interval = {
        "brier": _bounded(found.brier, found.brier_error, share),
        "calibration_slope": _bounded(found.slope, found.slope_error, real),
        "calibration_intercept": _bounded(found.intercept, found.intercept_error, real),
    }
    yield from sets.of_labels({f"{k}{suffix}": v for k, v in with_interval.items()}, METHOD)
    yield from sets.of_labels({f"ece{suffix}": (found.ece,)}, BINNED)
    measured = np.zeros(len(found.brier), bool)
    measured[found.labels] = True
    for base, labels in sets.by_band:
        own = labels & measured
        count = int(own.sum())
        if not suffix:
            yield base | counted("labels_calibrated", count, "count")
        if not count:
            continue
        influence = found.influence[np.unique(sets.known.cells[own])].sum(0) / count
        known = np.isfinite(found.brier_error[own]).any()  # of a label that enough patients tell
        mean = Estimate(float(found.brier[own].mean()), influence, "" if known else TOO_FEW)
        yield base | valued(f"brier_macro{suffix}", interval(mean, sets.known.patients))
        for name, values, method in (
            ("ece", found.ece, f"median over labels, {BINNED}"),
            ("calibration_slope", found.slope, "median over labels"),
            ("calibration_intercept", found.intercept, "median over labels"),
        ):
            defined = values[own & ~np.isnan(values)]
            if len(defined):
                yield base | counted(f"{name}_median{suffix}", float(np.median(defined)), method)


def _threshold_rows(
    thresholds: NDArray[np.float32], found: F1, sets: LabelSets
) -> Iterator[dict[str, Any]]:
    never = thresholds == NEVER
    chosen = np.where(never, np.nan, thresholds.astype(np.float64))
    yield from sets.of_labels({"threshold": (chosen,)}, CHOSEN)
    yield from sets.of_labels({"f1": (found.f1,)}, CHOSEN)
    for place, (name, labels) in enumerate(zip(sets.names, sets.spaces, strict=True)):
        base = sets.described(labels, name)
        for metric, mean in (("f1_macro", found.macro[place]), ("f1_micro", found.micro[place])):
            yield base | valued(metric, interval(mean, sets.known.patients), f"{CHOSEN}; {METHOD}")
        yield base | counted("labels_never_predicted", int((never & labels).sum()), "count")


def _coding_rows(scores: NDArray[np.float32], sets: LabelSets) -> Iterator[dict[str, Any]]:
    """Of each code system, or all together, that has labels enough to be ranked."""
    known = sets.known
    wanted = [place for place, space in enumerate(sets.spaces) if space.sum() >= LEAST_RANKED]
    if known.one_of or not wanted:
        return
    found = coding(scores, known.cases, known.observed)
    for place in wanted:
        rows = known.rows_of(sets.spaces[place])
        base = sets.described(sets.spaces[place], sets.names[place])
        means = {f"precision_at_{depth}": found.precision_at(depth, rows) for depth in DEPTHS}
        means["r_precision"] = found.mean_r_precision(rows)
        means["mean_average_precision"] = found.mean_average_precision(rows)
        for metric, mean in means.items():
            yield base | valued(metric, interval(mean, known.patients))
        bare = int((rows & (found.positives == 0)).sum())
        yield base | counted("admissions_without_label", bare, "count")


def _reliability_points(found: Calibration, suffix: str, smallest: int) -> Iterator[dict[str, Any]]:
    for point in found.reliability.points(smallest):
        yield {
            "curve": f"reliability{suffix}",
            "x": point.predicted,
            "y": point.observed,
            "low": point.low,
            "high": point.high,
            "n": point.cells,
        }


def _benefit_points(
    scores: NDArray[np.float32], known: Known, labels: NDArray[np.int64], line: Recalibration
) -> Iterator[dict[str, Any]]:
    if not len(labels):
        return
    found = net_benefit(scores, known.cases, known.observed, labels, line)
    for curve, heights in (("net_benefit", found.model), ("net_benefit_all", found.all)):
        for threshold, height in zip(THRESHOLDS, heights, strict=True):
            yield {"curve": curve, "x": float(threshold), "y": float(height)}


def _bounded(value: Floats, error: Floats, bounds: tuple[float, float]) -> tuple[Floats, ...]:
    """Value, low and high of each label: normal intervals, cut at the bounds."""
    return value, np.maximum(value - Z * error, bounds[0]), np.minimum(value + Z * error, bounds[1])
