"""The source in MIMIC-III's layout: its tables, its notes, and the patients it shares."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.errors import ConfigError
from tasks.synth.catalog import load
from tasks.synth.difficulty import Difficulty
from tasks.synth.population import World, chunks
from tasks.synth.release import MIMIC_III, MIMIC_IV, Patientele
from tasks.synth.synthesize import SynthSummary, synthesize
from tasks.synth.to_mimic_iii import TABLES
from tests.synth.conftest import lines_of

Rows = list[dict[str, str]]
_SHARED, _PATIENTS, _SEED = 60, 400, 3


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> SynthSummary:
    return _made(tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def notes(three: SynthSummary) -> Rows:
    return lines_of(three.source / "NOTEEVENTS.csv.gz")


@pytest.fixture(scope="module")
def admissions(three: SynthSummary) -> Rows:
    return lines_of(three.source / "ADMISSIONS.csv.gz")


def test_the_same_seed_writes_the_same_bytes(three: SynthSummary, tmp_path: Path) -> None:
    again = _made(tmp_path)
    for path in three.source.iterdir():
        assert path.read_bytes() == (again.source / path.name).read_bytes(), path.name


def test_tables_have_the_columns_of_mimic_iii(three: SynthSummary) -> None:
    for table, columns in TABLES.items():
        if table.endswith(".csv"):
            with (three.source / table).open(newline="") as file:
                rows = list(csv.DictReader(file))
        else:
            rows = lines_of(three.source / f"{table}.csv.gz")
            assert [row["ROW_ID"] for row in rows] == [str(n + 1) for n in range(len(rows))]
        assert list(rows[0]) == columns.split()
        assert all(None not in row and None not in row.values() for row in rows)


def test_ids_lie_in_the_ranges_of_mimic_iii_and_are_unique(three: SynthSummary) -> None:
    for table, column, low, high in (
        ("PATIENTS", "SUBJECT_ID", 1, 99_999),
        ("ADMISSIONS", "HADM_ID", 100_000, 199_999),
        ("ICUSTAYS", "ICUSTAY_ID", 200_000, 299_999),
    ):
        ids = [int(row[column]) for row in lines_of(three.source / f"{table}.csv.gz")]
        assert len(set(ids)) == len(ids)
        assert low <= min(ids)
        assert max(ids) <= high


def test_a_reader_must_select_among_the_notes(notes: Rows) -> None:
    kinds = Counter((row["CATEGORY"], row["DESCRIPTION"], row["ISERROR"]) for row in notes)
    assert kinds["Discharge summary", "Report", ""] > 400
    assert kinds["Discharge summary", "Addendum", ""] > 10
    assert kinds["Discharge summary", "Report", "1"] >= 1
    assert kinds["Nursing/other", "Report", ""] > 50
    assert sum(count for kind, count in kinds.items() if kind[0] == "Radiology") > 400
    reports = Counter(
        row["HADM_ID"]
        for row in notes
        if (row["CATEGORY"], row["DESCRIPTION"]) == ("Discharge summary", "Report")
        and not row["ISERROR"]
    )
    assert set(reports.values()) == {1}


def test_placeholders_stand_in_brackets_and_some_headings_in_capitals(notes: Rows) -> None:
    summaries = [row["TEXT"] for row in notes if row["CATEGORY"] == "Discharge summary"]
    assert not any("___" in row["TEXT"] for row in notes)
    dated = r"Admission Date:  \[\*\*\d{4}-\d{1,2}-\d{1,2}\*\*\] +Discharge Date:  \[\*\*\d{4}-"
    full = [text for text in summaries if "Discharge Date" in text]
    assert all(re.search(dated, text) for text in full)
    dictated = sum("\nCHIEF COMPLAINT:  " in text for text in full)
    assert 0.2 < dictated / len(full) < 0.5
    assert sum("\nChief Complaint:\n" in text for text in full) == len(full) - dictated


def test_birth_is_hidden_in_the_very_old_and_right_in_the_others(
    three: SynthSummary, admissions: Rows
) -> None:
    first: dict[str, str] = {}
    for row in admissions:
        first.setdefault(row["SUBJECT_ID"], row["ADMITTIME"])
    newborn = {row["SUBJECT_ID"] for row in admissions if row["ADMISSION_TYPE"] == "NEWBORN"}
    ages = []
    for row in lines_of(three.source / "PATIENTS.csv.gz"):
        start = datetime.fromisoformat(first[row["SUBJECT_ID"]])
        age = (start - datetime.fromisoformat(row["DOB"])).days / 365.2425
        assert (age < 0.01) == (row["SUBJECT_ID"] in newborn)
        assert age < 90.01 or 300 <= age < 300.2
        ages.append(age)
        assert (row["EXPIRE_FLAG"] == "1") == (row["DOD"] != "")
        assert row["DOD"] in (row["DOD_HOSP"], row["DOD_SSN"])
    assert max(ages) > 299
    assert len(newborn) == _PATIENTS // 12


def test_codes_are_icd_9_and_explained(three: SynthSummary) -> None:
    for kind in ("DIAGNOSES", "PROCEDURES"):
        rows = lines_of(three.source / f"{kind}_ICD.csv.gz")
        known = {row["ICD9_CODE"] for row in lines_of(three.source / f"D_ICD_{kind}.csv.gz")}
        assert {row["ICD9_CODE"] for row in rows} <= known
        assert {code[0] for code in known} <= set("0123456789VE")


def test_ventilation_durations_merge_pauses_of_less_than_eight_hours(three: SynthSummary) -> None:
    with (three.source / "ventilation_durations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    stays = {row["ICUSTAY_ID"]: row for row in lines_of(three.source / "ICUSTAYS.csv.gz")}
    for row in rows:
        stay = stays[row["icustay_id"]]
        assert stay["INTIME"] <= row["starttime"] < row["endtime"] <= stay["OUTTIME"]
        length = np.datetime64(row["endtime"]) - np.datetime64(row["starttime"])
        assert float(row["duration_hours"]) == pytest.approx(
            length / np.timedelta64(1, "h"), abs=1e-3
        )
    for a, b in itertools.pairwise(rows):
        if a["icustay_id"] == b["icustay_id"]:
            assert int(b["ventnum"]) == int(a["ventnum"]) + 1
            gap = np.datetime64(b["starttime"]) - np.datetime64(a["endtime"])
            assert gap >= np.timedelta64(8, "h")
        else:
            assert b["ventnum"] == "1"


def test_shared_patients_have_nearly_the_same_notes_and_other_ids(
    small: SynthSummary, notes: Rows
) -> None:
    theirs = {r["hadm_id"]: r["text"] for r in lines_of(small.source / "note/discharge.csv.gz")}
    ours = {
        row["HADM_ID"]: row["TEXT"]
        for row in notes
        if (row["CATEGORY"], row["DESCRIPTION"]) == ("Discharge summary", "Report")
        and not row["ISERROR"]
    }
    assert not set(ours) & set(theirs)
    four = _keys(Patientele(MIMIC_IV, _PATIENTS))
    three = _keys(Patientele(MIMIC_III, _PATIENTS, _SHARED))
    shared = [(three[key], four[key]) for key in three.keys() & four.keys()]
    assert len({key // 6 for key in three.keys() & four.keys()}) == _SHARED
    overlaps = [_overlap(ours[a], theirs[b]) for a, b in shared if a in ours and b in theirs]
    assert len(overlaps) > _SHARED
    assert min(overlaps) > 0.9
    unshared = [text for hadm, text in ours.items() if hadm not in {a for a, _ in shared}]
    others = [_overlap(a, b) for a, b in zip(unshared, list(theirs.values())[:100], strict=False)]
    assert max(others) < 0.4


def test_nothing_is_shared_unless_asked_for() -> None:
    four, three = _keys(Patientele(MIMIC_IV, 100)), _keys(Patientele(MIMIC_III, 100))
    assert not four.keys() & three.keys()


def test_two_layouts_do_not_share_a_folder(three: SynthSummary) -> None:
    with pytest.raises(ConfigError, match="a folder of its own"):
        synthesize(three.folder, patients=20, seed=1)


def test_more_patients_than_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most 15000"):
        synthesize(tmp_path, patients=15_001, layout="mimic-iii")


def test_the_command_writes_the_layout(tmp_path: Path) -> None:
    ask = ["synth", str(tmp_path), "--patients", "20", "--shared", "5"]
    assert CliRunner().invoke(app, ask).exit_code == 2  # MIMIC-IV shares nothing
    assert CliRunner().invoke(app, [*ask, "--layout", "mimic-iii"]).exit_code == 0
    assert (tmp_path / "mimic-iii" / "NOTEEVENTS.csv.gz").is_file()
    assert (tmp_path / "truth.parquet").is_file()


def _made(folder: Path) -> SynthSummary:
    return synthesize(folder, patients=_PATIENTS, seed=_SEED, layout="mimic-iii", shared=_SHARED)


def _keys(source: Patientele) -> dict[int, str]:
    """The hadm_id of each admission by the counter of what is drawn of it."""
    overlaps: dict[int, str] = {}
    for chunk in chunks(World.of(load(), Difficulty()), _SEED, source):
        ids = map(str, chunk.stays.hadm_id.tolist())
        overlaps |= dict(zip(chunk.admissions.key.tolist(), ids, strict=True))
    return overlaps


def _overlap(one: str, other: str) -> float:
    """Jaccard index of the two notes' runs of five words, placeholders alike."""
    first, second = (_runs(text) for text in (one, other))
    return len(first & second) / len(first | second)


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", re.sub(r"\[\*\*.*?\*\*\]|___", "_", text).lower())
    return {tuple(words[index : index + 5]) for index in range(len(words) - 4)}
