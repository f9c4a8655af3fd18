"""What members are compared with."""

from pydantic import Field

from tasks.config import Config


class TfidfConfig(Config):
    """TF-IDF and one logistic regression a label."""

    max_features: int = Field(default=20_000, ge=1)
    """At most this many terms, the most frequent ones"""
    longest_ngram: int = Field(default=1, ge=1, le=3)
    """Terms of up to this many words"""
    strengths: tuple[float, ...] = Field(default=(0.1, 1.0, 10.0), min_length=1)
    """Values of C (inverse regularization) to choose from, on validation"""


class BaselinesConfig(Config):
    """The baselines: they learn from the admissions that the members learn from."""

    tfidf: TfidfConfig | None = TfidfConfig()
    """The TF-IDF baseline; null leaves it out"""
