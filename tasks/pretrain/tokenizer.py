"""The tokenizer of a new base: a byte-level BPE trained on plain text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tasks.data.tokenizer import BOS, EOS, FILE, PAD
from tasks.errors import ConfigError
from tasks.pretrain.texts import documents

MAX_TRAINING_CHARACTERS = 20_000_000  # BPE needs no more, and holds all distinct words in memory


def train_bpe(corpus: Path, vocabulary_size: int, out: Path) -> Tokenizer:
    """Train a byte-level BPE on a general corpus and save it as a Hugging Face tokenizer directory.

    Every text can be encoded and decoded exactly. A document begins with BOS; who packs documents
    adds EOS. Raises ConfigError where the corpus is missing or too small for the vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    # a digit is a token of its own: numbers in notes would otherwise fill the vocabulary
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[AddedToken(token, special=True) for token in (PAD, BOS, EOS)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_beginning(documents(corpus)), trainer)
    if tokenizer.get_vocab_size() < vocabulary_size:
        raise ConfigError(
            f"{corpus.name} yields {tokenizer.get_vocab_size()} tokens, not the {vocabulary_size} "
            "of pretrain.base.vocabulary_size; lower it, or give more text"
        )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / FILE))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "bos_token": BOS,
        "eos_token": EOS,
        "clean_up_tokenization_spaces": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return tokenizer


def _beginning(texts: Iterator[str]) -> Iterator[str]:
    characters = 0
    for text in texts:
        yield text
        characters += len(text)
        if characters > MAX_TRAINING_CHARACTERS:
            return
