"""Notes as TF-IDF matrices, one for each vocabulary that is tried.

The matrices lie on disk, mapped into memory: those of all vocabularies need not fit, and the
processes that fit on them share their pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.baselines.config import StopWords
from tasks.data.outcomes import Rows

_PARTS = ("data", "indices", "indptr")  # of a sparse matrix


@dataclass(frozen=True)
class Vocabulary:
    """Which words and runs of words are terms."""

    longest_ngram: int  # words
    stop_words: StopWords


@dataclass(frozen=True)
class Terms:
    """The terms of some admissions' notes, a sparse matrix [admissions, terms] on disk."""

    folder: Path
    shape: tuple[int, int]

    @classmethod
    def write(cls, matrix: Any, folder: Path) -> Terms:
        """Write a csr_matrix as files of numpy arrays."""
        folder.mkdir(parents=True)
        for name in _PARTS:
            np.save(folder / f"{name}.npy", getattr(matrix, name))
        return cls(folder, matrix.shape)

    def read(self) -> Any:
        """The csr_matrix, mapped into memory."""
        from scipy.sparse import csr_matrix

        parts = (np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in _PARTS)
        return csr_matrix(tuple(parts), shape=self.shape, copy=False)


def weigh(notes: Sequence[str], train: Rows, vocabulary: Vocabulary, max_features: int) -> Any:
    """TF-IDF of all notes, a csr_matrix [admissions, terms].

    Terms and document frequencies are of the training admissions alone.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        max_features=max_features,
        ngram_range=(1, vocabulary.longest_ngram),
        stop_words=None if vocabulary.stop_words == "none" else vocabulary.stop_words,
        sublinear_tf=True,
        dtype=np.float32,
    )
    vectorizer.fit([notes[row] for row in train])
    return vectorizer.transform(notes).tocsr()
