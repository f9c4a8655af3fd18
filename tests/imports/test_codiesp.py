"""`clinfuse import codiesp`: a small invented release becomes a source that ingest reads."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from prefect import flow
from typer.testing import CliRunner

from flows.cli import app
from tasks import tables
from tasks.errors import ClinfuseError, ConfigError, SourceError
from tasks.imports import codiesp
from tasks.imports.codiesp import import_codiesp
from tasks.ingest.config import IngestConfig, SplitConfig
from tasks.ingest.outcomes.config import DiagnosesConfig, ProceduresConfig
from tasks.ingest.steps import Ingested, ingest
from tasks.schemas import ADMISSIONS, LABELS
from tasks.store import Store
from tests.imports.releases import (
    by_code,
    codes_of,
    column,
    content,
    invented,
    rows_of,
    tables_in,
)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """As it unpacks, one folder below the one that a user names, with what macOS leaves."""
    root = invented().write(tmp_path / "download" / "final_dataset_v4_to_publish")
    (root / "dev" / "text_files_en" / "._S0000-0200-1.txt").write_bytes(b"\x00\x05\xff")
    (tmp_path / "download" / "__MACOSX").mkdir()
    return tmp_path / "download"


def test_it_lays_out_what_the_release_holds(release: Path, tmp_path: Path) -> None:
    made = import_codiesp(release, tmp_path / "out")
    assert made.cases == {"train": 6, "validation": 3, "test": 3}
    assert (made.diagnoses, made.procedures, made.background) == (36, 8, 3)
    labelled = tmp_path / "out" / "codiesp"
    names = sorted(
        name for part in invented().texts if part != "background" for name in invented().texts[part]
    )
    assert column(labelled / "splits.csv", "document") == names
    assert Counter(column(labelled / "splits.csv", "split"))["validation"] == 3
    first = rows_of(labelled / "note/discharge.csv.gz")[0]
    assert first["note_id"] == "10000000-DS-1"
    assert first["hadm_id"] == "20000000"
    text = invented().texts["train"][names[0]]
    assert first["text"] == f"History of Present Illness:\n{text}"
    assert codes_of(labelled, "diagnoses_icd")["10000000"] == ["R509", "S2249XZ", "E119"]
    assert codes_of(labelled, "procedures_icd") == {
        str(10000000 + number): ["0DTJ", "BW40ZZZ"] for number in (0, 3, 6, 9)
    }
    assert column(labelled / "icu/icustays.csv.gz", "stay_id") == []


def test_codes_have_the_titles_that_are_known(release: Path, tmp_path: Path) -> None:
    import_codiesp(release, tmp_path / "out")
    hosp = tmp_path / "out" / "codiesp" / "hosp"
    diagnoses = by_code(hosp / "d_icd_diagnoses.csv.gz")
    assert diagnoses["R509"] == "Fever, unspecified"
    assert diagnoses["S2249XZ"].startswith("Fracture of rib")  # no code: its category's title
    procedures = by_code(hosp / "d_icd_procedures.csv.gz")
    assert procedures == {
        "0DTJ": "Resection of Appendix",
        "BW40ZZZ": "Ultrasonography of Abdomen",
    }


def test_ingest_reads_both_folders(release: Path, tmp_path: Path, prefect_store: Store) -> None:
    """The labelled cases as the source, the others to pretrain on, one of them a copied test case.

    The guard finds that one: the import left it in.
    """
    copied = next((release / "final_dataset_v4_to_publish/test/text_files_en").iterdir())
    background = release / "final_dataset_v4_to_publish/background/text_files_en"
    (background / "S2222-1-1.txt").write_text(copied.read_text())
    assert import_codiesp(release, tmp_path / "out").background == 4
    source = tmp_path / "out" / "codiesp"
    config = IngestConfig(
        source=source,
        pretraining_sources=(tmp_path / "out" / "codiesp-background",),
        include_radiology=False,
        split=SplitConfig(method="file", file=source / "splits.csv"),
        outcomes=(
            DiagnosesConfig(min_count=2, icd_versions="10"),
            ProceduresConfig(min_count=2, icd_versions="10"),
        ),
        max_reject_share=0,
    )
    made: list[Ingested] = []

    @flow(persist_result=False, result_serializer="json")
    def ingesting() -> None:
        made.append(ingest(config))

    ingesting()
    cohort = prefect_store.path("cohort", made[0].cohort.key)
    admissions = tables.read(cohort / "admissions", ADMISSIONS, ["split", "note"]).to_pylist()
    assert Counter(row["split"] for row in admissions) == {"train": 6, "validation": 3, "test": 3}
    assert all("A patient has fever, case" in row["note"] for row in admissions)
    labels = [
        tables.read(prefect_store.path("outcome", outcome.key) / "labels", LABELS)
        for outcome in made[0].outcomes.values()
    ]
    assert [table["code"].to_pylist() for table in labels] == [
        ["E11", "R50", "S22"],
        ["0DTJ", "BW40"],
    ]
    assert all(table["title"].null_count == 0 for table in labels)
    assert made[0].guard is not None
    assert made[0].guard.counts["dropped"] == 1


def test_the_same_release_gives_the_same_bytes(release: Path, tmp_path: Path) -> None:
    for name in "ab":
        import_codiesp(release, tmp_path / name)
    first, second = tables_in(tmp_path / "a"), tables_in(tmp_path / "b")
    assert first.keys() == second.keys()
    assert all(first[name].read_bytes() == second[name].read_bytes() for name in first)


def test_a_case_is_the_same_patient_whatever_else_is_imported(
    release: Path, tmp_path: Path
) -> None:
    import_codiesp(release, tmp_path / "all")
    smaller = invented()
    del smaller.texts["background"]["S1111-0-1"]
    import_codiesp(smaller.write(tmp_path / "smaller"), tmp_path / "few")
    every, few = (
        rows_of(tmp_path / name / "codiesp-background/hosp/patients.csv.gz")
        for name in ("all", "few")
    )
    kept = [{name: value for name, value in row.items() if name != "subject_id"} for row in every]
    assert kept[1:] == [{n: v for n, v in row.items() if n != "subject_id"} for row in few]
    assert few[0]["subject_id"] == "10000000"


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("train/trainD.tsv", "lacks train/trainD.tsv; unpack codiesp.zip"),
        ("test/testP.tsv", "lacks test/testP.tsv; unpack codiesp.zip"),
        ("background/text_files_en", "lacks background/text_files_en; unpack"),
        ("dev", "lacks dev/devD.tsv, dev/devP.tsv, dev/text_files_en; unpack"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused(
    release: Path, tmp_path: Path, missing: str, told: str
) -> None:
    root = release / "final_dataset_v4_to_publish"
    (root / missing).rename(tmp_path / "away")
    with pytest.raises(SourceError, match=r"https://zenodo\.org/records/3837305") as caught:
        import_codiesp(release, tmp_path / "out")
    assert f"{root} {told}" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(SourceError, match=r"lacks train/trainD.tsv, .* and 7 more; unpack"):
        import_codiesp(tmp_path / "other", tmp_path / "out")
    with pytest.raises(SourceError, match="there is no folder"):
        import_codiesp(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "codiesp.zip").touch()
    with pytest.raises(SourceError, match="is a file; unpack"):
        import_codiesp(tmp_path / "codiesp.zip", tmp_path / "out")


@pytest.mark.parametrize(
    ("part", "line", "told"),
    [
        ("train/trainD.tsv", "S0000-0000-1 no tab", "trainD.tsv has no case and code in line 19"),
        ("dev/devP.tsv", "S9-1\t0dtj", "devP.tsv codes cases that have no text \\(1\\)"),
        ("test/text_files_en/S0000-0000-1.txt", "secret", "has cases of another split \\(1\\)"),
        ("test/text_files_en/S9-1.txt", b"secret \xff", "S9-1.txt is not UTF-8"),
    ],
)
def test_a_damaged_release_is_refused_without_a_word_of_a_case(
    release: Path, tmp_path: Path, part: str, line: str | bytes, told: str
) -> None:
    path = release / "final_dataset_v4_to_publish" / part
    with path.open("ab") as file:
        file.write(line.encode() if isinstance(line, str) else line)
    with pytest.raises(SourceError, match=told) as caught:
        import_codiesp(release, tmp_path / "out")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    import_codiesp(release, out)
    with pytest.raises(ConfigError, match=r"out/codiesp-background is there already; remove it"):
        import_codiesp(release, out)
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "mine.txt").touch()
    with pytest.raises(ConfigError, match=r"busy is not empty \(mine.txt\)"):
        import_codiesp(release, tmp_path / "busy")
    with pytest.raises(ConfigError, match=r"mine.txt is a file"):
        import_codiesp(release, tmp_path / "busy" / "mine.txt")


def test_a_killed_import_leaves_nothing_half(release: Path, tmp_path: Path) -> None:
    """Killed while it writes: neither folder is there, and the next import is whole."""
    out = tmp_path / "out"
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tasks.imports import codiesp, mimic_iv\n"
        "mimic_iv._title_rows = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "codiesp.import_codiesp(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(release), str(out)])
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in out.iterdir()] == [".codiesp-background.partial"]
    import_codiesp(release, out)
    import_codiesp(release, tmp_path / "other")
    assert sorted(path.name for path in out.iterdir()) == ["codiesp", "codiesp-background"]
    whole, other = tables_in(out), tables_in(tmp_path / "other")
    assert {name: content(path) for name, path in whole.items()} == {
        name: content(path) for name, path in other.items()
    }


def test_a_failed_import_leaves_nothing(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(codiesp, "write_labelled", fails)
    with pytest.raises(OSError, match="full"):
        import_codiesp(release, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_wrote(release: Path, tmp_path: Path) -> None:
    arguments = ["import", "codiesp", str(release), str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "6 train, 3 validation, 3 test; 36 diagnoses, 8 procedures" in result.output
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, ClinfuseError)  # main makes one line of it
