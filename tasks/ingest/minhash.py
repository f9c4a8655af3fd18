"""MinHash signatures of notes, over the word shingles of their normalized texts.

Case, white space, and how a release marks what was removed from a note (`___` in MIMIC-IV,
`[**Last Name 3**]` in MIMIC-III) do not count. The share of values in which two signatures agree
estimates the Jaccard similarity of the two sets of shingles, with a standard error of
sqrt(s (1 - s) / permutations): 0.035 at 0.8 with 128.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rensa import RMinHash

from tasks.sampling import GOLDEN, splitmix

_SEED = 2307  # a constant, so that every run gives the same signatures
# one or several in sequence: "[**First Name**] [**Last Name 3**]" is one "___" in MIMIC-IV
_PLACEHOLDERS = r"(?:\s*(?:\[\*\*[^\[\]]*\*\*\]|_{2,})\s*)+"


def sign(
    texts: pa.Array, shingle_words: int, permutations: int
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Return the signatures of the texts, [texts, permutations], and which texts have a word.

    The signature of a text without a word means nothing.
    """
    hashes, bounds = shingles(texts, shingle_words)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        hashes, bounds.astype(np.uint64), permutations, _SEED
    )
    signatures = np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(texts), permutations)
    return signatures, np.diff(bounds) > 0


def shingles(texts: pa.Array, shingle_words: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the hash of each run of `shingle_words` words, [shingles], and each text's bounds.

    The bounds [texts + 1] end with the number of shingles. A text of fewer words than a shingle
    is one shingle, a text without a word none.
    """
    words, bounds = _words(texts)
    counts = np.diff(bounds)
    runs = np.where(counts > 0, np.maximum(counts - shingle_words + 1, 1), 0)
    run_bounds = np.concatenate([[0], np.cumsum(runs)])
    # a run's first word: its text's first, plus the run's number within its text
    first = np.arange(run_bounds[-1]) + np.repeat(bounds[:-1] - run_bounds[:-1], runs)
    end = np.repeat(bounds[1:], runs)
    hashes = np.zeros(len(first), np.uint64)
    padded = np.append(words, np.uint64(0))
    for offset in range(shingle_words):
        index = first + offset
        hashes = hashes * GOLDEN + padded[np.where(index < end, index, len(words))]
    return splitmix(hashes), run_bounds


def _words(texts: pa.Array) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hash of each word of the texts, and where each text's begin."""
    plain = pc.utf8_lower(pc.replace_substring_regex(texts, _PLACEHOLDERS, " _ "))
    # not utf8_split_whitespace: pyarrow 26.0.1 reads past the last text there, and where that
    # memory is not UTF-8 leaves the text's last line end on its last word
    split = pc.ascii_split_whitespace(plain.cast(pa.large_string()))
    offsets = split.offsets.to_numpy()
    words = split.values[offsets[0] : offsets[-1]]
    # white space at a text's ends gives empty words
    nonempty = pc.not_equal(words, "").to_numpy(zero_copy_only=False)
    bounds = np.concatenate([[0], np.cumsum(nonempty)])[offsets - offsets[0]]
    coded = words.filter(pa.array(nonempty)).dictionary_encode()
    hashes = np.array([_hash(word) for word in coded.dictionary.to_pylist()], np.uint64)
    return hashes[coded.indices.to_numpy()], bounds


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
