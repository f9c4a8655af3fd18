"""The pretrain stage: which step makes a base, its adapters and their perplexity, from what."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasks.keys import Artifact
from tasks.launch import LaunchConfig
from tasks.metrics_table import FITTED_OUTPUT, NEXT_TOKEN, OWN_OUTPUT
from tasks.model.adapters.allows import check_method
from tasks.model.adapters.methods import targets_of, tokens_before
from tasks.model.bases.config import GivenBase, Targets
from tasks.model.bases.files import has_masked_head, is_causal, positions_of
from tasks.pretrain.bases import base_and_tokenizer
from tasks.pretrain.config import PretrainConfig
from tasks.pretrain.jobs import (
    AdapterJob,
    EncoderReading,
    OntologyJob,
    OutputJob,
    PerplexityJob,
)
from tasks.pretrain.steps import (
    measure_perplexity,
    pack_notes,
    tokenize_notes,
    train_adapter,
    train_ontology,
    train_output,
)

CLINICAL, ONTOLOGY = "clinical", "ontology"  # the adapters of the domain


@dataclass(frozen=True)
class Pretrained:
    """What the stage made, and the base and tokenizer that it used, which may be the user's."""

    base: Artifact | Path  # a Hugging Face model directory
    tokenizer: Artifact | Path  # a directory with tokenizer.json
    corpus: Artifact | None  # of the training patients' notes; None where nothing learned from them
    validation_notes: Artifact | None  # None where there is no clinical adapter
    adapters: Mapping[str, Artifact]  # "clinical" and "ontology", those that were wanted
    perplexity: Artifact | None  # of the clinical adapter; of an encoder, of masked words
    perplexity_of: str  # what its tokens are: tasks.metrics_table
    known_as: tuple[str, str] | None  # the base's id and revision, where it is of the hub


@dataclass(frozen=True)
class Texts:
    """The notes that a base is adapted to."""

    notes: Sequence[Artifact]  # of the release whose patients are split
    splits: Artifact
    others: Mapping[str, tuple[Artifact, ...]]  # of other releases by name; all are trained on
    guard: Artifact | None  # which are left out: nearly those of held-out patients
    training_patients: int | None = None  # to train on at most; None: all


def pretrain(
    config: PretrainConfig,
    launch: LaunchConfig,
    texts: Texts,
    *,
    wanted: Collection[str] = (CLINICAL,),
    ontology: Artifact | None = None,
    layer: int | None = None,
) -> Pretrained:
    """From notes to adapters of the domain, and the clinical one's held-out perplexity.

    Args:
        wanted: the adapters to make.
        ontology: titles of codes, for the ontology adapter.
        layer: whose states heads will read; there the ontology adapter has to tell codes apart.

    Raises ConfigError, ModelError, TrainingError or RanksDied: one sentence each.
    """
    targets: dict[str, tuple[Targets | None, str]] = {}
    targets[CLINICAL] = targets_of(config.adapter), "pretrain.adapter.targets"
    targets[ONTOLOGY] = config.ontology.adapter.targets, "pretrain.ontology.adapter.targets"
    asked = [given for name, given in targets.items() if name in wanted]
    base, tokenizer = base_and_tokenizer(config, launch, asked)
    pretraining = Pretraining(config, launch, texts, base, tokenizer)
    if CLINICAL in wanted:
        check_method(config.adapter, config.training, causal=pretraining.reading is None)
    adapters, perplexity = {}, None
    if CLINICAL in wanted:
        adapters[CLINICAL] = pretraining.clinical()
        perplexity = pretraining.perplexity(adapters[CLINICAL])
    if ONTOLOGY in wanted:
        assert ontology is not None, "whoever wants the adapter brings the titles"
        adapters[ONTOLOGY] = pretraining.ontology(ontology, layer)
    learned = CLINICAL in wanted or (ONTOLOGY in wanted and pretraining.plants)
    return Pretrained(
        base,
        tokenizer,
        pretraining.corpus if learned else None,
        pretraining.validation_notes if perplexity else None,
        adapters,
        perplexity,
        pretraining.perplexity_of,
        pretraining.known_as,
    )


@dataclass(frozen=True)
class Pretraining:
    """Adapts a base to notes, each artifact made when it is asked for."""

    config: PretrainConfig
    launch: LaunchConfig
    texts: Texts
    base: Artifact | Path
    tokenizer: Artifact | Path

    @property
    def known_as(self) -> tuple[str, str] | None:
        return self.config.base.name if isinstance(self.config.base, GivenBase) else None

    @cached_property
    def reading(self) -> EncoderReading | None:
        """What an encoder is to predict; None: the base is a decoder."""
        if not isinstance(self.base, Path) or is_causal(self.base):
            return None
        return EncoderReading(tokenizer=self.tokenizer, masking=self.config.masking)

    @property
    def perplexity_of(self) -> str:
        """What the base is asked for, and which layer answers."""
        if self.reading is None:
            return NEXT_TOKEN
        own = isinstance(self.base, Path) and has_masked_head(self.base)
        return OWN_OUTPUT if own else FITTED_OUTPUT

    @property
    def plants(self) -> bool:
        """Whether the ontology adapter learns from notes, too."""
        return self.config.ontology.objective == "planted"

    @cached_property
    def length(self) -> int:
        """Tokens of a sequence: what is asked for, and of an encoder no more than it reads."""
        if self.reading is None:
            return self.config.sequence_length
        assert isinstance(self.base, Path)
        positions = positions_of(self.base)
        if positions is None:
            return self.config.sequence_length
        return min(self.config.sequence_length, positions - tokens_before(self.config.adapter))

    @cached_property
    def corpus(self) -> Artifact:
        """The training patients' notes, packed."""
        return pack_notes(
            notes=tuple(self.texts.notes),
            splits=self.texts.splits,
            others=dict(self.texts.others),
            guard=self.texts.guard,
            tokenizer=self.tokenizer,
            sequence_length=self.length,
            seed=self.config.training.seed,
            patients=self.texts.training_patients,
            launch=self.launch,
            packed=self.reading is None,
        )

    @cached_property
    def validation_notes(self) -> Artifact:
        """Notes of validation patients, whole."""
        return tokenize_notes(
            notes=tuple(self.texts.notes),
            splits=self.texts.splits,
            tokenizer=self.tokenizer,
            split="validation",
            patients=self.config.perplexity_patients,
            framed=self.reading is None,
        )

    def clinical(self) -> Artifact:
        """The adapter that has learned to read notes."""
        job = AdapterJob(
            base=self.base,
            corpus=self.corpus,
            adapter=self.config.adapter,
            training=self.config.training,
            epochs=self.config.epochs,
            max_tokens=self.config.max_tokens,
            encoder=self.reading,
            keeps_output=self.perplexity_of == FITTED_OUTPUT,
        )
        return train_adapter(job=job, known_as=self.known_as, launch=self.launch)

    @cached_property
    def output(self) -> Artifact | None:
        """The base's output layer for masked words, where one has to be fitted to it."""
        if self.reading is None or self.perplexity_of != FITTED_OUTPUT:
            return None
        job = OutputJob(
            base=self.base,
            corpus=self.corpus,
            training=self.config.training,
            epochs=self.config.epochs,
            max_tokens=self.config.max_tokens,
            encoder=self.reading,
        )
        return train_output(job=job, launch=self.launch)

    def perplexity(self, adapter: Artifact) -> Artifact:
        """How likely validation patients' notes are, without the clinical adapter and with it."""
        job = PerplexityJob(
            base=self.base,
            adapter=adapter,
            notes=self.validation_notes,
            window=self.length,
            stride=self.config.stride if self.reading is None else self.length,
            precision=self.config.training.precision,
            encoder=self.reading,
            output=self.output,
        )
        return measure_perplexity(job=job, launch=self.launch)

    def ontology(self, titles: Artifact, layer: int | None) -> Artifact:
        """The adapter that has learned which words speak for which code."""
        job = OntologyJob(
            base=self.base,
            layer=layer if self.plants else None,  # words are read off the last
            tokenizer=self.tokenizer,
            corpus=self.corpus if self.plants else None,
            ontology=titles,
            config=self.config.ontology,
        )
        return train_ontology(job=job, known_as=self.known_as, launch=self.launch)
