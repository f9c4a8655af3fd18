"""The text of each section of each admission's notes, and who has which label, lined up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.audit.config import LeaksConfig
from tasks.data.reading import table_of
from tasks.errors import EvaluationError


@dataclass(frozen=True)
class SectionTexts:
    """The texts of the training and validation admissions, section by section."""

    hadm_id: NDArray[np.int64]  # [admissions], rising
    patients: NDArray[np.int64]  # [admissions]; 0, 1, 2, ... a patient
    train: NDArray[np.bool_]  # [admissions]; the others are of validation
    texts: Mapping[str, list[str]]  # section -> [admissions]; "": it is not there
    at_admission: tuple[str, ...]  # the sections that the admission note is made of


@dataclass(frozen=True)
class LabelSpace:
    """The labels of one outcome in one code system, on the admissions observed in it."""

    outcome: str
    code_system: str
    codes: tuple[str, ...]  # [labels]
    rows: NDArray[np.int64]  # [observed], rows of `SectionTexts`
    cases: NDArray[np.bool_]  # [observed, labels]


def read_section_texts(sections: Path, cohort: Path, most_admissions: int) -> SectionTexts:
    """Read the notes of training and validation; never those of test.

    Raises EvaluationError where one of the two splits is empty.
    """
    columns = ["hadm_id", "subject_id", "split"]
    admissions = tables.read(table_of(cohort, "admissions"), schemas.ADMISSIONS, columns)
    split, subject = (np.array(admissions[name].to_pylist()) for name in ("split", "subject_id"))
    for name in ("train", "validation"):
        if name not in split:
            raise EvaluationError(
                f"none of the cohort's {len(split)} admissions is in the {name} split, which the "
                "audit needs; correct ingest.split"
            )
    kept = (split == "validation") | _drawn(subject, split == "train", most_admissions)
    hadm_id = admissions["hadm_id"].to_numpy()
    rows = np.flatnonzero(kept)[np.argsort(hadm_id[kept])]
    texts, at_admission = _texts(table_of(sections, "sections"), hadm_id[rows])
    patients = np.unique(subject[rows], return_inverse=True)[1]
    return SectionTexts(hadm_id[rows], patients, split[rows] == "train", texts, at_admission)


def read_label_spaces(
    outcome: str, artifact: Path, notes: SectionTexts, config: LeaksConfig
) -> Iterator[LabelSpace]:
    """The outcome's code systems, each with its labels that enough patients have."""
    labels = tables.read(table_of(artifact, "labels"), schemas.LABELS).sort_by("index")
    outcomes = tables.read(table_of(artifact, "outcomes"), schemas.OUTCOMES)
    wanted = pc.is_in(outcomes["hadm_id"], pa.array(notes.hadm_id))
    outcomes = outcomes.filter(pc.and_(outcomes["observed"], wanted)).sort_by("hadm_id")
    codes = np.array(labels["code"].to_pylist(), object)
    for system in dict.fromkeys(labels["code_system"].to_pylist()):
        observed = outcomes.filter(pc.equal(outcomes["code_system"], system))
        rows = pc.index_in(observed["hadm_id"], pa.array(notes.hadm_id)).to_numpy()
        lists = observed["labels"].combine_chunks()
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        owner = np.repeat(np.arange(len(rows)), lengths)
        label = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
        common = _common(notes, rows, rows[owner], label, len(labels), config)
        column = np.full(len(labels), -1)
        column[common] = np.arange(len(common))
        kept = column[label] >= 0
        cases = np.zeros((len(rows), len(common)), bool)
        cases[owner[kept], column[label[kept]]] = True
        if len(common):
            yield LabelSpace(outcome, system, tuple(codes[common]), rows, cases)


def _common(
    notes: SectionTexts,
    observed: NDArray[np.int64],
    owner: NDArray[np.int64],
    label: NDArray[np.int64],
    labels: int,
    config: LeaksConfig,
) -> NDArray[np.int64]:
    """The labels that enough patients have and have not, the most frequent ones, rising.

    Args:
        observed: [observed], rows of `notes`.
        owner, label: [positives], the row and the label of each.
    """
    is_train = notes.train[owner]
    train = _patients_with(notes.patients[owner[is_train]], label[is_train], labels)
    validation = _patients_with(notes.patients[owner[~is_train]], label[~is_train], labels)
    patients = len(np.unique(notes.patients[observed[~notes.train[observed]]]))
    enough = np.minimum(validation, patients - validation) >= config.validation_patients
    enough &= train >= config.smallest_patients
    order = np.argsort(-train, kind="stable")
    return np.sort(order[enough[order]][: config.most_labels])


def _patients_with(
    patients: NDArray[np.int64], label: NDArray[np.int64], labels: int
) -> NDArray[np.int64]:
    """How many distinct patients have each label, [labels]."""
    return np.bincount(np.unique(patients * labels + label) % labels, minlength=labels)


def _drawn(subject: NDArray[np.int64], train: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Training admissions of patients in the order of a hash, until there are enough."""
    if train.sum() <= most:
        return train
    patients, counts = np.unique(subject[train], return_counts=True)
    hashes = [
        hashlib.blake2b(str(patient).encode(), key=b"leak audit", digest_size=8).digest()
        for patient in patients
    ]
    order = np.array(sorted(range(len(patients)), key=hashes.__getitem__))
    enough = int(np.searchsorted(np.cumsum(counts[order]), most)) + 1
    return train & np.isin(subject, patients[order[:enough]])


def _texts(path: Path, hadm_id: NDArray[np.int64]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Each section's text of each admission, and which sections are known at admission."""
    texts: dict[str, list[str]] = {}
    at_admission: dict[str, bool] = {}
    wanted = pa.array(hadm_id)
    for batch in tables.stream(path, schemas.SECTIONS):
        rows = pc.index_in(batch["hadm_id"], wanted)
        batch = batch.filter(rows.is_valid())
        columns = (batch[name].to_pylist() for name in ("section", "at_admission", "text"))
        for row, name, early, text in zip(rows.drop_null().to_pylist(), *columns, strict=True):
            at_admission[name] = early
            of_section = texts.setdefault(name, [""] * len(hadm_id))
            of_section[row] = f"{of_section[row]}\n{text}" if of_section[row] else text
    return texts, tuple(sorted(name for name, early in at_admission.items() if early))
