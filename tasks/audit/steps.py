"""The audit's steps: sections of notes and outcomes -> which sections give an outcome away."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.audit.config import LeaksConfig
from tasks.step import Counts, step


@step("leaks", version=2)
def audit_leaks(
    out: Path, sections: Path, cohort: Path, outcomes: Mapping[str, Path], config: LeaksConfig
) -> Counts:
    """Look for sections that give an outcome away: tables leaks and terms, and `leaks.md`."""
    from tasks.audit.leaks import write_leaks

    return write_leaks(out, sections, cohort, outcomes, config)
