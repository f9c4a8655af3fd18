"""Fuzz the section parser with coverage: `make fuzz`, or `python -m tests.fuzz.sections_atheris`.

Takes libFuzzer's options, as `-runs=100000` or `-max_total_time=60`. Bytes are decoded as UTF-8
with replacement, and a mark from ! to / stands for a heading, so that whole notes come up.
"""

from __future__ import annotations

import sys

from tasks.ingest.sections import HEADER, SECTIONS, admission_note, all_sections, sections_of
from tests.ingest.layouts import headings

_OF_NOTES = [words for listed in headings("development")["sections"].values() for words in listed]
_OF_NOTES += [words for listed in headings("development")["others"].values() for words in listed]


def check(text: str) -> None:
    """What holds for any text: every body stands in it, in order, under a name that is known."""
    found = all_sections(text)
    squeezed, place = "".join(text.split()), 0
    for at, (section, body) in enumerate(found):
        assert section != HEADER or at == 0
        assert body == " ".join(body.split())
        words = "".join(body.split())
        if section in ("MEDICATION ON ADMISSION", "PHYSICAL EXAM") and words not in squeezed:
            continue  # a phrase of death was taken from it
        place = squeezed.find(words, place)
        assert place >= 0, "a body that does not stand in the text, or stands before the last"
        place += len(words)
    of_admission = sections_of(text)
    assert set(of_admission) <= set(SECTIONS)
    for section, body in of_admission.items():
        assert body == " ".join(each for name, each in found if name == section and each)
    admission_note([of_admission])


def main() -> None:
    """Run libFuzzer until its limits or the first failure."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed; run `make fuzz`, or pip install 'atheris>=3'")

    def one(data: bytes) -> None:
        check(note_of(data))

    atheris.instrument_all()
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


def note_of(data: bytes) -> str:
    """The text that some bytes stand for.

    >>> note_of(b"!pain")
    '\\nPresenting Complaints:pain'
    """
    parts = []
    for byte in data.decode("utf-8", "replace"):
        heading = ord(byte) - ord(" ")
        lines = 0 < heading < 16
        parts.append(f"\n{_OF_NOTES[heading * 5 % len(_OF_NOTES)]}:" if lines else byte)
    return "".join(parts)


if __name__ == "__main__":
    main()
