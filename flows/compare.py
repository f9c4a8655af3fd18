"""Several runs on one leaderboard: models by AUROC over seeds, or adapters by perplexity."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from prefect import flow

from flows.chain import Chain, lineage, pretraining_of, settings_of
from flows.check import check, check_hooks
from flows.config import AdaptConfig, CompareConfig
from flows.hooks import HOOKS
from flows.loading import load_compare
from flows.publish import publish, telling
from flows.stages import run_name
from flows.track import tracked
from tasks.evaluate.steps import Contender, measure_adapters, rank
from tasks.keys import Artifact
from tasks.model.bases.config import base_title
from tasks.report.config import Adapted
from tasks.report.steps import Reported, write_leaderboard, write_methods


@flow(
    name="compare", flow_run_name=run_name, persist_result=False, result_serializer="json", **HOOKS
)
def compare(
    preset: str = "configs/compare-demo.yaml",
    overrides: tuple[str, ...] = (),
    name: str | None = None,
) -> None:
    """Finetune every run with every seed, or pretrain every run, and write one leaderboard.

    Args:
        preset: A YAML file of a comparison, e.g. configs/compare-demo.yaml.
        overrides: What differs from it, as key=value: seeds=[1, 2], or a key of every run.
        name: The leaderboard's name; empty: the preset's.
    """
    renamed = [] if name is None else [f"name={name}"]
    config = load_compare(Path(preset), [*overrides, *renamed])
    for run in config.runs:
        check(run, flow=config.stage)
    check_hooks(config.hooks)
    folders = {run.track.tensorboard for run in config.runs if run.track.tensorboard}
    with telling(config.name), ExitStack() as tracking:
        for folder in folders:
            tracking.enter_context(tracked(config.name, folder))
        _compare(config)


def _compare(config: CompareConfig) -> None:
    if config.stage == "pretrain":
        publish(config.name, _adapters(config), "How likely validation patients' notes are")
        return
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
        published=config.published,
    )
    publish(config.name, Reported.of(leaderboard))


def _adapters(config: CompareConfig) -> Reported:
    """Make every run's clinical adapter; rank none: the table keeps the order of the runs."""
    pretrained = {run.name: Chain(run).pretraining(("clinical",)) for run in config.runs}
    perplexities = {run: made.perplexity for run, made in pretrained.items() if made.perplexity}
    metrics = measure_adapters(
        perplexities=perplexities,
        measured_over={run: made.perplexity_of for run, made in pretrained.items()},
    )
    adapters = {run: made.adapters["clinical"] for run, made in pretrained.items()}
    table = write_methods(
        name=config.name,
        metrics=metrics,
        adapters=adapters,
        methods={
            run.name: Adapted(
                base=base_title(run.pretrain.base),
                method=run.pretrain.adapter.kind,
                parameters=_parameters(adapters[run.name]),
            )
            for run in config.runs
        },
        settings={run.name: pretraining_of(run) for run in config.runs},
        lineage=lineage(),
        smallest_cell=max(run.evaluate.smallest_cell for run in config.runs),
        synthetic=any(run.evaluate.truth for run in config.runs),
    )
    return Reported.of(table)


def _parameters(adapter: Artifact) -> int:
    """Of the adapter, without an output layer that learned with it."""
    counts = adapter.counts
    return int(counts["trained_parameters"]) - int(counts.get("output_parameters", 0))


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
