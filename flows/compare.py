"""Several runs over several finetuning seeds, ranked on the same admissions."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.chain import Chain, lineage, settings_of
from flows.check import check
from flows.config import AdaptConfig
from flows.loading import load_compare
from flows.publish import publish
from flows.stages import run_name
from tasks.evaluate.steps import Contender, rank
from tasks.report.steps import Reported, write_leaderboard


@flow(name="compare", flow_run_name=run_name, persist_result=False, result_serializer="json")
def compare(
    preset: str = "configs/compare-demo.yaml",
    overrides: tuple[str, ...] = (),
    name: str | None = None,
) -> None:
    """Finetune every run with every seed, and write one leaderboard.

    Args:
        preset: A YAML file of a comparison, e.g. configs/compare-demo.yaml.
        overrides: What differs from it, as key=value: seeds=[1, 2], or a key of every run.
        name: The leaderboard's name; empty: the preset's.
    """
    renamed = [] if name is None else [f"name={name}"]
    config = load_compare(Path(preset), [*overrides, *renamed])
    for run in config.runs:
        check(run, flow="finetune")
    contenders = [_contender(run, config.seeds) for run in config.runs]
    first = [_seeded(run, config.seeds[0]) for run in config.runs]
    standings = rank(contenders, reference=config.reference)
    leaderboard = write_leaderboard(
        name=config.name,
        standings=standings,
        cohort=contenders[0].cohort,
        settings={run.name: settings_of(run) for run in first},
        leaks={run.name: run.ingest.leaks for run in first},
        lineage=lineage(),
        smallest_cell=max(run.evaluate.smallest_cell for run in first),
        synthetic=any(run.evaluate.truth for run in first),
    )
    publish(config.name, Reported.of(leaderboard))


def _contender(run: AdaptConfig, seeds: tuple[int, ...]) -> Contender:
    """Finetune the run with each seed; what lies before finetuning is the same for all."""
    chains = {seed: Chain(_seeded(run, seed)) for seed in seeds}
    first = chains[seeds[0]]
    return Contender(
        run=run.name,
        cohort=first.ingested.cohort,
        outcomes=dict(first.ingested.outcomes),
        predictions={seed: chain.predictions for seed, chain in chains.items()},
        adapters={seed: chain.finetuned.adapters for seed, chain in chains.items()},
        clinical=first.pretrained.adapters.get("clinical"),
        ontology=first.pretrained.adapters.get("ontology"),
    )


def _seeded(run: AdaptConfig, seed: int) -> AdaptConfig:
    training = run.finetune.training.model_copy(update={"seed": seed})
    finetune = run.finetune.model_copy(update={"training": training})
    return run.model_copy(update={"finetune": finetune})
