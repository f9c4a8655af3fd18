"""The leak audit on small made-up notes: what is flagged, and which terms may be named."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from tasks import schemas, tables
from tasks.audit.bag_of_words import PRESENT, BagOfWords, bag_of_words
from tasks.audit.config import LeaksConfig
from tasks.audit.leaks import TOGETHER, write_leaks
from tasks.audit.section_texts import read_label_spaces, read_section_texts
from tasks.audit.steps import audit_leaks
from tasks.errors import EvaluationError
from tasks.measures.small_samples import FEWEST_PATIENTS
from tests.digests import digest_of

WORDS = ("alpha", "beta", "gamma", "delta")


@dataclass
class Ward:
    """Patients with one admission each: 240 of training, 120 of validation, 40 of test."""

    folder: Path
    split: list[str] = field(
        default_factory=lambda: ["train"] * 240 + ["validation"] * 120 + ["test"] * 40
    )
    sections: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(1)
        self.subject = 100 + np.arange(len(self.split))
        self.died = self.random.random(len(self.split)) < 0.3

    def say(self, section: str, texts: list[str], *, at_admission: bool = False) -> None:
        """One text an admission; "" is not written."""
        self.sections += [
            {"hadm_id": 1000 + row, "section": section, "at_admission": at_admission, "text": text}
            for row, text in enumerate(texts)
            if text
        ]

    def noise(self) -> list[str]:
        return [" ".join(self.random.choice(WORDS, 2)) for _ in self.split]

    def hint(self, share: float, word: str = "grave") -> list[str]:
        """Noise, with a word that tells of death in this share of the admissions."""
        told = np.where(self.random.random(len(self.split)) < share, self.died, False)
        return [f"{text} {word}" if t else text for text, t in zip(self.noise(), told, strict=True)]

    def audit(self, **config: Any) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
        """The rows of leaks by section, the rows of terms, and the page."""
        write_leaks(self.folder / "leaks", *self.write(), LeaksConfig(**config))
        leaks, terms = (
            tables.read(self.folder / "leaks" / name, schema).to_pylist()
            for name, schema in (("leaks", schemas.LEAKS), ("terms", schemas.TERMS))
        )
        page = (self.folder / "leaks" / "leaks.md").read_text()
        return {row["section"]: row for row in leaks}, terms, page

    def write(self) -> tuple[Path, Path, dict[str, Path]]:
        """Where sections, cohort and outcomes lie."""
        admissions = [
            {"hadm_id": 1000 + row, "subject_id": int(subject), "split": split} | {"note": "-"}
            for row, (subject, split) in enumerate(zip(self.subject, self.split, strict=True))
        ]
        outcomes = [
            {"hadm_id": 1000 + row, "observed": True, "code_system": "mortality"}
            | {"labels": [0] if died else []}
            for row, died in enumerate(self.died)
        ]
        label = {"index": 0, "code_system": "mortality", "code": "died", "title": None}
        label["one_of"] = False
        counts = {"train": 0, "validation": 0, "test": 0}
        for place, schema, rows in (
            ("sections/sections", schemas.SECTIONS, self.sections),
            ("cohort/admissions", schemas.ADMISSIONS, admissions),
            ("mortality/outcomes", schemas.OUTCOMES, outcomes),
            ("mortality/labels", schemas.LABELS, [label | counts]),
        ):
            table = pa.Table.from_pylist(rows, schema)
            tables.write(self.folder / place / "part-0.parquet", schema, table)
        where = {name: self.folder / name for name in ("sections", "cohort", "mortality")}
        return where["sections"], where["cohort"], {"mortality": where["mortality"]}


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    made = Ward(tmp_path)
    made.say("CHIEF COMPLAINT", made.hint(0.4), at_admission=True)
    made.say("SERVICE", made.noise())
    return made


def test_what_is_written_is_of_the_steps_version(ward: Ward) -> None:
    ward.say("HOSPITAL COURSE", ward.hint(0.95, "expired"))
    ward.audit()
    assert (audit_leaks.version, digest_of(ward.folder / "leaks")) == (2, "39dbbe059ed1e09d")


def test_what_tells_more_than_the_admission_sections_is_flagged(ward: Ward) -> None:
    ward.say("HOSPITAL COURSE", ward.hint(0.95, "expired"))
    ward.say("FOLLOWUP", ward.hint(0.3, "clinic"))
    leaks, _, page = ward.audit(penalty=1.0)
    assert [name for name, row in leaks.items() if row["flagged"]] == ["HOSPITAL COURSE"]
    assert leaks["HOSPITAL COURSE"]["above_low"] > 0
    assert leaks["FOLLOWUP"]["low"] > 0.5, "it does tell something"
    assert leaks[TOGETHER]["auroc"] == pytest.approx(leaks["CHIEF COMPLAINT"]["auroc"])
    assert "- mortality: HOSPITAL COURSE\n" in page
    assert "**HOSPITAL COURSE**: `expired` (died +" in page


def test_an_admission_section_is_no_later_section(ward: Ward) -> None:
    ward.say("PHYSICAL EXAM", ward.hint(0.95, "expired"), at_admission=True)
    leaks, _, page = ward.audit(penalty=1.0)
    assert leaks["PHYSICAL EXAM"]["auroc"] > 0.9
    assert not any(row["flagged"] for row in leaks.values())
    assert leaks["PHYSICAL EXAM"]["p_value"] is None
    assert "No section says more of an outcome than the admission note." in page


def test_that_a_section_is_there_is_told_too(ward: Ward) -> None:
    ward.say("PROCEDURE", ["-" if died else "" for died in ward.died])
    leaks, terms, page = ward.audit()
    assert leaks["PROCEDURE"]["flagged"]
    assert leaks["PROCEDURE"]["auroc"] == 1
    assert "| 1.000 | interval withheld |" in page
    assert "nan" not in page
    assert [row["term"] for row in terms if row["section"] == "PROCEDURE"] == [PRESENT]


@pytest.mark.parametrize(("patients", "named"), [(19, False), (20, True)])
def test_a_term_needs_twenty_patients(ward: Ward, patients: int, named: bool) -> None:
    """Two admissions of each patient with the term: patients are counted, not admissions."""
    ward.subject[:240] = 100 + np.arange(240) // 2
    ward.died[:240] = np.arange(240) < 60
    told = [" whistleblower" if died else "" for died in ward.died]
    told[2 * patients : 240] = [""] * (240 - 2 * patients)
    ward.say("HOSPITAL COURSE", [a + b for a, b in zip(ward.noise(), told, strict=True)])
    leaks, terms, page = ward.audit(penalty=1.0)
    found = {row["patients"] for row in terms if row["term"] == "whistleblower"}
    assert found == ({patients} if named else set())
    assert ("whistleblower" in page) == named
    assert leaks["HOSPITAL COURSE"]["flagged"] == named, "it is not learned from either"


def test_fewer_than_twenty_patients_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 20"):
        LeaksConfig(smallest_patients=19)


def test_the_test_split_is_not_read(ward: Ward) -> None:
    ward.say("HOSPITAL COURSE", ward.hint(0.95, "expired"))
    before = ward.audit()
    ward.died[360:] = ~ward.died[360:]
    ward.sections = [
        row | {"text": "other words"} if row["hadm_id"] >= 1360 else row for row in ward.sections
    ]
    assert ward.audit() == before


def test_a_label_of_few_patients_is_not_asked_for(ward: Ward) -> None:
    ward.died[240:360] = np.arange(120) < 9
    leaks, terms, page = ward.audit()
    assert (leaks, terms) == ({}, [])
    assert "nothing was asked" in page
    assert "Not asked, as no label has enough patients: mortality." in page


def test_several_rows_of_a_section_are_read_together(ward: Ward) -> None:
    ward.say("HOSPITAL COURSE", ["first"] * 400)
    ward.say("HOSPITAL COURSE", ["second"] * 400)
    sections, cohort, _ = ward.write()
    assert set(read_section_texts(sections, cohort, 1000).texts["HOSPITAL COURSE"]) == {
        "first\nsecond"
    }


def test_a_large_source_is_learned_from_whole_patients(ward: Ward) -> None:
    ward.subject[:240] = 100 + np.arange(240) // 2
    sections, cohort, outcomes = ward.write()
    told = read_section_texts(sections, cohort, 120)
    _, admissions = np.unique(told.patients[told.train], return_counts=True)
    assert admissions.tolist() == [2] * 60
    assert (~told.train).sum() == 120
    assert set(read_section_texts(sections, cohort, 119).hadm_id) == set(told.hadm_id)
    [space] = read_label_spaces("mortality", outcomes["mortality"], told, LeaksConfig())
    assert space.cases[:, 0].tolist() == ward.died[told.hadm_id[space.rows] - 1000].tolist()


def test_a_split_without_patients_is_refused(ward: Ward) -> None:
    ward.split = ["train"] * 400
    with pytest.raises(EvaluationError, match="is in the validation split"):
        ward.audit()


def test_the_weights_are_those_of_ridge_regression(ward: Ward) -> None:
    from sklearn.linear_model import Ridge

    sections, cohort, _ = ward.write()
    told = read_section_texts(sections, cohort, 1000)
    bag = bag_of_words(told.texts["CHIEF COMPLAINT"], told, 20, 4096)
    assert bag.terms == ("alpha", "beta", "delta", "gamma", "grave")
    rows = np.flatnonzero(told.train)
    cases = ward.random.random((len(rows), 3)) < 0.3
    theirs = Ridge(alpha=7.0).fit(bag.uses[rows].toarray(), cases.astype(float))
    np.testing.assert_allclose(bag.learn(rows, cases, 7.0), theirs.coef_.T, atol=1e-10)


def test_texts_without_a_term_rank_everyone_alike(ward: Ward) -> None:
    sections, cohort, _ = ward.write()
    told = read_section_texts(sections, cohort, 1000)
    bag = bag_of_words(["-"] * len(told.train), told, 20, 4096)
    rows = np.arange(3)
    assert isinstance(bag, BagOfWords)
    weights = bag.learn(rows, np.array([[True], [False], [True]]), 1.0)
    assert bag.scores(rows, weights).tolist() == [[0.0], [0.0], [0.0]]


def test_no_label_is_asked_for_of_which_there_would_be_no_interval() -> None:
    assert LeaksConfig().validation_patients >= FEWEST_PATIENTS
    with pytest.raises(ValidationError, match="validation_patients"):
        LeaksConfig(validation_patients=FEWEST_PATIENTS - 1)
