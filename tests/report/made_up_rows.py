"""Made-up rows of every measure and curve, added to a run's metrics: what the report can show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks import schemas, tables
from tasks.report.findings import Findings
from tasks.variants import BEST
from tests.evaluate.made_up import VARIANTS

BANDS = ("cases=0", "cases=1-24", "cases=25-99", "cases=100-999", "cases=1000+")
RANKING = ("auroc_weighted", "average_precision_macro", "average_precision_micro")
CODING = ("precision_at_5", "precision_at_8", "precision_at_15", "r_precision")
CALIBRATION = {
    "brier_macro": (0.07, 0.06),
    "ece_median": (0.27, 0.03),
    "calibration_slope_median": (0.61, 0.98),
    "calibration_intercept_median": (-0.84, -0.02),
}
EVIDENCE = {
    "deletion_area": 0.213,
    "insertion_area": 0.771,
    "random_area": 0.542,
    "deletion_below_random": 0.329,
    "insertion_above_random": 0.229,
}
GAP_METHOD = "BLACK minus WHITE over 41 labels that both define, chosen after looking"


ALONE = ("auroc", "auroc_macro", "auroc_micro", "labels", "labels_defined", "share_of_best")


def findings_of(rows: Sequence[dict[str, Any]]) -> Findings:
    """The findings of a made-up run that has these rows."""
    return Findings(rows, [*VARIANTS, BEST])


def keep_aurocs_alone(folder: Path) -> None:
    """Leave of the tables what an older version measured: AUROCs of all patients, ROC curves."""
    metrics = tables.read(folder / "metrics.parquet", schemas.METRICS)
    rows = [
        row
        for row in metrics.to_pylist()
        if row["metric"].startswith(("auroc_macro_diff", "perplexity", *ALONE))
        and not row["metric"].startswith(("auroc_macro_gap", "auroc_weighted"))
        and (row["group"] == "all" or row["metric"] in ("auroc_macro", "labels_defined"))
        and not row["group"].startswith("cases=")
    ]
    table = pa.Table.from_pylist(rows, schemas.METRICS)
    tables.write(folder / "metrics.parquet", schemas.METRICS, table)
    curves = tables.read(folder / "curves.parquet", schemas.CURVES)
    rocs = curves.filter(pc.equal(curves["curve"], "roc"))
    tables.write(folder / "curves.parquet", schemas.CURVES, rocs)


def add_every_measure(folder: Path) -> None:
    """Append the rows to `metrics.parquet` and the points to `curves.parquet`."""
    metrics = tables.read(folder / "metrics.parquet", schemas.METRICS)
    scored = [row for row in metrics.to_pylist() if row["metric"] == "auroc_macro"]
    whole = [row for row in scored if row["group"] == "all" and row["variant"] in _MODELS]
    rows = [made for row in whole for made in _measures(row)]
    rows += [made for row in whole for made in _differences(row)]
    rows += [made for row in scored if "=" in row["group"] for made in _gap(row)]
    added = pa.Table.from_pylist(rows, schemas.METRICS)
    joined = pa.concat_tables([metrics, added])
    tables.write(folder / "metrics.parquet", schemas.METRICS, joined)
    curves = tables.read(folder / "curves.parquet", schemas.CURVES)
    named = dict.fromkeys((row["variant"], row["outcome"]) for row in whole)
    points = [point for name in named for point in _points(*name)]
    drawn = pa.concat_tables([curves, pa.Table.from_pylist(points, schemas.CURVES)])
    tables.write(folder / "curves.parquet", schemas.CURVES, drawn)


_MODELS = {"fused": 0.00, "unfused": 0.01, "tfidf": 0.04}  # how far behind the first


def _measures(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    behind = _MODELS[row["variant"]]
    for index, metric in enumerate(RANKING):
        yield _like(row, metric, 0.71 - 0.13 * index - behind)
    for index, metric in enumerate(("f1_macro", "f1_micro")):
        yield _like(row, metric, 0.31 + 0.2 * index - behind)
    if row["outcome"] == "diagnoses":
        for index, metric in enumerate(CODING):
            yield _like(row, metric, 0.66 - 0.08 * index - behind)
        yield _like(row, "mean_average_precision", 0.537 - behind)
        for index, group in enumerate(BANDS[1:]):
            value = 0.62 + 0.07 * index - behind
            yield _like(row, "auroc_macro", value, group=group, width=0.06 / (1 + index))
            yield _like(row, "labels_defined", 40 - 10 * index, group=group, width=None)
            for metric, pair in CALIBRATION.items():
                yield _like(row, metric, pair[0] + 0.01 * index, group=group, width=None)
            yield _like(row, "labels_calibrated", 2 + index, group=group, width=None)
    for metric, (before, after) in CALIBRATION.items():
        yield _like(row, metric, before + behind, width=None)
        yield _like(row, f"{metric}_recalibrated", after + behind, width=None)
    yield _like(row, "labels_calibrated", 17, width=None)
    if row["variant"] == "fused":
        for metric, value in EVIDENCE.items():
            yield _like(row, metric, value)


def _differences(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if row["variant"] != "fused":
        pair = {"variant": "fused", "against": row["variant"]}
        yield _like(row, "average_precision_macro_difference", 0.0123, width=0.01) | pair
        yield _like(row, "average_precision_macro_difference_p", 0.017, width=None) | pair


def _gap(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    column, _, name = row["group"].partition("=")
    if name in ("F", "WHITE") and row["variant"] == "fused":
        method = {"method": GAP_METHOD}
        yield _like(row, "auroc_macro_gap", 0.0456, group=column, width=0.03) | method
        yield _like(row, "auroc_macro_gap_p", 0.0314, group=column, width=None)


def _like(
    row: dict[str, Any],
    metric: str,
    value: float,
    *,
    group: str = "all",
    width: float | None = 0.02,
) -> dict[str, Any]:
    low, high = (None, None) if width is None else (value - width, value + width)
    changed = {"metric": metric, "method": "made up", "value": value, "low": low, "high": high}
    return row | changed | {"group": group, "seed": 1}


def _points(variant: str, outcome: str) -> Iterator[dict[str, Any]]:
    behind = _MODELS[variant]
    for recall in np.linspace(0, 1, 51):
        precision = 0.08 + (0.8 - 4 * behind) * (1 - recall) ** 1.5
        yield _point(variant, outcome, "precision_recall", recall, precision)
    # diagnoses are rare (so their axes are logarithmic), mortality is not
    means = np.geomspace(0.001, 0.6, 12) if outcome == "diagnoses" else np.linspace(0.02, 0.6, 10)
    for curve, bend in (("reliability", 1.5 + 4 * behind), ("reliability_recalibrated", 1.02)):
        for x in means:
            y = float(x**bend)
            spread = {"low": 0.8 * y, "high": min(1.0, 1.2 * y + 0.002), "n": 400}
            yield _point(variant, outcome, curve, x, y) | spread
    for threshold in np.linspace(0.01, 0.99, 99):
        odds = threshold / (1 - threshold)
        benefit = max(-0.004, (0.12 - 0.5 * behind) * (1 - threshold) ** 3 - 0.004)
        yield _point(variant, outcome, "net_benefit", threshold, benefit)
        yield _point(variant, outcome, "net_benefit_all", threshold, 0.12 - 0.88 * odds)


def _point(variant: str, outcome: str, curve: str, x: float, y: float) -> dict[str, Any]:
    named = {"variant": variant, "outcome": outcome, "curve": curve, "x": float(x), "y": float(y)}
    return named | {"low": None, "high": None, "n": None}
