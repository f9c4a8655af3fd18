"""The steps of the ingest stage, and `ingest`, which calls them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ConfigError
from tasks.ingest import source, write
from tasks.ingest.config import GuardConfig, IngestConfig, SplitConfig, View
from tasks.ingest.near_duplicates import NotesOf, find_near_duplicates
from tasks.ingest.outcomes.config import OutcomeConfig
from tasks.ingest.outcomes.ontology import FROM_THE_RELEASE, systems_of
from tasks.ingest.requirements import check_source, note_tables, other_sources, required_tables
from tasks.ingest.source import ReadConfig, Source
from tasks.ingest.splits import tables_for
from tasks.ingest.views import NoteView
from tasks.ingest.write import Files
from tasks.keys import Artifact
from tasks.patients import OWN_RELEASE
from tasks.step import Counts, in_shards, step, warn

_QUALITY = ("admissions", "patients", "diagnoses", "procedures")  # checked wherever they exist


@dataclass(frozen=True)
class Ingested:
    """What the stage made."""

    notes: tuple[Artifact, ...]  # discharge summaries, and radiology reports if asked for
    others: dict[str, tuple[Artifact, ...]]  # notes of other releases, for pretraining only
    splits: Artifact
    guard: Artifact | None  # which notes leave pretraining; None where nothing was compared
    cohort: Artifact
    outcomes: dict[str, Artifact]  # by the outcome's name
    quality: Artifact
    ontology: Artifact | None  # titles of codes; None unless asked for

    @property
    def discharge(self) -> Artifact:
        """The discharge notes."""
        return self.notes[0]


def ingest(config: IngestConfig, *, with_ontology: bool = False) -> Ingested:
    """From a source folder to notes, splits, a cohort and its outcomes.

    Args:
        with_ontology: whether the titles of all codes are wanted, too.

    Raises SourceError, before any step, where a required table or column is missing.
    """
    files = check_source(config)
    reading = files.reading(config.max_reject_share)

    notes = {
        table: read_notes(table=table, file=files.path(table), reading=reading)
        for table in note_tables(config)
    }
    splits = assign_splits(
        sources=files.paths(*tables_for(config.split.method)),
        config=config.split,
        reading=reading,
    )
    others = _of_other_releases(config)
    guard = None
    if config.guard.mode != "off":
        # discharge summaries come first; radiology is compared only to be counted
        compared = None if config.guard.count_radiology else 1
        guard = guard_held_out(
            notes=tuple(notes.values())[:compared],
            splits=splits,
            others={name: artifacts[:compared] for name, artifacts in others.items()},
            config=config.guard,
        )
    cohort = build_cohort(
        notes=notes[NoteView(config.view).table],
        splits=splits,
        sources=files.paths("admissions", "patients"),
        view=config.view,
        exclude_admission_types=config.exclude_admission_types,
        reading=reading,
    )
    outcomes = _outcomes(config.outcomes, cohort, files, reading)
    quality = check_quality(
        notes=notes,
        sources=files.paths(*_QUALITY, *({"icu_stays"} & set(required_tables(config)))),
        reading=reading,
    )
    titles = None
    if with_ontology:
        made = [outcome for outcome in config.outcomes if outcome.name in outcomes]
        systems = systems_of(made, {name: each.counts for name, each in outcomes.items()})
        of_release = ("procedure_titles",) if FROM_THE_RELEASE in systems else ()
        titles = list_ontology(systems=systems, sources=files.paths(*of_release), reading=reading)
    return Ingested(tuple(notes.values()), others, splits, guard, cohort, outcomes, quality, titles)


@step("notes", version=2)
def read_notes(out: Path, table: str, file: Path, reading: ReadConfig) -> Counts:
    """Read a table of notes; `table`, its name, also names the task run."""
    return write.write_notes(out, source.open_table(reading, table, file))


@step("splits", version=1)
def assign_splits(
    out: Path, sources: dict[str, Path], config: SplitConfig, reading: ReadConfig
) -> Counts:
    """Split the patients."""
    return write.write_splits(out, Files(reading, sources), config)


@step("guard", version=1)
def guard_held_out(
    out: Path,
    notes: tuple[Path, ...],
    splits: Path,
    others: dict[str, tuple[Path, ...]],
    config: GuardConfig,
) -> Counts:
    """Find the notes that are nearly those of held-out patients; `others` are for pretraining."""
    sources = [NotesOf(artifact, OWN_RELEASE, splits) for artifact in notes]
    for release, artifacts in others.items():
        sources += [NotesOf(artifact, release, None) for artifact in artifacts]
    return find_near_duplicates(out, sources, config)


@step("cohort", version=4)
def build_cohort(
    out: Path,
    notes: Path,
    splits: Path,
    sources: dict[str, Path],
    view: View,
    exclude_admission_types: tuple[str, ...],
    reading: ReadConfig,
) -> Counts:
    """Build the cohort of admissions."""
    files = Files(reading, sources)
    excluded = exclude_admission_types
    return write.write_cohort(out, notes, splits, files, view, excluded, in_shards)


@step("outcome", version=5)
def build_outcome(
    out: Path,
    outcome: str,
    config: OutcomeConfig,
    cohort: Path,
    sources: dict[str, Path],
    reading: ReadConfig,
) -> Counts:
    """Make an outcome of the cohort's admissions; `outcome`, its name, also names the task run."""
    return write.write_outcome(out, config, cohort, Files(reading, sources))


@step("ontology", version=1)
def list_ontology(
    out: Path, systems: tuple[str, ...], sources: dict[str, Path], reading: ReadConfig
) -> Counts:
    """List the codes of these systems with their titles, whatever any admission has."""
    return write.write_ontology(out, systems, Files(reading, sources))


@step("quality", version=3)
def check_quality(
    out: Path, notes: Mapping[str, Path], sources: dict[str, Path], reading: ReadConfig
) -> Counts:
    """Count what is odd about the source."""
    return write.write_quality(out, notes, Files(reading, sources))


@step("sections", version=1)
def cut_sections(out: Path, notes: Path, cohort: Path) -> Counts:
    """Cut the discharge notes of the cohort into all their sections, for the leak audit."""
    return write.write_sections(out, notes, cohort, in_shards)


def _outcomes(
    configs: Sequence[OutcomeConfig], cohort: Artifact, files: Source, reading: ReadConfig
) -> dict[str, Artifact]:
    """The outcomes by name, but for optional ones of which the source says nothing."""
    outcomes = {}
    for config in configs:
        lacking = set(config.tables) - set(files.paths(*config.tables))
        if not lacking:
            outcome = build_outcome(
                outcome=config.name,
                config=config,
                cohort=cohort,
                sources=files.paths(*config.tables, *config.titles),
                reading=reading,
            )
            if outcome.counts["labels"]:
                outcomes[config.name] = outcome
                continue
        why = "the source lacks its tables" if lacking else "no label has enough admissions"
        warn(f"the optional outcome '{config.name}' is left out: {why}")
    if not outcomes:
        raise ConfigError(
            "every outcome is optional, and none can be made of this source; correct its tables, "
            "or lower min_count in ingest.outcomes"
        )
    return outcomes


def _of_other_releases(config: IngestConfig) -> dict[str, tuple[Artifact, ...]]:
    """The notes of releases that are read for pretraining only, by a name for each."""
    releases = {}
    for number, (files, tables) in enumerate(other_sources(config), 1):
        reading = files.reading(config.max_reject_share)
        releases[f"{files.release}, source {number}"] = tuple(
            read_notes(table=table, file=files.path(table), reading=reading) for table in tables
        )
    return releases
