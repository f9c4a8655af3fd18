"""A member and a baseline together: a variant of its own, made of the predictions of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.data.outcomes import read_outcome
from tasks.data.predictions import SPLITS, read_predictions, write_predictions
from tasks.errors import EvaluationError
from tasks.evaluate.blend import comparable, fit_blend
from tasks.variants import Variant, read_variants, write_variant

Logits = Mapping[str, NDArray[np.float32]]  # of each split, [admissions, labels]


def write_stack(
    out: Path, member: Path, baseline: Path, outcomes: Mapping[str, Path]
) -> dict[str, int | float | str]:
    """Write out/<variant>/<outcome>/<split>.parquet; return the weights of the baseline.

    Everything is chosen on validation; of the test split only the predictions are read.

    Args:
        member, baseline: artifacts of predictions.
        outcomes: those that the artifacts do not both predict are left out.
    """
    first = next(v for v, _ in read_variants([member]).values() if v.is_member)
    second = next(v for v, _ in read_variants([baseline]).values() if v.baseline)
    variant = stacked(first, second)
    counts: dict[str, int | float | str] = {"stack": variant.name}
    for name, path in outcomes.items():
        folders = member / first.name / name, baseline / second.name / name
        if not all(folder.is_dir() for folder in folders):
            continue
        hadm_ids, logits = _read_both(folders, (first, second), name)
        outcome = read_outcome(name, path, hadm_ids["validation"])
        pairs = {
            split: [comparable(of[split], one_of=outcome.one_of) for of in logits]
            for split in SPLITS
        }
        blend = fit_blend(outcome, *pairs["validation"])
        for split in SPLITS:
            file = out / variant.name / name / f"{split}.parquet"
            write_predictions(file, hadm_ids[split], blend.logits(*pairs[split]))
        slope, of_means, intercept = blend.calibration
        counts |= {
            f"{name}_weight": blend.weight,
            f"{name}_slope": round(slope, 4),
            f"{name}_slope_of_means": round(of_means, 4),
            f"{name}_intercept": round(intercept, 4),
        }
    write_variant(out / variant.name, variant)
    return counts


def stacked(member: Variant, baseline: Variant) -> Variant:
    """The record of a member with a baseline added to it."""
    return Variant(
        name=f"{member.name}+{baseline.name}",  # no member's name has a plus
        title=f"{member.short_title} + {baseline.short_title}, stacked",
        short_title=f"{member.short_title} + {baseline.short_title}",
        phrase=f"{member.phrase} stacked with {baseline.short_title}",
        member=member.member,
        summands=member.summands,
        stacked_with=baseline.name,
    )


def _read_both(
    folders: tuple[Path, Path], variants: tuple[Variant, Variant], outcome: str
) -> tuple[dict[str, NDArray[np.int64]], tuple[Logits, Logits]]:
    """The admissions of each split, and what both models predict for them."""
    hadm_ids: dict[str, NDArray[np.int64]] = {}
    logits: tuple[dict[str, NDArray[np.float32]], ...] = ({}, {})
    for folder, variant, of_variant in zip(folders, variants, logits, strict=True):
        for split in SPLITS:
            ids, of_variant[split] = read_predictions(folder / f"{split}.parquet")
            what = f"the {split} predictions of variant '{variant.name}' for outcome '{outcome}'"
            if not np.array_equal(ids, hadm_ids.setdefault(split, ids)):
                raise EvaluationError(
                    f"{what} are of other admissions than those of '{variants[0].name}'; run "
                    "finetune and baselines anew"
                )
            if not np.isfinite(of_variant[split]).all():
                raise EvaluationError(
                    f"{what} hold NaN or infinite logits; the training diverged: lower "
                    "finetune.training.learning_rate and run finetune anew"
                )
    return hadm_ids, (logits[0], logits[1])
