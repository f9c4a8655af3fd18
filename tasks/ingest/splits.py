"""Split the patients into train, validation and test: by hash, labels, time, or from a file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.errors import SourceError
from tasks.ingest.config import SplitConfig
from tasks.ingest.rejects import Rejects
from tasks.ingest.split_files import read_splits
from tasks.ingest.stratify import stratify
from tasks.patients import SPLITS as SPLIT_NAMES
from tasks.patients import split_of
from tasks.sampling import keyed_uniforms
from tasks.schemas import SPLITS


def split_patients(
    subject_ids: pa.Array,
    config: SplitConfig,
    rejects: Rejects,
    *,
    labels: pa.Table | None = None,
    groups: pa.Table | None = None,
    admissions: pa.Table | None = None,
    listed: pa.Table | None = None,
) -> pa.Table:
    """Return the patients' splits, of schema SPLITS, ordered by subject_id.

    Patients who are not in the file, or have no group of years, are left out.

    Args:
        subject_ids: the source's patients; each may occur several times.
        config: the method and its shares.
        rejects: takes the rows of the file that cannot be used.
        labels: subject_id and label, for method "stratified"; other patients' are ignored.
        groups: subject_id and anchor_year_group, for method "temporal".
        admissions: hadm_id and subject_id, for a file that lists admissions.
        listed: subject_id and split of each row, for method "column".

    Raises SourceError where a file, or the groups, and the source do not fit together.
    """
    subjects = pc.unique(subject_ids).sort()
    match config.method:
        case "hash":
            splits = split_of(
                subjects.to_pylist(), key=config.key, validation=config.validation, test=config.test
            )
        case "stratified":
            splits = _stratified(subjects, config, _given(labels, "labels of the patients"))
        case "temporal":
            years = _given(groups, "anchor_year_group of the patients")
            return _temporal(subjects, config, years)
        case "file":
            return _from_file(subjects, config, rejects, admissions)
        case "column":
            each = _given(listed, "column of splits").group_by(["subject_id", "split"])
            return _as_listed(subjects, each.aggregate([]), "the column of splits")
    return pa.table({"subject_id": subjects, "split": pa.array(splits, pa.string())}, schema=SPLITS)


def tables_for(method: str) -> tuple[str, ...]:
    """The source tables that a method of splitting reads."""
    more = {
        "stratified": "diagnoses",
        "temporal": "anchor_years",
        "file": "admissions",
        "column": "row_splits",
    }
    return ("patients", more[method]) if method in more else ("patients",)


def _stratified(subjects: pa.Array, config: SplitConfig, labels: pa.Table) -> list[str]:
    row = pc.index_in(labels["subject_id"], subjects)
    of_rows = pa.table({"patient": row, "label": labels["label"]}).drop_null()
    uniform = keyed_uniforms(subjects.to_pylist(), config.key)
    shares = (1 - config.validation - config.test, config.validation, config.test)
    chosen = stratify(uniform, of_rows, shares, config.min_patients)
    return [SPLIT_NAMES[split] for split in chosen.tolist()]


def _temporal(subjects: pa.Array, config: SplitConfig, groups: pa.Table) -> pa.Table:
    """The latest groups of years are the test, those before them validation."""
    known = groups.select(["subject_id", "anchor_year_group"]).drop_null()
    known = known.filter(pc.is_in(known["subject_id"], subjects))
    known = known.group_by("subject_id").aggregate([("anchor_year_group", "max")])
    known = known.sort_by("subject_id")
    group = pc.utf8_trim_whitespace(known["anchor_year_group_max"])
    if config.test_groups:
        test, validation = config.test_groups, config.validation_groups
        there = set(pc.unique(group).to_pylist())
        if missing := sorted({*test, *validation} - there):
            raise SourceError(
                f"no patient is of the anchor_year_group {missing[0]!r}; there are: "
                f"{', '.join(sorted(there))}"
            )
    else:
        test, validation = _latest_groups(group, config)
    splits = np.full(len(known), "train", object)
    splits[_is_one_of(group, validation)] = "validation"
    splits[_is_one_of(group, test)] = "test"
    if "train" not in splits:
        raise SourceError("the groups of years leave no patient to train on; name fewer of them")
    columns = {"subject_id": known["subject_id"], "split": pa.array(splits, pa.string())}
    return pa.table(columns, schema=SPLITS)


def _latest_groups(
    group: pa.ChunkedArray, config: SplitConfig
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The groups for test and validation: whole groups that come nearest to the shares."""
    counts = pc.value_counts(group).sort(order="descending", by="values")
    names = counts.field("values").to_pylist()
    shares = np.cumsum(counts.field("counts").to_numpy()) / max(len(group), 1)
    needed = 1 + (config.test > 0) + (config.validation > 0)
    if len(names) < needed:
        raise SourceError(
            f"the patients are of {len(names)} anchor_year_group, {needed} are needed to split "
            "them by time; choose another method"
        )
    test = _nearest(shares, config.test, 0, len(names) - 1 - (config.validation > 0))
    both = _nearest(shares, config.test + config.validation, test, len(names) - 1)
    both = max(both, test + (config.validation > 0))
    return tuple(names[:test]), tuple(names[test:both])


def _nearest(shares: NDArray[np.float64], share: float, least: int, most: int) -> int:
    """How many of the first groups come nearest to the share; at least one if it is not 0."""
    if share == 0:
        return 0
    least = max(least, 1)
    return least + int(np.argmin(np.abs(shares[least - 1 : most] - share)))


def _from_file(
    subjects: pa.Array, config: SplitConfig, rejects: Rejects, admissions: pa.Table | None
) -> pa.Table:
    if config.file is None:
        raise AssertionError("SplitConfig lets no method 'file' pass without a file")
    named = read_splits(config.file, rejects, admissions)
    return _as_listed(subjects, named, config.file.name)


def _as_listed(subjects: pa.Array, named: pa.Table, name: str) -> pa.Table:
    """The splits of the source's patients from a list of them, each pair once."""
    if twice := named.num_rows - pc.count_distinct(named["subject_id"]).as_py():
        raise SourceError(
            f"{name} puts {twice} patients into more than one split; give each patient one"
        )
    known = named.filter(pc.is_in(named["subject_id"], subjects)).sort_by("subject_id")
    if not known.num_rows:
        raise SourceError(
            f"{name} names {named.num_rows} patients, none of which is in the source; "
            "check that its subject_id are those of the source"
        )
    there = set(pc.unique(known["split"]).to_pylist())
    if without := [split for split in SPLIT_NAMES if split not in there]:
        raise SourceError(
            f"{name} puts no patient of the source into {' and '.join(without)}; models are "
            "trained, chosen and tested each on patients of their own: name some for each"
        )
    return known.select(SPLITS.names).cast(SPLITS)


def _is_one_of(group: pa.ChunkedArray, names: tuple[str, ...]) -> NDArray[np.bool_]:
    return pc.is_in(group, pa.array(names, pa.string())).to_numpy()


def _given(table: pa.Table | None, what: str) -> pa.Table:
    if table is None:
        raise SourceError(f"the source has no {what}; choose another ingest.split.method")
    return table
