"""Files as hospitals and browsers leave them: read where that is safe, else refused by name."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from tasks.errors import SourceError
from tasks.ingest.reader import Reader
from tasks.ingest.rejects import Rejects
from tasks.ingest.source import open_source
from tests.ingest.conftest import SmallSource
from tests.ingest.small_ingest import SmallIngest

SCHEMA = pa.schema(
    [
        pa.field("note_id", pa.string(), nullable=False),
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("text", pa.large_string()),
    ]
)
TEXT = "note_id,subject_id,text\nn1,1,pain\nn2,2,cough\n"
APPLEDOUBLE = b"\0\x05\x16\x07\0\x02\0\0" + b"\0" * 70 + b"ATTR" + b"\0" * 40
PACKED = gzip.compress(TEXT.encode(), mtime=0)  # else its bytes, and the test's name, differ


def read(path: Path, share: float = 0.0) -> list[dict[str, Any]]:
    rejects = Rejects(path.name, share)
    return Reader(path, SCHEMA, rejects, "note_id").table().to_pylist()


def zipped() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("notes.csv", TEXT)
    return held.getvalue()


def arrow(write: Any) -> bytes:
    held = io.BytesIO()
    write(pa.table({"note_id": ["n1"]}), held)
    return held.getvalue()


@pytest.mark.parametrize("name", ["notes.csv", "notes.csv.gz", "NOTES.CSV.GZ"])
@pytest.mark.parametrize("data", [TEXT.encode(), PACKED])
def test_a_file_is_read_by_what_it_is_and_not_by_its_name(
    tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    assert [row["text"] for row in read(tmp_path / name)] == ["pain", "cough"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TEXT.replace(",", ";").encode(), "columns of .* are separated by semicolons; save"),
        (TEXT.replace(",", "\t").encode(), "separated by tabs; save it with commas"),
        (TEXT.replace(",", "|").encode(), "separated by vertical bars"),
        (b"sep=;\n" + TEXT.encode(), "begins with a line for Excel, sep=;; delete"),
        (TEXT.encode("utf-16"), "is in UTF-16; save it in UTF-8"),
        (TEXT.encode("utf-16-be"), "is in UTF-16, or no text at all; save it in UTF-8"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "is in UTF-16; save it in UTF-8"),
        (TEXT.encode("utf-32"), "is in UTF-16; save it in UTF-8"),
        (zipped(), "is a zip archive or an Excel workbook; unpack it, or save"),
        (arrow(pq.write_table), "is a Parquet file; save the table as CSV"),
        (arrow(feather.write_feather), "is a Feather file; save the table as CSV"),
        (b"BZh91AY&SY", "is compressed with bzip2"),
        (b"\xfd7zXZ\0\0\4", "is compressed with xz"),
        (
            gzip.compress(gzip.compress(TEXT.encode(), mtime=0), mtime=0),
            "is compressed twice; unpack it once",
        ),
        (b"\n <!DOCTYPE html><title>Log in</title>", "is a web page, maybe one that asks to log"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS has; fetch it with git lfs"),
        (APPLEDOUBLE, "is what a Mac leaves beside a file"),
        (b"n1,1,pain\nn2,2,cough\n", "lacks the column note_id or a header line"),
        (b"id,who,what\nn1,1,pain\n", "lacks the column note_id; correct its header line"),
        (b"", "is empty: it has no header line"),
    ],
)
def test_a_file_that_is_something_else_is_called_so(
    tmp_path: Path, data: bytes, message: str, packed: bool
) -> None:
    path = tmp_path / ("notes.csv.gz" if packed else "notes.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    if packed and data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    with pytest.raises(SourceError, match=message) as raised:
        read(path)
    assert path.name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_in_latin_1_says_so(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_bytes(TEXT.replace("pain", "Müdigkeit").encode("latin-1"))
    with pytest.raises(SourceError, match=r"line 2: text is not UTF-8\); convert the file to UTF"):
        read(path)


def test_windows_line_ends_quotes_and_a_mark_before_the_header_are_read(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    quoted = '"note_id", "SUBJECT_ID" ,"Text"\r\n"n1",1,"pain, ""bad"""\r\n\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + quoted.encode())
    assert [row["text"] for row in read(path)] == ['pain, "bad"']


def test_a_column_under_two_of_its_names_is_read_under_the_first(
    source: SmallSource, tmp_path: Path
) -> None:
    source.patient(1)
    source.admission(1, 101, race="WHITE")
    source.write()
    path = source.path("hosp/admissions")
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress(f"{lines[0]},ethnicity\n{lines[1]},OTHER\n".encode()))
    made = SmallIngest(source.folder, tmp_path / "out")
    assert made.admission(101)["race"] == "WHITE"


def test_what_is_no_file_in_a_tables_place_is_called_so(source: SmallSource) -> None:
    path = source.write() / "hosp" / "admissions.csv.gz"
    rows = path.read_bytes()
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(SourceError, match=r"admissions\.csv\.gz cannot be read \(No such file"):
        open_source(source.folder, None).check(["admissions"], [])
    path.unlink()
    path.mkdir()  # as some programs unpack it
    (path / "admissions.csv").write_bytes(gzip.decompress(rows))
    with pytest.raises(SourceError, match=r"admissions\.csv\.gz is a folder; put the table"):
        open_source(source.folder, None).check(["admissions"], [])
    path.with_suffix("").write_bytes(rows)  # admissions.csv
    open_source(source.folder, None).check(["admissions"], [])


def test_a_folder_that_may_not_be_read_is_named(
    source: SmallSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write()

    def refuse(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SourceError, match=r"source cannot be read \(Permission denied\); check"):
        open_source(source.folder, None)


def test_links_to_tables_and_folders_are_followed(source: SmallSource, tmp_path: Path) -> None:
    source.patient(1)
    source.admission(1, 101)
    source.write()
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "hosp").symlink_to(source.folder / "hosp")
    (linked / "note").mkdir()
    (linked / "note" / "discharge.csv.gz").symlink_to(source.path("note/discharge"))
    assert SmallIngest(linked, tmp_path / "out").kept == [101]


@pytest.mark.parametrize(
    "name",
    [
        *("mimic [old]", "mimic [/v2.2]", "[red]", "mimic *", "mimic ?", "{a,b}", "100% %20 #1"),
        *("a b", "donnees-ete é ü 病院", "split=test", "-x", "$HOME", "~", "._x", "it's", 'a"b'),
    ],
)
def test_a_source_may_lie_in_a_folder_of_any_name(
    source: SmallSource, tmp_path: Path, name: str
) -> None:
    source.folder = tmp_path / name
    source.patient(1)
    source.admission(1, 101)
    source.write()
    for junk in ("._admissions.csv.gz", ".DS_Store", "~$admissions.csv", "Thumbs.db"):
        (source.folder / "hosp" / junk).write_bytes(APPLEDOUBLE)
    assert SmallIngest(source.folder, tmp_path / "out").kept == [101]
