"""Names of rows and patients as whole numbers, the same in every extract."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

_NUMBER = r"^(0|[1-9][0-9]{0,17})$"  # below 2 ** 62, where the hashes begin
_HASHED = 1 << 62


def numbered(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """A whole number for each name: the number that it writes, else 2^62 and 62 bits of its hash.

    Different names have different numbers, but for one chance in 100 million for 300,000 of them.

    >>> numbered(pa.chunked_array([["17", "017"]])).to_pylist()[0]
    17
    """
    is_number = pc.match_substring_regex(names, _NUMBER)
    numbers = pc.cast(pc.if_else(is_number, names, None), pa.int64())
    if pc.all(is_number).as_py() is not False:  # none, where there are no rows
        return numbers
    words = pc.if_else(is_number, None, names).to_pylist()
    hashed = [None if word is None else _hash(word) for word in words]
    return pc.coalesce(numbers, pa.array(hashed, pa.int64()))


def _hash(word: str) -> int:
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return _HASHED + int.from_bytes(digest, "big") // 4
