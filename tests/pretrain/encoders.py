"""A small encoder with a real WordPiece tokenizer, and an ontology for the words of these tests."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, BertModel

from tasks import schemas, tables
from tests.pretrain.conftest import WORDS

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
POSITIONS = 128
# of categories in two chapters: what they are called, and codes of theirs
CATEGORIES = {
    "A10": ("heart failure", ("failure of heart with breath", "heart failure in clinic")),
    "A11": ("kidney stone", ("stone of kidney", "kidney stone with fever")),
    "A12": ("chest pain", ("pain of chest", "chest pain with cough")),
    "A13": ("abdominal chills", ("chills abdominal", "abdominal chills with history")),
    "A14": ("nausea daily", ("daily nausea", "nausea daily given")),
    "A15": ("cough stable", ("stable cough", "cough stable up")),
    "B10": ("fever treated", ("treated fever", "fever treated home")),
    "B11": ("shortness clinic", ("clinic shortness", "shortness clinic follow")),
    "B12": ("discharged breath", ("breath discharged", "discharged breath in")),
    "B13": ("patient denies", ("denies patient", "patient denies home")),
    "B14": ("admitted history", ("history admitted", "admitted history daily")),
    "B15": ("given follow", ("follow given", "given follow stable")),
}


def write_wordpiece(folder: Path) -> Tokenizer:
    """A WordPiece tokenizer with BERT's template, whose words are of several pieces.

    Its pieces are listed: those that a trainer finds differ from process to process.
    """
    letters = sorted({letter for word in WORDS for letter in word})
    inner = [f"##{letter}" for letter in letters]
    pieces = dict.fromkeys([*SPECIAL, *letters, ":", ".", *inner, *(word[:4] for word in WORDS)])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ids
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True)
    settings = {f"{name}_token": token for name, token in named}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


def write_encoder(folder: Path, *, with_output: bool) -> Path:
    """An encoder with random weights and its tokenizer; its own output layer only if asked for."""
    size = write_wordpiece(folder).get_vocab_size()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=POSITIONS,
        initializer_range=0.1,
    )
    (BertForMaskedLM if with_output else BertModel)(config).save_pretrained(folder)
    return folder


def write_ontology(folder: Path) -> Path:
    """The folder of an `ontology` artifact with CATEGORIES."""
    rows = [
        {
            "system": "icd10cm",
            "chapter": category[0],
            "category": category,
            "category_title": title,
            "code": f"{category}{number}",
            "title": code,
        }
        for category, (title, codes) in CATEGORIES.items()
        for number, code in enumerate(codes)
    ]
    table = pa.Table.from_pylist(rows, schemas.ONTOLOGY)
    tables.write(folder / "ontology" / "part-0.parquet", schemas.ONTOLOGY, table)
    return folder
