"""A table of the user's own becomes notes, splits, a cohort and outcomes, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tasks import tables
from tasks.errors import ConfigError, SourceError
from tasks.ingest.config import IngestConfig
from tasks.ingest.requirements import check_source
from tasks.ingest.source import open_source
from tasks.ingest.write import (
    Files,
    write_cohort,
    write_notes,
    write_outcome,
    write_quality,
    write_splits,
)
from tasks.schemas import ADMISSIONS, LABELS, NOTES, OUTCOMES, SPLITS

SECRET = "Quonvestible"  # in a text, an id and a patient: no error may say it
ROWS = 12
Columns = dict[str, list[Any]]


def usual() -> Columns:
    """Two rows a patient; the ids are words, the patients numbers but for one."""
    patients = [str(100 + row // 2) for row in range(ROWS)]
    patients[10:] = [SECRET, SECRET]
    return {
        "id": [f"{SECRET}/{row}" for row in range(ROWS)],
        "patient": patients,
        "text": [f"Note {row} of {SECRET},\nfever" for row in range(ROWS)],
        "time": [f"{2018 + row // 4}-01-0{1 + row % 4} 10:00:00" for row in range(ROWS)],
        "split": ["train"] * 6 + ["val", "val", "test", "test", "train", "train"],
        "codes": ["A;B", "B", ";", None] * 3,
        "flu": [1, 0, 1, None] * 3,
        "cough": [0, 0, 1, 1] * 3,
        "ward": ["red", "blue", "blue", "red"] * 3,
    }


def written(folder: Path, columns: Columns, form: str = "csv") -> Path:
    path = folder / f"notes.{form}"
    table = pa.table(columns)
    if form == "parquet":
        pq.write_table(table, path)
    elif form == "csv.gz":
        with pa.CompressedOutputStream(str(path), "gzip") as file:
            pacsv.write_csv(table, file)
    else:
        pacsv.write_csv(table, path)
    return path


def config_of(path: Path, outcomes: list[dict[str, Any]], **more: Any) -> IngestConfig:
    named = {"time": "Time", "split": "split"} | more.pop("named", {})
    split = {"method": "column"} if named["split"] else {}
    given = {
        "source": {"kind": "table", "path": path, **named},
        "split": split,
        "view": "full",
        "outcomes": outcomes,
    }
    return IngestConfig.model_validate(given | more)


FLAGS = {"kind": "labels", "min_count": 1, "name": "signs", "flags": ["flu", "cough"]}
CODES = {"kind": "labels", "min_count": 1, "name": "codes", "column": "codes"}
WARD = {"kind": "labels", "min_count": 1, "name": "ward", "column": "ward", "one_of": True}


def ingested(config: IngestConfig, out: Path) -> dict[str, pa.Table]:
    """The tables that the stage's steps make."""
    source = check_source(config)
    reading = source.reading(config.max_reject_share)

    def files(*names: str) -> Files:
        return Files(reading, source.paths(*names))

    used = files("admissions", "patients")
    of_split = {"column": "row_splits", "temporal": "anchor_years"}.get(config.split.method)
    write_notes(out / "notes", files("discharge").open("discharge"))
    write_splits(out / "splits", files("patients", *([of_split] if of_split else [])), config.split)
    write_cohort(out / "cohort", out / "notes", out / "splits", used, config.view, ())
    write_quality(out / "quality", {"discharge": out / "notes"}, used)
    made = {
        "notes": tables.read(out / "notes" / "notes", NOTES),
        "splits": tables.read(out / "splits" / "splits", SPLITS),
        "cohort": tables.read(out / "cohort" / "admissions", ADMISSIONS),
    }
    for outcome in config.outcomes:
        folder = out / outcome.name
        write_outcome(folder, outcome, out / "cohort", files(*outcome.tables))
        made[outcome.name] = tables.read(folder / "outcomes", OUTCOMES)
        made[f"{outcome.name} labels"] = tables.read(folder / "labels", LABELS)
    return made


def labels_of(made: dict[str, pa.Table], name: str) -> list[list[str] | None]:
    """The labels of each row, None where it is not observed."""
    titles = made[f"{name} labels"]["code"].to_pylist()
    return [
        [titles[index] for index in row["labels"]] if row["observed"] else None
        for row in made[name].to_pylist()
    ]


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
def test_a_table_becomes_what_the_later_steps_read(tmp_path: Path, form: str) -> None:
    columns = usual()
    if form == "parquet":  # types of their own: lists, times, flags
        columns["codes"] = [
            None if text is None else text.strip(";").split(";") for text in columns["codes"]
        ]
        columns["codes"] = [[] if codes == [""] else codes for codes in columns["codes"]]
        columns["flu"] = [None if flag is None else bool(flag) for flag in columns["flu"]]
        columns["time"] = pa.array(columns["time"]).cast(pa.timestamp("ns"))
    made = ingested(config_of(written(tmp_path, columns, form), [FLAGS, CODES, WARD]), tmp_path)
    notes, cohort = made["notes"], made["cohort"]
    assert notes["note_id"].to_pylist() == columns["id"]
    assert notes["hadm_id"].to_pylist() == cohort["hadm_id"].to_pylist()
    assert len(set(cohort["hadm_id"].to_pylist())) == ROWS
    assert cohort["note"].to_pylist() == columns["text"]
    assert cohort["subject_id"].to_pylist()[:10] == [100 + row // 2 for row in range(10)]
    assert len(set(cohort["subject_id"].to_pylist()[10:])) == 1
    assert str(cohort["admittime"][5]) == "2019-01-02 10:00:00"
    assert cohort["split"].to_pylist() == ["train"] * 6 + ["validation"] * 2 + ["test"] * 2 + [
        "train",
        "train",
    ]
    assert labels_of(made, "signs") == [["flu"], [], ["cough", "flu"], None] * 3
    assert labels_of(made, "codes") == [["A", "B"], ["B"], [], None] * 3
    assert labels_of(made, "ward") == [["red"], ["blue"], ["blue"], ["red"]] * 3
    assert set(made["ward labels"]["one_of"].to_pylist()) == {True}


def test_without_patients_times_and_splits_each_row_stands_alone(
    tmp_path: Path,
) -> None:
    columns = usual()
    columns["id"] = list(range(ROWS))
    path = written(tmp_path, {name: columns[name] for name in ("id", "text", "ward")}, "parquet")
    config = config_of(path, [WARD], named={"patient": None, "time": None, "split": None})
    cohort = ingested(config, tmp_path)["cohort"]
    assert cohort["hadm_id"].to_pylist() == cohort["subject_id"].to_pylist() == list(range(ROWS))
    assert cohort["admittime"].null_count == ROWS


def test_the_latest_years_are_the_test(tmp_path: Path) -> None:
    path = written(tmp_path, usual())
    config = config_of(
        path,
        [WARD],
        named={"split": None},
        split={"method": "temporal", "validation": 0.3, "test": 0.3},
    )
    cohort = ingested(config, tmp_path)["cohort"]
    years = [when.year for when in cohort["admittime"].to_pylist()]
    of_year = dict(zip(years, cohort["split"].to_pylist(), strict=True))
    assert of_year == {2018: "train", 2019: "validation", 2020: "test"}


def changed(name: str, row: int, value: Any) -> Columns:
    columns = usual()
    columns[name][row] = value
    return columns


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (changed("id", 5, f"{SECRET}/2"), r"line [0-9]+: id occurs twice"),
        (changed("text", 3, None), r"line [0-9]+: text is empty"),
        (changed("patient", 3, None), r"line [0-9]+: patient is empty"),
        (changed("time", 4, f"spring of {SECRET}"), r"line [0-9]+: Time is not a time"),
        (changed("split", 6, SECRET), r"line [0-9]+: split is none of train, validation, test"),
        (changed("split", 6, "test"), r"column of splits puts 1 patients into more than one split"),
        (
            changed("split", 6, "train") | {"split": ["train"] * 8 + ["test"] * 4},
            r"column of splits puts no patient of the source into validation",
        ),
        (changed("flu", 4, 7), r"the column flu has 1 values that are neither 0 nor 1"),
        (changed("ward", 4, None), ""),
        ({k: v for k, v in usual().items() if k != "text"}, r"lacks the column text of notes"),
        ({k: v for k, v in usual().items() if k != "time"}, r"lacks the column Time of notes"),
        ({k: v for k, v in usual().items() if k != "flu"}, r"lacks the column flu of notes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence_without_its_content(
    tmp_path: Path, columns: Columns, told: str, form: str
) -> None:
    config = config_of(written(tmp_path, columns, form), [FLAGS, CODES, WARD])
    if not told:  # an unobserved row is no fault
        assert labels_of(ingested(config, tmp_path), "ward")[4] is None
        return
    with pytest.raises(SourceError, match=told) as caught:
        ingested(config, tmp_path)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("form", "line"), [("csv", 10), ("parquet", 6)])
def test_a_row_is_named_by_its_line(tmp_path: Path, form: str, line: int) -> None:
    """A text of two lines takes two in CSV; in Parquet the first row is line 2."""
    path = written(tmp_path, changed("time", 4, "spring"), form)
    with pytest.raises(SourceError, match=f"line {line}: Time is not a time"):
        ingested(config_of(path, [CODES]), tmp_path)


def test_classes_need_one_label_a_row(tmp_path: Path) -> None:
    one_of = {**FLAGS, "one_of": True}
    config = config_of(written(tmp_path, usual()), [one_of])
    with pytest.raises(SourceError, match=r"6 admissions do not have exactly one label; give each"):
        ingested(config, tmp_path)


def test_a_table_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.parquet"
    path.write_text(SECRET)
    with pytest.raises(SourceError, match=r"notes\.parquet cannot be read as Parquet") as caught:
        check_source(config_of(path, [CODES]))
    assert SECRET not in str(caught.value)
    with pytest.raises(
        SourceError, match=r"the table .* is not there; correct ingest\.source\.path"
    ):
        check_source(config_of(tmp_path / "none.csv", [CODES]))


def test_an_outcome_that_needs_admissions_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, usual())
    config = config_of(path, [{"kind": "mortality"}], allow_leak=True)
    with pytest.raises(SourceError, match=r"deaths, which this source of kind table does not have"):
        check_source(config)


def test_notes_without_headings_need_another_view(tmp_path: Path) -> None:
    config = config_of(written(tmp_path, usual()), [CODES], view="admission")
    with pytest.raises(SourceError, match=r"have no such headings, so take the view 'full'"):
        ingested(config, tmp_path)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"outcomes": [{**CODES, "predict_at": "admission"}]}, "set the outcome's predict_at"),
        ({"view": "early"}, "says nothing of admissions"),
        ({"split": {"method": "hash"}}, "give both, or neither"),
        ({"outcomes": [{**CODES, "flags": ["flu"]}]}, "give one"),
        ({"outcomes": [{"kind": "labels"}]}, "give one"),
        ({"named": {"patient": "ID"}}, "a column is named twice"),
        ({"source": {"kind": "tables", "path": "x"}}, "or has the kind table or omop"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        config_of(tmp_path / "notes.csv", more.pop("outcomes", [CODES]), **more)


def test_a_column_of_remarks_makes_no_labels(tmp_path: Path) -> None:
    """Its values, each of one patient, would be names in the report."""
    remarks = {"kind": "labels", "name": "codes", "column": "text"}
    config = config_of(written(tmp_path, usual()), [remarks])
    with pytest.raises(ConfigError, match="no label is held by 10 training admissions") as refused:
        ingested(config, tmp_path)
    assert SECRET not in str(refused.value)


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """What Arrow holds at most while notes of 60 MB go through, in either format."""
    rows, text = 2500, "fever " * 4000
    table = {"id": range(rows), "patient": range(rows), "text": [text] * rows}
    for form in ("csv", "parquet"):
        config = config_of(
            written(tmp_path, {name: list(column) for name, column in table.items()}, form),
            [CODES],
            named={"time": None, "split": None},
        )
        source = open_source(config.source, None)
        files = Files(source.reading(0.01), source.paths("discharge"))
        before = pa.total_allocated_bytes()
        peak = 0
        for _ in files.open("discharge").batches():
            peak = max(peak, pa.total_allocated_bytes() - before)
        assert peak < 48 << 20, form
