"""The counts of a run as cells, and how they are tied: by sums, or as parts of the same patients.

Those that a reader asks for first are added first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.cells import Cells, side_by_side
from tasks.report.config import Lineage
from tasks.report.facts import CohortFlow, Label
from tasks.report.findings import Findings
from tasks.report.reader import Cell

UNITS = {"admissions": "n", "patients": "n_patients"}  # unit -> the column of a metrics row
SPLITS_FIRST = ("test", "train", "validation")
_Row = Mapping[str, Any]


@dataclass(frozen=True)
class Counted:
    """Of what a report tells (`story.py`), all that holds a count."""

    findings: Findings
    cohort: CohortFlow
    labels: Sequence[Label]
    quality: Sequence[Mapping[str, Any]]  # checks of the source that hit a row
    contamination: Mapping[str, Any]  # what the guard counted; empty where nothing was compared
    lineage: Lineage
    smallest_cell: int  # the smallest count of patients that is printed


def cells_of(story: Counted) -> Cells:
    """Every count of patients and admissions that the pages print.

    (unit, split, outcome, "cohort", "source" or "left out"); ("reason", its words); ("system",
    outcome, code system); ("label", outcome, code system, code, split); ("cases", outcome, split)
    over its labels; ("check" or "rows", index of the quality check); and those of `add_lineage`.
    """
    cells = Cells(story.smallest_cell)
    add_splits(cells, story.cohort)
    add_outcomes(cells, story.findings)
    add_systems(cells, story.findings)
    add_source(cells, story.cohort, story.quality)
    add_labels(cells, story.labels, story.findings)
    add_lineage(cells, story)
    return cells


def add_splits(cells: Cells, cohort: CohortFlow) -> None:
    sizes = {split.name: split for split in cohort.splits}
    for unit in UNITS:
        for name in SPLITS_FIRST:
            cells.add((unit, name), getattr(sizes[name], unit))
        cells.add((unit, "cohort"), getattr(cohort, unit))
        cells.sum((unit, "cohort"), [(unit, name) for name in SPLITS_FIRST])


def add_outcomes(cells: Cells, findings: Findings) -> None:
    """In how many of the test admissions each outcome is known, and of how many patients."""
    for unit, field in UNITS.items():
        sizes: dict[Cell, int] = {}
        for space in findings.headline_spaces:
            row = _scored(findings, space.outcome, space.code_system)
            sizes[unit, space.outcome] = row[field]
        cells.nested((unit, "test"), sizes)


def _systems(findings: Findings) -> Iterator[tuple[str, dict[str, int]]]:
    """Outcome, admissions by ICD version, where there are two."""
    for outcome in findings.outcomes:
        spaces = findings.spaces(outcome)[:-1]
        if spaces:
            sizes = (_scored(findings, outcome, space.code_system)["n"] for space in spaces)
            versions = (_version(space.code_system) for space in spaces)
            yield outcome, dict(zip(versions, sizes, strict=True))


def add_systems(cells: Cells, findings: Findings) -> None:
    """In how many of the test admissions the labels of each code system are known."""
    versions = dict(_systems(findings))
    kept = side_by_side(versions, cells.smallest)
    for outcome in findings.outcomes:
        *parts, whole = _system_cells(findings, outcome)
        cells.alias(whole, ("admissions", outcome))
        if not parts:
            continue
        # diagnoses and procedures are mostly known in the same admissions
        first = next(other for other in versions if versions[other] == versions[outcome])
        of_first = {_version(cell[2]): cell for cell in _system_cells(findings, first)}
        for cell in parts:
            if first == outcome:
                cells.add(cell, versions[outcome][_version(cell[2])])
                if outcome not in kept:
                    cells.unprinted.add(cell)
            else:
                cells.alias(cell, of_first[_version(cell[2])])
        cells.sum(("admissions", outcome), parts)


def _system_cells(findings: Findings, outcome: str) -> list[tuple[str, str, str | None]]:
    return [("system", outcome, space.code_system) for space in findings.spaces(outcome)]


def _version(code_system: str | None) -> str:
    """The version of the codes, without what is coded.

    >>> _version("icd10cm"), _version("icd10pcs")
    ('icd10', 'icd10')
    """
    return str(code_system).removesuffix("cm").removesuffix("pcs")


def add_source(cells: Cells, cohort: CohortFlow, quality: Iterable[_Row]) -> None:
    """From the source's admissions to the cohort, and what is odd about the source's tables."""
    left_out = sum(count for _, count in cohort.exclusions)
    cells.add(("admissions", "left out"), left_out)
    source = ("admissions", "source")
    cells.add(source, cohort.source)
    for reason, count in cohort.exclusions:
        cells.add(("reason", reason), count)
    for index, check in enumerate(quality):
        if check["table"] == "admissions" and check["rows"] == cohort.source:
            cells.alias(("rows", index), source)
        else:
            cells.add(("rows", index), check["rows"])
        cells.add(("check", index), check["count"])
        cells.sum(("rows", index), [("check", index)])
    cells.sum(source, [("admissions", "cohort"), ("admissions", "left out")])
    cells.sum(("admissions", "left out"), [("reason", reason) for reason, _ in cohort.exclusions])


def add_labels(cells: Cells, labels: Iterable[Label], findings: Findings) -> None:
    """How many admissions of a split have each label, and all labels of an outcome together."""
    by_outcome: dict[str, list[Label]] = {}
    for label in sorted(labels, key=lambda label: -label.train):
        if label.outcome in findings.outcomes:
            by_outcome.setdefault(label.outcome, []).append(label)
    for outcome, of_outcome in by_outcome.items():
        for split in SPLITS_FIRST:
            for label in of_outcome:
                cells.add(cell_of(label, split), getattr(label, split))
                cells.sum(_holder(cells, label, split), [cell_of(label, split)])
            parts = [cell_of(label, split) for label in of_outcome]
            cases = ("cases", outcome, split)
            if len(parts) == 1:
                cells.alias(cases, parts[0])
            else:
                cells.add(cases, sum(getattr(label, split) for label in of_outcome))
                cells.sum(cases, parts)
            if all(label.one_of for label in of_outcome):
                cells.sum(("admissions", outcome if split == "test" else split), parts)


def add_lineage(cells: Cells, story: Counted) -> None:
    """What pretraining and finetuning read, and in whom the likelihood of notes was measured."""
    cells.add(("dropped",), int(story.contamination.get("dropped", 0)))
    findings = story.findings
    row = findings.raw(f"{findings.likelihood_metric}_before", "clinical", findings.likelihood_of)
    if row:
        cells.nested(("patients", "validation"), {("likelihood",): row["n_patients"]})
    for origin in story.lineage.artifacts:
        counts = origin.counts
        if origin.kind == "corpus" and counts.get("patients") and ("notes",) not in cells:
            cells.add(("notes",), counts["documents"])
            cells.nested(("patients", "train"), {("patients read",): counts["patients"]})
        cut = origin.kind == "encoded" and "notes_cut" in counts
        if cut and ("texts cut",) not in cells:
            cells.nested(("admissions", "cohort"), {("texts",): counts["admissions"]})
            cells.add(("texts cut",), counts["notes_cut"])
            cells.sum(("texts",), [("texts cut",)])


def _holder(cells: Cells, label: Label, split: str) -> Cell:
    """The admissions of which those with the label are a part."""
    system = ("system", label.outcome, label.code_system)
    if split != "test":
        return ("admissions", split)
    return system if system in cells else ("admissions", label.outcome)


def cell_of(label: Label, split: str) -> tuple[Any, ...]:
    return ("label", label.outcome, label.code_system, label.code, split)


def _scored(findings: Findings, outcome: str, code_system: str | None) -> _Row:
    """A row of the first variant over the label space, whatever came out of it."""
    return next(
        row
        for row in findings.of("auroc_macro")
        if (row["outcome"], row["code_system"]) == (outcome, code_system)
    )
