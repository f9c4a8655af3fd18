"""Tokenizers of every kind, trained on a few texts; each maker leaves one in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tasks.pretrain.sentencepiece import convert
from tasks.pretrain.tokenizer import train_bpe

TEXTS = [
    "<s>penicillin</s> none <pad> [CLS] chest pain, BP 120/80 [PAD] <think> <|endoftext|> <0x0A>",
    "denies fever and cough; <unk> [UNK] <s> history of heart failure </s> <0x41>\n<s>",
]


def our_own(folder: Path) -> None:
    """Its corpus holds "<s>" so often that a merge makes it."""
    (folder / "corpus.txt").write_text("\n\n".join(TEXTS * 20))
    train_bpe(folder / "corpus.txt", 330, folder)


def byte_level(folder: Path) -> None:
    """As GPT-2's and Qwen's: no template, markers added later, some not marked as special."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    tokenizer.add_special_tokens(["<s>", "[PAD]"])
    tokenizer.add_tokens([AddedToken(each) for each in ("<think>", "[INST]", "|||EMAIL|||")])
    save(tokenizer, folder, eos_token="<|endoftext|>", add_bos_token=False)


def word_piece(folder: Path) -> None:
    """As BERT's, but "[CLS]" reaches the model in one piece."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[cls]"]
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    ids = [(each, tokenizer.token_to_id(each)) for each in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ids
    )
    save(tokenizer, folder, unk_token="[UNK]", eos_token="[SEP]", bos_token="[CLS]")


def unigram(folder: Path) -> None:
    """As XGLM's: the markers are pieces with the best of all scores."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    save(tokenizer, folder, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def sentence_piece(folder: Path) -> None:
    """As LLaMA's: a byte-fallback BPE, converted by us."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=340,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    convert(folder, folder)


def save(tokenizer: Tokenizer, folder: Path, **named: object) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(named))


CONTROLS = {  # of each, the tokens that no text may give; unknown letters give the one for these
    our_own: ("<pad>", "<s>", "</s>"),
    byte_level: ("<|endoftext|>", "<s>", "[PAD]", "<think>", "[INST]", "|||EMAIL|||"),
    word_piece: ("[PAD]", "[CLS]", "[SEP]", "[cls]"),
    unigram: ("<s>", "<pad>", "</s>"),
    sentence_piece: ("<s>", "</s>"),
}


def of_kinds(*kinds: Callable[[Path], None]) -> pytest.MarkDecorator:
    names = [kind.__name__ for kind in kinds]
    return pytest.mark.parametrize("folder", kinds, ids=names, indirect=True, scope="module")
