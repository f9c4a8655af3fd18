"""One side of "X is a type of Y" is predicted, from the other one; no note is needed for it."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ConfigError
from tasks.ingest.outcomes.titles import icd_titles
from tasks.keys import Artifact
from tasks.launch import LaunchConfig
from tasks.model.adapters.methods import Lora
from tasks.model.bases.config import PathBase
from tasks.pretrain import ontology, relations, stage
from tasks.pretrain.config import OntologyConfig, OntologyTraining, PretrainConfig
from tasks.pretrain.jobs import OntologyJob
from tasks.pretrain.objectives import sentences
from tasks.pretrain.objectives.masked import Masked
from tasks.pretrain.objectives.sentences import SentenceLesson, Speaker
from tasks.pretrain.relations import Relation, Relations, blocks_above, read_relations
from tasks.pretrain.tokenizer import train_bpe
from tasks.training.program import World
from tests.conftest import device
from tests.pretrain.conftest import new_base, write_text
from tests.pretrain.encoders import CATEGORIES, POSITIONS, write_encoder, write_ontology

RELATION = Relation("chest pain with cough", "pain of chest and heart")
SMALL = OntologyConfig(
    objective="sentences",
    adapter=Lora(rank=8),
    training=OntologyTraining(learning_rate=1e-2, batch_size=16, precision="fp32"),
    steps=100,
)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of an encoder and of a decoder, with their tokenizers, and of an ontology."""
    root = tmp_path_factory.mktemp("sentences")
    train_bpe(write_text(root / "general.txt"), 300, root / "decoder")
    new_base(max_positions=POSITIONS).save_pretrained(root / "decoder")
    return {
        "encoder": write_encoder(root / "encoder", with_output=False),
        "decoder": root / "decoder",
        "ontology": write_ontology(root / "ontology"),
    }


def speaker(bases: dict[str, Path], kind: str, title_pieces: int = 24) -> Speaker:
    return Speaker(LoadedTokenizer.load(bases[kind]), title_pieces, causal=kind == "decoder")


def drawn(made: Speaker, relation: Relation = RELATION) -> list[Masked]:
    """The sentence with the one side taken out, and with the other one."""
    both = {}
    for seed in range(20):
        sentence = made.masked(relation, np.random.default_rng(seed))
        both[sentence.wanted.tobytes()] = sentence
    assert len(both) == 2
    return sorted(both.values(), key=lambda sentence: int(sentence.wanted.argmax()))


def words(made: Speaker, ids: NDArray[np.int32]) -> str:
    return made.tokenizer.tokenizer.decode(ids.tolist()).replace(" ##", "").strip()


def test_codes_are_of_categories_categories_of_blocks_and_blocks_of_chapters(
    bases: dict[str, Path],
) -> None:
    (read,) = read_relations(bases["ontology"], 20, seed=0)
    assert not set(read.learned) & set(read.held_out)
    assert len(read.held_out) == 2  # of 38
    every = {*read.learned, *read.held_out}
    title, codes = CATEGORIES["A15"]
    assert {Relation(code, title) for code in codes} <= every
    chapter = "Certain infectious and parasitic diseases"
    assert Relation(title, "Tuberculosis") in every
    assert Relation("Tuberculosis", chapter) in every
    assert Relation(CATEGORIES["A10"][0], chapter) in every  # of no block
    (again,) = read_relations(bases["ontology"], 20, seed=1)
    assert {*again.learned, *again.held_out} == every
    assert set(again.held_out) != set(read.held_out)


def test_the_shuffled_control_gives_codes_the_titles_of_other_categories(
    bases: dict[str, Path],
) -> None:
    (own,), (shuffled,) = (
        read_relations(bases["ontology"], 20, seed=0, shuffled=shuffled)
        for shuffled in (False, True)
    )
    own_pairs, shuffled_pairs = ({*read.learned, *read.held_out} for read in (own, shuffled))
    codes = {code for _, under in CATEGORIES.values() for code in under}
    of_codes = {relation for relation in shuffled_pairs if relation.narrower in codes}
    assert len(of_codes) == len(codes)
    assert len(of_codes & own_pairs) <= 4  # a category may keep its own title by chance
    assert {relation.broader for relation in of_codes} == {
        title for title, _ in CATEGORIES.values()
    }


def test_every_category_of_icd_is_in_a_block_or_a_chapter() -> None:
    systems = {9: "icd9cm", 10: "icd10cm"}
    above = {
        (version, code): blocks_above(systems[version], code)
        for version, code in icd_titles("diagnoses")
    }
    assert [key for key, titles in above.items() if not titles] == []
    assert above[9, "410"] == ["Ischemic heart disease", "Diseases of the circulatory system"]
    assert blocks_above("icd10cm", "I5A")[0] == "Other forms of heart disease"
    # beside the blocks of D37 to D48 and of C76 to C80
    assert above[10, "D3A"] == ["Benign neuroendocrine tumors", "Neoplasms"]
    assert above[10, "C7A"] == ["Malignant neuroendocrine tumors", "Neoplasms"]


def test_an_encoder_sees_no_word_of_the_side_that_it_predicts(bases: dict[str, Path]) -> None:
    made = speaker(bases, "encoder")
    mask = made.tokenizer.mask
    narrower, broader = drawn(made)
    for sentence, wanted in ((narrower, RELATION.narrower), (broader, RELATION.broader)):
        assert words(made, sentence.ids[sentence.wanted]) == wanted
        assert (sentence.seen[sentence.wanted] == mask).all()
        assert np.array_equal(sentence.ids, narrower.ids)
    # nor those words of it that the other side has
    assert words(made, narrower.seen[narrower.seen != mask]) == "is a type of of and heart ."
    assert words(made, broader.seen[broader.seen != mask]) == "with cough is a type of ."


def test_shared_words_stay_where_nothing_else_would(bases: dict[str, Path]) -> None:
    made = speaker(bases, "encoder")
    narrower, _ = drawn(made, Relation("chest pain with cough", "chest pain"))
    visible = narrower.seen[narrower.seen != made.tokenizer.mask]
    assert words(made, visible) == "is a type of chest pain ."


def test_a_decoder_predicts_the_side_that_comes_last(bases: dict[str, Path]) -> None:
    made = speaker(bases, "decoder")
    spoken = {words(made, sentence.ids): sentence for sentence in drawn(made)}
    expected = {
        "chest pain with cough is a type of pain of chest and heart.": RELATION.broader,
        "A type of pain of chest and heart is chest pain with cough.": RELATION.narrower,
    }
    assert spoken.keys() == expected.keys()
    for text, sentence in spoken.items():
        assert np.array_equal(sentence.seen, sentence.ids)
        assert words(made, sentence.ids[sentence.wanted]) == expected[text]


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_only_the_chosen_side_has_a_loss(bases: dict[str, Path], kind: str) -> None:
    """Of logits that are parameters, only those of its tokens have a gradient."""

    class Logits(nn.Module):
        def __init__(self, rows: int, longest: int, vocabulary: int) -> None:
            super().__init__()
            self.values = nn.Parameter(torch.zeros(rows, longest, vocabulary))

        def forward(self, *given: Tensor, input_ids: Tensor | None = None, **_: object) -> object:
            if input_ids is None:  # an encoder's: seen, present, wanted
                return self.values[given[2]]
            return SimpleNamespace(logits=self.values)

    made = speaker(bases, kind)
    both = [*drawn(made), *drawn(made, Relation("fever", "chills and fever"))]
    lesson = lesson_of(made, [Relations((RELATION,), ())])
    prepared = lesson.prepared(both)
    model = Logits(*prepared.ids.shape, made.tokenizer.size)
    loss = lesson.loss(model, prepared)
    tokens = sum(int(sentence.wanted.sum()) for sentence in both)
    assert loss.item() == pytest.approx(tokens * np.log(made.tokenizer.size), rel=1e-5)
    loss.backward()
    moved = model.values.grad.abs().sum(-1) > 0
    # a decoder's logits are of the token after theirs
    expected = prepared.wanted if kind == "encoder" else prepared.wanted.roll(-1, 1)
    assert torch.equal(moved, expected)


def lesson_of(made: Speaker, systems: list[Relations], micro: int = 4) -> SentenceLesson:
    return SentenceLesson("ontology", made, systems, 10, 8, micro, 0, device())


def test_a_batch_is_of_its_step_and_of_each_system_in_turn(bases: dict[str, Path]) -> None:
    made = speaker(bases, "encoder")
    first, second = Relation("fever", "chills"), Relation("cough", "nausea")
    systems = [Relations((first,), ()), Relations((second,), ())]
    lesson, again = (lesson_of(made, systems, micro) for micro in (4, 2))
    batch = lesson.batch(3)
    rows = [sentence for micro in batch.micro for sentence in micro]
    assert sum("fever" in words(made, sentence.ids) for sentence in rows) == len(rows) // 2 == 4
    assert [len(micro) for micro in again.batch(3).micro] == [2] * 4
    same = [sentence for micro in again.batch(3).micro for sentence in micro]
    others = [sentence for micro in lesson.batch(4).micro for sentence in micro]
    for made_again, equal in ((same, True), (others, False)):
        pairs = zip(rows, made_again, strict=True)
        assert all(np.array_equal(a.seen, b.seen) for a, b in pairs) is equal
    assert batch.weight == sum(int(sentence.wanted.sum()) for sentence in rows)


def trained(bases: dict[str, Path], kind: str, world: World, out: Path) -> dict[str, float]:
    """The counts of that training."""
    world.work = out / "work"
    world.work.mkdir(parents=True)
    job = OntologyJob(
        base=bases[kind],
        tokenizer=bases[kind],
        corpus=None,
        ontology=bases["ontology"],
        config=SMALL,
    )
    ontology.main(job, world)
    return json.loads((world.work / "counts.json").read_text())


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_what_was_held_out_is_predicted_better(
    bases: dict[str, Path], world: World, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "adapter"
    counts = trained(bases, kind, world, out)
    assert counts["steps"] == SMALL.steps
    assert counts["sentence_loss_after"] < counts["sentence_loss_before"] - 0.2
    rows = tables.read(out / "history.parquet", schemas.HISTORY).to_pylist()
    assert {row["arm"] for row in rows} == {"ontology"}
    assert counts["loss"] < rows[0]["loss"] - 0.4
    names = load_file(out / "adapter_model.safetensors")
    assert names
    assert all("lora_" in name for name in names)  # an output layer is no part of it


def test_titles_that_are_too_long_are_refused_or_cut(bases: dict[str, Path]) -> None:
    made = speaker(bases, "encoder", title_pieces=3)
    made.check_length(20)
    with pytest.raises(ConfigError, match=r"reads at most 12; lower pretrain\.ontology\.title_p"):
        made.check_length(12)
    for sentence in drawn(made):
        assert 1 <= sentence.wanted.sum() <= 3
        assert len(sentence.ids) <= 20


def test_no_note_is_read_for_sentences(
    bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a change of the notes or the splits trains nothing anew."""
    corpora: list[Artifact | Path | None] = []
    packed = Artifact("corpus", "key", "digest")

    def train_ontology(job: OntologyJob, **_: object) -> Artifact:
        corpora.append(job.corpus)
        return Artifact("ontology-adapter", "key", "digest")

    folder = bases["decoder"]
    monkeypatch.setattr(stage, "base_and_tokenizer", lambda *_: (folder, folder))
    monkeypatch.setattr(stage, "pack_notes", lambda **_: packed)
    monkeypatch.setattr(stage, "train_ontology", train_ontology)
    for config in (OntologyConfig(), SMALL):
        made = stage.pretrain(
            PretrainConfig(base=PathBase(path=folder), ontology=config),
            LaunchConfig(),
            stage.Texts((), Artifact("splits", "key", "digest"), {}, None),
            wanted=("ontology",),
            ontology=Artifact("ontology", "key", "digest"),
        )
        assert made.corpus == corpora[-1]
    assert corpora == [packed, None]


def test_sentences_have_no_spans() -> None:
    with pytest.raises(ValidationError, match="take titles: own or shuffled"):
        OntologyConfig(objective="sentences", titles="span")


@pytest.mark.parametrize("module", [relations, sentences], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
