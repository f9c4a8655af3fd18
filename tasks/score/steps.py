"""The steps of scoring: the texts of new admissions, and what those of training were like."""

from __future__ import annotations

from pathlib import Path

from tasks.ingest.source import ReadConfig
from tasks.score.member import TextView
from tasks.step import Counts, in_shards, step


@step("arrivals", version=1)
def list_arrivals(
    out: Path, notes: Path, sources: dict[str, Path], text_view: TextView, reading: ReadConfig
) -> Counts:
    """Make the text of every admission of a source, as a cohort's are made; none is split off."""
    from tasks.score.arrivals import write_arrivals

    return write_arrivals(out, notes, sources, text_view, reading, in_shards)


@step("reference", version=1)
def describe_training(out: Path, cohort: Path, encoded: Path) -> Counts:
    """Describe the notes of training patients, with which new ones are compared."""
    from tasks.score.reference import write_reference

    return write_reference(out, cohort, encoded)
