"""What each step of the stage does with files: source tables in, an artifact's tables out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import tables
from tasks.errors import SourceError
from tasks.ingest.cohort import CohortSelection, Shard, texts_of
from tasks.ingest.config import AdmissionView, SplitConfig, View
from tasks.ingest.layout import OpenTable
from tasks.ingest.lookup import match_admissions
from tasks.ingest.near_duplicates import Counts
from tasks.ingest.outcomes.codes import category, clean
from tasks.ingest.outcomes.config import OutcomeConfig
from tasks.ingest.outcomes.inputs import Inputs
from tasks.ingest.outcomes.make import make
from tasks.ingest.outcomes.ontology import ontology
from tasks.ingest.quality import quality
from tasks.ingest.rejects import Rejects, gather
from tasks.ingest.sections import SECTIONS as AT_ADMISSION
from tasks.ingest.sections import all_sections
from tasks.ingest.source import ReadConfig, open_table
from tasks.ingest.source_config import OmopRules
from tasks.ingest.splits import split_patients
from tasks.ingest.views import NoteView
from tasks.patients import SPLITS as SPLIT_NAMES
from tasks.schemas import (
    ADMISSIONS,
    EXCLUSIONS,
    NOTES,
    ONTOLOGY,
    QUALITY,
    REJECTS,
    SECTIONS,
    SPLITS,
)
from tasks.shards import Spread, one_by_one, part_of
from tasks.threads import prefetched

_NOTES_AT_ONCE = 512  # whose sections are in memory


@dataclass(frozen=True)
class Files:
    """Tables of a source by name, and how to read them."""

    reading: ReadConfig
    paths: Mapping[str, Path]

    def open(
        self, table: str, file_of: str | None = None, asked: Collection[str] = ()
    ) -> OpenTable:
        """A table, to be read from its file, else from that of another table.

        Args:
            asked: the columns of it that an outcome reads, where releases do not say which.
        """
        path = self.paths.get(table) or self.paths[file_of or table]
        return open_table(self.reading, table, path, self.paths, asked)

    def opened(self, columns: Mapping[str, Collection[str]] | None = None) -> dict[str, OpenTable]:
        """All of them by name, but for those of which rows of others are made alone."""
        layouts = self.reading.layouts()
        asked = columns or {}
        names = [name for name in self.paths if not layouts[name].aside]
        return {name: self.open(name, asked=asked.get(name, ())) for name in names}


def write_notes(out: Path, table: OpenTable) -> Counts:
    """Stream a table of notes into the tables notes and rejects.

    rows = notes + rejected + of_other_kinds. Memory holds a few blocks and the note_ids.
    """
    kept = tables.write_parts(out / "notes", NOTES, prefetched(table.batches()))
    rejected = tables.write(part_of(out / "rejects"), REJECTS, table.rejects.batches())
    rows = table.rejects.rows
    others = rows - kept - rejected
    counts = {"rows": rows, "notes": kept, "rejected": rejected}
    return counts | ({"of_other_kinds": others} if others else {})


def write_splits(out: Path, files: Files, config: SplitConfig) -> Counts:
    """Split the patients of the source: the tables splits and rejects.

    `files` are the tables that `tables_for` names for the method.
    """
    opened = files.opened()
    read = {name: table.table() for name, table in opened.items()}
    of_file = Rejects(config.file.name if config.file else "", files.reading.max_reject_share)
    split = split_patients(
        read["patients"]["subject_id"],
        config,
        of_file,
        labels=_categories(read["diagnoses"]) if "diagnoses" in read else None,
        groups=read.get("anchor_years"),
        admissions=read.get("admissions"),
        listed=read.get("row_splits"),
    )
    tables.write(part_of(out / "splits"), SPLITS, split)
    rejects = gather(*(table.rejects for table in opened.values()), of_file)
    tables.write(part_of(out / "rejects"), REJECTS, rejects)
    counts = {
        name: int(pc.sum(pc.equal(split["split"], name)).as_py() or 0) for name in SPLIT_NAMES
    }
    known = pc.count_distinct(read["patients"]["subject_id"]).as_py()
    return counts | {"patients_not_in_file": known - split.num_rows}


def write_cohort(
    out: Path,
    notes: Path,
    splits: Path,
    files: Files,
    view: View,
    excluded: tuple[str, ...],
    spread: Spread = one_by_one,
    *,
    may_be_empty: bool = False,
) -> Counts:
    """Join notes and admissions: the tables admissions, exclusions, rejects.

    source_admissions = admissions + all counts named `excluded: ...` + rejected_admissions.
    Raises SourceError where no admission remains, unless it `may_be_empty`.
    """
    stays, patients = files.open("admissions"), files.open("patients")
    deaths = files.open("deaths", file_of="patients")
    cohort = CohortSelection(
        notes / "notes",
        NoteView(view),
        stays.table(),
        patients.table(),
        deaths.table(),
        tables.read(splits / "splits", SPLITS),
        excluded,
    )
    shards = [shard.save(out / "work" / str(n)) for n, shard in enumerate(cohort.shards())]
    shared = {"out": out, "notes": notes, "view": view}
    spread(write_texts, [{**shared, "shard": shard} for shard in shards])
    kept = _kept(out / "admissions")
    left_out = cohort.exclusions(kept)
    reasons = pc.value_counts(left_out["reason"]).to_pylist()
    lost = {reason["values"]: reason["counts"] for reason in reasons}
    if not len(kept) and not may_be_empty:
        why = ", ".join(f"{count} {reason}" for reason, count in lost.items())
        if isinstance(files.reading.rules, OmopRules) and not tables.rows(notes / "notes"):
            advice = "no note is of the titles, classes and types that are read, so correct those"
        elif lost.get(NoteView(view).nothing_said) and isinstance(view, AdmissionView):
            advice = "the notes have no such headings, so take the view 'full'"
        else:
            advice = "check that notes and admissions are of the same source"
        raise SourceError(
            f"{stays.path.name} and the notes: no admission remains ({why or 'no rows'}); {advice}"
        )
    tables.write(part_of(out / "exclusions"), EXCLUSIONS, left_out)
    rejects = gather(stays.rejects, patients.rejects)
    tables.write(part_of(out / "rejects"), REJECTS, chain(rejects, deaths.rejects.batches("dod")))
    return {
        "source_admissions": stays.rejects.rows,
        "admissions": len(kept),
        **{f"excluded: {reason}": lost[reason] for reason in sorted(lost)},
        "rejected_admissions": stays.rejects.count,
        "admissions_with_several_notes": cohort.several,
    }


def write_texts(out: Path, notes: Path, view: View, shard: Path) -> Counts:
    """Write the shard's part of the table admissions; `shard` is the folder of a saved one."""
    texts = texts_of(Shard.load(shard), notes / "notes", NoteView(view))
    part = part_of(out / "admissions", int(shard.name))
    return {"admissions": tables.write(part, ADMISSIONS, texts)}


def write_quality(out: Path, notes: Mapping[str, Path], files: Files) -> Counts:
    """Check the source: the table quality."""
    opened = files.opened()
    opened["deaths"] = files.open("deaths", file_of="patients")
    checks = quality(files.reading.release, files.reading.layouts(), notes, opened)
    tables.write(part_of(out / "quality"), QUALITY, checks)
    return {"checks": checks.num_rows, "hit": pc.sum(pc.greater(checks["count"], 0)).as_py() or 0}


def write_outcome(out: Path, config: OutcomeConfig, cohort: Path, files: Files) -> Counts:
    """Make one outcome of the cohort's admissions: the tables outcomes, labels, rejects.

    `files` are the tables that the outcome needs, and those of titles where they exist.
    """
    admissions = cohort / "admissions"
    columns = [name for name in ADMISSIONS.names if name != "note"]
    of_cohort = tables.read(admissions, ADMISSIONS, columns)
    opened = files.opened(config.columns)
    inputs = Inputs(
        cohort=of_cohort,
        tables={name: table.table() for name, table in opened.items()},
        notes=lambda: _notes(admissions),
    )
    outcome, counts = make(inputs, config)
    if not any(outcome.systems):
        why = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        raise SourceError(
            f"outcome '{config.name}' is known of none of the {of_cohort.num_rows} admissions "
            f"({why or 'nothing was counted'}); correct its tables, or leave the outcome out"
        )
    rejects = gather(*(table.rejects for table in opened.values()))
    return outcome.write(out, of_cohort, rejects) | counts


def write_ontology(out: Path, systems: tuple[str, ...], files: Files) -> Counts:
    """Write the table ontology: codes and categories of these systems, with their titles.

    `files` are the release's own titles of procedures, where they are wanted and exist.
    """
    opened = [files.open(name) for name in files.paths]
    table = ontology(systems, opened[0].table() if opened else None)
    if not table.num_rows:
        raise SourceError(
            "there are no titles of codes for the ontology adapter: no outcome is of ICD codes, or "
            "only of ICD-9's procedures and the source has no d_icd_procedures; take 'ontology' "
            "out of the members' summands"
        )
    tables.write(part_of(out / "ontology"), ONTOLOGY, table)
    rejects = gather(*(table.rejects for table in opened))
    tables.write(part_of(out / "rejects"), REJECTS, rejects)
    categories = table.group_by(["system", "category"]).aggregate([]).num_rows
    return {"codes": table.num_rows, "categories": categories, "systems": ", ".join(systems)}


def write_sections(
    out: Path, notes: Path, cohort: Path, spread: Spread = one_by_one
) -> dict[str, int]:
    """Cut the notes of the cohort's admissions into the table sections, part by part.

    A note whose patient is not the admission's is skipped, as in the cohort.
    """
    parts = tables.parts(notes / "notes")
    counts = spread(cut_part, [{"out": out, "part": part, "cohort": cohort} for part in parts])
    admissions = tables.rows(cohort / "admissions")
    return {"admissions": admissions, "sections": sum(count["sections"] for count in counts)}


def cut_part(out: Path, part: Path, cohort: Path) -> dict[str, int]:
    """Cut one part of the notes into the part of the same name."""
    admissions = tables.read(cohort / "admissions", ADMISSIONS, ["hadm_id", "subject_id"])
    admissions = admissions.combine_chunks()
    batches = _sections(part, admissions)
    return {"sections": tables.write(out / "sections" / part.name, SECTIONS, batches)}


def _categories(diagnoses: pa.Table) -> pa.Table:
    """Each patient's diagnosis categories, prefixed with the version: subject_id, label."""
    versions = diagnoses["icd_version"]
    codes = category(clean(diagnoses["icd_code"]), versions, "diagnoses")
    label = pc.binary_join_element_wise(pc.cast(versions, pa.string()), codes, " ")
    return pa.table({"subject_id": diagnoses["subject_id"], "label": label})


def _kept(admissions: Path) -> NDArray[np.int64]:
    if not admissions.is_dir():  # no admission has a note
        return np.empty(0, np.int64)
    return tables.read(admissions, ADMISSIONS, ["hadm_id"])["hadm_id"].to_numpy()


def _notes(admissions: Path) -> Iterator[str]:
    for batch in tables.stream(admissions, ADMISSIONS, ["note"]):
        yield from batch["note"].to_pylist()


def _sections(notes: Path, admissions: pa.Table) -> Iterator[pa.Table]:
    columns = ["subject_id", "hadm_id", "text"]
    for batch in tables.stream(notes, NOTES, columns, batch_rows=_NOTES_AT_ONCE):
        _, same_patient = match_admissions(batch, admissions)
        kept = batch.filter(pa.array(same_patient))
        sections = [
            (hadm_id, section, section in AT_ADMISSION, text)
            for hadm_id, note in zip(*(kept[key].to_pylist() for key in columns[1:]), strict=True)
            for section, text in all_sections(note)
        ]
        yield pa.table(list(zip(*sections, strict=True)) or [()] * len(SECTIONS), schema=SECTIONS)
