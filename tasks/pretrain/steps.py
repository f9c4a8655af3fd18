"""The steps of the pretrain stage, and `pretrain`, which calls them all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tasks.config import Config
from tasks.data.tokenizer import FILE, LoadedTokenizer
from tasks.errors import ModelError
from tasks.keys import Artifact, fingerprint
from tasks.launch import LaunchConfig, launch
from tasks.model.lora import BaseName, LoraSettings
from tasks.model.targets import check_base, check_targets, check_vocabulary
from tasks.patients import OWN_RELEASE
from tasks.pretrain.config import HubBase, PathBase, PretrainConfig, ScratchBase
from tasks.pretrain.corpus import CorpusWriter, dropped_by, of_notes, of_texts, patients_of
from tasks.pretrain.jobs import AdapterJob, BaseJob, PerplexityJob, TrainJob
from tasks.pretrain.sentencepiece import convert
from tasks.pretrain.texts import documents
from tasks.pretrain.tokenizer import train_bpe
from tasks.reporting import report
from tasks.step import Counts, current_store, step
from tasks.training.config import TrainingConfig

TOKENS_AT_ONCE = 4096  # of a forward pass that measures perplexity
TARGETS = "pretrain.lora.targets"


@dataclass(frozen=True)
class Pretrained:
    """What the stage made, and the base and tokenizer that it used, which may be the user's."""

    base: Artifact | Path  # a Hugging Face model directory
    tokenizer: Artifact | Path  # a directory with tokenizer.json
    corpus: Artifact  # of the training patients' notes
    validation_corpus: Artifact
    clinical: Artifact  # kind "clinical-adapter"
    perplexity: Artifact


def pretrain(
    config: PretrainConfig,
    launch: LaunchConfig,
    *,
    notes: Sequence[Artifact],
    splits: Artifact,
    others: Mapping[str, tuple[Artifact, ...]],
    guard: Artifact | None,
) -> Pretrained:
    """From notes to the clinical adapter and its held-out perplexity.

    Args:
        notes, splits: of the release whose patients are split.
        others: notes of other releases by name; all of them are trained on.
        guard: which notes are left out, because they are nearly those of held-out patients.

    Raises ConfigError, ModelError, TrainingError or RanksDied: one sentence each.
    """
    base, tokens = _base_and_tokenizer(config, launch)
    packed = {
        split: pack_notes(
            notes=tuple(notes),
            splits=splits,
            others=dict(others) if split == "train" else {},
            guard=guard if split == "train" else None,
            tokenizer=tokens,
            split=split,
            sequence_length=config.sequence_length,
            seed=config.training.seed,
            patients=None if split == "train" else config.perplexity_patients,
        )
        for split in ("train", "validation")
    }
    clinical = train_adapter(
        base=base,
        hub=config.base if isinstance(config.base, HubBase) else None,
        corpus=packed["train"],
        lora=config.lora,
        training=config.training,
        epochs=config.epochs,
        max_tokens=config.max_tokens,
        gradient_checkpointing=config.gradient_checkpointing,
        launch=launch,
    )
    perplexity = measure_perplexity(
        base=base,
        adapter=clinical,
        corpus=packed["validation"],
        precision=config.training.precision,
        launch=launch,
    )
    return Pretrained(base, tokens, packed["train"], packed["validation"], clinical, perplexity)


def _base_and_tokenizer(
    config: PretrainConfig, launch: LaunchConfig
) -> tuple[Artifact | Path, Artifact | Path]:
    match config.base:
        case ScratchBase() as scratch:
            check_targets(None, config.lora.targets, TARGETS)
            tokens = train_tokenizer(corpus=scratch.corpus, vocabulary_size=scratch.vocabulary_size)
            general = pack_text(
                text=scratch.corpus,
                tokenizer=tokens,
                sequence_length=scratch.sequence_length,
                seed=scratch.training.seed,
            )
            shape = BaseShape(
                hidden_size=scratch.hidden_size,
                layers=scratch.layers,
                heads=scratch.heads,
                max_positions=scratch.max_positions,
            )
            base = train_base(
                corpus=general,
                tokenizer=tokens,
                shape=shape,
                training=scratch.training,
                epochs=scratch.epochs,
                launch=launch,
            )
            return base, tokens
        case PathBase() as local:
            place = local.path
        case HubBase() as hub:
            place = _downloaded(hub)
    check_base(place, config.sequence_length)
    check_targets(place, config.lora.targets, TARGETS)
    if (place / FILE).is_file():
        return place, place
    converted = convert_tokenizer(source=place)
    check_vocabulary(place, current_store().path(converted.kind, converted.key))
    return place, converted


def _downloaded(hub: HubBase) -> Path:
    """The hub's snapshot in the user's own Hugging Face cache; a download only where it lacks."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                hub.id,
                revision=hub.revision,
                allow_patterns=["*.json", "*.safetensors", "tokenizer.model"],
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{hub.id} cannot be downloaded ({type(error).__name__}); download it by hand and set "
            "pretrain.base to kind: path, or unset HF_HUB_OFFLINE"
        ) from None


class BaseShape(Config):
    """The size of a new base."""

    hidden_size: int
    layers: int
    heads: int
    max_positions: int


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


@step("corpus", version=2)
def pack_text(out: Path, text: Path, tokenizer: Path, sequence_length: int, seed: int) -> Counts:
    """Pack a plain text, which is of no patient."""
    writer = CorpusWriter(out, LoadedTokenizer.load(tokenizer), sequence_length, seed)
    return writer.write(of_texts(documents(text)))


@step("corpus", version=2)
def pack_notes(
    out: Path,
    notes: tuple[Path, ...],
    splits: Path,
    others: dict[str, tuple[Path, ...]],
    guard: Path | None,
    tokenizer: Path,
    split: str,
    sequence_length: int,
    seed: int,
    patients: int | None,
) -> Counts:
    """Pack the notes of the patients of a split, and of other releases."""
    chosen = patients_of(splits, split, patients)
    documents = of_notes(notes, chosen, dropped_by(guard, OWN_RELEASE))
    for name, places in others.items():
        documents = chain(documents, of_notes(places, None, dropped_by(guard, name)))
    training = split == "train"
    writer = CorpusWriter(
        out,
        LoadedTokenizer.load(tokenizer),
        sequence_length,
        seed=seed if training else None,
        overlap=0 if training else 1,  # so that perplexity scores every token but the first
    )
    return writer.write(documents)


@step("base", version=1, resumable=True)
def train_base(
    out: Path,
    corpus: Path,
    tokenizer: Path,
    shape: BaseShape,
    training: TrainingConfig,
    epochs: float,
    launch: LaunchConfig,
) -> Counts:
    """Train a small LLaMA from nothing."""
    loaded = LoadedTokenizer.load(tokenizer)
    method = BaseJob(
        vocabulary_size=loaded.size,
        pad=loaded.pad,
        bos=loaded.bos,
        eos=loaded.eos,
        **shape.model_dump(),
    )
    job = TrainJob(
        arm="base",
        method=method,
        corpus=corpus,
        epochs=epochs,
        max_tokens=None,
        training=training,
        out=out,
        counts=out / "work" / "counts.json",
    )
    return _run("tasks.pretrain.train", job, out, launch)


@step("clinical-adapter", version=2, resumable=True)
def train_adapter(
    out: Path,
    base: Path,
    hub: HubBase | None,
    corpus: Path,
    lora: LoraSettings,
    training: TrainingConfig,
    epochs: float,
    max_tokens: int | None,
    gradient_checkpointing: bool,
    launch: LaunchConfig,
) -> Counts:
    """Train the clinical adapter on the frozen base."""
    job = TrainJob(
        arm="clinical",
        method=AdapterJob(
            base=base,
            base_name=_name_of(base, hub),
            lora=lora,
            gradient_checkpointing=gradient_checkpointing,
        ),
        corpus=corpus,
        epochs=epochs,
        max_tokens=max_tokens,
        training=training,
        out=out,
        counts=out / "work" / "counts.json",
    )
    return _run("tasks.pretrain.train", job, out, launch)


def _name_of(base: Path, hub: HubBase | None) -> BaseName:
    """What the adapter calls its base: found again by it, and no path of this machine."""
    store = current_store()
    if hub is not None:
        return BaseName(name=hub.id, revision=hub.revision)
    if base.parent.parent == store.root:
        return BaseName(name=f"{base.parent.name}/{base.name}")
    return BaseName(name=f"sha256:{fingerprint(base, store.fingerprints)[:16]}")


@step("perplexity", version=2)
def measure_perplexity(
    out: Path,
    base: Path,
    adapter: Path,
    corpus: Path,
    precision: str,
    launch: LaunchConfig,
) -> Counts:
    """Measure held-out perplexity before and after domain pretraining."""
    job = PerplexityJob(
        base=base,
        adapter=adapter,
        corpus=corpus,
        precision=precision,  # type: ignore[arg-type]
        tokens_at_once=TOKENS_AT_ONCE,
        out=out,
        counts=out / "work" / "counts.json",
    )
    return _run("tasks.pretrain.perplexity", job, out, launch)


def _run(module: str, job: TrainJob | PerplexityJob, out: Path, config: LaunchConfig) -> Counts:
    launch(module, job, out / "work", config, on_progress=report)
    return json.loads(job.counts.read_text())
