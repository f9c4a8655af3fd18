"""The leak audit: which sections say more of an outcome than was known at admission.

A bag of words is learned from each section alone, on the training patients, and ranks the
validation patients; so is one of the eight admission sections together. A later section that
ranks better than those, on the same admissions, gives the outcome away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.audit.bag_of_words import BagOfWords, bag_of_words
from tasks.audit.config import LeaksConfig
from tasks.audit.leaks_page import overview, report
from tasks.audit.section_texts import (
    LabelSpace,
    SectionTexts,
    read_label_spaces,
    read_section_texts,
)
from tasks.measures.auroc import label_aurocs
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import difference, holm, interval
from tasks.measures.sample import Sample

TOGETHER = "ADMISSION NOTE"  # the admission sections together
ERROR_RATE = 0.05  # of any false flag in the whole audit


@dataclass
class Audited:
    """The rows of the tables leaks and terms."""

    sections: list[dict[str, Any]] = field(default_factory=list)
    terms: list[dict[str, Any]] = field(default_factory=list)


def write_leaks(
    out: Path, sections: Path, cohort: Path, outcomes: Mapping[str, Path], config: LeaksConfig
) -> dict[str, int]:
    """Audit every outcome; write the tables leaks and terms, `leaks.md` and `overview.json`."""
    notes = read_section_texts(sections, cohort, config.most_admissions)
    spaces = [
        space
        for outcome, artifact in outcomes.items()
        for space in read_label_spaces(outcome, artifact, notes, config)
    ]
    audited = audit(notes, spaces, config)
    for name, schema, rows in (
        ("leaks", schemas.LEAKS, audited.sections),
        ("terms", schemas.TERMS, audited.terms),
    ):
        path = out / name / "part-0.parquet"
        tables.write(path, schema, pa.Table.from_pylist(rows, schema))
    left_out = [name for name in outcomes if all(space.outcome != name for space in spaces)]
    page = report(audited.sections, audited.terms, left_out, config)
    (out / "leaks.md").write_text(page, encoding="utf-8")
    (out / "overview.json").write_text(overview(audited.sections), encoding="utf-8")
    flagged = sum(row["flagged"] for row in audited.sections)
    return {"flagged": flagged, "sections": len(notes.texts), "terms": len(audited.terms)}


def audit(notes: SectionTexts, spaces: Sequence[LabelSpace], config: LeaksConfig) -> Audited:
    """Learn every space's labels from every section; compare with the admission sections.

    Differences of later sections are tested together: after Holm (1979), the chance of any false
    flag is at most ERROR_RATE.
    """
    audited = Audited()
    ranked: dict[str, list[Estimate]] = {}
    later = sorted(set(notes.texts) - set(notes.at_admission))
    for section in (TOGETHER, *notes.at_admission, *later):
        texts = _together(notes) if section == TOGETHER else notes.texts[section]
        bag = bag_of_words(texts, notes, config.smallest_patients, config.most_terms)
        ranked[section] = []
        for space in spaces:
            weights, estimate = _learn(bag, notes, space, config.penalty)
            ranked[section].append(estimate)
            audited.terms += _largest_weights(bag, weights, space, section, config.terms)
    for index, space in enumerate(spaces):
        estimates = {section: of_space[index] for section, of_space in ranked.items()}
        audited.sections += _compare(notes, space, estimates)
    tested = [row for row in audited.sections if row["p_value"] is not None]
    for row, p_value in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_value"] = p_value
        row["flagged"] = bool(row["above"] > 0 and p_value < ERROR_RATE)
    return audited


def _together(notes: SectionTexts) -> list[str]:
    parts = [notes.texts[section] for section in notes.at_admission]
    return ["\n".join(filter(None, texts)) for texts in zip(*parts, strict=True)]


def _learn(
    bag: BagOfWords, notes: SectionTexts, space: LabelSpace, penalty: float
) -> tuple[NDArray[np.float64], Estimate]:
    """The weights, [terms, labels], and the macro AUROC on validation."""
    train = notes.train[space.rows]
    weights = bag.learn(space.rows[train], space.cases[train], penalty)
    scores = bag.scores(space.rows[~train], weights)
    sample = Sample.of(scores, space.cases[~train], patients=_patients(notes, space))
    return weights, label_aurocs(sample).macro()


def _patients(notes: SectionTexts, space: LabelSpace) -> NDArray[np.int64]:
    """Whose the space's validation admissions are, as 0, 1, 2, ..."""
    rows = space.rows[~notes.train[space.rows]]
    return np.unique(notes.patients[rows], return_inverse=True)[1]


def _largest_weights(
    bag: BagOfWords, weights: NDArray[np.float64], space: LabelSpace, section: str, most: int
) -> Iterator[dict[str, Any]]:
    """The terms with the largest weights of each label; all are used by enough patients."""
    for label, code in enumerate(space.codes):
        for term in np.argsort(-np.abs(weights[:, label]), kind="stable")[:most]:
            yield {
                "outcome": space.outcome,
                "code_system": space.code_system,
                "code": code,
                "section": section,
                "term": bag.terms[term],
                "weight": float(weights[term, label]),
                "patients": int(bag.patients[term]),
            }


def _compare(
    notes: SectionTexts, space: LabelSpace, estimates: Mapping[str, Estimate]
) -> Iterator[dict[str, Any]]:
    """A row a section; later sections with their p-value, not yet adjusted."""
    patients, cases = _patients(notes, space), space.cases[~notes.train[space.rows]]
    for section, estimate in estimates.items():
        alone = interval(estimate, patients)
        above = difference(estimate, estimates[TOGETHER], patients)
        at_admission = section == TOGETHER or section in notes.at_admission
        yield {
            "outcome": space.outcome,
            "code_system": space.code_system,
            "section": section,
            "at_admission": at_admission,
            "auroc": alone.value,
            "low": alone.low,
            "high": alone.high,
            "above": above.value,
            "above_low": above.low,
            "above_high": above.high,
            # no p-value although they differ: neither varies, as where all are ranked right
            "p_value": None if at_admission else float(np.nan_to_num(above.p_value, nan=0.0)),
            "flagged": False,
            "labels": len(space.codes),
            "n": len(cases),
            "n_patients": len(np.unique(patients)),
            "positives": int(cases.sum()),
        }
