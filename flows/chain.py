"""The chain: what each stage makes, and from what, down to the report."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flows.check import ordered_members
from flows.config import AdaptConfig
from tasks.audit.steps import audit_leaks, audit_memory, make_canaries, make_candidates
from tasks.baselines.steps import baselines
from tasks.evaluate.steps import evaluate, stack
from tasks.finetune.stage import Finetuned, Trained, finetune, gather, train_members
from tasks.flow_run import current_store, reached
from tasks.ingest.steps import Ingested, cut_sections, ingest
from tasks.keys import Artifact
from tasks.launch import prepare
from tasks.model.bases.config import ScratchBase
from tasks.pretrain.planted import pretrain_planted
from tasks.pretrain.stage import Pretrained, Texts, pretrain
from tasks.report.config import Lineage, Origin
from tasks.report.steps import Reported, difficulty_of, write_pages
from tasks.runs import Reached
from tasks.store import Manifest


@dataclass(frozen=True)
class Chain:
    """The stages of one configuration: what a stage makes is made, once, when it is asked for."""

    config: AdaptConfig

    @cached_property
    def ingested(self) -> Ingested:
        return ingest(self.config.ingest, with_ontology="ontology" in self.wanted)

    @property
    def wanted(self) -> frozenset[str]:
        """The adapters of the domain that a member has among its summands."""
        members = self.config.finetune.members
        return frozenset(summand.adapter for member in members for summand in member.summands)

    @cached_property
    def pretrained(self) -> Pretrained:
        return self.pretraining(self.wanted)

    def pretraining(self, wanted: Collection[str]) -> Pretrained:
        """What the pretrain stage makes, with these adapters."""
        self._get_ready()
        made = self.ingested
        return pretrain(
            self.config.pretrain,
            self.config.launch,
            Texts(made.notes, made.splits, made.others, made.guard),
            wanted=wanted,
            ontology=self.ingested.ontology,
            layer=self.config.finetune.layer,
        )

    def _get_ready(self) -> None:
        """Begin to import what trainings need, beside ingest, where nothing was trained yet."""
        if not (current_store().root / "corpus").exists():
            scratch = isinstance(self.config.pretrain.base, ScratchBase)
            prepare(self.config.launch, f"tasks.pretrain.{'base' if scratch else 'train'}")

    @cached_property
    def trained(self) -> tuple[Trained, ...]:
        """The members, before anything is predicted of a test patient."""
        return train_members(
            self.config.finetune,
            self.config.launch,
            base=self.pretrained.base,
            known_as=self.pretrained.known_as,
            summands=self.pretrained.adapters,
            tokenizer=self.pretrained.tokenizer,
            cohort=self.ingested.cohort,
            outcomes=self.ingested.outcomes,
        )

    @cached_property
    def finetuned(self) -> Finetuned:
        ordered = [member.name for member in ordered_members(self.config)]
        return finetune(self.trained, self.config.launch, ordered)

    @cached_property
    def evidence(self) -> tuple[Artifact, ...]:
        """What the first member's heads read; none where the configuration asks for none."""
        if self.config.finetune.evidence is None:
            return ()
        return gather(
            self.config.finetune,
            self.config.launch,
            members=self.trained,
            finetuned=self.finetuned,
            cohort=self.ingested.cohort,
        )

    @cached_property
    def baselines(self) -> tuple[Artifact, ...]:
        return baselines(
            self.config.baselines,
            cohort=self.ingested.cohort,
            outcomes=self.ingested.outcomes,
            max_labelled_admissions=self.config.finetune.max_labelled_admissions,
            cases_per_label=self.config.finetune.cases_per_label,
            seed=self.config.finetune.training.seed,
        )

    @cached_property
    def predictions(self) -> tuple[Artifact, ...]:
        """All that is evaluated: members, baselines, and members stacked with baselines."""
        members, baselines = self.finetuned.predictions, self.baselines
        if not self.config.baselines.stack:
            return (*members, *baselines)
        stacks = stack(members=members, baselines=baselines, outcomes=self.ingested.outcomes)
        return (*members, *baselines, *stacks)

    @cached_property
    def metrics(self) -> Artifact:
        return evaluate(
            config=self.config.evaluate,
            run=self.config.name,
            seed=self.config.finetune.training.seed,
            cohort=self.ingested.cohort,
            outcomes=self.ingested.outcomes,
            predictions=self.predictions,
            perplexity=self.pretrained.perplexity,
            perplexity_of=self.pretrained.perplexity_of,
            evidence=self.evidence,
        )

    @cached_property
    def reported(self) -> Reported:
        guard, truth = self.ingested.guard, self.config.evaluate.truth
        report = write_pages(
            run=self.config.name,
            metrics=self.metrics,
            cohort=self.ingested.cohort,
            outcomes=self.ingested.outcomes,
            histories=self.histories,
            difficulty=difficulty_of(truth),
            quality=self.ingested.quality,
            contamination=dict(guard.counts) if guard else {},
            leaks=self.config.ingest.leaks,
            settings=settings_of(self.config),
            lineage=lineage(),
            smallest_cell=self.config.evaluate.smallest_cell,
            synthetic=truth is not None,
            published=self.config.report.published,
        )
        return Reported.of(report)

    @cached_property
    def leaks(self) -> Artifact:
        sections = cut_sections(notes=self.ingested.discharge, cohort=self.ingested.cohort)
        return audit_leaks(
            sections=sections,
            cohort=self.ingested.cohort,
            outcomes=self.ingested.outcomes,
            config=self.config.audit,
        )

    @cached_property
    def memory(self) -> Artifact:
        """What an adapter remembers that is trained for this audit alone."""
        config = self.config.memory
        drawn = config.model_dump(include={"canaries", "repeats", "alternatives", "seed"})
        planted, candidates = make_canaries(**drawn), make_candidates(**drawn)
        audited = pretrain_planted(
            self.config.pretrain,
            self.config.launch,
            notes=self.ingested.notes,
            splits=self.ingested.splits,
            planted=planted,
            candidates=candidates,
            training_patients=config.training_patients,
            scored_patients=config.scored_patients,
        )
        return audit_memory(
            canaries=planted,
            candidates=audited.candidates,
            members=audited.members,
            others=audited.others,
            training={
                "patients": audited.patients,
                "epochs": audited.epochs,
                "planted": planted.counts["planted"],
            },
        )

    @property
    def histories(self) -> dict[str, tuple[Artifact, ...]]:
        """The artifacts that have a training history, under the title that a report gives them."""
        base = self.pretrained.base
        made = {"base": (base,)} if isinstance(base, Artifact) else {}  # else the user brought it
        domain = self.pretrained.adapters
        return {
            **made,
            **{f"{name} adapter": (adapter,) for name, adapter in domain.items()},
            "task adapters": self.finetuned.adapters,
        }


def settings_of(config: AdaptConfig) -> dict[str, Any]:
    """The settings that a report prints, and that its key holds: those that say what was done.

    Not how programs are started, who is told of the results, nor what other flows would do.
    """
    left_out: Any = dict.fromkeys(("launch", "audit", "memory", "track", "hooks"), True)
    left_out["report"] = {"alarm_below"}
    return config.model_dump(mode="json", exclude=left_out)


def pretraining_of(config: AdaptConfig) -> dict[str, Any]:
    """The settings that say how an adapter of the domain was made."""
    return config.model_dump(mode="json", include={"name", "ingest", "pretrain"})


def lineage() -> Lineage:
    """The artifacts that this run came to, each with what its manifest says of its making."""
    store = current_store()
    return Lineage(
        artifacts=tuple(
            _origin(artifact, store.manifest(artifact.kind, artifact.key)) for artifact in reached()
        )
    )


def _origin(artifact: Reached, manifest: Manifest | None) -> Origin:
    named = artifact.model_dump(include={"kind", "key", "digest"})
    if manifest is None:  # deleted while the run went on
        return Origin(**named)
    facts = {"counts", "peak_mib", "created", "packages", "git_commit", "cores", "gpus"}
    return Origin(**named, took_seconds=manifest.seconds, **manifest.model_dump(include=facts))
