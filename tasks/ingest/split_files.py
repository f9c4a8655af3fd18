"""Read published lists of splits: of patients or admissions, in one file, or in one for each split.

Edin's lists are a Feather file with the columns `_id` (a hadm_id) and `split`; CORE's are the files
mimic_train.csv, mimic_val.csv and mimic_test.csv with the column SUBJECT_ID; CAML's are the files
train_full_hadm_ids.csv, dev_full_hadm_ids.csv and test_full_hadm_ids.csv without a header line.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
import pyarrow.parquet as pq

from tasks.errors import SourceError
from tasks.ingest.blocks import read_header
from tasks.ingest.demands import Rule
from tasks.ingest.reader import Reader
from tasks.ingest.rejects import Rejects
from tasks.patients import SPLITS

_NAMES = {name: name for name in SPLITS} | {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
}
WORDS = ", ".join(_NAMES)
_PATIENTS = ("subject_id",)
_ADMISSIONS = ("hadm_id", "_id")
_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".feather")


def read_splits(path: Path, rejects: Rejects, admissions: pa.Table | None = None) -> pa.Table:
    """Return subject_id and split, each pair once.

    Args:
        path: a CSV, Parquet or Feather file with a column split, or a folder of such files, one
            for each split, with train, val or test in their names. Hidden files are skipped: a
            Mac puts one beside each.
        rejects: takes the rows that cannot be used.
        admissions: hadm_id and subject_id of the source; needed where the file lists admissions.

    Raises SourceError where the list does not fit.
    """
    if not path.is_dir():
        return _of_patients(path, _read(path, None, rejects), admissions)
    files = [file for file in sorted(_visible(path)) if _suffix(file)]
    if not files:
        raise SourceError(f"{path.name} holds no .csv, .parquet or .feather file of a split")
    read = []
    for file in files:
        file_rejects = Rejects(file.name, rejects.max_share)
        read.append(_of_patients(file, _read(file, _split_in_name(file), file_rejects), admissions))
        rejects.take(file_rejects)
    return pa.concat_tables(read).group_by(["subject_id", "split"]).aggregate([])


def is_no_split(words: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each word names no split [words]."""
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(words))
    return pc.invert(pc.is_in(plain, pa.array(list(_NAMES))))


def splits_of(words: pa.ChunkedArray) -> list[str]:
    """The split that each word names [words]."""
    return [_NAMES[word.strip().lower()] for word in words.to_pylist()]


def _read(path: Path, split: str | None, rejects: Rejects) -> pa.Table:
    """The file's column of identifiers, under its own name in lower case, and split."""
    suffix = _suffix(path)
    if suffix is None:
        raise SourceError(f"{path.name} is none of {', '.join(_SUFFIXES)}; convert it")
    table = None if suffix.startswith(".csv") else _columns(path, suffix)
    names = read_header(path) if table is None else table.column_names
    header = _header_of_ids(path) if len(names) == 1 and names[0].isdigit() else None
    known = {name.casefold() for name in header or names}
    wanted = next((name for name in (*_PATIENTS, *_ADMISSIONS) if name in known), "subject_id")
    fields = [pa.field(wanted, pa.int64(), nullable=False)]
    rules = []
    if split is None:
        fields.append(pa.field("split", pa.string(), nullable=False))
        rules = [Rule("split", f"is none of {WORDS}", lambda table: is_no_split(table["split"]))]
    if table is None:
        read = Reader(path, pa.schema(fields), rejects, rules=rules, header=header).table()
    else:
        read = _checked(path, table, pa.schema(fields), rejects)
    words = [split] * len(read) if split else splits_of(read["split"])
    return pa.table({wanted: read[wanted], "split": pa.array(words, pa.string())})


def _columns(path: Path, suffix: str) -> pa.Table:
    try:
        return pq.read_table(path) if suffix == ".parquet" else feather.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{path.name} cannot be read as {suffix[1:]} ({type(error).__name__}); "
            "check the file, or give a CSV file"
        ) from None


def _checked(path: Path, table: pa.Table, schema: pa.Schema, rejects: Rejects) -> pa.Table:
    """The columns of a schema out of a Parquet or Feather table, its bad rows rejected."""
    table = table.rename_columns([name.casefold() for name in table.column_names])
    for name in schema.names:
        if table.column_names.count(name) != 1:
            raise SourceError(f"{path.name} lacks the column {name}, or has it twice; correct it")
    try:
        table = table.select(schema.names).cast(pa.schema([f.with_nullable(True) for f in schema]))
    except pa.ArrowException:  # its message quotes the value
        raise SourceError(
            f"{path.name}: {schema.names[0]} is not a column of whole numbers, or split not one of "
            "words; correct it"
        ) from None
    faults = [(name, "is empty", table[name].is_null()) for name in schema.names]
    if "split" in schema.names:
        faults.append(("split", f"is none of {WORDS}", is_no_split(table["split"])))
    rejects.rows += len(table)
    good = pa.array([True] * len(table))
    for name, reason, bad in faults:
        fault = pc.and_(good, pc.fill_null(bad, False)).combine_chunks()
        for row in pc.indices_nonzero(fault).to_pylist():
            rejects.add(row + 2, name, reason)  # as in a CSV file with one line a row
        good = pc.and_not(good, fault)
    rejects.check()
    return table.filter(good).cast(schema)


def _of_patients(path: Path, table: pa.Table, admissions: pa.Table | None) -> pa.Table:
    """The splits of patients, from those of their admissions; unknown admissions are left out."""
    key = table.column_names[0]
    if key not in _PATIENTS:
        if admissions is None:
            raise SourceError(
                f"{path.name} lists admissions ({key}), and the source has no table of admissions; "
                "give a list of subject_id"
            )
        known = (
            admissions.select(["hadm_id", "subject_id"])
            .group_by("hadm_id")
            .aggregate([("subject_id", "min")])
        )
        table = table.join(known, keys=key, right_keys="hadm_id", join_type="inner")
        table = table.select(["subject_id_min", "split"]).rename_columns(["subject_id", "split"])
    return table.group_by(["subject_id", "split"]).aggregate([])


def _header_of_ids(path: Path) -> list[str]:
    """The name of the only column of a list without a header line, by the file's name."""
    words = path.name.lower()
    columns = [name for name in ("subject_id", "hadm_id") if name.partition("_")[0] in words]
    if len(columns) != 1:
        raise SourceError(
            f"{path.name} has no header line: name its column subject_id or hadm_id in its first "
            "line, or in the file's name, as in train_full_hadm_ids.csv"
        )
    return columns


def _visible(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith((".", "~$"))]
    except OSError as error:
        raise SourceError(
            f"the folder {folder.name} cannot be read ({error.strerror}); check its permissions"
        ) from None


def _suffix(path: Path) -> str | None:
    return next(
        (suffix for suffix in reversed(_SUFFIXES) if path.name.lower().endswith(suffix)), None
    )


def _split_in_name(path: Path) -> str:
    splits = {_NAMES[word] for word in re.split(r"[^a-z]+", path.name.lower()) if word in _NAMES}
    if len(splits) != 1:
        raise SourceError(
            f"{path.name} names no split, or several; put one of {WORDS} into its name"
        )
    return splits.pop()
