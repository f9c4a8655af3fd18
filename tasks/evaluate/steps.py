"""The evaluate stage: predictions of every variant -> metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.evaluate.config import EvaluateConfig
from tasks.keys import Artifact
from tasks.step import Counts, step


def evaluate(
    config: EvaluateConfig,
    *,
    run: str,
    seed: int,
    cohort: Artifact,
    outcomes: Mapping[str, Artifact],
    predictions: Mapping[str, Mapping[str, Artifact]],
    perplexity: Artifact | None,
) -> Artifact:
    """Measure every variant on test.

    Args:
        run, seed: the run's name and its training seed, in every metrics row.
        outcomes: outcome -> artifact with its outcomes and labels.
        predictions: variant -> outcome -> artifact with `test.parquet`, or with
            `<variant>/<outcome>/test.parquet` among others; the first variant is the
            one whose labels and subgroups the report shows first.
    """
    return measure(
        run=run,
        seed=seed,
        cohort=cohort,
        outcomes=dict(outcomes),
        predictions={variant: dict(found) for variant, found in predictions.items()},
        perplexity=perplexity,
        truth=config.truth,
        subgroups=config.subgroups,
        smallest_cell=config.smallest_cell,
        bootstrap_draws=config.bootstrap_draws,
    )


@step("metrics", version=5)
def measure(
    out: Path,
    run: str,
    seed: int,
    cohort: Path,
    outcomes: Mapping[str, Path],
    predictions: Mapping[str, Mapping[str, Path]],
    perplexity: Path | None,
    truth: Path | None,
    subgroups: bool,
    smallest_cell: int,
    bootstrap_draws: int,
) -> Counts:
    """Measure every variant on test: `metrics.parquet` and `curves.parquet`."""
    from tasks.evaluate.measuring import Work, write_metrics

    work = Work(
        cohort,
        outcomes,
        predictions,
        perplexity,
        truth,
        subgroups,
        smallest_cell,
        bootstrap_draws,
    )
    return write_metrics(out, work, run=run, seed=seed)
