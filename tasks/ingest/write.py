"""Each part of the stage from files to files: source tables in, an artifact's tables out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks import tables
from tasks.errors import SourceError
from tasks.ingest import outcomes, source
from tasks.ingest.ahead import ahead
from tasks.ingest.codes import RULES
from tasks.ingest.cohort import Cohort
from tasks.ingest.config import (
    DiagnosesConfig,
    MortalityConfig,
    OutcomeConfig,
    ProceduresConfig,
    SplitConfig,
)
from tasks.ingest.reader import Reader, Rule
from tasks.ingest.rejects import Rejects, gather
from tasks.ingest.splits import split_patients
from tasks.patients import SPLITS as SPLIT_NAMES
from tasks.schemas import ADMISSIONS, EXCLUSIONS, NOTES, REJECTS, SPLITS

Counts = dict[str, int]

_FLAG = Rule(
    "hospital_expire_flag",
    "is neither 0 nor 1",
    lambda table: pc.and_not(
        table["hospital_expire_flag"].is_valid(),
        pc.is_in(table["hospital_expire_flag"], pa.array([0, 1], pa.int32())),
    ),
)


def write_notes(out: Path, table: Path, max_reject_share: float) -> Counts:
    """Stream a table of notes into the tables notes and rejects.

    Memory holds a few blocks and the note_ids, not the file.
    """
    layout = source.RADIOLOGY if table.name.startswith("radiology") else source.DISCHARGE
    rejects = Rejects.of(table, max_reject_share)
    reader = Reader(table, layout.schema, rejects, layout.unique)
    kept = tables.write_parts(out / "notes", NOTES, ahead(reader.batches()))
    tables.write(_part(out, "rejects"), REJECTS, rejects.table())
    return {"rows": rejects.rows, "notes": kept, "rejected": len(rejects.found)}


def write_splits(out: Path, patients: Path, config: SplitConfig, max_reject_share: float) -> Counts:
    """Split the patients of the table: the tables splits and rejects."""
    reader = _reader(patients, source.PATIENTS, max_reject_share)
    of_file = Rejects(config.file.name if config.file else "", max_reject_share)
    split = split_patients(reader.table()["subject_id"], config, of_file)
    tables.write(_part(out, "splits"), SPLITS, split)
    tables.write(_part(out, "rejects"), REJECTS, gather(reader.rejects, of_file))
    counts = {
        name: int(pc.sum(pc.equal(split["split"], name)).as_py() or 0) for name in SPLIT_NAMES
    }
    missing = reader.rejects.rows - len(reader.rejects.found) - split.num_rows
    return counts | {"patients_not_in_file": missing}


def write_cohort(
    out: Path, notes: Path, splits: Path, admissions: Path, patients: Path, max_reject_share: float
) -> Counts:
    """Lay the discharge notes over the admissions: the tables admissions, exclusions, rejects.

    source_admissions = admissions + all that begin with `excluded: ` + rejected_admissions.
    Raises SourceError where no admission remains.
    """
    stays = _reader(admissions, source.ADMISSIONS, max_reject_share)
    people = _reader(patients, source.PATIENTS, max_reject_share)
    split = tables.read(splits / "splits", SPLITS)
    cohort = Cohort(notes / "notes", stays.table(), people.table(), split)
    kept = tables.write(_part(out, "admissions"), ADMISSIONS, cohort.batches())
    left_out = cohort.exclusions()
    reasons = pc.value_counts(left_out["reason"]).to_pylist()
    excluded = {each["values"]: each["counts"] for each in reasons}
    if not kept:
        why = ", ".join(f"{count} {reason}" for reason, count in excluded.items())
        raise SourceError(
            f"{admissions.name} and {notes.name}: no admission remains ({why or 'no rows'}); "
            "check that notes and admissions are of the same source"
        )
    tables.write(_part(out, "exclusions"), EXCLUSIONS, left_out)
    tables.write(_part(out, "rejects"), REJECTS, gather(stays.rejects, people.rejects))
    return {
        "source_admissions": stays.rejects.rows,
        "admissions": kept,
        **{f"excluded: {reason}": excluded[reason] for reason in sorted(excluded)},
        "rejected_admissions": len(stays.rejects.found),
        **cohort.counts,
    }


def write_outcome(
    out: Path,
    config: OutcomeConfig,
    cohort: Path,
    sources: Mapping[str, Path],
    max_reject_share: float,
) -> Counts:
    """Make one outcome of the cohort's admissions: the tables outcomes, labels, rejects.

    `sources` are the files of the tables that `tables_of` names, by their names there.
    """
    admissions = cohort / "admissions"
    columns = ["hadm_id", "subject_id", "split"]
    of_cohort = tables.read(admissions, ADMISSIONS, columns)
    readers = {
        layout.name: _reader(sources[layout.name], layout, max_reject_share, _rules_of(layout))
        for layout in (*tables_of(config), *titles_of(config))
        if layout.name in sources
    }
    read = {name: reader.table() for name, reader in readers.items()}
    titles = next((read.get(layout.name) for layout in titles_of(config)), None)
    match config:
        case DiagnosesConfig():
            codes = read[source.DIAGNOSES.name]
            outcome, counts = outcomes.diagnoses(of_cohort, codes, titles, config)
        case ProceduresConfig():
            codes, versions = read[source.PROCEDURES.name], read[source.DIAGNOSES.name]
            outcome, counts = outcomes.procedures(of_cohort, codes, versions, titles, config)
        case MortalityConfig():
            told = [
                outcomes.tells_of_death(note)
                for batch in tables.stream(admissions, ADMISSIONS, ["admission_note"])
                for note in batch["admission_note"].to_pylist()
            ]
            stays = read[source.ADMISSIONS.name]
            outcome, counts = outcomes.mortality(of_cohort, stays, np.array(told, bool))
    rejects = gather(*(reader.rejects for reader in readers.values()))
    return outcome.write(out, of_cohort, rejects) | counts


def tables_of(config: OutcomeConfig) -> tuple[source.Layout, ...]:
    """The tables without which the outcome cannot be made."""
    match config:
        case DiagnosesConfig():
            return (source.DIAGNOSES,)
        case ProceduresConfig():
            return (source.PROCEDURES, source.DIAGNOSES)
        case MortalityConfig():
            return (source.ADMISSIONS,)


def titles_of(config: OutcomeConfig) -> tuple[source.Layout, ...]:
    """The table of titles that the outcome uses if it is there."""
    match config:
        case DiagnosesConfig():
            return (source.DIAGNOSIS_TITLES,)
        case ProceduresConfig():
            return (source.PROCEDURE_TITLES,)
        case MortalityConfig():
            return ()


def _rules_of(layout: source.Layout) -> tuple[Rule, ...]:
    if layout.name == source.ADMISSIONS.name:
        return (_FLAG,)
    return RULES


def _reader(
    path: Path, layout: source.Layout, max_reject_share: float, rules: tuple[Rule, ...] = ()
) -> Reader:
    rejects = Rejects.of(path, max_reject_share)
    return Reader(path, layout.schema, rejects, layout.unique, rules)


def _part(out: Path, table: str) -> Path:
    return out / table / "part-0.parquet"
