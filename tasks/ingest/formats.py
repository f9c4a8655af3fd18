"""Recognize files that are not comma-separated tables in UTF-8, by how they begin."""

from __future__ import annotations

from tasks.errors import SourceError

BOM = b"\xef\xbb\xbf"
GZIP = b"\x1f\x8b"
SNIFFED_BYTES = 64
_AS_CSV = "save the table as CSV"
_BEGINNINGS = (
    (GZIP, "is compressed twice; unpack it once"),
    (b"PK\x03\x04", f"is a zip archive or an Excel workbook; unpack it, or {_AS_CSV}"),
    (b"BZh", "is compressed with bzip2; unpack it, or compress it with gzip"),
    (b"\xfd7zXZ\0", "is compressed with xz; unpack it, or compress it with gzip"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it, or compress it with gzip"),
    (b"7z\xbc\xaf", "is a 7z archive; unpack it"),
    (b"PAR1", f"is a Parquet file; {_AS_CSV}"),
    (b"ARROW1", f"is a Feather file; {_AS_CSV}"),
    (b"\0\x05\x16\x07", "is what a Mac leaves beside a file, not the file; fetch the file itself"),
    (b"version https://git-lfs", "stands for a file that Git LFS has; fetch it with git lfs pull"),
    (b"<", "is a web page, maybe one that asks to log in; fetch the table itself"),
    (b"\xff\xfe", "is in UTF-16; save it in UTF-8"),
    (b"\xfe\xff", "is in UTF-16; save it in UTF-8"),
)
_SEPARATORS = ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars"))


def refuse_foreign(name: str, start: bytes) -> None:
    """Raise SourceError where a file that begins like this, once decompressed, is not text."""
    for beginning, what in _BEGINNINGS:
        if start.lstrip().startswith(beginning):
            raise SourceError(f"{name} {what}")
    if b"\0" in start.partition(b"\n")[0]:
        raise SourceError(f"{name} is in UTF-16, or no text at all; save it in UTF-8")


def refuse_header(name: str, first: str) -> None:
    """Raise SourceError where the columns of the first line are not separated by commas."""
    if first.startswith("sep="):
        raise SourceError(f"{name} begins with a line for Excel, {first[:5]}; delete that line")
    for separator, words in _SEPARATORS:
        if first.count(separator) > first.count(","):
            raise SourceError(
                f"the columns of {name} are separated by {words}; save it with commas"
            )
