"""Published lists of splits, and lists as people leave them in folders."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from tasks.errors import SourceError
from tasks.ingest.config import SplitConfig
from tasks.ingest.rejects import Rejects
from tasks.ingest.splits import split_patients
from tests.ingest.conftest import listed, rejected_rows
from tests.ingest.test_splits import split

ADMISSIONS = pa.table({"hadm_id": [11, 12, 21, 31], "subject_id": [1, 1, 2, 3]})


@pytest.mark.parametrize("suffix", [".feather", ".parquet", ".csv"])
def test_a_list_of_admissions_is_one_of_patients(tmp_path: Path, suffix: str) -> None:
    """Edin's lists: `_id` is a hadm_id."""
    table = pa.table({"_id": [11, 12, 21, 31, 99], "split": ["train", "train", "val", "TEST", "x"]})
    file = tmp_path / f"mimiciv_icd10_split{suffix}"
    match suffix:
        case ".feather":
            feather.write_feather(table, file)
        case ".parquet":
            pq.write_table(table, file)
        case _:
            rows = zip(*table.to_pydict().values(), strict=True)
            file.write_text("_id,split\n" + "".join(f"{key},{name}\n" for key, name in rows))
    config, rejects = SplitConfig(method="file", file=file), Rejects("list", 0.4)
    table = split_patients(pa.array([1, 2, 3, 4]), config, rejects, admissions=ADMISSIONS)
    assert table.to_pydict() == {"subject_id": [1, 2, 3], "split": ["train", "validation", "test"]}
    assert rejects.rows == 5
    assert [(line, column) for line, column, _ in listed(rejects)] == [(6, "split")]
    with pytest.raises(SourceError, match=r"lists admissions \(_id\)"):
        split([1], config)


def test_one_file_a_split_fits(tmp_path: Path) -> None:
    """CORE's lists: mimic_train.csv, mimic_val.csv and mimic_test.csv with SUBJECT_ID."""
    for name, subjects in {"train": [1, 2, 5], "val": [3], "test": [4]}.items():
        lines = "".join(f"{subject},{row}\n" for row, subject in enumerate(subjects))
        (tmp_path / f"mimic_{name}.csv").write_text(f"SUBJECT_ID,ROW\n{lines}")
    (tmp_path / "README.md").write_text("CORE's lists")
    config = SplitConfig(method="file", file=tmp_path)
    assert split([1, 3, 4, 6], config) == {1: "train", 3: "validation", 4: "test"}
    (tmp_path / "more_test.csv").write_text("subject_id\n1\n")
    with pytest.raises(SourceError, match="puts 1 patients into more than one split"):
        split([1, 3, 4], config)
    (tmp_path / "more_test.csv").rename(tmp_path / "more.csv")
    with pytest.raises(SourceError, match=r"more\.csv names no split, or several"):
        split([1, 3, 4], config)


def test_a_list_that_does_not_fit_is_named(tmp_path: Path) -> None:
    def refused(table: pa.Table, message: str) -> None:
        pq.write_table(table, tmp_path / "list.parquet")
        with pytest.raises(SourceError, match=message):
            split(
                [1, 2, 3],
                SplitConfig(method="file", file=tmp_path / "list.parquet"),
                admissions=ADMISSIONS,
            )

    refused(
        pa.table({"hadm_id": [11, 12], "split": ["train", "test"]}),
        "puts 1 patients into more than one split",
    )
    refused(pa.table({"subject_id": [1], "part": ["test"]}), "lacks the column split")
    refused(pa.table({"_id": ["11-DS"], "split": ["test"]}), "_id is not a column of whole numbers")
    refused(
        pa.table({"subject_id": [1, None, 3], "split": ["train", "test", "x"]}),
        "line 3: subject_id is empty; line 4: split is none of train",
    )
    (tmp_path / "list.parquet").write_bytes(b"none")
    config = SplitConfig(method="file", file=tmp_path / "list.parquet")
    with pytest.raises(SourceError, match="cannot be read as parquet"):
        split([1], config)
    (tmp_path / "list.xlsx").write_bytes(b"none")
    with pytest.raises(SourceError, match=r"list\.xlsx is none of \.csv"):
        split([1], SplitConfig(method="file", file=tmp_path / "list.xlsx"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty holds no"):
        split([1], SplitConfig(method="file", file=tmp_path / "empty"))


def test_files_that_a_mac_or_an_editor_leaves_beside_the_lists_are_passed_over(
    tmp_path: Path,
) -> None:
    for name, subjects in {"train": [1, 2, 5], "val": [3], "test": [4]}.items():
        lines = "".join(f"{subject}\n" for subject in subjects)
        (tmp_path / f"mimic_{name}.csv").write_text(f"SUBJECT_ID\n{lines}")
        for junk in (f"._mimic_{name}.csv", f"~$mimic_{name}.csv", f".mimic_{name}.csv.swp"):
            (tmp_path / junk).write_bytes(b"\0\x05\x16\x07\0\x02\0\0")
    for junk in (".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.csv"):
        (tmp_path / junk).write_bytes(b"junk")
    (tmp_path / "__MACOSX").mkdir()
    config = SplitConfig(method="file", file=tmp_path)
    assert split([1, 3, 4, 6], config) == {1: "train", 3: "validation", 4: "test"}
    alone = config.model_copy(update={"file": tmp_path / "._mimic_val.csv"})
    with pytest.raises(SourceError, match=r"\._mimic_val\.csv is what a Mac leaves beside"):
        split([1, 3, 4, 6], alone)


def test_lists_without_a_header_are_read_where_their_name_says_of_what(tmp_path: Path) -> None:
    """CAML's lists: train_full_hadm_ids.csv, dev_full_hadm_ids.csv, test_full_hadm_ids.csv."""
    for name, ids in {"train": [11, 12], "dev": [21], "test": [31, 99]}.items():
        (tmp_path / f"{name}_full_hadm_ids.csv").write_text("".join(f"{key}\n" for key in ids))
    config, rejects = SplitConfig(method="file", file=tmp_path), Rejects("lists", 0.4)
    table = split_patients(pa.array([1, 2, 3]), config, rejects, admissions=ADMISSIONS)
    assert table.to_pydict() == {"subject_id": [1, 2, 3], "split": ["train", "validation", "test"]}
    assert rejects.rows == 5  # the first line is one of them
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}_full_hadm_ids.csv").rename(tmp_path / f"{name}_ids.csv")
    with pytest.raises(SourceError, match=r"dev_ids\.csv has no header line: name its column"):
        split([1, 2, 3], config, admissions=ADMISSIONS)


def test_rejected_rows_of_several_lists_keep_their_files(tmp_path: Path) -> None:
    for name, text in {"train": "1\nx\n2", "val": "3", "test": "4\n\ny"}.items():
        (tmp_path / f"{name}.csv").write_text(f"subject_id\n{text}\n")
    rejects = Rejects("lists", 0.9)
    split_patients(pa.array([1, 3, 4]), SplitConfig(method="file", file=tmp_path), rejects)
    rows = rejected_rows(rejects)
    assert [(row["file"], row["line"]) for row in rows] == [("test.csv", 4), ("train.csv", 3)]
    assert (rejects.rows, rejects.count) == (6, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "subject_id,split\n1,train\n2,train\n",
            "no patient of the source into validation and test",
        ),
        ("subject_id,split\n1,train\n2,val\n9,test\n", "no patient of the source into test"),
        ("subject_id;split\n1;train\n", "are separated by semicolons"),
        ("1,train\n2,val\n", "lacks the column subject_id or a header line"),
    ],
)
def test_a_list_that_leaves_a_split_empty_or_is_no_csv_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        split([1, 2, 3], SplitConfig(method="file", file=path))


@pytest.mark.parametrize("name", ["lists [old]", "split=test", "a b é"])
@pytest.mark.parametrize("suffix", [".feather", ".parquet", ".csv"])
def test_a_list_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str, suffix: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for part, subject in (("train", 1), ("val", 2), ("test", 3)):
        table, file = pa.table({"subject_id": [subject]}), folder / f"{part}{suffix}"
        match suffix:
            case ".feather":
                feather.write_feather(table, file)
            case ".parquet":
                pq.write_table(table, file)
            case _:
                file.write_text(f"subject_id\n{subject}\n")
    splits = split([1, 2, 3], SplitConfig(method="file", file=folder))
    assert splits == {1: "train", 2: "validation", 3: "test"}
