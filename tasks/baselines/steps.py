"""The baselines stage: admission notes and outcomes -> predictions of what needs no base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.baselines.config import BaselinesConfig, TfidfConfig
from tasks.keys import Artifact
from tasks.step import Counts, step


def baselines(
    config: BaselinesConfig,
    *,
    cohort: Artifact,
    outcomes: Mapping[str, Artifact],
    max_labelled_admissions: int | None,
    cases_per_label: int | None,
    seed: int,
) -> tuple[Artifact, ...]:
    """Predict with every baseline, which learns from the admissions that the members learn from.

    Args:
        max_labelled_admissions, cases_per_label: how few; drawn by the seed.
    """
    if config.tfidf is None:
        return ()
    predictions = fit_tfidf(
        cohort=cohort,
        outcomes=dict(outcomes),
        config=config.tfidf,
        most=max_labelled_admissions,
        cases_per_label=cases_per_label,
        # else nothing is drawn
        seed=seed if max_labelled_admissions or cases_per_label else 0,
    )
    return (predictions,)


@step("predictions", version=3)
def fit_tfidf(
    out: Path,
    cohort: Path,
    outcomes: Mapping[str, Path],
    config: TfidfConfig,
    most: int | None,
    seed: int,
    cases_per_label: int | None = None,
) -> Counts:
    """Fit TF-IDF with logistic regression on the same admissions, and predict."""
    from tasks.baselines.tfidf import write_tfidf  # scikit-learn takes a second to import

    return write_tfidf(out, cohort, outcomes, config, most, seed, cases_per_label)
