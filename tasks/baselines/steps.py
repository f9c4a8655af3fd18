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
    seed: int,
) -> tuple[Artifact, ...]:
    """Predict with every baseline; `max_labelled_admissions`, drawn by the seed, to learn from."""
    if config.tfidf is None:
        return ()
    predictions = fit_tfidf(
        cohort=cohort,
        outcomes=dict(outcomes),
        config=config.tfidf,
        most=max_labelled_admissions,
        seed=seed if max_labelled_admissions else 0,  # else nothing is drawn
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
) -> Counts:
    """Fit TF-IDF with logistic regression on the same admissions, and predict."""
    from tasks.baselines.tfidf import write_tfidf  # scikit-learn takes a second to import

    return write_tfidf(out, cohort, outcomes, config, most, seed)
