"""What of an unexpected exception may be told: its type, its place, and no word of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.guard import FIXED_MESSAGES, failure_of, fixed_message

KINDS = (ValueError, KeyError, ZeroDivisionError, UnicodeError, OSError, RuntimeError)


class Quoting(ValueError):
    """An exception whose printed form is not what it was raised with."""

    def __str__(self) -> str:
        return "Mr. Planted was admitted"


@given(text=st.text(max_size=60), fixed=st.sampled_from(sorted(FIXED_MESSAGES)))
def test_no_word_of_a_note_is_told(text: str, fixed: str) -> None:
    for kind in KINDS:
        for arguments in ((text,), (fixed, text), (f"{fixed}{text or ' '}",), (text.encode(),)):
            message = fixed_message(kind(*arguments))
            assert message is None or (message == text and text in FIXED_MESSAGES)
    expected = str(failure_of("notes", ValueError("")))
    assert str(failure_of("notes", ValueError(f"{text}!"))) == expected


def test_neither_a_printed_form_nor_a_note_beside_the_exception_is_told() -> None:
    class Text(str):
        """A string that prints as another."""

        def __str__(self) -> str:
            return "Mr. Planted was admitted"

    beside = ValueError("math domain error")
    beside.add_note("Mr. Planted was admitted")
    for error in (Quoting("math domain error"), beside, ValueError(Text("math domain error"))):
        assert "Planted" not in str(failure_of("notes", error))


@pytest.mark.parametrize(
    ("fails", "cause"),
    [
        (lambda: math.log10(0), "math domain error"),
        (lambda: 1 / len(()), "division by zero"),
        (lambda: min(()), "empty"),
        (lambda: round(math.nan), "cannot convert float NaN to integer"),
        (lambda: np.linalg.inv(np.zeros((2, 2))), "Singular matrix"),
    ],
)
def test_a_cause_in_our_own_arithmetic_is_named(fails: Callable[[], object], cause: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each its own
        fails()
    message = str(failure_of("report", caught.value))
    assert cause in message
    assert "withheld" not in message
    assert "tests/test_guard.py:" in message


def test_what_is_fixed_quotes_nothing() -> None:
    assert not [one for one in FIXED_MESSAGES if any(mark in one for mark in "%{}'\"")]
