"""How the audits look for what gives an outcome away, and for what an adapter remembers."""

from pydantic import Field, PositiveInt

from tasks.config import Config


class LeaksConfig(Config):
    """The leak audit: what a bag of words learns from each section of the notes alone."""

    smallest_patients: int = Field(
        default=20, ge=20
    )  # what fewer patients say may point at one of them
    """Use only terms and labels that at least this many training patients have"""
    validation_patients: int = Field(
        default=10, ge=10
    )  # with fewer there is no interval (measures/small_samples.py)
    """Audit only labels that at least this many validation patients have, and as many lack"""
    terms: int = Field(default=10, ge=1)
    """For each label and section, list this many terms: those of the largest weights"""
    most_terms: int = Field(default=4096, ge=1)
    """Use at most this many terms of a section, the most frequent ones"""
    most_labels: int = Field(default=500, ge=1)
    """Audit at most this many labels of a code system, the most frequent ones"""
    most_admissions: int = Field(default=20_000, ge=1)
    """Learn from about this many training admissions at most, whole patients"""
    penalty: float = Field(
        default=100.0, gt=0
    )  # 10 to 1000 tried on the demo: the admission note's AUROC peaks about here
    """Strength of the ridge penalty on the weights"""


class MemoryConfig(Config):
    """The memory audit: what an adapter, trained for it alone, gives away of its notes."""

    canaries: int = Field(default=100, ge=100)
    """Plant this many made-up notes for each number of repeats"""
    repeats: tuple[PositiveInt, ...] = Field(default=(1, 4, 16), min_length=1)
    """How often they are planted: once, four times, sixteen times"""
    alternatives: int = Field(default=10_000, ge=10_000)
    """Rank each among this many that were not planted"""
    training_patients: int | None = Field(default=2000, ge=20)
    """Train on the notes of at most this many training patients, whole; empty: of all. The passes
    are those of pretrain.epochs, at least one; pretrain.max_tokens does not count"""
    scored_patients: int = Field(default=500, ge=20)
    """Score the notes of at most this many training patients, and of as many validation patients"""
    seed: int = Field(default=0, ge=0)
    """Of the made-up notes"""
