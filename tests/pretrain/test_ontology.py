"""Titles find the texts that they were planted in; without what titles say, they do not."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ConfigError
from tasks.model.adapters.methods import Lora
from tasks.model.bases.load import load_base
from tasks.model.trunk import Summand, freeze
from tasks.pretrain import ontology, planting
from tasks.pretrain.config import OntologyConfig, OntologyTraining
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.jobs import OntologyJob
from tasks.pretrain.objectives import ontology as objective
from tasks.pretrain.objectives.ontology import Contrast, retrieval_losses
from tasks.pretrain.packing import pieces
from tasks.pretrain.planting import Planting, read_categories
from tasks.training.program import World
from tests.pretrain.conftest import TRAIN, new_base, write_text
from tests.pretrain.encoders import CATEGORIES, POSITIONS, write_encoder, write_ontology
from tests.pretrain.test_masked import write_corpus

SMALL = OntologyConfig(
    adapter=Lora(rank=8),
    training=OntologyTraining(learning_rate=3e-3, batch_size=4, precision="fp32"),
    scale=5.0,  # random states are less alike than a trained base's
    steps=60,
    span=12,
    planted=2,
    categories=8,
)


@pytest.fixture(scope="module")
def prepared(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base/, corpus/ and ontology/."""
    root = tmp_path_factory.mktemp("ontology")
    tokenizer = LoadedTokenizer.load(write_encoder(root / "base", with_output=False))
    write_corpus(root / "corpus", inputs, tokenizer, "train")
    write_ontology(root / "ontology")
    return root


def job_of(prepared: Path, **changes: Any) -> OntologyJob:
    return OntologyJob(
        base=prepared / "base",
        tokenizer=prepared / "base",
        corpus=prepared / "corpus",
        ontology=prepared / "ontology",
        config=SMALL.model_copy(update=changes),
    )


def planted(prepared: Path, longest: int | None = None, **changes: Any) -> Planting:
    return Planting(
        Corpus(prepared / "corpus"),
        read_categories(prepared / "ontology", 20),
        LoadedTokenizer.load(prepared / "base"),
        SMALL.model_copy(update=changes),
        longest,
    )


def trained(job: OntologyJob, world: World, out: Path) -> dict[str, float]:
    """The counts of that training."""
    world.work = out / "work"
    world.work.mkdir(parents=True)
    ontology.main(job, world)
    return json.loads((world.work / "counts.json").read_text())


def contains(text: list[int], part: list[int]) -> bool:
    return any(text[at : at + len(part)] == part for at in range(len(text) - len(part) + 1))


def test_a_text_holds_a_code_of_each_category_that_it_matches(prepared: Path) -> None:
    made = planted(prepared)
    titles = {title: codes for title, codes in CATEGORIES.values()}
    encode = made._encode
    for step in range(10):
        drawn = made.draw(step)
        assert drawn.matches.shape == (4, 8)
        assert drawn.matches.sum(1).tolist() == [2] * 4
        assert drawn.matches.sum(0).tolist() == [1] * 8  # each category stands in one text
        by_query = {tuple(encode(title)): codes for title, codes in titles.items()}
        for text, row in zip(drawn.texts, drawn.matches, strict=True):
            for index in np.flatnonzero(row):
                codes = by_query[tuple(drawn.queries[index])]
                assert any(contains(text, encode(code)) for code in codes)


def test_a_draw_is_of_its_step_and_half_of_it_is_near(prepared: Path) -> None:
    made, again = (planted(prepared, chapters=1, near=0.75) for _ in range(2))
    assert made.draw(3).texts == made.draw(3).texts == again.draw(3).texts
    assert made.draw(3).texts != made.draw(4).texts
    chapters = {title: category[0] for category, (title, _) in CATEGORIES.items()}
    of_query = {tuple(made._encode(title)): chapter for title, chapter in chapters.items()}
    for step in range(10):
        drawn = [of_query[tuple(query)] for query in made.draw(step).queries]
        assert max(drawn.count("A"), drawn.count("B")) >= 6


def test_only_training_patients_words_stand_around_the_titles(prepared: Path) -> None:
    corpus = Corpus(prepared / "corpus")
    owners = {owner for row in range(len(corpus)) for owner, _ in pieces(corpus[row])}
    assert owners == set(TRAIN)
    documents = [ids.tolist() for row in range(len(corpus)) for _, ids in pieces(corpus[row])]
    drawn = planted(prepared, titles="span").draw(0)
    for text in drawn.texts:
        assert any(contains(document, text) for document in documents)


def test_the_span_control_seeks_a_texts_own_words(prepared: Path) -> None:
    drawn = planted(prepared, titles="span").draw(1)
    assert drawn.matches.shape == (4, 8)
    for text, row in zip(drawn.texts, drawn.matches, strict=True):
        assert all(contains(text, drawn.queries[index]) for index in np.flatnonzero(row))


def test_the_shuffled_control_only_changes_which_title_is_whose(prepared: Path) -> None:
    own, shuffled = (planted(prepared, titles=titles).draw(2) for titles in ("own", "shuffled"))
    assert own.texts == shuffled.texts
    assert np.array_equal(own.matches, shuffled.matches)
    assert own.queries != shuffled.queries


def test_a_text_longer_than_the_base_reads_is_refused(prepared: Path) -> None:
    with pytest.raises(ConfigError, match=r"reads at most 10; lower pretrain\.ontology\.span"):
        planted(prepared, longest=10).draw(0)


def test_both_losses_by_hand() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]])
    matches = torch.tensor([[True, True, False], [False, False, True]])
    of_texts, of_queries = retrieval_losses(logits, matches)
    # a text's matches are no negatives of one another
    e = np.exp
    by_text = [np.log1p(e(-2)), np.log1p(e(-1)), np.log1p(e(-3) + e(-2))]
    by_query = [np.log1p(e(-2)), np.log1p(e(0)), np.log1p(e(-3))]
    assert of_texts.item() == pytest.approx(np.mean(by_text), rel=1e-5)
    assert of_queries.item() == pytest.approx(np.mean(by_query), rel=1e-5)


def test_titles_find_texts_and_texts_titles(prepared: Path, world: World, tmp_path: Path) -> None:
    out = tmp_path / "adapter"
    counts = trained(job_of(prepared), world, out)
    assert counts["steps"] == SMALL.steps
    assert counts["label_loss_by_chance"] == pytest.approx(np.log(7))
    assert counts["text_loss_by_chance"] == pytest.approx(np.log(4))
    for loss in ("label_loss", "text_loss"):
        assert counts[f"{loss}_after"] < 0.75 * counts[f"{loss}_by_chance"]
        assert counts[f"{loss}_after"] < 0.85 * counts[f"{loss}_before"]
    rows = tables.read(out / "history.parquet", schemas.HISTORY).to_pylist()
    assert {row["arm"] for row in rows} == {"ontology"}
    plain = AutoModel.from_pretrained(prepared / "base", add_pooling_layer=False).eval()
    before = plain(input_ids=torch.arange(5, 20)[None]).last_hidden_state
    model = PeftModel.from_pretrained(plain, str(out)).eval()
    after = model(input_ids=torch.arange(5, 20)[None]).last_hidden_state
    assert (after - before).abs().max() > 0.01
    names = load_file(out / "adapter_model.safetensors")
    assert not [name for name in names if "scales" in name]


def test_of_a_cut_base_the_layers_that_are_read_are_adapted(
    prepared: Path, world: World, tmp_path: Path
) -> None:
    """And the adapter fits the base that heads read, which is cut there, too."""
    job = job_of(prepared, steps=2).model_copy(update={"layer": 1})
    trained(job, world, tmp_path / "adapter")
    names = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert names
    assert all(".layer.0." in name for name in names)
    ids, present = torch.arange(5, 20)[None], torch.ones(1, 15, dtype=torch.bool)
    plain = freeze(load_base(prepared / "base", layer=1), [])
    summand = Summand("ontology", tmp_path / "adapter")
    adapted = freeze(load_base(prepared / "base", layer=1), [summand])
    difference = adapted.states(ids, present) - plain.states(ids, present)
    assert difference.abs().max() > 1e-4


def test_shuffled_titles_are_not_found(prepared: Path, world: World, tmp_path: Path) -> None:
    """Unless each is learned by heart, for which there is no time."""
    counts = {
        titles: trained(job_of(prepared, titles=titles, steps=30), world, tmp_path / titles)
        for titles in ("own", "shuffled")
    }
    by_chance = counts["own"]["label_loss_by_chance"]
    assert counts["own"]["label_loss_after"] < 0.85 * by_chance
    assert counts["shuffled"]["label_loss_after"] > 0.92 * by_chance


def test_padding_changes_no_logit(prepared: Path) -> None:
    from tasks.model.adapters.build import add_new_adapter

    base = load_base(prepared / "base")
    model = objective.Finder(base, add_new_adapter(base.model, Lora(rank=2), "default"), 5.0).eval()
    made = planted(prepared)
    contrast = Contrast.of(made.draw(0), made.tokenizer.frame, made.tokenizer.pad)
    more = torch.nn.functional.pad
    padded = replace(
        contrast,
        **{
            name: more(tensor, (0, 5))
            for name, tensor in vars(contrast).items()
            if name != "matches"
        },
    )
    with torch.no_grad():
        torch.testing.assert_close(model(padded), model(contrast), rtol=0, atol=1e-4)


def test_a_decoder_learns_it_too(
    inputs: Path, prepared: Path, world: World, tmp_path: Path
) -> None:
    from tasks.pretrain.corpus import CorpusWriter, of_notes, patients_of
    from tasks.pretrain.tokenizer import train_bpe

    train_bpe(write_text(tmp_path / "general.txt"), 300, tmp_path / "base")
    new_base(max_positions=POSITIONS).save_pretrained(tmp_path / "base")
    tokenizer = LoadedTokenizer.load(tmp_path / "base")
    notes = of_notes([inputs / "notes"], patients_of(inputs / "splits", "train"))
    CorpusWriter(tmp_path / "corpus", tokenizer, 64, 0).write(notes)
    places = {"base": tmp_path / "base", "tokenizer": tmp_path / "base"}
    job = job_of(prepared).model_copy(update=places | {"corpus": tmp_path / "corpus"})
    counts = trained(job, world, tmp_path / "adapter")
    assert counts["label_loss_after"] < 0.75 * counts["label_loss_by_chance"]


@pytest.mark.parametrize("module", [planting, objective], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
