"""From the latent state to codes: which labels an admission gets, and its full codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.synth import draws
from tasks.synth.catalog import (
    CODE_SYSTEMS,
    Catalog,
    Code,
    Label,
    diagnosis_labels,
    procedure_labels,
)
from tasks.synth.difficulty import Difficulty
from tasks.synth.latent import Admissions, Floats, Ints
from tasks.synth.truth import full_of_label


@dataclass(frozen=True)
class LabelSpace:
    """The labels of one outcome in one code system."""

    outcome: str  # diagnoses, procedures
    version: int  # 9 or 10
    labels: tuple[Label, ...]
    miscoded: Floats  # [labels], P(label | none of its causes)

    @property
    def system(self) -> str:
        """The code system's name, as in the store's tables."""
        return CODE_SYSTEMS[self.outcome][self.version]


def label_spaces(catalog: Catalog, difficulty: Difficulty) -> tuple[LabelSpace, ...]:
    """The four label spaces: diagnoses and procedures, in ICD-9 and ICD-10."""
    spaces = []
    prevalence = [condition.prevalence for condition in catalog.conditions]
    for version in (9, 10):
        further = difficulty.coded_further
        diagnoses = diagnosis_labels(catalog, version, difficulty.coded, further)
        for outcome, labels in (
            ("diagnoses", diagnoses),
            ("procedures", procedure_labels(catalog, version)),
        ):
            usual = [sum(prevalence[c] * chance for c, chance in label.causes) for label in labels]
            miscoded = difficulty.miscoded * np.array(usual)
            spaces.append(LabelSpace(outcome, version, labels, miscoded))
    return tuple(spaces)


def full(space: LabelSpace, present: NDArray[np.bool_]) -> Floats:
    """P(label | conditions), [admissions, labels]."""
    columns = [
        full_of_label(present, label, float(miscoded))
        for label, miscoded in zip(space.labels, space.miscoded, strict=True)
    ]
    return np.stack(columns, 1)


def draw_labels(
    seed: int, space: LabelSpace, admissions: Admissions, rows: Ints
) -> NDArray[np.bool_]:
    """Draw the labels of the admissions in these rows, [rows, labels]."""
    uniform = draws.uniforms(seed, space.system, admissions.key[rows], len(space.labels))
    for column, label in enumerate(space.labels):
        if label.stream is not None:
            uniform[:, column] = draws.uniforms(seed, label.stream, admissions.key[rows], 1)[:, 0]
    drawn: NDArray[np.bool_] = uniform < full(space, admissions.present[rows])
    return drawn


def full_codes(
    seed: int, space: LabelSpace, admissions: Admissions, rows: Ints, drawn: NDArray[np.bool_]
) -> list[list[Code]]:
    """Choose a full code for each drawn label; the codes of each admission in a random order."""
    width = len(space.labels)
    pick = draws.uniforms(seed, f"{space.system} code", admissions.key[rows], 2 * width)
    chosen: list[list[Code]] = []
    for row in range(len(rows)):
        present = admissions.present[rows[row]]
        coded = []
        for label in np.flatnonzero(drawn[row]):
            group = _cause(space.labels[label], present)
            coded.append((pick[row, width + label], group[int(pick[row, label] * len(group))]))
        chosen.append([code for _, code in sorted(coded, key=lambda pair: pair[0])])
    return chosen


def _cause(label: Label, present: NDArray[np.bool_]) -> tuple[Code, ...]:
    for (condition, _), group in zip(label.causes, label.codes, strict=True):
        if present[condition]:
            return group
    return label.codes[0]
