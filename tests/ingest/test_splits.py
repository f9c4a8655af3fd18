"""The splits that look at more than subject_id: by labels, by years, by published lists."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.errors import SourceError
from tasks.ingest.config import SplitConfig
from tasks.ingest.rejects import Rejects
from tasks.ingest.splits import split_patients

Splits = dict[int, str]


def split(subjects: list[int], config: SplitConfig, **given_tables: pa.Table) -> Splits:
    table = split_patients(pa.array(subjects), config, Rejects("list", 0.4), **given_tables)
    return dict(zip(table["subject_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def labels_of(patients: dict[int, list[str]]) -> pa.Table:
    rows = [(subject, label) for subject, labels in patients.items() for label in labels]
    return pa.table({"subject_id": [row[0] for row in rows], "label": [row[1] for row in rows]})


def made_up(patients: int, labels: int, seed: int = 0) -> dict[int, list[str]]:
    """Six labels a patient, of which a few are frequent and most are not."""
    draw = np.random.default_rng(seed)
    likely = 1 / np.arange(1, labels + 1)
    drawn = draw.choice(labels, (patients, 6), p=likely / likely.sum())
    return {1000 + row: [f"I{label}" for label in some] for row, some in enumerate(drawn.tolist())}


def test_each_label_keeps_its_shares_and_better_than_by_hash() -> None:
    patients = made_up(4000, 200)
    labels, subjects = labels_of(patients), list(patients)
    off: dict[str, list[float]] = {}
    for method in ("stratified", "hash"):
        found = split(subjects, SplitConfig(method=method), labels=labels)
        with_it: dict[str, Counter[str]] = {}
        for subject, some in patients.items():
            for label in set(some):
                with_it.setdefault(label, Counter())[found[subject]] += 1
        off[method] = [
            abs(counts["test"] / counts.total() - 0.2)
            for counts in with_it.values()
            if counts.total() >= 20
        ]
        shares = Counter(found.values())
        assert abs(shares["test"] / 4000 - 0.2) < 0.02
        assert abs(shares["validation"] / 4000 - 0.1) < 0.02
    assert len(off["hash"]) > 100
    assert np.mean(off["stratified"]) < 0.25 * np.mean(off["hash"])
    assert max(off["stratified"]) < 0.06


def test_stratification_does_not_hang_on_the_order_of_rows_but_on_the_key() -> None:
    patients = made_up(300, 30)
    config, labels, subjects = SplitConfig(method="stratified"), labels_of(patients), list(patients)
    mixed = np.random.default_rng(1).permutation(len(labels))
    first = split(subjects, config, labels=labels)
    assert split(subjects[::-1] * 2, config, labels=labels.take(pa.array(mixed))) == first
    assert split(subjects, config.model_copy(update={"key": "other"}), labels=labels) != first


def test_patients_with_a_label_too_rare_to_share_out_train() -> None:
    patients = made_up(200, 10)
    for subject in list(patients)[:4]:
        patients[subject].append("rare")
    for subject in list(patients)[10:15]:
        patients[subject].append("seldom")
    found = split(list(patients), SplitConfig(method="stratified"), labels=labels_of(patients))
    assert {found[subject] for subject in list(patients)[:4]} == {"train"}
    assert {found[subject] for subject in list(patients)[10:15]} != {"train"}


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(1, 60), st.lists(st.sampled_from("abcdefg"), max_size=4)),
    st.sampled_from([(0.1, 0.2), (0.0, 0.3), (0.3, 0.0), (0.0, 0.0)]),
)
def test_stratification_places_everyone_once(
    patients: dict[int, list[str]], shares: tuple[float, float]
) -> None:
    config = SplitConfig(method="stratified", validation=shares[0], test=shares[1], min_patients=2)
    others = {999: ["a", "z"]}  # not among the patients to split
    table = labels_of(patients | others).cast(
        pa.schema([("subject_id", pa.int64()), ("label", pa.string())])
    )
    found = split(list(patients), config, labels=table)
    assert set(found) == set(patients)
    for name, share in zip(("validation", "test"), shares, strict=True):
        assert share > 0 or name not in found.values()


YEARS = {"2008 - 2010": 50, "2011 - 2013": 20, "2014 - 2016": 12, "2017 - 2019": 18}


def groups() -> pa.Table:
    named = [name for name, count in YEARS.items() for _ in range(count)]
    return pa.table({"subject_id": range(100), "anchor_year_group": pa.array(named)})


def test_the_latest_years_are_the_test_and_those_before_them_validation() -> None:
    of_patient = dict(zip(*groups().to_pydict().values(), strict=True))
    found = split(list(range(110)), SplitConfig(method="temporal"), groups=groups())
    assert len(found) == 100  # those of no group are left out
    of_split = {of_patient[subject]: name for subject, name in found.items()}
    assert list(of_split.values()) == ["train", "train", "validation", "test"]
    for shares, expected in (
        ((0.1, 0.35), ["train", "validation", "test", "test"]),
        ((0.0, 0.2), ["train", "train", "train", "test"]),
        ((0.1, 0.88), ["train", "validation", "test", "test"]),
    ):
        config = SplitConfig(method="temporal", validation=shares[0], test=shares[1])
        found = split(list(range(100)), config, groups=groups())
        of_split = {of_patient[subject]: name for subject, name in found.items()}
        assert list(of_split.values()) == expected


def test_named_groups_are_obeyed_or_refused() -> None:
    config = SplitConfig(
        method="temporal", test_groups=("2011 - 2013",), validation_groups=("2008 - 2010",)
    )
    found = split(list(range(100)), config, groups=groups())
    assert Counter(found.values()) == {"validation": 50, "test": 20, "train": 30}
    config = SplitConfig(method="temporal", test_groups=("2019",))
    with pytest.raises(SourceError, match="'2019'; there are: 2008 - 2010, 2011"):
        split(list(range(100)), config, groups=groups())
    config = SplitConfig(method="temporal", test_groups=tuple(YEARS))
    with pytest.raises(SourceError, match="no patient to train on"):
        split(list(range(100)), config, groups=groups())
    with pytest.raises(SourceError, match="are of 1 anchor_year_group, 3 are needed"):
        split([1, 2], SplitConfig(method="temporal"), groups=groups())
    with pytest.raises(SourceError, match="no labels of the patients; choose another"):
        split([1], SplitConfig(method="stratified"))


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
    assert [(line, column) for line, column, _ in rejects.found] == [(6, "split")]
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


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "stratified", "file": "splits.csv"},
        {"method": "hash", "test_groups": ["2008 - 2010"]},
        {"method": "temporal", "validation_groups": ["2008 - 2010"]},
        {"method": "temporal", "test_groups": ["a", "b"], "validation_groups": ["b"]},
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SplitConfig.model_validate(wrong)
