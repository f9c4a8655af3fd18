"""Packing loses no token, cuts what fits only where it must, and says whose each piece is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.pretrain.packing import GAP_SHARE, PADDING, WAITING, Packed, pack, pieces

PAD = 0
Documents = list[tuple[int, list[int]]]


@st.composite
def documents(draw: st.DrawFn) -> Documents:
    """Documents in which no two tokens are equal, each a patient's own."""
    lengths = draw(st.lists(st.integers(0, 40), max_size=14))
    numbers = count(1)
    return [
        (100 + index, [next(numbers) for _ in range(length)])
        for index, length in enumerate(lengths)
    ]


lengths, waiting = st.integers(3, 17), st.integers(0, 5)


@given(documents(), lengths, waiting)
def test_every_token_once_and_in_its_document(
    whole: Documents, length: int, most_waiting: int
) -> None:
    packed = list(pack(whole, length, pad=PAD, most_waiting=most_waiting))
    assert all(len(sequence.input_ids) == length for sequence in packed)
    texts: dict[int, list[int]] = {}
    for sequence in packed:
        assert sequence.starts == sorted(set(sequence.starts))
        assert sequence.starts[0] == 0
        assert len(sequence.starts) == len(sequence.subject_ids)
        for subject_id, ids in pieces(sequence):
            texts.setdefault(subject_id, []).extend(ids.tolist())
    assert texts == {subject_id: ids for subject_id, ids in whole if ids}


@given(documents(), lengths, waiting)
def test_with_overlap_every_token_but_a_documents_first_is_scored_once_after_the_one_before_it(
    whole: Documents, length: int, most_waiting: int
) -> None:
    pairs = [
        pair
        for sequence in pack(whole, length, pad=PAD, overlap=1, most_waiting=most_waiting)
        for _, ids in pieces(sequence)
        for pair in pairwise(ids.tolist())
    ]
    assert sorted(pairs) == [pair for _, ids in whole for pair in pairwise(ids)]


@given(documents(), lengths, waiting, st.integers(0, 1))
def test_only_the_last_sequence_has_a_gap(
    whole: Documents, length: int, most_waiting: int, overlap: int
) -> None:
    packed = list(pack(whole, length, pad=PAD, overlap=overlap, most_waiting=most_waiting))
    for sequence in packed[:-1]:
        assert gap(sequence) <= max(overlap, GAP_SHARE * length)


def test_what_fits_is_cut_only_where_nothing_longer_waits() -> None:
    packed = pack([(1, [7] * 10), (2, [8] * 4), (3, [9])], 6, pad=PAD)
    assert [sequence.input_ids.tolist() for sequence in packed] == [
        [8, 8, 8, 8, 9, 7],
        [7, 7, 7, 7, 7, 7],
        [7, 7, 7, 0, 0, 0],
    ]
    packed = pack([(1, [7] * 8), (2, [8] * 12), (3, [9] * 4)], 6, pad=PAD)
    assert [sequence.subject_ids for sequence in packed] == [[3, 1], [1], [2], [2]]
    packed = pack([(1, [7] * 4), (2, [8] * 4)], 6, pad=PAD)
    assert [sequence.subject_ids for sequence in packed] == [[1, 2], [2, PADDING]]


@pytest.mark.parametrize("length", [512, 2048])
def test_notes_fill_their_sequences_and_are_whole_where_they_fit(length: int) -> None:
    """An eighth of the notes is long: as many are discharge summaries, the others radiology."""
    generator = np.random.default_rng(0)
    long = generator.random(12_000) < 0.125
    logarithms = generator.normal(np.where(long, np.log(2600), np.log(280)), 0.55)
    tokens = np.exp(logarithms).astype(int) + 2
    parts = np.zeros(len(tokens), int)
    sequences = 0
    for sequence in pack(enumerate(np.ones(n, np.int32) for n in tokens), length, pad=PAD):
        sequences += 1
        np.add.at(parts, [owner for owner in sequence.subject_ids if owner != PADDING], 1)
    assert tokens.sum() / (sequences * length) > 0.998
    assert (parts[tokens <= length] == 1).all()
    assert (parts - -(-tokens // length))[tokens > length].mean() < 1, "more cuts than they need"


def test_memory_does_not_grow_with_the_documents() -> None:
    taken = count()

    def endless() -> Iterator[tuple[int, list[int]]]:
        while True:
            yield next(taken), [1, 2, 3]

    sequences = pack(endless(), 64, pad=PAD)
    for _ in range(300):
        next(sequences)
    assert next(taken) <= WAITING + 301 * 64 / 3 + 1


def test_a_patients_pieces_stay_the_patients() -> None:
    packed = list(pack([(1, [7] * 4), (2, [8] * 9), (1, [9])], 5, pad=PAD))
    owners = [owner for each in packed for owner, ids in pieces(each) for _ in ids]
    assert sorted(owners) == [1] * 5 + [2] * 9
    for sequence in packed:
        runs = [next(run) for _, run in groupby(zip(*_tokens(sequence), strict=True))]
        assert set(runs) <= {(1, 7), (1, 9), (2, 8)}


def test_an_overlap_as_long_as_the_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        list(pack([(1, [1])], 4, pad=PAD, overlap=3))


def gap(packed: Packed) -> int:
    padded = packed.subject_ids[-1] == PADDING
    return len(packed.input_ids) - packed.starts[-1] if padded else 0


def _tokens(packed: Packed) -> tuple[list[int], list[int]]:
    """Whose each token is, and the token."""
    owners = [owner for owner, ids in pieces(packed) for _ in ids]
    return owners, [token for _, ids in pieces(packed) for token in ids.tolist()]
