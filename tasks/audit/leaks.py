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
from tasks.audit.bags import Bag, bag_of_words
from tasks.audit.config import LeaksConfig
from tasks.audit.page import overview, report
from tasks.audit.told import Space, Told, read_spaces, read_told
from tasks.measures.auroc import label_aurocs
from tasks.measures.comparisons import holm
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import difference, interval
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
    told = read_told(sections, cohort, config.most_admissions)
    spaces = [
        space
        for outcome, place in outcomes.items()
        for space in read_spaces(outcome, place, told, config)
    ]
    found = audit(told, spaces, config)
    for name, schema, rows in (
        ("leaks", schemas.LEAKS, found.sections),
        ("terms", schemas.TERMS, found.terms),
    ):
        path = out / name / "part-0.parquet"
        tables.write(path, schema, pa.Table.from_pylist(rows, schema))
    unasked = [name for name in outcomes if all(space.outcome != name for space in spaces)]
    page = report(found.sections, found.terms, unasked, config)
    (out / "leaks.md").write_text(page, encoding="utf-8")
    (out / "overview.json").write_text(overview(found.sections), encoding="utf-8")
    flagged = sum(row["flagged"] for row in found.sections)
    return {"flagged": flagged, "sections": len(told.texts), "terms": len(found.terms)}


def audit(told: Told, spaces: Sequence[Space], config: LeaksConfig) -> Audited:
    """Learn every space's labels from every section; compare with the admission sections.

    Differences of later sections are tested together: after Holm (1979), the chance of any false
    flag is at most ERROR_RATE.
    """
    found = Audited()
    ranked: dict[str, list[Estimate]] = {}
    later = sorted(set(told.texts) - set(told.at_admission))
    for section in (TOGETHER, *told.at_admission, *later):
        texts = _together(told) if section == TOGETHER else told.texts[section]
        bag = bag_of_words(texts, told, config.smallest_patients, config.most_terms)
        ranked[section] = []
        for space in spaces:
            weights, estimate = _learned(bag, told, space, config.penalty)
            ranked[section].append(estimate)
            found.terms += _largest(bag, weights, space, section, config.terms)
    for place, space in enumerate(spaces):
        estimates = {section: of_space[place] for section, of_space in ranked.items()}
        found.sections += _compared(told, space, estimates)
    tested = [row for row in found.sections if row["p_value"] is not None]
    for row, p_value in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_value"] = p_value
        row["flagged"] = bool(row["above"] > 0 and p_value < ERROR_RATE)
    return found


def _together(told: Told) -> list[str]:
    parts = [told.texts[section] for section in told.at_admission]
    return ["\n".join(filter(None, texts)) for texts in zip(*parts, strict=True)]


def _learned(
    bag: Bag, told: Told, space: Space, penalty: float
) -> tuple[NDArray[np.float64], Estimate]:
    """The weights, [terms, labels], and the macro AUROC on validation."""
    train = told.train[space.rows]
    weights = bag.learn(space.rows[train], space.cases[train], penalty)
    scores = bag.scores(space.rows[~train], weights)
    sample = Sample.of(scores, space.cases[~train], patients=_patients(told, space))
    return weights, label_aurocs(sample).macro()


def _patients(told: Told, space: Space) -> NDArray[np.int64]:
    """Whose the space's validation admissions are, as 0, 1, 2, ..."""
    rows = space.rows[~told.train[space.rows]]
    return np.unique(told.patients[rows], return_inverse=True)[1]


def _largest(
    bag: Bag, weights: NDArray[np.float64], space: Space, section: str, most: int
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


def _compared(
    told: Told, space: Space, estimates: Mapping[str, Estimate]
) -> Iterator[dict[str, Any]]:
    """A row a section; later sections with their p-value, not yet adjusted."""
    patients, cases = _patients(told, space), space.cases[~told.train[space.rows]]
    for section, estimate in estimates.items():
        alone = interval(estimate, patients)
        above = difference(estimate, estimates[TOGETHER], patients)
        at_admission = section == TOGETHER or section in told.at_admission
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
