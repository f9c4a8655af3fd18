"""Which tables a configuration needs, and whether its sources have them, without reading a row."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import SourceError
from tasks.ingest.config import EarlyView, IngestConfig, RadiologyView
from tasks.ingest.source import Source, open_source
from tasks.ingest.source_config import OmopRules, OmopSource
from tasks.ingest.splits import tables_for
from tasks.ingest.views import NoteView


def check_source(config: IngestConfig) -> Source:
    """The source, if it has every table and column that the configuration needs.

    Raises SourceError, which names all that is missing in the first folder that lacks something.
    """
    files = open_source(config.source, config.note_source)
    titles = [table for outcome in config.outcomes for table in outcome.titles]
    optional = [table for o in config.outcomes if o.optional for table in o.tables]
    required = required_tables(config)
    files.check(required, [*titles, *optional], _columns(config))
    if {"diagnoses", "procedures"} & {*required, *optional}:
        _check_versions(files)
    other_sources(config)
    return files


def other_sources(config: IngestConfig) -> list[tuple[Source, list[str]]]:
    """The releases that are read for pretraining only, and the tables to read.

    Raises SourceError where one lacks a table of notes.
    """
    tables = ["discharge", "radiology"] if config.include_radiology else ["discharge"]
    sources = []
    for folder in config.pretraining_sources:
        files = open_source(folder, None, "ingest.pretraining_sources")
        files.check(tables, [])
        sources.append((files, tables))
    return sources


def note_tables(config: IngestConfig) -> list[str]:
    """The tables of notes to read: radiology for pretraining, or because the view needs it."""
    asked = config.include_radiology and _may_have_radiology(config)
    of_radiology = asked or NoteView(config.view).table == "radiology"
    return ["discharge", "radiology"] if of_radiology else ["discharge"]


def required_tables(config: IngestConfig) -> list[str]:
    """The tables that must exist: notes, admissions, those for the split and the outcomes."""
    of_outcomes = [table for o in config.outcomes if not o.optional for table in o.tables]
    of_split = tables_for(config.split.method)
    return [*note_tables(config), "admissions", *of_split, *of_outcomes]


def _may_have_radiology(config: IngestConfig) -> bool:
    match config.source:
        case OmopSource(radiology=rules):
            return rules is not None
        case source:
            return isinstance(source, Path)


def _check_versions(files: Source) -> None:
    """Raise SourceError where nothing says of which version of ICD the codes are."""
    unsaid = isinstance(files.rules, OmopRules) and not files.rules.icd_version
    if unsaid and not files.find("concepts"):
        raise SourceError(
            f"{files.folder} has no table concept, which says of what vocabulary a code is; add "
            f"it, or set {files.key}.icd_version if all codes are ICD's of one version"
        )


def _columns(config: IngestConfig) -> dict[str, set[str]]:
    """The columns, by table, that may be null, but that this configuration cannot do without."""
    needed: dict[str, set[str]] = {"admissions": set()}
    default = IngestConfig.model_fields["exclude_admission_types"].default
    if config.exclude_admission_types not in (default, ()):
        needed["admissions"].add("admission_type")
    if isinstance(config.view, RadiologyView | EarlyView):
        needed[NoteView(config.view).table] = {"charttime"}
    for outcome in config.outcomes:
        for table, names in outcome.columns.items():
            needed.setdefault(table, set()).update(names)
    return needed
