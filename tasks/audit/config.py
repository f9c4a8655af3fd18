"""How the leak audit looks for sections that give an outcome away."""

from pydantic import Field

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
