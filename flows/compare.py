"""Several runs over several finetuning seeds, ranked on the same admissions."""

from __future__ import annotations

from prefect import flow

from flows.chain import lineage, run_to_finetune, settings_of
from flows.config import AdaptConfig, CompareConfig
from flows.publish import publish
from tasks.evaluate import steps
from tasks.evaluate.steps import Contender


@flow(name="compare", persist_result=False, result_serializer="json")
def compare(config: CompareConfig) -> None:
    """Finetune every run with every seed, and write one leaderboard.

    Args:
        config: the runs, the seeds, and the model with which all others are compared.
    """
    found = steps.compare(
        config.name,
        [_contender(run, config.seeds) for run in config.runs],
        reference=config.reference,
        lineage=lineage(),
    )
    publish(config.name, found)


def _contender(run: AdaptConfig, seeds: tuple[int, ...]) -> Contender:
    """Finetune the run with each seed; what lies before finetuning is the same for all."""
    made = {seed: run_to_finetune(_seeded(run, seed)) for seed in seeds}
    ingested, pretrained, _ = made[seeds[0]]
    return Contender(
        run=run.name,
        cohort=ingested.cohort,
        outcomes=dict(ingested.outcomes),
        predictions={seed: finetuned.predictions for seed, (_, _, finetuned) in made.items()},
        adapters={seed: finetuned.adapters for seed, (_, _, finetuned) in made.items()},
        clinical=pretrained.clinical,
        leaks=run.ingest.leaks,
        settings=settings_of(_seeded(run, seeds[0])),
    )


def _seeded(run: AdaptConfig, seed: int) -> AdaptConfig:
    return run.model_copy(update={"finetune": run.finetune.model_copy(update={"seed": seed})})
