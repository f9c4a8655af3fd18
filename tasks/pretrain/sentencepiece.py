"""A SentencePiece BPE model as tokenizer.json, for a base whose directory has only tokenizer.model.

transformers could convert it too, but imports torch, and its result differs from SentencePiece
where spaces meet ("  Past" becomes other tokens than the base was trained on).
"""

from __future__ import annotations

import json
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from tasks.data.tokenizer import FILE, read_tokenizer
from tasks.errors import ModelError

MODEL = "tokenizer.model"
_SPACE = "\u2581"  # how SentencePiece writes a space
# what a conversion may get wrong: spaces at the start and in rows, line ends, bytes, specials
_PROBES = (
    "Chest pain",
    " a leading space",
    "BP 120/80\n\n  Past Medical History:\n- ___ y/o",
    "na\u00efve caf\u00e9, 37.5 \u00b0C, \U0001f642",
    "   three,\ttab\r\nand a line end ",
    "<s>penicillin</s> none <unk> </s> <0x0A>",
    "",
)


def convert(source: Path, out: Path) -> None:
    """Write the tokenizer of `source` to `out` as tokenizer.json and tokenizer_config.json.

    Raises ModelError where there is no SentencePiece model, or where the converted tokenizer does
    not give its very tokens.
    """
    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(source / MODEL))
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"{source} has neither {FILE} nor a readable {MODEL} ({type(error).__name__}); "
            "add its tokenizer.json"
        ) from None
    _tokenizer(model).save(str(out / FILE))
    named = {"unk_token": model.unk_id(), "bos_token": model.bos_id(), "eos_token": model.eos_id()}
    settings = {name: model.id_to_piece(id) for name, id in named.items() if id >= 0}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    tokenizer = read_tokenizer(out)
    for probe in _PROBES:
        if tokenizer.encode(probe, add_special_tokens=False).ids != model.encode(probe):
            raise ModelError(
                f"{source / MODEL} cannot be converted exactly (it is no byte-fallback BPE); "
                "add its tokenizer.json"
            )


def _tokenizer(model: sentencepiece.SentencePieceProcessor) -> Tokenizer:
    pieces = [model.id_to_piece(index) for index in range(model.get_piece_size())]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(model, vocabulary),
            unk_token=model.id_to_piece(model.unk_id()),
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.add_special_tokens(
        [
            AddedToken(pieces[index], special=True, normalized=False)
            for index in range(len(pieces))
            if model.is_control(index) or model.is_unknown(index)
        ]
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(_SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    if model.bos_id() >= 0:
        bos = model.id_to_piece(model.bos_id())
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, model.bos_id())]
        )
    return tokenizer


def _merges(
    model: sentencepiece.SentencePieceProcessor, vocabulary: dict[str, int]
) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, those of the highest score first.

    SentencePiece makes no control symbol and no byte of a text.
    """
    scored_pairs: list[tuple[float, tuple[str, str]]] = []
    for piece, index in vocabulary.items():
        if model.is_control(index) or model.is_unknown(index) or model.is_byte(index):
            continue
        splits = [
            (piece[:cut], piece[cut:])
            for cut in range(1, len(piece))
            if piece[:cut] in vocabulary and piece[cut:] in vocabulary
        ]
        splits.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
        scored_pairs += [(-model.get_score(index), pair) for pair in splits]
    return [pair for _, pair in sorted(scored_pairs, key=lambda scored: scored[0])]
