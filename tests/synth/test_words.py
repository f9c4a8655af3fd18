"""Which words stand where: surface forms, those held out of training notes, plain English."""

from __future__ import annotations

import re

from tasks.ingest.sections import admission_note, sections_of
from tasks.patients import split_of
from tasks.synth.catalog import Condition, load
from tasks.synth.difficulty import Difficulty
from tasks.synth.general import general_corpus
from tasks.synth.population import World, chunks
from tasks.synth.synthesize import SynthSummary
from tests.synth.conftest import Population, admission_note_of, lines_of


def test_a_condition_has_six_forms_a_third_of_them_held_out() -> None:
    for condition in load().conditions:
        forms = [*condition.forms, *condition.held_out, condition.drug]
        assert len({_words(form) for form in forms}) == len(forms) >= 6
        assert len(condition.held_out) / len(forms) >= 1 / 3 - 1e-9


def test_no_form_of_a_condition_stands_inside_a_form_of_another() -> None:
    every = [(c.name, f" {_words(form)} ") for c in load().conditions for form in _all_forms(c)]
    inside = [
        (inner, outer)
        for name, inner in every
        for other, outer in every
        if name != other and inner in outer
    ]
    assert not inside


def test_held_out_forms_stand_in_no_discharge_note_of_a_training_patient(
    small: SynthSummary,
) -> None:
    held_out = _pattern([form for c in load().conditions for form in c.held_out])
    notes = lines_of(small.source / "note/discharge.csv.gz")
    training = _training(notes)
    for note, here in zip(notes, training, strict=True):
        assert not (here and held_out.search(_words(note["text"])))


def test_held_out_forms_are_common_in_unseen_notes_and_explained_in_radiology(
    population: Population, small: SynthSummary
) -> None:
    held_out = _pattern([form for c in load().conditions for form in c.held_out])
    common = _pattern([form for c in load().conditions for form in c.forms])
    unseen = [
        note
        for note, split in zip(population.notes, population.split, strict=True)
        if split == "test"
    ]
    rare = sum(len(held_out.findall(_words(note))) for note in unseen)
    usual = sum(len(common.findall(_words(note))) for note in unseen)
    assert 0.25 < rare / (rare + usual) < 0.4
    reports = lines_of(small.source / "note/radiology.csv.gz")
    of_training = [
        _words(r["text"]) for r, here in zip(reports, _training(reports), strict=True) if here
    ]
    forms_found = {form for text in of_training for form in held_out.findall(text)}
    assert len(forms_found) > 0.8 * sum(len(c.held_out) for c in load().conditions)


def test_every_affirmed_name_of_an_admission_stands_in_its_note(population: Population) -> None:
    """The prose says what the symbols say: nothing affirmed is lost, nothing else is added."""
    from tasks.synth.evidence import Mention

    conditions = load().conditions
    patterns = [_pattern([*_all_forms(condition)]) for condition in conditions]
    for row in range(0, len(population.notes), 97):
        text = _words(population.notes[row])
        written = {i for i, pattern in enumerate(patterns) if pattern.search(text)}
        spoken = {int(i) for i in (population.mentions[row] != Mention.OMITTED).nonzero()[0]}
        assert written == spoken


def test_general_corpus_is_plain_english_without_held_out_forms() -> None:
    corpus = general_corpus(load(), seed=7, characters=300_000)
    assert 300_000 <= len(corpus) < 310_000
    assert "\n\n\n" not in corpus
    words = _words(corpus)
    assert not _pattern([form for c in load().conditions for form in c.held_out]).search(words)
    assert corpus == general_corpus(load(), seed=7, characters=300_000)
    # words of the admission notes' frame are known to a tokenizer trained on it
    for word in ("presents", "admitted", "history", "FAMILY HISTORY", "PHYSICAL EXAM", "___"):
        assert word in corpus


def _all_forms(condition: Condition) -> list[str]:
    return [*condition.forms, *condition.held_out, condition.drug]


def _training(notes: list[dict[str, str]]) -> list[bool]:
    ids = [int(note["subject_id"]) for note in notes]
    return [split == "train" for split in split_of(ids, key="clinfuse", validation=0.1, test=0.2)]


def _pattern(forms: list[str]) -> re.Pattern[str]:
    longest_first = sorted({_words(form) for form in forms}, key=len, reverse=True)
    return re.compile(r"(?<![a-z0-9])(?:" + "|".join(longest_first) + r")(?![a-z0-9])")


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def test_ingest_reads_exactly_the_sections_that_the_truth_is_of(small: SynthSummary) -> None:
    """What p_best knows is what an admission note built from the source says, word for word."""
    world = World.of(load(), Difficulty())
    written = {}
    for chunk in chunks(world, 3, 400):
        for row, sections in enumerate(chunk.sections):
            written[str(chunk.stays.hadm_id[row])] = _words(admission_note_of(sections))
    for note in lines_of(small.source / "note/discharge.csv.gz"):
        read = admission_note([sections_of(note["text"])])
        assert _words(read) == written[note["hadm_id"]]
