"""From the artifacts of a run to its metrics table, one outcome and one variant at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.reading import read_admissions
from tasks.errors import EvaluationError
from tasks.evaluate.faithfulness import faithfulness_rows
from tasks.evaluate.inputs import read_known, read_scores
from tasks.evaluate.known import Known
from tasks.evaluate.perplexity import perplexity_rows
from tasks.evaluate.probability_rows import probability_rows
from tasks.evaluate.rows import (
    Measured,
    bootstrap_rows,
    change_rows,
    comparison_rows,
    measure,
    share_rows,
    variant_rows,
)
from tasks.evaluate.subgroups import subgroup_rows
from tasks.evaluate.truth import read_best
from tasks.measures.curves import FALSE_POSITIVE_RATES, RECALLS
from tasks.measures.sample import Sample
from tasks.metrics_table import NEXT_TOKEN, to_table
from tasks.reporting import Reading, report
from tasks.variants import BEST, Variant, comparisons, read_variants, write_records

_Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Work:
    """What is to be measured, as paths on disk."""

    cohort: Path
    outcomes: Mapping[str, Path]
    predictions: Sequence[Path]  # artifacts, the first one's member first
    perplexity: Path | None = None
    truth: Path | None = None
    subgroups: bool = True
    smallest_cell: int = 10
    bootstrap_draws: int = 0
    perplexity_of: str = NEXT_TOKEN
    evidence: Sequence[Path] = ()


def write_metrics(out: Path, work: Work, *, run: str, seed: int) -> dict[str, int]:
    """Write `metrics.parquet`, `curves.parquet` and `variants.json`.

    Nothing unless all of it could be measured.
    """
    admissions = read_admissions(work.cohort)
    predicted = read_variants(work.predictions)
    rows: _Rows = []
    curves: _Rows = []
    for outcome, path in work.outcomes.items():
        known = read_known(outcome, path, admissions)
        validation = read_known(outcome, path, admissions, "validation")
        outcome_rows, points = _Outcome(work, known, validation, admissions, predicted).measured()
        rows += outcome_rows
        curves += points
    if work.perplexity is not None:
        rows += perplexity_rows(work.perplexity, work.perplexity_of)
    table = to_table(rows, run=run, seed=seed)
    tables.write(out / "metrics.parquet", schemas.METRICS, table)
    drawn = pa.Table.from_pylist(curves, schemas.CURVES)
    tables.write(out / "curves.parquet", schemas.CURVES, drawn)
    has_best = any(row["variant"] == BEST.name for row in rows)
    write_records(out, [*(variant for variant, _ in predicted.values()), *[BEST] * has_best])
    return {"rows": len(table), "outcomes": len(work.outcomes), "variants": len(predicted)}


class _Outcome:
    """The measuring of one outcome; one variant's logits are in memory at a time."""

    def __init__(
        self,
        work: Work,
        known: Known,
        validation: Known,
        admissions: pa.Table,
        predicted: Mapping[str, tuple[Variant, Sequence[Path]]],
    ) -> None:
        self.work = work
        self.known = known
        self.validation = validation
        self.admissions = admissions
        self.folders = {
            name: folder / known.outcome
            for name, (_, folders) in predicted.items()
            for folder in folders
            if (folder / known.outcome).is_dir()
        }
        self.variants = [predicted[name][0] for name in self.folders]
        if not any(variant.is_model for variant in self.variants):
            raise EvaluationError(
                f"no variant has predictions for outcome '{known.outcome}' "
                f"({len(known.hadm_id)} test admissions); run finetune anew"
            )

    def measured(self) -> tuple[_Rows, _Rows]:
        """The outcome's metric rows and ROC points."""
        models = [variant for variant in self.variants if variant.is_model]
        best, given = self._best()
        rows: _Rows = []
        curves: _Rows = []
        ranked: list[Measured] = []
        for model in models:
            sample = self._sample(model.name)
            ranked.append(measure(model.name, sample, self.known))
            report(Reading(len(ranked), len(models), f"models on {self.known.outcome}"))
            rows += variant_rows(ranked[-1], self.known)
            curves += self._curves(ranked[-1])
            # fitted on validation and measured on test: calibration, F1, net benefit
            validation, smallest = self._sample(model.name, "validation"), self.work.smallest_cell
            fitted, points = probability_rows(model.name, sample, validation, self.known, smallest)
            rows += fitted
            curves += points
            if best is not None:
                same = ranked[-1]
                if given is not None:
                    same = measure(model.name, replace(sample, observed=given), self.known)
                rows += share_rows(same, best, self.known)
            rows += self._altered_rows(model, sample, ablations=model is models[0])
            if model is models[0]:
                draws = self.work.bootstrap_draws
                rows += bootstrap_rows(ranked[0], sample, self.known, draws) if draws else []
                if self.work.subgroups:
                    rows += subgroup_rows(model.name, sample, self.known, self.work.smallest_cell)
        by_name = {measured.variant: measured for measured in ranked}
        for first, second in comparisons(models):
            rows += comparison_rows(by_name[first.name], by_name[second.name], self.known)
        if best is not None:
            rows += variant_rows(best, self.known)
        rows += faithfulness_rows(self.work.evidence, self.known)
        return rows, curves

    def _best(self) -> tuple[Measured | None, NDArray[np.bool_] | None]:
        """The best reachable ranking, and the cells that it is known for (None: all of them)."""
        truth = read_best(self.work.truth, self.known) if self.work.truth else None
        if truth is None:
            return None, None
        scores, given = truth
        cells = given & self.known.observed
        whole = bool((cells == self.known.observed).all())
        best = measure(BEST.name, self.known.sample(scores, cells), self.known)
        return best, None if whole else cells

    def _altered_rows(
        self, model: Variant, sample: Sample, *, ablations: bool
    ) -> Iterator[dict[str, Any]]:
        """What is left of a member with its adapters made into one, or without one of them."""
        for variant in self.variants:
            wanted = variant.merged_by or (variant.ablates and ablations)
            if wanted and model.is_member and variant.member == model.member:
                altered = self._sample(variant.name)
                yield from change_rows(variant.name, altered.scores, sample.scores, self.known)
                yield from variant_rows(measure(variant.name, altered, self.known), self.known)

    def _sample(self, variant: str, split: str = "test") -> Sample:
        path = self.folders[variant] / f"{split}.parquet"
        known = self.known if split == "test" else self.validation
        return known.sample(read_scores(variant, path, known, self.admissions, split))

    def _curves(self, measured: Measured) -> Iterator[dict[str, Any]]:
        """The ROC and the precision-recall curve, means over the defined labels."""
        named = {"variant": measured.variant, "outcome": self.known.outcome}
        for curve, across, up in (
            ("roc", FALSE_POSITIVE_RATES, measured.labels.roc),
            ("precision_recall", RECALLS, measured.labels.precision),
        ):
            for x, y in zip(across.tolist(), up.tolist(), strict=True):
                if not np.isnan(y):
                    yield {**named, "curve": curve, "x": x, "y": y}
