"""A tokenizer that takes a note's text for text, also where it reads "<s>"; without torch.

Notes exported from HTML hold "<s>" and "</s>", and anything may be pasted into one. Such a string
is encoded piece by piece; control tokens come from the tokenizer's template and from us alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers

from tasks.errors import ModelError

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
FILE = "tokenizer.json"
_SETTINGS = ("special_tokens_map.json", "tokenizer_config.json")  # the latter counts
# an added token such as <think>, [INST] or |||EMAIL|||, whether or not it is marked as special;
# not a word of a domain, nor the runs of spaces that several tokenizers add
_MARKER = re.compile(r"[^\w\s].*\w.*[^\w\s]", re.DOTALL)
_BYTES = {f"<0x{byte:02X}>" for byte in range(256)}  # SentencePiece's names of single bytes


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face directory, which neither cuts, nor pads, nor reads markers.

    Raises ModelError where there is none that can be read.
    """
    named = _special_tokens(folder)
    try:
        described = json.loads((folder / FILE).read_text(encoding="utf-8"))
        markers = _markers(described, named)
        for token in described.get("added_tokens") or []:
            token["special"] = token["special"] or token["content"] in markers
        tokenizer = Tokenizer.from_str(json.dumps(described))
    except Exception as error:  # the library raises bare Exception
        raise ModelError(
            f"{folder} holds no readable {FILE} ({type(error).__name__}); "
            "name a Hugging Face tokenizer directory"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # despite its name: they are not looked for in a text
    _never_form(tokenizer, _formed(described["model"], markers | _BYTES))
    return tokenizer


def frame_of(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer's template puts before and after a text."""
    encoding = tokenizer.encode("a")
    ids, of_text = encoding.ids, [not of_frame for of_frame in encoding.special_tokens_mask]
    if not any(of_text):
        return ids, []
    return ids[: of_text.index(True)], ids[len(ids) - of_text[::-1].index(True) :]


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer and the ids of its special tokens."""

    tokenizer: Tokenizer
    size: int  # every id is below it
    pad: int  # eos where there is none, as in LLaMA's own
    eos: int  # ends a document; an encoder's [SEP] does
    bos: int  # begins a document; eos where there is none
    mask: int | None = None  # stands for a token that is to be predicted; encoders have one

    @classmethod
    def load(cls, folder: Path) -> LoadedTokenizer:
        """Load a tokenizer directory. Raises ModelError where it is not usable."""
        tokenizer = read_tokenizer(folder)
        named = _special_tokens(folder)
        eos = tokenizer.token_to_id(named.get("eos_token", EOS))
        if eos is None and "eos_token" not in named:
            eos = _eos_of_the_model(folder)  # GPT-2's tokenizer files name none
        if eos is None and "eos_token" not in named:  # BERT's name [CLS] and [SEP]
            eos = tokenizer.token_to_id(named.get("sep_token", EOS))
        if eos is None:
            raise ModelError(
                f"the tokenizer in {folder} has no eos_token; name it in tokenizer_config.json"
            )
        pad = tokenizer.token_to_id(named.get("pad_token", PAD))
        bos = tokenizer.token_to_id(named.get("bos_token", BOS))
        if bos is None and "bos_token" not in named:
            bos = tokenizer.token_to_id(named.get("cls_token", BOS))
        mask = tokenizer.token_to_id(named["mask_token"]) if "mask_token" in named else None
        return cls(
            tokenizer,
            size=max(tokenizer.get_vocab().values()) + 1,
            pad=eos if pad is None else pad,
            eos=eos,
            bos=eos if bos is None else bos,
            mask=mask,
        )

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """What the template puts before and after a text: [CLS] and [SEP] of an encoder, or BOS."""
        return frame_of(self.tokenizer)

    @property
    def special(self) -> set[int]:
        """The ids that no text gives."""
        before, after = self.frame
        named = {self.pad, self.eos, self.bos, *before, *after}
        return named if self.mask is None else named | {self.mask}

    def continuing(self) -> list[bool]:
        """Of each id, whether it goes on with the word of the token before it.

        A WordPiece vocabulary marks these ("##s"); a byte-level or SentencePiece one marks those
        that begin a word. Of a vocabulary that marks neither, each token is a word.
        """
        pieces: list[str] = [""] * self.size
        for piece, index in self.tokenizer.get_vocab().items():
            pieces[index] = piece
        special = self.special
        if any(piece.startswith("##") for piece in pieces):
            return [piece.startswith("##") and len(piece) > 2 for piece in pieces]
        for begins in ("\u0120", "\u2581"):
            if any(piece.startswith(begins) for piece in pieces):
                return [
                    not piece.startswith(begins) and index not in special
                    for index, piece in enumerate(pieces)
                ]
        return [False] * self.size

    def check_rows(self, rows: int, folder: Path) -> None:
        """Raise ModelError where it gives an id for which the embedding has none of its `rows`.

        A marker that no text gives and no template adds does no harm, unless texts are padded
        with it.
        """
        markers = {
            token.content
            for token in self.tokenizer.get_added_tokens_decoder().values()
            if token.special
        }
        ours = {self.eos, self.pad, *self.tokenizer.encode("").ids}
        beyond = sorted(
            (index, token)
            for token, index in self.tokenizer.get_vocab().items()
            if index >= rows and (token not in markers or index in ours)
        )
        if beyond:
            index, token = beyond[0]
            raise ModelError(
                f"{folder}: the base's embedding has {rows} rows, and {len(beyond)} tokens of its "
                f"tokenizer are beyond them, e.g. {token!r} (id {index}); resize the embedding "
                f"(model.resize_token_embeddings), or take these tokens out of {FILE}; a pad_token "
                "may also be named anew in tokenizer_config.json"
            )


def _markers(described: Mapping[str, Any], named: Mapping[str, str]) -> set[str]:
    """The strings that stand for control tokens; a single character is text."""
    added = {
        token["content"]
        for token in described.get("added_tokens") or []
        if token["special"] or _MARKER.fullmatch(token["content"].strip("\u2581 "))
    }
    return {token for token in added.union(named.values()) if len(token) > 1}


def _formed(model: Mapping[str, Any], strings: set[str]) -> set[str]:
    """Those of the strings that the model itself could make of a text.

    The vocabulary of a Unigram or WordPiece model holds them like any word; a BPE's may, too, but
    it makes only what it can merge.
    """
    if "merges" in model and not model.get("ignore_merges"):
        pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
        return strings.intersection("".join(pair) for pair in pairs)
    vocabulary = model["vocab"]
    pieces = vocabulary if isinstance(vocabulary, dict) else [piece for piece, _ in vocabulary]
    return strings.intersection(pieces)


def _never_form(tokenizer: Tokenizer, strings: Collection[str]) -> None:
    """Part each of these strings after its first character, last of all before the model."""
    if not strings:
        return
    cuts = [
        f"{re.escape(first)}(?={'|'.join(re.escape(string[1:]) for string in group)})"
        for first, group in groupby(sorted(strings), key=lambda string: string[0])
    ]
    split = pre_tokenizers.Split(Regex("|".join(cuts)), "isolated")
    before = tokenizer.pre_tokenizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([before, split]) if before else split


def _eos_of_the_model(folder: Path) -> int | None:
    """The first eos_token_id of the model's config beside the tokenizer, if there is one."""
    try:
        eos = json.loads((folder / "config.json").read_text(encoding="utf-8"))["eos_token_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return next(iter(eos), None) if isinstance(eos, list) else eos


def _special_tokens(folder: Path) -> dict[str, str]:
    """The special tokens by name (eos_token, ...), from the files that may hold them."""
    named: dict[str, str] = {}
    for name in _SETTINGS:
        if not (folder / name).is_file():
            continue
        try:
            settings = json.loads((folder / name).read_text(encoding="utf-8"))
            for key, value in settings.items():
                token = value.get("content") if isinstance(value, dict) else value
                if key.endswith("_token") and isinstance(token, str):  # add_bos_token is a bool
                    named[key] = token
        except (OSError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{folder / name} is no readable tokenizer configuration ({type(error).__name__})"
            ) from None
    return named
