"""The base and its tokenizer: made, converted, or taken as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.data.tokenizer import FILE
from tasks.flow_run import current_store
from tasks.keys import Artifact
from tasks.launch import LaunchConfig
from tasks.model.adapters.methods import tokens_before
from tasks.model.bases.config import GgufBase, ScratchBase, Targets
from tasks.model.bases.files import (
    check_base,
    check_quantizable,
    check_targets,
    check_vocabulary,
    is_causal,
)
from tasks.pretrain.config import PretrainConfig
from tasks.pretrain.jobs import BaseJob, ConvertJob, QuantizeJob
from tasks.pretrain.steps import (
    convert_base,
    convert_tokenizer,
    pack_text,
    quantize_base,
    train_base,
    train_tokenizer,
)


def base_and_tokenizer(
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
    base: Artifact | Path = folder
    if config.base.quantization:
        check_quantizable(folder)
        quantizing = QuantizeJob(base=folder, quantization=config.base.quantization)
        base = quantize_base(job=quantizing, launch=launch)
    if (folder / FILE).is_file():
        return base, base
    tokenizer = convert_tokenizer(source=folder)
    check_vocabulary(folder, current_store().path(tokenizer.kind, tokenizer.key))
    return base, tokenizer


def _check_targets(base: Path | None, asked: Sequence[tuple[Targets | None, str]]) -> None:
    for targets, key in asked:
        check_targets(base, targets, key)
