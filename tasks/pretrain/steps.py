"""The steps of the pretrain stage, and `pretrain`, which calls them all."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.config import Config
from tasks.data.tokenizer import FILE, LoadedTokenizer
from tasks.flow_run import current_store
from tasks.keys import Artifact
from tasks.launch import LaunchConfig, launch, prepare
from tasks.metrics_table import MASKED_WORDS, NEXT_TOKEN
from tasks.model.adapters.allows import check_method
from tasks.model.adapters.methods import BaseName, targets_of, tokens_before
from tasks.model.bases.config import GgufBase, GivenBase, ScratchBase, Targets
from tasks.model.bases.files import (
    check_base,
    check_targets,
    check_vocabulary,
    has_masked_head,
    is_causal,
    positions_of,
)
from tasks.patients import OWN_RELEASE
from tasks.pretrain.adapter_card import write_adapter_card
from tasks.pretrain.config import PretrainConfig
from tasks.pretrain.corpus import CorpusWriter, of_notes, of_texts, patients_of
from tasks.pretrain.jobs import (
    AdapterJob,
    BaseJob,
    ConvertJob,
    EncoderReading,
    OntologyJob,
    PerplexityJob,
)
from tasks.pretrain.note_shards import Release, pack_releases
from tasks.pretrain.sentencepiece import convert
from tasks.pretrain.texts import documents
from tasks.pretrain.tokenizer import train_bpe
from tasks.pretrain.whole_notes import write_tokenized
from tasks.step import Counts, in_shards, step

CLINICAL, ONTOLOGY = "clinical", "ontology"  # the adapters of the domain


@dataclass(frozen=True)
class Pretrained:
    """What the stage made, and the base and tokenizer that it used, which may be the user's."""

    base: Artifact | Path  # a Hugging Face model directory
    tokenizer: Artifact | Path  # a directory with tokenizer.json
    corpus: Artifact | None  # of the training patients' notes; None where nothing learned from them
    validation_notes: Artifact | None  # None where there is no perplexity
    adapters: Mapping[str, Artifact]  # "clinical" and "ontology", those that were wanted
    perplexity: Artifact | None  # of the clinical adapter
    perplexity_of: str  # what its tokens are: tasks.metrics_table
    known_as: tuple[str, str] | None  # the base's id and revision, where it is of the hub


def pretrain(
    config: PretrainConfig,
    launch: LaunchConfig,
    *,
    notes: Sequence[Artifact],
    splits: Artifact,
    others: Mapping[str, tuple[Artifact, ...]],
    guard: Artifact | None,
    wanted: Collection[str] = (CLINICAL,),
    ontology: Artifact | None = None,
    layer: int | None = None,
    training_patients: int | None = None,
) -> Pretrained:
    """From notes to adapters of the domain, and the clinical one's held-out perplexity.

    Args:
        notes, splits: of the release whose patients are split.
        others: notes of other releases by name; all of them are trained on.
        guard: which notes are left out, because they are nearly those of held-out patients.
        wanted: the adapters to make.
        ontology: titles of codes, for the ontology adapter.
        layer: whose states heads will read; there the ontology adapter has to tell codes apart.
        training_patients: how many to train on at most; None: all.

    Raises ConfigError, ModelError, TrainingError or RanksDied: one sentence each.
    """
    targets: dict[str, tuple[Targets | None, str]] = {}
    targets[CLINICAL] = targets_of(config.adapter), "pretrain.adapter.targets"
    targets[ONTOLOGY] = config.ontology.adapter.targets, "pretrain.ontology.adapter.targets"
    asked = [given for name, given in targets.items() if name in wanted]
    base, tokens = _base_and_tokenizer(config, launch, asked)
    reading = None
    causal = not isinstance(base, Path) or is_causal(base)
    if CLINICAL in wanted:
        check_method(config.adapter, config.training, causal=causal)
    if not causal:
        reading = EncoderReading(tokenizer=tokens, masking=config.masking)
    known_as = config.base.name if isinstance(config.base, GivenBase) else None
    # an output layer that learns with the adapter would say nothing of the base alone
    measured = CLINICAL in wanted and (reading is None or has_masked_head(base))
    planted = config.ontology.objective == "planted"
    length = _length(config, base, reading)
    corpus, validation_notes = None, None
    if CLINICAL in wanted or (ONTOLOGY in wanted and planted):
        corpus = pack_notes(
            notes=tuple(notes),
            splits=splits,
            others=dict(others),
            guard=guard,
            tokenizer=tokens,
            split="train",
            sequence_length=length,
            seed=config.training.seed,
            patients=training_patients,
            launch=launch,
            packed=reading is None,
        )
    adapters, perplexity = {}, None
    if CLINICAL in wanted:
        assert corpus is not None
        job = AdapterJob(
            base=base,
            corpus=corpus,
            adapter=config.adapter,
            training=config.training,
            epochs=config.epochs,
            max_tokens=config.max_tokens,
            encoder=reading,
        )
        adapters[CLINICAL] = train_adapter(job=job, known_as=known_as, launch=launch)
    if measured:
        validation_notes = tokenize_notes(
            notes=tuple(notes),
            splits=splits,
            tokenizer=tokens,
            split="validation",
            patients=config.perplexity_patients,
            framed=reading is None,
        )
        measuring = PerplexityJob(
            base=base,
            adapter=adapters[CLINICAL],
            notes=validation_notes,
            window=length,
            stride=config.stride if reading is None else length,
            precision=config.training.precision,
            encoder=reading,
        )
        perplexity = measure_perplexity(job=measuring, launch=launch)
    if ONTOLOGY in wanted:
        assert ontology is not None, "whoever wants the adapter brings the titles"
        finding = OntologyJob(
            base=base,
            layer=layer if planted else None,  # words are read off the last
            tokenizer=tokens,
            corpus=corpus if planted else None,
            ontology=ontology,
            config=config.ontology,
        )
        adapters[ONTOLOGY] = train_ontology(job=finding, known_as=known_as, launch=launch)
    return Pretrained(
        base,
        tokens,
        corpus,
        validation_notes,
        adapters,
        perplexity,
        NEXT_TOKEN if reading is None else MASKED_WORDS,
        known_as,
    )


def _length(config: PretrainConfig, base: Artifact | Path, reading: EncoderReading | None) -> int:
    """Tokens of a sequence: what is asked for, and of an encoder no more than it reads."""
    if reading is None:
        return config.sequence_length
    assert isinstance(base, Path)
    positions = positions_of(base)
    if positions is None:
        return config.sequence_length
    return min(config.sequence_length, positions - tokens_before(config.adapter))


def _base_and_tokenizer(
    config: PretrainConfig, launch: LaunchConfig, asked: Sequence[tuple[Targets | None, str]]
) -> tuple[Artifact | Path, Artifact | Path]:
    """The base and its tokenizer; made, where it must be, once it is known to be of use.

    Args:
        asked: the layers that adapters are put on, and the key that named them.
    """
    if isinstance(config.base, ScratchBase):
        scratch = config.base
        _check_targets(None, asked)
        tokens = train_tokenizer(corpus=scratch.corpus, vocabulary_size=scratch.vocabulary_size)
        general = pack_text(
            text=scratch.corpus,
            tokenizer=tokens,
            sequence_length=scratch.sequence_length,
            seed=scratch.training.seed,
            launch=launch,
        )
        job = BaseJob(base=scratch, tokenizer=tokens, corpus=general)
        return train_base(job=job, launch=launch), tokens
    if isinstance(config.base, GgufBase):
        converted = convert_base(job=ConvertJob(base=config.base), launch=launch)
        folder = current_store().path(converted.kind, converted.key)
        check_base(folder, config.sequence_length + tokens_before(config.adapter))
        _check_targets(folder, asked)
        return converted, converted
    folder = config.base.folder()
    # of an encoder, notes are cut into as many chunks as it takes
    longest = config.sequence_length + tokens_before(config.adapter)
    check_base(folder, longest if is_causal(folder) else None)
    _check_targets(folder, asked)
    if (folder / FILE).is_file():
        return folder, folder
    tokenizer = convert_tokenizer(source=folder)
    check_vocabulary(folder, current_store().path(tokenizer.kind, tokenizer.key))
    return folder, tokenizer


def _check_targets(base: Path | None, asked: Sequence[tuple[Targets | None, str]]) -> None:
    for targets, key in asked:
        check_targets(base, targets, key)


@step("tokenizer", version=1)
def train_tokenizer(out: Path, corpus: Path, vocabulary_size: int) -> Counts:
    """Train a byte-level BPE on a plain text."""
    train_bpe(corpus, vocabulary_size, out)
    return {"vocabulary": LoadedTokenizer.load(out).size}


@step("tokenizer", version=2)
def convert_tokenizer(out: Path, source: Path) -> Counts:
    """Convert the base's tokenizer to tokenizer.json."""
    convert(source, out)
    return {"vocabulary": LoadedTokenizer.load(out).size}


@step("corpus", version=3)
def pack_text(
    out: Path, text: Path, tokenizer: Path, sequence_length: int, seed: int, launch: LaunchConfig
) -> Counts:
    """Pack a plain text, which is of no patient."""
    prepare(launch, "tasks.pretrain.base")  # it is packed because something will be trained on it
    writer = CorpusWriter(out, LoadedTokenizer.load(tokenizer), sequence_length, seed, overlap=1)
    return writer.write(of_texts(documents(text)))


@step("corpus", version=3)
def pack_notes(
    out: Path,
    notes: tuple[Path, ...],
    splits: Path,
    others: Mapping[str, tuple[Path, ...]],
    guard: Path | None,
    tokenizer: Path,
    split: str,
    sequence_length: int,
    seed: int,
    patients: int | None,
    launch: LaunchConfig,
    packed: bool = True,
) -> Counts:
    """Pack the notes of the patients of a split, and of other releases; or cut them into chunks."""
    prepare(launch, "tasks.pretrain.train")  # they are packed because an adapter will be trained
    own = Release(notes, OWN_RELEASE, guard, splits, split, patients)
    others_whole = [Release(folders, name, guard) for name, folders in others.items()]
    writer = CorpusWriter(
        out,
        LoadedTokenizer.load(tokenizer),
        sequence_length,
        seed=seed if split == "train" else None,
        overlap=1,  # so that every token but a document's first is scored
        packed=packed,
    )
    return pack_releases(writer, tokenizer, [own, *others_whole], in_shards)


@step("tokenized", version=1)
def tokenize_notes(
    out: Path,
    notes: tuple[Path, ...],
    splits: Path | None,
    tokenizer: Path,
    split: str,
    patients: int | None,
    framed: bool,
) -> Counts:
    """Keep the notes of patients of a split whole, in tokens; without splits those of all."""
    chosen = patients_of(splits, split, patients) if splits else None
    loaded = LoadedTokenizer.load(tokenizer)
    return write_tokenized(out, of_notes(notes, chosen), loaded, framed=framed)


@step("base", version=2, resumable=True)
def train_base(out: Path, job: BaseJob, launch: LaunchConfig) -> Counts:
    """Train a small LLaMA from nothing."""
    return _run("tasks.pretrain.base", job, out, launch)


@step("base", version=1)
def convert_base(out: Path, job: ConvertJob, launch: LaunchConfig) -> Counts:
    """Convert a base to a Hugging Face directory."""
    alone = launch.model_copy(update={"ranks": 1, "nodes": 1})
    return _run("tasks.pretrain.convert", job, out, alone)


@step("clinical-adapter", version=4, resumable=True)
def train_adapter(
    out: Path, job: AdapterJob, known_as: tuple[str, str] | None, launch: LaunchConfig
) -> Counts:
    """Train the clinical adapter on the frozen base."""
    named = job.model_copy(update={"base_name": BaseName.of(job.base, known_as, current_store())})
    counts = _run("tasks.pretrain.train", named, out, launch)
    write_adapter_card(out, "Clinical adapter", named.base_name)
    return counts


@step("ontology-adapter", version=2, resumable=True)
def train_ontology(
    out: Path, job: OntologyJob, known_as: tuple[str, str] | None, launch: LaunchConfig
) -> Counts:
    """Train the ontology adapter on the frozen base."""
    named = job.model_copy(update={"base_name": BaseName.of(job.base, known_as, current_store())})
    counts = _run("tasks.pretrain.ontology", named, out, launch)
    write_adapter_card(out, "Ontology adapter", named.base_name)
    return counts


@step("perplexity", version=3)
def measure_perplexity(out: Path, job: PerplexityJob, launch: LaunchConfig) -> Counts:
    """Measure the likelihood of notes before and after domain pretraining."""
    return _run("tasks.pretrain.perplexity", job, out, launch)


def _run(module: str, job: Config, out: Path, config: LaunchConfig) -> Counts:
    launch(module, job, out / "work", config)
    counts = json.loads((out / "work" / "counts.json").read_text())
    if config.price_per_hour and "training_seconds" in counts:
        hours = counts["training_seconds"] * config.nodes / 3600
        counts["cost"] = round(hours * config.price_per_hour, 4)
    return counts
