"""Which tables a configuration reads, and whether its sources have them; without reading a row."""

from __future__ import annotations

from tasks.ingest.config import IngestConfig
from tasks.ingest.outcomes.make import tables_of, titles_of
from tasks.ingest.source import Source, open_source
from tasks.ingest.splits import tables_for
from tasks.ingest.views import NoteView


def check_source(config: IngestConfig) -> Source:
    """The source, with every table and column that the configuration needs.

    Raises SourceError, which names everything missing of the first folder that lacks something.
    """
    files = open_source(config.source, config.note_source)
    of_outcomes = [table for outcome in config.outcomes for table in tables_of(outcome)]
    titles = [table for outcome in config.outcomes for table in titles_of(outcome)]
    files.check(
        [*note_tables(config), "admissions", *tables_for(config.split.method), *of_outcomes], titles
    )
    other_sources(config)
    return files


def other_sources(config: IngestConfig) -> list[tuple[Source, list[str]]]:
    """The releases that are read for pretraining only, and which of their tables.

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
    """The tables of notes to read: radiology for pretraining, or because the view is of it."""
    of_radiology = config.include_radiology or NoteView(config.view).table == "radiology"
    return ["discharge", "radiology"] if of_radiology else ["discharge"]
