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


@step("canaries", version=1)
def make_canaries(
    out: Path, canaries: int, repeats: tuple[int, ...], alternatives: int, seed: int
) -> Counts:
    """Make up notes to plant among others."""
    from tasks.audit.canaries import Canaries

    return Canaries.drawn(canaries, repeats, alternatives, seed).write_planted(out, seed)


@step("candidates", version=1)
def make_candidates(
    out: Path, canaries: int, repeats: tuple[int, ...], alternatives: int, seed: int
) -> Counts:
    """List the notes that were planted, each once, and those that might have been."""
    from tasks.audit.canaries import Canaries

    return Canaries.drawn(canaries, repeats, alternatives, seed).write_candidates(out)


@step("memory", version=1)
def audit_memory(
    out: Path,
    canaries: Path,
    candidates: Path,
    members: Path,
    others: Path,
    training: Mapping[str, float],
) -> Counts:
    """Say what an adapter remembers: the table memory, and `memory.md`.

    Args:
        candidates: likelihoods of the canaries and of what they are ranked among.
        members, others: likelihoods of notes of training and of validation patients.
        training: what the adapter was trained on, for the page.
    """
    from tasks.audit.memory import write_memory
    from tasks.audit.remembered import measure

    return write_memory(out, measure(canaries, candidates, members, others), training)
