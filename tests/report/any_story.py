"""Whatever a run could measure, as strategies: whole metrics tables, curves, labels, costs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from tasks import schemas, tables
from tasks.evaluate.stack import stacked
from tasks.metrics_table import NEXT_TOKEN, WITHHELD
from tasks.patients import SPLITS
from tasks.report.config import Lineage, Origin
from tasks.report.facts import Arm, CohortFlow, Cost, Label, Making, SplitSize
from tasks.report.findings import Findings
from tasks.report.story import Story
from tasks.variants import BEST, Variant, comparisons, write_records
from tests.evaluate.made_up import VARIANTS as RECORDS

CURVES = ("roc", "precision_recall", "reliability", "reliability_recalibrated", "net_benefit")
COUNTS = ("labels", "labels_defined", "labels_calibrated", "labels_of_one_patient")
MEASURES = (
    *("auroc_micro", "auroc_weighted", "auroc_ovo", "average_precision_macro"),
    *("f1_macro", "f1_micro", "precision_at_8", "mean_average_precision", "brier_macro"),
    *("brier_macro_recalibrated", "ece_median", "calibration_slope_median", "share_of_best"),
    *("calibration_intercept_median", "logit_change_largest"),
)
GUARDED = ("test_characters", "test_characters_seen_unguarded", "test_characters_seen")
FUSED, UNFUSED, TFIDF, ABLATED = RECORDS
OWN = Variant(name="own-member", title="Own member", member="own-member", summands=("task",))
STACK = stacked(FUSED, TFIDF)
VARIANTS = (
    [FUSED],
    [FUSED, TFIDF, STACK, BEST],
    [FUSED, UNFUSED, TFIDF, BEST],
    [UNFUSED, TFIDF],
    [FUSED, TFIDF, ABLATED, OWN],
)
DIFFERENCES = ("auroc_macro_difference", "average_precision_macro_difference")

SHARE = st.one_of(
    st.sampled_from([0.0, 1.0, 0.5, 1e-12, 1 - 1e-12, 5e-324]), st.floats(0, 1, allow_nan=False)
)
NO_NUMBER = st.sampled_from([None, math.nan])
VALUE = st.one_of(SHARE, SHARE, SHARE, NO_NUMBER)
ODD = st.one_of(st.floats(), st.sampled_from([0.0, 1e300, -1e300, math.inf]))
END = st.one_of(VALUE, VALUE, st.sampled_from([math.inf, -math.inf]))
COUNT = st.one_of(st.integers(0, 30), st.integers(0, 5000))


@st.composite
def rows_of(draw: st.DrawFn, metric: str, value: st.SearchStrategy[Any], **named: Any) -> Any:
    """A metrics row: with an interval, without, or without a value."""
    number = draw(value)
    ends = draw(st.one_of(st.none(), st.tuples(END, END)))
    low, high = ends if ends and number is not None else (None, None)
    method = f"{WITHHELD}: fewer than 10 patients with the label" if low is None else "DeLong"
    row = {
        "run": "any",
        "seed": 1,
        "against": None,
        "split": "test",
        "code_system": None,
        "code": None,
    }
    counts = {"n": draw(COUNT), "n_patients": draw(COUNT), "positives": draw(COUNT)}
    row |= {"group": "all", "metric": metric, "method": method, "value": number}
    return row | counts | {"low": low, "high": high} | named


@st.composite
def outcomes_of(draw: st.DrawFn, outcome: str, variants: list[Variant]) -> tuple[Any, Any, Any]:
    """An outcome's metrics rows, curve points and labels."""
    systems = draw(st.sampled_from([["icd9cm", "icd10cm"], [outcome]]))
    labels = [
        Label(outcome, system, f"C{index}", draw(st.sampled_from([None, "A <b> | title"])),
              draw(COUNT), draw(COUNT), draw(COUNT), one_of=len(systems) == 1)
        for system in systems
        for index in range(draw(st.integers(1, 6)))
    ]  # fmt: skip
    rows, points = [], []
    for variant in variants:
        named = {"outcome": outcome, "variant": variant.name}
        for system in [*systems, None]:
            here = named | {"code_system": system}
            rows.append(draw(rows_of("auroc_macro", VALUE, **here)))
            rows += [draw(rows_of(metric, VALUE, **here)) for metric in draw(_some(MEASURES))]
            for metric in draw(_some(COUNTS)):
                rows.append(draw(rows_of(metric, COUNT.map(float), **here)))
            for band in draw(_some(("cases=0", "cases=1-24", "cases=1000+"))):
                for metric in ("auroc_macro", "labels_defined", "brier_macro", "ece_median"):
                    rows.append(draw(rows_of(metric, VALUE, **here, group=band)))
        for group in draw(_some(("sex=F", "sex=M", "age=18-44", "race=other", "race=<b>"))):
            rows.append(draw(rows_of("auroc_macro", VALUE, **named, group=group)))
        for column in draw(_some(("sex", "race"))):
            rows.append(draw(rows_of("auroc_macro_gap", VALUE, **named, group=column)))
            rows.append(draw(rows_of("auroc_macro_gap_p", VALUE, **named, group=column)))
        for label in draw(_some(labels)):
            here = named | {"code_system": label.code_system, "code": label.code}
            rows.append(draw(rows_of("auroc", VALUE, **here)))
        for curve in draw(_some(CURVES)):
            for _ in range(draw(st.sampled_from([1, 2, 5]))):
                x, y, low, high = (draw(st.one_of(SHARE, SHARE, ODD)) for _ in range(4))
                if draw(st.booleans()):
                    low = high = None
                ends = {"low": low, "high": high}
                point = {
                    "variant": variant.name,
                    "outcome": outcome,
                    "curve": curve,
                    "x": x,
                    "y": y,
                }
                points.append(point | ends | {"n": draw(st.one_of(st.none(), COUNT))})
    for first, second in comparisons([variant for variant in variants if variant.is_model]):
        pair = {"outcome": outcome, "variant": first.name, "against": second.name}
        for metric in draw(_some(DIFFERENCES)):
            rows.append(draw(rows_of(metric, VALUE, **pair)))
            rows.append(draw(rows_of(f"{metric}_p", VALUE, **pair)))
    return rows, points, labels


def _some(names: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(list(names)), unique=True)


@st.composite
def arms(draw: st.DrawFn) -> Arm:
    """A training arm: of one step, of none that was measured, of losses that are no numbers."""

    def curve() -> tuple[tuple[float, float], ...]:
        return tuple(draw(st.lists(st.tuples(COUNT, st.one_of(SHARE, ODD)), max_size=4)))

    name = draw(st.sampled_from(["base", "clinical", "fused", "unfused"]))
    seconds = draw(st.sampled_from([0.0, 1e-9, 12.5, 1e7]))
    counts = draw(st.tuples(COUNT, COUNT, COUNT))
    named = ("task adapters", name, name.capitalize(), name.endswith("fused"))
    return Arm(*named, *counts, seconds, 900.0, curve(), curve())


@st.composite
def stories(draw: st.DrawFn, folder: Path) -> Story:
    """What a run could tell: its metrics and curves are written to the folder."""
    variants = draw(st.sampled_from(VARIANTS))
    outcomes = st.sampled_from(["diagnoses", "mortality", "own"])
    rows, points, labels = [], [], []
    for name in draw(st.lists(outcomes, min_size=1, unique=True)):
        parts = draw(outcomes_of(name, variants))
        for every, more in zip((rows, points, labels), parts, strict=True):
            every += more
    named = {"outcome": NEXT_TOKEN, "variant": "clinical", "split": "validation"}
    metrics_of_notes = draw(_some(("before", "after", "ratio")))
    measured = [f"perplexity_{metric}" for metric in metrics_of_notes]
    measured += draw(_some(("loss_before", "loss_diff", "bits_per_byte_after")))
    rows += [draw(rows_of(metric, ODD, **named)) for metric in measured]
    metrics = pa.Table.from_pylist(rows, schemas.METRICS)
    tables.write(folder / "metrics.parquet", schemas.METRICS, metrics)
    write_records(folder, variants)
    drawn = pa.Table.from_pylist(points, schemas.CURVES)
    tables.write(folder / "curves.parquet", schemas.CURVES, drawn)
    splits = tuple(SplitSize(name, draw(COUNT), draw(COUNT)) for name in SPLITS)
    reasons = tuple((f"reason {index}", draw(COUNT)) for index in range(draw(st.integers(0, 3))))
    source = sum(split.admissions for split in splits) + sum(count for _, count in reasons)
    table = draw(st.sampled_from(["admissions", "notes"]))
    check = {"release": "mimic-iv", "table": table, "column": None, "check": "is odd"}
    origin = Origin(
        kind=draw(st.sampled_from(["corpus", "encoded", "task-adapter", "base"])),
        key="k",
        digest="d",
        took_seconds=draw(st.sampled_from([None, 0.0, 3.2])),
        counts={"patients": draw(COUNT), "documents": 3, "tokens": 9}
        | {"notes_cut": 2, "admissions": draw(COUNT)},
    )
    seconds = st.sampled_from([0.0, 5.0, 5.1, 4e7, None])
    smallest = draw(st.sampled_from([1, 2, 10, 500]))
    guarded = dict.fromkeys(GUARDED, 0) | {"dropped": 3}
    return Story(
        run="any",
        findings=Findings.read(folder),
        cohort=CohortFlow(source, reasons, splits),
        labels=labels,
        arms=draw(st.lists(arms(), max_size=3)),
        curves=folder / "curves.parquet",
        difficulty=draw(st.sampled_from([{}, {"shares.unmentioned": math.nan}])),
        quality=[check | {"count": draw(COUNT), "rows": source}] * draw(st.integers(0, 2)),
        contamination=draw(st.sampled_from([{}, guarded])),
        leaks=draw(st.sampled_from([(), ("known too early",)])),
        settings=draw(st.sampled_from([{}, {"name": "any", "finetune": {"seed": None}}])),
        lineage=Lineage(artifacts=draw(st.sampled_from([(), (origin,)]))),
        smallest_cell=smallest,
        synthetic=False,
        published=True,
        made=Making(),
        costs={
            name: Cost(seconds=draw(seconds))
            for name in (*(variant.name for variant in variants), "clinical")
        },
    )
