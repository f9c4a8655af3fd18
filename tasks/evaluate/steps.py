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
    predictions: tuple[Artifact, ...],
    perplexity: Artifact | None,
) -> Artifact:
    """Measure every variant on test.

    Args:
        run, seed: the run's name and its training seed, in every metrics row.
        outcomes: outcome -> artifact with its outcomes and labels.
        predictions: artifacts that hold `<variant>/variant.json`, the record of what predicted,
            and `<variant>/<outcome>/{validation,test}.parquet`; of the first one's member the
            report shows labels and subgroups.
    """
    return measure(
        run=run,
        seed=seed,
        cohort=cohort,
        outcomes=dict(outcomes),
        predictions=predictions,
        perplexity=perplexity,
        truth=config.truth,
        subgroups=config.subgroups,
        smallest_cell=config.smallest_cell,
        bootstrap_draws=config.bootstrap_draws,
    )


@step("metrics", version=6)
def measure(
    out: Path,
    run: str,
    seed: int,
    cohort: Path,
    outcomes: Mapping[str, Path],
    predictions: tuple[Path, ...],
    perplexity: Path | None,
    truth: Path | None,
    subgroups: bool,
    smallest_cell: int,
    bootstrap_draws: int,
) -> Counts:
    """Measure every variant on test: `metrics.parquet`, `curves.parquet`, `variants.json`."""
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
