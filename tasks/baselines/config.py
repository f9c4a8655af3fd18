"""What members are compared with, and stacked with."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.config import Config

StopWords = Literal["none", "english"]


class TfidfConfig(Config):
    """TF-IDF and one logistic regression a label.

    Where several values are given, validation chooses among them, for each outcome by itself.
    """

    max_features: int = Field(default=20_000, ge=1)
    """At most this many terms, the most frequent ones"""
    longest_ngrams: tuple[Annotated[int, Field(ge=1, le=3)], ...] = Field(
        default=(1, 2), min_length=1
    )
    """Terms of up to this many words: values to choose from"""
    stop_words: tuple[StopWords, ...] = Field(default=("none", "english"), min_length=1)
    """Which words are left out, to choose from: none, or scikit-learn's list of English ones"""
    strengths: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(0.01, 0.1, 1.0, 10.0, 100.0), min_length=1
    )
    """Values of C (inverse regularization) to choose from"""

    @model_validator(mode="after")
    def _values_differ(self) -> Self:
        for name in ("longest_ngrams", "stop_words", "strengths"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"a value is given twice in {name}; give each once")
        return self


class BaselinesConfig(Config):
    """The baselines: they learn from the admissions that the members learn from."""

    tfidf: TfidfConfig | None = TfidfConfig()
    """The TF-IDF baseline; null leaves it out"""
    stack: bool = True
    """Whether each member is also evaluated together with TF-IDF: a weighted sum of both, its
    weight chosen on validation. Without TF-IDF there is nothing to stack"""
