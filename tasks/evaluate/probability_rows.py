"""Metric rows and curves of one outcome that are fitted on validation and measured on test.

Calibration as predicted and recalibrated, F1 at chosen thresholds, net benefit, and where an
outcome has labels enough how each admission's are ranked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.known import Known
from tasks.measures.calibration import Calibration, calibration
from tasks.measures.coding import DEPTHS, coding
from tasks.measures.decisions import THRESHOLDS, net_benefit
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import METHOD, interval
from tasks.measures.recalibration import LEAST_CASES, Recalibration, recalibrate, unchanged
from tasks.measures.sample import Sample
from tasks.measures.small_samples import TOO_FEW
from tasks.measures.thresholds import F1, NEVER, best_thresholds, f1_at
from tasks.measures.wilson import Z
from tasks.metrics_table import WITHHELD, counted, valued

LEAST_RANKED = 15  # labels: with fewer, precision at 15 says nothing
RECALIBRATED = "_recalibrated"
CHOSEN = "threshold chosen on validation"
BINNED = "equal-mass bins, no interval"
_Rows = list[dict[str, Any]]
Floats = NDArray[np.float64]


def probability_rows(
    variant: str, sample: Sample, validation: Sample, known: Known, smallest: int = 10
) -> tuple[_Rows, _Rows]:
    """The rows of schemas.METRICS, and the points of schemas.CURVES.

    Args:
        sample: of the test split; its scores are logits, of classes the log-odds of their softmax.
        validation: likewise.
        smallest: no point of a curve is of fewer cells.
    """
    line = recalibrate(validation)
    thresholds = best_thresholds(validation)
    lines = {"": unchanged(known.labels), RECALIBRATED: line}
    labels = sample.labels_with(LEAST_CASES, 1)
    rows: _Rows = []
    curves: _Rows = []
    for suffix, calibrated in zip(
        lines, calibration(sample, labels, list(lines.values())), strict=True
    ):
        rows += _calibration_rows(calibrated, known, suffix)
        points = calibrated.reliability.points(smallest)
        curves += [{"curve": f"reliability{suffix}", **vars(point)} for point in points]
    f1 = f1_at(thresholds, sample, [of.labels for of in known.sets])
    rows += _threshold_rows(thresholds, f1, known)
    rows += _coding_rows(sample, known)
    curves += _benefit_points(sample, labels, line)
    base = {"variant": variant, "outcome": known.outcome}
    return [base | row for row in rows], [base | point for point in curves]


def _label_rows(
    known: Known, metrics: Mapping[str, tuple[Floats, ...]], method: str
) -> Iterator[dict[str, Any]]:
    """A row a label and metric, where there is a value.

    Args:
        metrics: name -> value, and where there are intervals low and high, NaN of too few
            patients; [labels] each.
    """
    for metric, columns in metrics.items():
        for label in np.flatnonzero(~np.isnan(columns[0])):
            numbers = [float(column[label]) for column in columns]
            few = np.isnan(numbers).any()
            yield known.sets[known.group[label]].row | {
                "code": known.codes[label],
                "positives": int(known.positives[label]),
                "metric": metric,
                "method": f"{WITHHELD}: {TOO_FEW}" if few else method,
                **dict(zip(("value", "low", "high"), numbers, strict=False)),
            }


def _calibration_rows(
    calibrated: Calibration, known: Known, suffix: str
) -> Iterator[dict[str, Any]]:
    share, real = (0.0, 1.0), (-np.inf, np.inf)
    with_interval = {
        "brier": _bounded(calibrated.brier, calibrated.brier_error, share),
        "calibration_slope": _bounded(calibrated.slope, calibrated.slope_error, real),
        "calibration_intercept": _bounded(calibrated.intercept, calibrated.intercept_error, real),
    }
    yield from _label_rows(known, {f"{k}{suffix}": v for k, v in with_interval.items()}, METHOD)
    yield from _label_rows(known, {f"ece{suffix}": (calibrated.ece,)}, BINNED)
    measured = np.zeros(len(calibrated.brier), bool)
    measured[calibrated.labels] = True
    for of in (of for whole in known.sets for of in (whole, *whole.bands)):
        labels = of.labels & measured
        count = int(labels.sum())
        if not suffix:
            yield of.row | counted("labels_calibrated", count)
        if not count:
            continue
        influence = calibrated.influence[np.unique(known.groups[labels])].sum(0) / count
        enough = np.isfinite(
            calibrated.brier_error[labels]
        ).any()  # of a label with enough patients
        mean = Estimate(
            float(calibrated.brier[labels].mean()), influence, "" if enough else TOO_FEW
        )
        yield of.row | valued(f"brier_macro{suffix}", interval(mean, known.patients))
        for name, values, method in (
            ("ece", calibrated.ece, f"median over labels, {BINNED}"),
            ("calibration_slope", calibrated.slope, "median over labels"),
            ("calibration_intercept", calibrated.intercept, "median over labels"),
        ):
            defined = values[labels & ~np.isnan(values)]
            if len(defined):
                yield of.row | counted(f"{name}_median{suffix}", float(np.median(defined)), method)


def _threshold_rows(
    thresholds: NDArray[np.float32], f1: F1, known: Known
) -> Iterator[dict[str, Any]]:
    never = thresholds == NEVER
    chosen = np.where(never, np.nan, thresholds.astype(np.float64))
    yield from _label_rows(known, {"threshold": (chosen,)}, CHOSEN)
    yield from _label_rows(known, {"f1": (f1.f1,)}, CHOSEN)
    for of, macro, micro in zip(known.sets, f1.macro, f1.micro, strict=True):
        for metric, mean in (("f1_macro", macro), ("f1_micro", micro)):
            yield of.row | valued(metric, interval(mean, known.patients), f"{CHOSEN}; {METHOD}")
        yield of.row | counted("labels_never_predicted", int((never & of.labels).sum()))


def _coding_rows(sample: Sample, known: Known) -> Iterator[dict[str, Any]]:
    """Of each code system, or all together, that has labels enough to be ranked."""
    sets = [of for of in known.sets if of.size >= LEAST_RANKED]
    if known.one_of or not sets:
        return
    ranked = coding(sample)
    for of in sets:
        rows = known.rows_of(of.labels)
        means = {f"precision_at_{depth}": ranked.precision_at(depth, rows) for depth in DEPTHS}
        means["r_precision"] = ranked.mean_r_precision(rows)
        means["mean_average_precision"] = ranked.mean_average_precision(rows)
        for metric, mean in means.items():
            yield of.row | valued(metric, interval(mean, known.patients))
        without = int((rows & (ranked.positives == 0)).sum())
        yield of.row | counted("admissions_without_label", without)


def _benefit_points(
    sample: Sample, labels: NDArray[np.int64], line: Recalibration
) -> Iterator[dict[str, Any]]:
    if not len(labels):
        return
    benefit = net_benefit(sample, labels, line)
    for curve, heights in (("net_benefit", benefit.model), ("net_benefit_all", benefit.all)):
        for threshold, height in zip(THRESHOLDS, heights, strict=True):
            yield {"curve": curve, "x": float(threshold), "y": float(height)}


def _bounded(value: Floats, error: Floats, bounds: tuple[float, float]) -> tuple[Floats, ...]:
    """Value, low and high of each label: normal intervals, cut at the bounds."""
    return value, np.maximum(value - Z * error, bounds[0]), np.minimum(value + Z * error, bounds[1])
