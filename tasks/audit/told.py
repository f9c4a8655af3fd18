"""What the leak audit reads: each section's text, and who has which label, lined up."""

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
class Told:
    """The texts of the training and validation admissions, section by section."""

    hadm_id: NDArray[np.int64]  # [admissions], rising
    patients: NDArray[np.int64]  # [admissions]; 0, 1, 2, ... a patient
    train: NDArray[np.bool_]  # [admissions]; the others are of validation
    texts: Mapping[str, list[str]]  # section -> [admissions]; "": it is not there
    at_admission: tuple[str, ...]  # the sections that the admission note is made of


@dataclass(frozen=True)
class Space:
    """The labels of one outcome in one code system, on the admissions observed in it."""

    outcome: str
    code_system: str
    codes: tuple[str, ...]  # [labels]
    rows: NDArray[np.int64]  # [observed], rows of `Told`
    cases: NDArray[np.bool_]  # [observed, labels]


def read_told(sections: Path, cohort: Path, most_admissions: int) -> Told:
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
    return Told(hadm_id[rows], patients, split[rows] == "train", texts, at_admission)


def read_spaces(outcome: str, place: Path, told: Told, config: LeaksConfig) -> Iterator[Space]:
    """The outcome's code systems, each with its labels that enough patients have."""
    labels = tables.read(table_of(place, "labels"), schemas.LABELS).sort_by("index")
    rows = tables.read(table_of(place, "outcomes"), schemas.OUTCOMES)
    rows = rows.filter(pc.and_(rows["observed"], pc.is_in(rows["hadm_id"], pa.array(told.hadm_id))))
    codes = np.array(labels["code"].to_pylist(), object)
    systems = np.array(labels["code_system"].to_pylist(), object)
    for system in dict.fromkeys(systems):
        seen = rows.filter(pc.equal(rows["code_system"], system)).sort_by("hadm_id")
        at = np.searchsorted(told.hadm_id, seen["hadm_id"].to_numpy())
        listed = seen["labels"].combine_chunks()
        owner = np.repeat(at, pc.list_value_length(listed).to_numpy(zero_copy_only=False))
        label = listed.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
        common = _common(told, at, owner, label, len(labels), config)
        cases = np.zeros((len(at), len(common)), bool)
        column = np.full(len(labels), -1)
        column[common] = np.arange(len(common))
        asked = column[label] >= 0
        cases[np.searchsorted(at, owner[asked]), column[label[asked]]] = True
        if len(common):
            yield Space(outcome, str(system), tuple(codes[common]), at, cases)


def _common(
    told: Told,
    observed: NDArray[np.int64],
    owner: NDArray[np.int64],
    label: NDArray[np.int64],
    labels: int,
    config: LeaksConfig,
) -> NDArray[np.int64]:
    """The labels that enough patients have and have not, the most frequent ones, rising.

    Args:
        observed: [observed], rows of `told`.
        owner, label: [positives], the row and the label of each.
    """
    learned = told.train[owner]
    train = _patients_with(told.patients[owner[learned]], label[learned], labels)
    validation = _patients_with(told.patients[owner[~learned]], label[~learned], labels)
    asked = len(np.unique(told.patients[observed[~told.train[observed]]]))
    enough = np.minimum(validation, asked - validation) >= config.validation_patients
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
    people, counts = np.unique(subject[train], return_counts=True)
    places = [
        hashlib.blake2b(str(person).encode(), key=b"leak audit", digest_size=8).digest()
        for person in people
    ]
    order = np.array(sorted(range(len(people)), key=places.__getitem__))
    enough = int(np.searchsorted(np.cumsum(counts[order]), most)) + 1
    return train & np.isin(subject, people[order[:enough]])


def _texts(place: Path, hadm_id: NDArray[np.int64]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Each section's text of each admission, and which sections are known at admission."""
    texts: dict[str, list[str]] = {}
    early: dict[str, bool] = {}
    wanted = pa.array(hadm_id)
    for batch in tables.stream(place, schemas.SECTIONS):
        batch = batch.filter(pc.is_in(batch["hadm_id"], wanted))
        rows = np.searchsorted(hadm_id, batch["hadm_id"].to_numpy()).tolist()
        names, at_admission = batch["section"].to_pylist(), batch["at_admission"].to_pylist()
        for row, name, known, text in zip(
            rows, names, at_admission, batch["text"].to_pylist(), strict=True
        ):
            early[name] = known
            of_section = texts.setdefault(name, [""] * len(hadm_id))
            of_section[row] = f"{of_section[row]}\n{text}" if of_section[row] else text
    return texts, tuple(sorted(name for name, known in early.items() if known))
