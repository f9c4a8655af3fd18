"""What holds for the section parser whatever the text is."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ingest.sections import admission_note, all_sections, sections_of
from tests.fuzz.sections_atheris import check
from tests.ingest.layouts import headings, write_note

_WORDS = [words for listed in headings("development")["sections"].values() for words in listed]
_WORDS += headings("development")["at_discharge"] + headings("development")["at_admission"]
_WORDS += [words for listed in headings("development")["others"].values() for words in listed]
_BETWEEN = ["\n", "\n\n", "\n \n", "\r\n", ":", ": ", " - ", "#", "- ", "=====", " ", "\t", '"']
_SAID = ["pain", "in the ED", "___", "[**2150-1-1**]", "the patient expired", "é", "\x00", "1."]


@given(st.text(max_size=2_000))
def test_any_text(text: str) -> None:
    check(text)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(_WORDS + _BETWEEN * 8 + _SAID * 8), max_size=60).map("".join))
def test_any_pile_of_headings(text: str) -> None:
    check(text)


@given(st.lists(st.sampled_from([*_SAID, " ", "\n"])).map("".join))
def test_a_text_without_headings_is_all_header(text: str) -> None:
    assert all_sections(text) == ([("HEADER", " ".join(text.split()))] if text.split() else [])


def test_an_admission_note_is_read_as_it_was_written() -> None:
    for number in range(200):
        sections = sections_of(write_note("development", Random(number)).text)
        note = admission_note([sections])
        assert sections_of(note) == (sections if note else {})


def test_atheris_finds_nothing_in_a_short_run() -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed; `make fuzz` installs it and runs longer")
    command = [sys.executable, "-m", "tests.fuzz.sections_atheris", "-runs=3000"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]
