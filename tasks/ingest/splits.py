"""Split the patients into train, validation and test, by a keyed hash or as a file says."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import SourceError
from tasks.ingest.config import SplitConfig
from tasks.ingest.reader import Reader, Rule
from tasks.ingest.rejects import Rejects
from tasks.patients import SPLITS as SPLIT_NAMES
from tasks.patients import split_of
from tasks.schemas import SPLITS

_NAMES = {name: name for name in SPLIT_NAMES} | {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
}
_FILE = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)


def split_patients(subject_ids: pa.Array, config: SplitConfig, rejects: Rejects) -> pa.Table:
    """Return the patients' splits, of schema SPLITS, ordered by subject_id.

    With a file, patients that it does not name are left out. Raises SourceError where it names
    none of them, or puts a patient into two splits.
    """
    subjects = pc.unique(subject_ids).sort()
    if config.method == "file" and config.file is not None:
        return _from_file(subjects, config.file, rejects)
    found = split_of(
        subjects.to_pylist(), key=config.key, validation=config.validation, test=config.test
    )
    return pa.table({"subject_id": subjects, "split": pa.array(found, pa.string())}, schema=SPLITS)


def _from_file(subjects: pa.Array, path: Path, rejects: Rejects) -> pa.Table:
    rules = [Rule("split", f"is none of {', '.join(_NAMES)}", _is_no_split)]
    table = Reader(path, _FILE, rejects, rules=rules).table()
    named = pa.table(
        {
            "subject_id": table["subject_id"],
            "split": pa.array(map(_split, table["split"].to_pylist())),
        }
    )
    named = named.group_by(["subject_id", "split"]).aggregate([])
    if twice := named.num_rows - pc.count_distinct(named["subject_id"]).as_py():
        raise SourceError(
            f"{path.name} puts {twice} patients into more than one split; give each patient one"
        )
    known = named.filter(pc.is_in(named["subject_id"], subjects)).sort_by("subject_id")
    if not known.num_rows:
        raise SourceError(
            f"{path.name} names {named.num_rows} patients, none of which is in the source; "
            "check that its subject_id are those of the source"
        )
    return known.select(SPLITS.names).cast(SPLITS)


def _split(word: str) -> str:
    return _NAMES[word.strip().lower()]


def _is_no_split(table: pa.Table) -> pa.Array:
    words = pc.utf8_lower(pc.utf8_trim_whitespace(table["split"]))
    return pc.invert(pc.is_in(words, pa.array(list(_NAMES))))
