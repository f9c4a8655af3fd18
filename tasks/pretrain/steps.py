"""The steps of the pretrain stage; `stage.py` says what is made of what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tasks.config import Config
from tasks.data.tokenizer import LoadedTokenizer
from tasks.flow_run import current_store
from tasks.launch import LaunchConfig, launch, prepare
from tasks.model.adapters.methods import BaseName
from tasks.patients import OWN_RELEASE
from tasks.pretrain.adapter_card import write_adapter_card
from tasks.pretrain.corpus import CorpusWriter, of_notes, of_texts, patients_of
from tasks.pretrain.jobs import (
    AdapterJob,
    BaseJob,
    ConvertJob,
    OntologyJob,
    OutputJob,
    PerplexityJob,
    QuantizeJob,
)
from tasks.pretrain.note_shards import Release, pack_releases
from tasks.pretrain.sentencepiece import convert
from tasks.pretrain.texts import documents
from tasks.pretrain.tokenizer import train_bpe
from tasks.pretrain.whole_notes import write_tokenized
from tasks.step import Counts, in_shards, step


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
    sequence_length: int,
    seed: int,
    patients: int | None,
    launch: LaunchConfig,
    packed: bool = True,
) -> Counts:
    """Pack the training patients' notes, and those of other releases; or cut them into chunks."""
    prepare(launch, "tasks.pretrain.train")  # they are packed because an adapter will be trained
    own = Release(notes, OWN_RELEASE, guard, splits, patients)
    others_whole = [Release(folders, name, guard) for name, folders in others.items()]
    writer = CorpusWriter(
        out,
        LoadedTokenizer.load(tokenizer),
        sequence_length,
        seed,
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


@step("base", version=3, resumable=True)
def train_base(out: Path, job: BaseJob, launch: LaunchConfig) -> Counts:
    """Train a small LLaMA from nothing."""
    return _run("tasks.pretrain.base", job, out, launch)


@step("base", version=1)
def convert_base(out: Path, job: ConvertJob, launch: LaunchConfig) -> Counts:
    """Convert a base to a Hugging Face directory."""
    alone = launch.model_copy(update={"ranks": 1, "nodes": 1})
    return _run("tasks.pretrain.convert", job, out, alone)


@step("base", version=1)
def quantize_base(out: Path, job: QuantizeJob, launch: LaunchConfig) -> Counts:
    """Quantize a base, and put its tokenizer beside it."""
    alone = launch.model_copy(update={"ranks": 1, "nodes": 1})
    return _run("tasks.pretrain.quantize", job, out, alone)


@step("clinical-adapter", version=5, resumable=True)
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


@step("masked-output", version=1, resumable=True)
def train_output(out: Path, job: OutputJob, launch: LaunchConfig) -> Counts:
    """Fit an output layer to a frozen encoder that came with none."""
    return _run("tasks.pretrain.output", job, out, launch)


@step("perplexity", version=4)
def measure_perplexity(out: Path, job: PerplexityJob, launch: LaunchConfig) -> Counts:
    """Measure the likelihood of notes before and after domain pretraining."""
    return _run("tasks.pretrain.perplexity", job, out, launch)


def _run(module: str, job: Config, out: Path, config: LaunchConfig) -> Counts:
    launch(module, job, out / "work", config)
    counts = json.loads((out / "work" / "counts.json").read_text())
    if "training_seconds" in counts:
        counts |= config.price_of(counts["training_seconds"])
    return counts
