"""Whole words are masked, nothing else, and an encoder learns what they were."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModel, BertForMaskedLM

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ModelError
from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.methods import Lora
from tasks.model.bases.files import has_masked_head
from tasks.model.bases.load import load_base
from tasks.model.bases.masked import OUTPUT, NewOutput, load_masked
from tasks.pretrain import output, perplexity, train
from tasks.pretrain.config import MaskingConfig
from tasks.pretrain.corpus import Corpus, CorpusWriter, of_notes, patients_of
from tasks.pretrain.jobs import AdapterJob, EncoderReading, OutputJob, PerplexityJob
from tasks.pretrain.objectives.masked import (
    Masked,
    MaskedModel,
    Masker,
    Masks,
    by_length,
    chunks_of,
    word_losses,
)
from tasks.pretrain.packing import chunks, pieces
from tasks.pretrain.whole_notes import write_tokenized
from tasks.training.config import TrainingConfig
from tasks.training.program import World
from tests.pretrain.conftest import TRAIN, VALIDATION, WORDS
from tests.pretrain.encoders import write_encoder, write_wordpiece

LENGTH = 48
TEXT = "Patient denies shortness of breath, abdominal pain. Discharged home."


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> LoadedTokenizer:
    folder = tmp_path_factory.mktemp("wordpiece")
    write_wordpiece(folder)
    return LoadedTokenizer.load(folder)


def masker(tokenizer: LoadedTokenizer, **shares: float) -> Masker:
    return Masker.of(tokenizer, MaskingConfig(**shares))


def ids_of(tokenizer: LoadedTokenizer, text: str = TEXT) -> NDArray[np.int32]:
    return np.array(tokenizer.tokenizer.encode(text).ids, np.int32)


def test_the_tokenizer_of_an_encoder_is_known(tokenizer: LoadedTokenizer) -> None:
    ids = ids_of(tokenizer)
    assert ([ids[0]], [ids[-1]]) == tokenizer.frame
    assert (tokenizer.bos, tokenizer.eos) == (ids[0], ids[-1])
    assert tokenizer.special == {0, 2, 3, 4}
    assert tokenizer.mask == 4
    continuing = [piece for piece in ids if tokenizer.continuing()[piece]]
    assert len(continuing) > 5, "else whole words are of one piece, and say nothing here"


@pytest.mark.parametrize("seed", range(20))
def test_a_word_is_masked_whole_and_a_special_token_never(
    tokenizer: LoadedTokenizer, seed: int
) -> None:
    """Against the words as the tokenizer itself cut them."""
    encoding = tokenizer.tokenizer.encode(TEXT)
    ids = np.array(encoding.ids, np.int32)
    made = masker(tokenizer, share=0.3).masked(ids, np.random.default_rng(seed))
    words: dict[int, set[bool]] = {}
    for number, wanted in zip(encoding.word_ids, made.wanted.tolist(), strict=True):
        if number is None:
            assert not wanted
        else:
            words.setdefault(number, set()).add(wanted)
    assert all(len(fates) == 1 for fates in words.values()), "a word's pieces share its fate"
    wanted_words = sum(fates == {True} for fates in words.values())
    assert wanted_words == round(0.3 * len(words))
    unwanted = ~made.wanted
    assert np.array_equal(made.seen[unwanted], ids[unwanted])
    assert not tokenizer.special.intersection(made.seen[1:-1].tolist()) - {tokenizer.mask}


def test_masks_random_pieces_and_the_words_themselves_are_80_10_10(
    tokenizer: LoadedTokenizer,
) -> None:
    made = masker(tokenizer, share=0.5)
    wanted = masked = same = 0
    for seed in range(600):
        chunk = made.masked(ids_of(tokenizer), np.random.default_rng(seed))
        wanted += int(chunk.wanted.sum())
        masked += int((chunk.seen == tokenizer.mask).sum())
        same += int((chunk.seen == chunk.ids)[chunk.wanted].sum())
    assert masked / wanted == pytest.approx(0.8, abs=0.02)
    assert same / wanted == pytest.approx(0.1, abs=0.02)  # 1 in 85 random pieces is the word's own


def test_held_out_masks_follow_from_the_text_alone(tokenizer: LoadedTokenizer) -> None:
    made, ids = masker(tokenizer), ids_of(tokenizer)
    first, again = made.held_out(ids), made.held_out(ids.copy())
    assert np.array_equal(first.seen, again.seen)
    others = [ids_of(tokenizer, TEXT.replace("home", word)) for word in ("clinic", "daily", "up")]
    assert len({made.held_out(each).wanted.tobytes() for each in (ids, *others)}) > 1


def test_a_short_chunk_has_a_word_to_predict_and_an_empty_one_none(
    tokenizer: LoadedTokenizer,
) -> None:
    made, generator = masker(tokenizer, share=0.01), np.random.default_rng(0)
    assert made.masked(ids_of(tokenizer, "pain"), generator).wanted.sum() > 0
    assert made.masked(ids_of(tokenizer, ""), generator).wanted.sum() == 0


def test_a_row_is_a_chunk_of_one_document(tmp_path: Path, inputs: Path) -> None:
    write_wordpiece(tmp_path)
    tokenizer = LoadedTokenizer.load(tmp_path)
    counts = write_corpus(tmp_path / "corpus", inputs, tokenizer, "train")
    corpus = Corpus(tmp_path / "corpus")
    (before, after), seen = tokenizer.frame, set()
    assert counts["sequences"] == len(corpus) > counts["documents"] == 2 * len(TRAIN)
    for row in range(len(corpus)):
        ((owner, ids),) = pieces(corpus[row])
        seen.add(owner)
        assert [ids[0]] == before
        assert [ids[-1]] == after
        assert not tokenizer.special.intersection(ids[1:-1].tolist())
    assert seen == set(TRAIN)


def test_no_token_of_a_document_is_lost_in_chunks() -> None:
    documents = [(1, list(range(10, 31))), (2, [40])]
    made = list(chunks(documents, 8, pad=0, before=[1], after=[2, 3]))
    assert [row for packed in made for _, ids in pieces(packed) for row in ids[1:-2]] == [
        *range(10, 31),
        40,
    ]


def write_corpus(out: Path, inputs: Path, tokenizer: LoadedTokenizer, split: str) -> dict[str, int]:
    notes = of_notes([inputs / "notes"], patients_of(inputs / "splits", split))
    seed = 0 if split == "train" else None
    return CorpusWriter(out, tokenizer, LENGTH, seed, packed=False).write(notes)


@pytest.mark.parametrize("with_output", [True, False], ids=["its own output", "a new output"])
def test_an_adapter_goes_on_the_encoder_alone_and_changes_nothing_yet(
    tmp_path: Path, with_output: bool
) -> None:
    folder = write_encoder(tmp_path, with_output=with_output)
    assert has_masked_head(folder) == with_output
    tokenizer = LoadedTokenizer.load(folder)
    masks = Masks.of([masker(tokenizer).held_out(ids_of(tokenizer))])
    base, layer = load_masked(folder)
    model = MaskedModel(add_new_adapter(base, Lora(rank=2), "default"), layer).eval()
    with torch.no_grad():
        losses = word_losses(model, masks)
    assert losses.shape == (int(masks.wanted.sum()),)
    if with_output:
        plain = BertForMaskedLM.from_pretrained(folder).eval()
        with torch.no_grad():
            logits = plain(masks.seen, attention_mask=masks.present.long()).logits[masks.wanted]
        expected = torch.nn.functional.cross_entropy(
            logits, masks.ids[masks.wanted], reduction="none"
        )
        torch.testing.assert_close(losses, expected)
        assert not any(parameter.requires_grad for parameter in layer.parameters())
    else:  # near the identity: a state is read off by the embedding that is most like it
        words = base.get_input_embeddings().weight
        states = 3.0 * torch.nn.functional.normalize(words.detach() - words.mean(1, keepdim=True))
        assert (layer(states).argmax(1) == torch.arange(len(words))).float().mean() > 0.9
        assert not layer.words.weight.requires_grad  # type: ignore[union-attr]


def test_padding_changes_no_loss(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path, with_output=True)
    tokenizer = LoadedTokenizer.load(folder)
    made = masker(tokenizer)
    short, long = (made.held_out(ids_of(tokenizer, text)) for text in ("chest pain", TEXT))
    base, layer = load_masked(folder)
    model = MaskedModel(add_new_adapter(base, Lora(rank=2), "default"), layer).eval()
    with torch.no_grad():
        together = word_losses(model, Masks.of([short, long]))
        alone = torch.cat([word_losses(model, Masks.of([chunk])) for chunk in (short, long)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("with_output", [True, False], ids=["its own output", "a new output"])
def test_it_learns_what_masked_words_were(world: World, tmp_path: Path, with_output: bool) -> None:
    folder = write_encoder(tmp_path / "base", with_output=with_output)
    tokenizer = LoadedTokenizer.load(folder)
    # in one order, else there is nothing to learn from the words around one
    train_notes, held_out = (
        [(each, " ".join(WORDS[each % 7 :])) for each in patients]
        for patients in (TRAIN, VALIDATION)
    )
    CorpusWriter(tmp_path / "train", tokenizer, LENGTH, 0, packed=False).write(train_notes)
    write_tokenized(tmp_path / "validation", held_out, tokenizer, framed=False)
    reading = EncoderReading(tokenizer=folder, masking=MaskingConfig())
    job = AdapterJob(
        base=folder,
        corpus=tmp_path / "train",
        adapter=Lora(rank=8),
        training=TrainingConfig(learning_rate=1e-2, batch_size=16),
        epochs=25,
        max_tokens=None,
        encoder=reading,
        keeps_output=not with_output,
    )
    world.work = tmp_path / "adapter" / "work"
    world.work.mkdir(parents=True)
    train.main(job, world)
    out = tmp_path / "adapter"
    rows = tables.read(out / "history.parquet", schemas.HISTORY).to_pylist()
    assert {row["arm"] for row in rows} == {"clinical"}
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.3
    counts = json.loads((world.work / "counts.json").read_text())
    assert counts["layout"].endswith("masked")

    plain = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    before = plain(input_ids=torch.arange(5, 20)[None]).last_hidden_state
    model = PeftModel.from_pretrained(plain, str(out)).eval()
    after = model(input_ids=torch.arange(5, 20)[None]).last_hidden_state
    assert (after - before).abs().max() > 0.01
    assert load_base(folder).model.config.hidden_size == after.shape[-1]
    fitted = None
    if not with_output:
        fitted = tmp_path / "fitted"
        world.work = fitted / "work"
        world.work.mkdir(parents=True)
        shared = {name: getattr(job, name) for name in OutputJob.model_fields}
        output.main(OutputJob(**shared), world)
        own = json.loads((world.work / "counts.json").read_text())["trained_parameters"]
        assert counts["output_parameters"] == own < counts["trained_parameters"]
    measure(world, folder, out, fitted, tmp_path / "validation", reading)


def measure(
    world: World,
    folder: Path,
    adapter: Path,
    fitted: Path | None,
    notes: Path,
    reading: EncoderReading,
) -> None:
    """Unseen patients' words are told better, by the same words before and after."""
    world.work = notes.parent / "measured" / "work"
    world.work.mkdir(parents=True)
    job = PerplexityJob(
        base=folder,
        adapter=adapter,
        notes=notes,
        window=LENGTH,
        stride=LENGTH,
        precision="fp32",
        encoder=reading,
        output=fitted,
    )
    perplexity.main(job, world)
    place = notes.parent / "measured" / "perplexity"
    rows = tables.read(place, schemas.PERPLEXITY).to_pylist()
    assert [row["subject_id"] for row in rows] == list(VALIDATION)
    tokenizer = LoadedTokenizer.load(folder)
    texts = [" ".join(WORDS[each % 7 :]) for each in VALIDATION]
    CorpusWriter(notes.parent / "chunks", tokenizer, LENGTH, None, packed=False).write(
        zip(VALIDATION, texts, strict=True)
    )
    read = Corpus(notes.parent / "chunks")
    made = Masker.of(tokenizer, reading.masking)
    held_out = [made.held_out(ids) for row in range(len(read)) for ids in chunks_of(read[row])]
    tokens = sum(row["tokens"] for row in rows)
    assert tokens == sum(int(chunk.wanted.sum()) for chunk in held_out), "in the same chunks"
    assert [row["bytes"] for row in rows] == [len(text) for text in texts]
    before, after = (
        sum(row[name] for row in rows) / tokens for name in ("nll_before", "nll_after")
    )
    assert after < before - 0.1
    counts = json.loads((world.work / "counts.json").read_text())
    assert "perplexity_after" not in counts, "masked words have none"
    if fitted is None:
        return
    assert counts["output_layer"] == "fitted"
    layers = {"before": fitted, "after": adapter}
    expected = {end: by_hand(folder, adapter, layers[end], held_out, end) for end in layers}
    measured = {end: counts[f"masked_word_loss_{end}"] for end in layers}
    assert measured == pytest.approx(expected, abs=1e-4)


def by_hand(folder: Path, adapter: Path, layer: Path, chunks: list[Masked], end: str) -> float:
    """The loss of masked words by the base ("before") or with the adapter, under that layer."""
    base = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    model = base if end == "before" else PeftModel.from_pretrained(base, str(adapter)).eval()
    saved = load_file(layer / OUTPUT)
    assert set(saved) == {"dense.weight", "dense.bias", "norm.weight", "norm.bias", "words.bias"}
    words = AutoModel.from_pretrained(folder).get_input_embeddings().weight.detach()
    nats = tokens = 0.0
    for chunk in chunks:
        ids, seen, wanted = map(torch.from_numpy, (chunk.ids, chunk.seen, chunk.wanted))
        with torch.no_grad():
            states = model(input_ids=seen[None].long()).last_hidden_state[0][wanted]
        dense = functional.gelu(states @ saved["dense.weight"].T + saved["dense.bias"])
        normed = functional.layer_norm(
            dense, dense.shape[-1:], saved["norm.weight"], saved["norm.bias"]
        )
        logs = (normed @ words.T + saved["words.bias"]).log_softmax(dim=1)
        nats -= float(logs.gather(1, ids[wanted].long()[:, None]).sum())
        tokens += float(wanted.sum())
    return nats / tokens


def test_an_output_layer_of_another_base_is_refused(tmp_path: Path) -> None:
    layer = NewOutput(torch.nn.Embedding(30, 8))
    layer.write(tmp_path, dict(layer.named_parameters()))
    NewOutput(torch.nn.Embedding(30, 8)).read(tmp_path)
    with pytest.raises(ModelError, match=r"is no output layer of this base"):
        NewOutput(torch.nn.Embedding(31, 8)).read(tmp_path)
    with pytest.raises(ModelError, match=r"is no output layer of this base"):
        layer.read(tmp_path / "nowhere")
    layer.dense.bias.data[0] = math.nan
    with pytest.raises(ModelError, match="lower the learning rate"):
        layer.write(tmp_path, dict(layer.named_parameters()))


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    write_wordpiece(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del settings["mask_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="has no mask_token"):
        Masker.of(LoadedTokenizer.load(tmp_path), MaskingConfig())


def test_chunks_of_similar_length_are_computed_together() -> None:
    def chunk(length: int) -> Masked:
        ids = np.zeros(length, np.int32)
        return Masked(ids, ids, ids.astype(bool))

    def lengths(most: int, shortest: float) -> list[list[int]]:
        chunks = [chunk(length) for length in (48, 48, 40, 36, 35, 12, 11, 3)]
        return [[len(chunk.ids) for chunk in group] for group in by_length(chunks, most, shortest)]

    assert lengths(8, 0.75) == [[48, 48, 40, 36], [35], [12, 11], [3]]
    assert lengths(3, 0.75) == [[48, 48, 40], [36, 35], [12, 11], [3]]
    assert lengths(3, 0.0) == [[48, 48, 40], [36, 35, 12], [11, 3]]
