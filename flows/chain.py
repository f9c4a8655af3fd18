"""What the stages hand to each other, from the config to the report."""

from __future__ import annotations

from typing import Any

from flows.config import AdaptConfig
from tasks.evaluate.steps import evaluate
from tasks.finetune.steps import Finetuned, finetune
from tasks.flow_run import current_store, reached
from tasks.ingest.steps import Ingested, ingest
from tasks.keys import Artifact
from tasks.pretrain.steps import Pretrained, pretrain
from tasks.report.config import Lineage, Origin
from tasks.report.steps import Reported, report
from tasks.runs import Reached
from tasks.store import Manifest


def run_to_pretrain(config: AdaptConfig) -> tuple[Ingested, Pretrained]:
    """Ingest and pretrain."""
    ingested = ingest(config.ingest)
    pretrained = pretrain(
        config.pretrain,
        config.launch,
        notes=ingested.notes,
        splits=ingested.splits,
        others=ingested.others,
        guard=ingested.guard,
    )
    return ingested, pretrained


def run_to_finetune(config: AdaptConfig) -> tuple[Ingested, Pretrained, Finetuned]:
    """Ingest, pretrain and finetune."""
    ingested, pretrained = run_to_pretrain(config)
    finetuned = finetune(
        config.finetune,
        config.launch,
        base=pretrained.base,
        clinical=pretrained.clinical,
        tokenizer=pretrained.tokenizer,
        cohort=ingested.cohort,
        outcomes=ingested.outcomes,
    )
    return ingested, pretrained, finetuned


def run_to_report(config: AdaptConfig) -> Reported:
    """The whole chain."""
    ingested, pretrained, finetuned = run_to_finetune(config)
    histories = {"clinical adapter": (pretrained.clinical,), "task adapters": (finetuned.adapters,)}
    if isinstance(pretrained.base, Artifact):  # made here, not brought by the user
        histories = {"base": (pretrained.base,), **histories}
    metrics = evaluate(
        config.evaluate,
        run=config.name,
        seed=config.finetune.seed,
        cohort=ingested.cohort,
        outcomes=ingested.outcomes,
        predictions=tuple(
            dict.fromkeys(
                artifact
                for artifacts in finetuned.predictions.values()
                for artifact in artifacts.values()
            )
        ),
        perplexity=pretrained.perplexity,
    )
    return report(
        config.report,
        run=config.name,
        metrics=metrics,
        cohort=ingested.cohort,
        outcomes=ingested.outcomes,
        histories=histories,
        quality=ingested.quality,
        contamination=dict(ingested.guard.counts) if ingested.guard else {},
        leaks=config.ingest.leaks,
        settings=settings_of(config),
        lineage=lineage(),
        smallest_cell=config.evaluate.smallest_cell,
        truth=config.evaluate.truth,
    )


def settings_of(config: AdaptConfig) -> dict[str, Any]:
    """The settings that a report prints, and that its key holds: those that say what was done.

    Not how programs are started, nor what other flows would do.
    """
    return config.model_dump(mode="json", exclude={"launch", "audit"})


def lineage() -> Lineage:
    """The artifacts that this run came to, each with what its manifest says of its making."""
    store = current_store()
    return Lineage(
        artifacts=tuple(_origin(each, store.manifest(each.kind, each.key)) for each in reached())
    )


def _origin(artifact: Reached, manifest: Manifest | None) -> Origin:
    named = artifact.model_dump(include={"kind", "key", "digest"})
    if manifest is None:  # deleted while the run went on
        return Origin(**named)
    return Origin(
        **named,
        counts=manifest.counts,
        took_seconds=manifest.seconds,
        **manifest.model_dump(
            include={"peak_mib", "created", "packages", "git_commit", "cores", "gpus"}
        ),
    )
