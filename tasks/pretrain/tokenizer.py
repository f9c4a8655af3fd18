"""The tokenizer: a byte-level BPE trained on plain text, or the one that a base model brings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tasks.errors import ConfigError, ModelError
from tasks.pretrain.texts import documents

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
FILE = "tokenizer.json"
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


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer and the ids of its special tokens."""

    tokenizer: Tokenizer
    size: int  # tokens in the vocabulary
    pad: int  # fills a sequence up; eos where there is none, as in LLaMA's own
    eos: int  # ends a document
    bos: int  # begins a document; eos where there is none

    @classmethod
    def load(cls, place: Path) -> LoadedTokenizer:
        """Load a tokenizer directory, without torch. Raises ModelError where it is not usable."""
        try:
            tokenizer = Tokenizer.from_file(str(place / FILE))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(
                f"{place / FILE} is not a readable tokenizer ({type(error).__name__})"
            ) from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        settings = _settings(place)
        eos = tokenizer.token_to_id(settings.get("eos_token", EOS))
        if eos is None:
            raise ModelError(
                f"the tokenizer in {place} has no eos_token; name it in tokenizer_config.json"
            )
        pad = tokenizer.token_to_id(settings.get("pad_token", PAD))
        bos = tokenizer.token_to_id(settings.get("bos_token", BOS))
        return cls(
            tokenizer,
            size=tokenizer.get_vocab_size(),
            pad=eos if pad is None else pad,
            eos=eos,
            bos=eos if bos is None else bos,
        )


def _beginning(texts: Iterator[str]) -> Iterator[str]:
    characters = 0
    for text in texts:
        yield text
        characters += len(text)
        if characters > MAX_TRAINING_CHARACTERS:
            return


def _settings(place: Path) -> dict[str, str]:
    """The special tokens by name, from the files that may hold them."""
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (place / name).is_file():
            for key, value in json.loads((place / name).read_text()).items():
                if key.endswith("_token") and value:
                    found[key] = value["content"] if isinstance(value, dict) else str(value)
    return found
