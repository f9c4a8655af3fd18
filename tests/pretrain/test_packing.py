"""Packing loses no token, keeps the order, and says whose each piece is."""

from __future__ import annotations

from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.pretrain.packing import PADDING, pack, pieces

PAD = 0
documents = st.lists(
    st.tuples(st.integers(1, 5), st.lists(st.integers(1, 99), min_size=1, max_size=40)), max_size=12
)


@given(documents, st.integers(3, 17))
def test_every_token_once_and_in_order(given_documents: list, length: int) -> None:
    packed = list(pack(given_documents, length, pad=PAD))
    assert all(len(each.input_ids) == length for each in packed)
    found = [(owner, token) for each in packed for owner, ids in pieces(each) for token in ids]
    assert found == [(owner, token) for owner, ids in given_documents for token in ids]


@given(documents, st.integers(3, 17))
def test_pieces_are_cut_only_where_a_document_or_a_sequence_ends(
    given_documents: list, length: int
) -> None:
    lengths = [len(ids) for _, ids in given_documents]
    ends = {sum(lengths[: index + 1]) for index in range(len(lengths))}
    place = 0
    for each in pack(given_documents, length, pad=PAD):
        assert each.starts == sorted(set(each.starts))
        assert each.starts[0] == 0
        assert len(each.starts) == len(each.subject_ids)
        for _, ids in pieces(each):
            place += len(ids)
            assert place in ends or place % length == 0


@given(documents, st.integers(3, 17))
def test_with_overlap_every_token_but_a_documents_first_is_scored_once(
    given_documents: list, length: int
) -> None:
    packed = list(pack(given_documents, length, pad=PAD, overlap=1))
    scored = [token for each in packed for _, ids in pieces(each) for token in ids[1:]]
    assert scored == [token for _, ids in given_documents for token in ids[1:]]


@given(documents, st.integers(3, 17))
def test_with_overlap_a_token_follows_the_one_before_it(given_documents: list, length: int) -> None:
    pairs = [
        pair
        for each in pack(given_documents, length, pad=PAD, overlap=1)
        for _, ids in pieces(each)
        for pair in pairwise(ids.tolist())
    ]
    assert pairs == [pair for _, ids in given_documents for pair in pairwise(ids)]


def test_only_the_last_sequence_is_padded() -> None:
    packed = list(pack([(1, [7] * 10), (2, [8] * 3)], 6, pad=PAD))
    assert [each.subject_ids for each in packed] == [[1], [1, 2], [2, PADDING]]
    assert packed[-1].input_ids.tolist() == [8, PAD, PAD, PAD, PAD, PAD]


def test_a_patients_pieces_stay_the_patients() -> None:
    packed = list(pack([(1, [7] * 4), (2, [8] * 9), (1, [9])], 5, pad=PAD))
    owners = [owner for each in packed for owner, ids in pieces(each) for _ in ids]
    assert [(owner, len(list(run))) for owner, run in groupby(owners)] == [(1, 4), (2, 9), (1, 1)]


def test_an_overlap_as_long_as_the_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        list(pack([(1, [1])], 4, pad=PAD, overlap=3))
