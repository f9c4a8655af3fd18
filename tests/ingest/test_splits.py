"""The splits that look at more than subject_id: by labels, by years, by published lists."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
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
        splits = split(subjects, SplitConfig(method=method), labels=labels)
        with_it: dict[str, Counter[str]] = {}
        for subject, some in patients.items():
            for label in set(some):
                with_it.setdefault(label, Counter())[splits[subject]] += 1
        off[method] = [
            abs(counts["test"] / counts.total() - 0.2)
            for counts in with_it.values()
            if counts.total() >= 20
        ]
        shares = Counter(splits.values())
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
    splits = split(list(patients), SplitConfig(method="stratified"), labels=labels_of(patients))
    assert {splits[subject] for subject in list(patients)[:4]} == {"train"}
    assert {splits[subject] for subject in list(patients)[10:15]} != {"train"}


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
    splits = split(list(patients), config, labels=table)
    assert set(splits) == set(patients)
    for name, share in zip(("validation", "test"), shares, strict=True):
        assert share > 0 or name not in splits.values()


YEARS = {"2008 - 2010": 50, "2011 - 2013": 20, "2014 - 2016": 12, "2017 - 2019": 18}


def groups() -> pa.Table:
    named = [name for name, count in YEARS.items() for _ in range(count)]
    return pa.table({"subject_id": range(100), "anchor_year_group": pa.array(named)})


def test_the_latest_years_are_the_test_and_those_before_them_validation() -> None:
    of_patient = dict(zip(*groups().to_pydict().values(), strict=True))
    splits = split(list(range(110)), SplitConfig(method="temporal"), groups=groups())
    assert len(splits) == 100  # those of no group are left out
    of_split = {of_patient[subject]: name for subject, name in splits.items()}
    assert list(of_split.values()) == ["train", "train", "validation", "test"]
    for shares, expected in (
        ((0.1, 0.35), ["train", "validation", "test", "test"]),
        ((0.0, 0.2), ["train", "train", "train", "test"]),
        ((0.1, 0.88), ["train", "validation", "test", "test"]),
    ):
        config = SplitConfig(method="temporal", validation=shares[0], test=shares[1])
        splits = split(list(range(100)), config, groups=groups())
        of_split = {of_patient[subject]: name for subject, name in splits.items()}
        assert list(of_split.values()) == expected


def test_named_groups_are_obeyed_or_refused() -> None:
    config = SplitConfig(
        method="temporal", test_groups=("2011 - 2013",), validation_groups=("2008 - 2010",)
    )
    splits = split(list(range(100)), config, groups=groups())
    assert Counter(splits.values()) == {"validation": 50, "test": 20, "train": 30}
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
