"""The steps of the ingest stage, and `ingest`, which calls them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.ingest import parts, source, write
from tasks.ingest.config import IngestConfig, OutcomeConfig, SplitConfig
from tasks.keys import Artifact
from tasks.step import Counts, step


@dataclass(frozen=True)
class Ingested:
    """What the stage made."""

    discharge: Artifact  # kind "notes"
    radiology: Artifact | None  # kind "notes"; None where it was not asked for
    splits: Artifact
    cohort: Artifact
    outcomes: dict[str, Artifact]  # by the outcome's name

    @property
    def notes(self) -> tuple[Artifact, ...]:
        """All notes, for pretraining."""
        return (self.discharge,) if self.radiology is None else (self.discharge, self.radiology)


def ingest(config: IngestConfig) -> Ingested:
    """From a source folder to notes, splits, a cohort and its outcomes.

    Raises SourceError, before any step, where a required table or column is missing.
    """
    files = source.open_source(config.source, config.note_source)
    needed = {layout.name: layout for layout in _needed(config)}
    titles = [layout for outcome in config.outcomes for layout in write.titles_of(outcome)]
    files.check(list(needed.values()), titles)
    share = config.max_reject_share
    patients, admissions = files.path(source.PATIENTS), files.path(source.ADMISSIONS)

    discharge = read_notes(table=files.path(source.DISCHARGE), max_reject_share=share)
    radiology = None
    if config.include_radiology:
        radiology = read_notes(table=files.path(source.RADIOLOGY), max_reject_share=share)
    splits = assign_splits(patients=patients, config=config.split, max_reject_share=share)
    cohort = build_cohort(
        notes=discharge,
        splits=splits,
        admissions=admissions,
        patients=patients,
        max_reject_share=share,
    )
    outcomes = {
        outcome.name: build_outcome(
            outcome=outcome.name,
            config=outcome,
            cohort=cohort,
            sources=_sources(files, outcome),
            max_reject_share=share,
        )
        for outcome in config.outcomes
    }
    return Ingested(discharge, radiology, splits, cohort, outcomes)


@step("notes", version=1)
def read_notes(out: Path, table: Path, max_reject_share: float) -> Counts:
    """Read a table of notes."""
    return write.write_notes(out, table, max_reject_share)


@step("splits", version=1)
def assign_splits(
    out: Path, patients: Path, config: SplitConfig, max_reject_share: float
) -> Counts:
    """Split the patients."""
    return write.write_splits(out, patients, config, max_reject_share)


@step("cohort", version=1)
def build_cohort(
    out: Path, notes: Path, splits: Path, admissions: Path, patients: Path, max_reject_share: float
) -> Counts:
    """Build the cohort of admissions."""
    return write.write_cohort(out, notes, splits, admissions, patients, max_reject_share)


@step("outcome", version=1)
def build_outcome(
    out: Path,
    outcome: str,
    config: OutcomeConfig,
    cohort: Path,
    sources: dict[str, Path],
    max_reject_share: float,
) -> Counts:
    """Make an outcome of the cohort's admissions; `outcome`, its name, also names the task run."""
    return write.write_outcome(out, config, cohort, sources, max_reject_share)


@step("sections", version=1)
def cut_sections(out: Path, notes: Path, cohort: Path) -> Counts:
    """Cut the discharge notes of the cohort into all their sections, for the leak audit."""
    return parts.write_sections(out, notes, cohort)


def _needed(config: IngestConfig) -> list[source.Layout]:
    radiology = [source.RADIOLOGY] if config.include_radiology else []
    of_outcomes = [layout for outcome in config.outcomes for layout in write.tables_of(outcome)]
    return [source.DISCHARGE, *radiology, source.PATIENTS, source.ADMISSIONS, *of_outcomes]


def _sources(files: source.Source, outcome: OutcomeConfig) -> dict[str, Path]:
    """The outcome's tables that are there; those of titles need not be."""
    found = {layout.name: files.path(layout) for layout in write.tables_of(outcome)}
    optional = {layout.name: files.find(layout) for layout in write.titles_of(outcome)}
    return found | {name: path for name, path in optional.items() if path is not None}
