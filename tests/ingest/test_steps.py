"""The stage as a flow calls it: what it makes, what it says of a bad source, and what it reuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect import flow
from pydantic import ValidationError

from tasks import tables
from tasks.errors import ConfigError, SourceError
from tasks.ingest.config import IngestConfig, SplitConfig
from tasks.ingest.outcomes.config import DiagnosesConfig, MortalityConfig, ProceduresConfig
from tasks.ingest.source import open_source
from tasks.ingest.steps import Ingested, cut_sections, ingest
from tasks.keys import Artifact
from tasks.schemas import NOTES, REJECTS
from tasks.store import Store
from tests.ingest.conftest import SmallSource

# (version, digest) of each step on `usual`; a step whose bytes change needs a new version. The
# digests hold for the pyarrow pinned in infra/constraints.txt, which writes its name into the files
DIGESTS = {
    "discharge": (2, "d3e960b319fe1ac1"),
    "radiology": (2, "3547e2dd02c0012d"),
    "splits": (1, "1ccda7a350c773b0"),
    "cohort": (4, "f9de7d6855b5247e"),
    "diagnoses": (5, "851a18eb8a3c06b7"),
    "mortality": (5, "b434f94dd4a8e459"),
    "guard": (1, "def1e4b0c551e6b8"),
    "quality": (3, "dba2718884e63e68"),
    "sections": (1, "d31d8b9808f3009c"),
}


@pytest.fixture
def usual(source: SmallSource) -> SmallSource:
    for subject_id in range(10, 30):
        source.patient(subject_id)
        source.admission(subject_id, subject_id * 10, hospital_expire_flag=int(subject_id == 11))
        codes = (("4019", 9), ("25000", 9)) if subject_id % 2 else (("I10", 10),)
        source.code("diagnoses_icd", subject_id, subject_id * 10, *codes)
        source.code("procedures_icd", subject_id, subject_id * 10, (codes[0][0], codes[0][1]))
        source.note(subject_id, "", "Clear lungs.", kind="RR", table="note/radiology")
    source.title("d_icd_diagnoses", "4019", 9, "Unspecified essential hypertension")
    source.note(10, 100, "Chief Complaint:\nagain\n")  # its note_id is taken
    return source


def config_of(source: SmallSource, **more: object) -> IngestConfig:
    given = {
        "source": source.write(),
        "max_reject_share": 0.1,
        "outcomes": (DiagnosesConfig(min_count=1), MortalityConfig()),
    }
    return IngestConfig.model_validate(given | more)


def run(config: IngestConfig) -> Ingested:
    @flow(persist_result=False, result_serializer="json")
    def ingesting() -> None:
        made.append(ingest(config))

    made: list[Ingested] = []
    ingesting()
    return made[0]


def artifacts(made: Ingested) -> list[Artifact]:
    return [*made.notes, made.splits, made.cohort, *made.outcomes.values()]


def test_a_second_run_makes_nothing_and_a_changed_outcome_only_itself(
    usual: SmallSource, prefect_store: Store
) -> None:
    first = run(config_of(usual))
    folders = {
        each.key: prefect_store.path(each.kind, each.key).stat() for each in artifacts(first)
    }
    again = run(config_of(usual))
    assert artifacts(again) == artifacts(first)
    for each in artifacts(again):
        made = prefect_store.path(each.kind, each.key).stat()
        assert made.st_ino == folders[each.key].st_ino
    other = run(config_of(usual, outcomes=(DiagnosesConfig(min_count=2), MortalityConfig())))
    assert other.cohort == first.cohort
    assert other.outcomes["mortality"] == first.outcomes["mortality"]
    assert other.outcomes["diagnoses"] != first.outcomes["diagnoses"]


def test_the_notes_and_their_rejects_lie_in_the_store(
    usual: SmallSource, prefect_store: Store
) -> None:
    made = run(config_of(usual, include_radiology=True))
    discharge, radiology = made.notes
    path = prefect_store.path(discharge.kind, discharge.key)
    assert tables.read(path / "notes", NOTES).num_rows == 20
    rejects = tables.read(path / "rejects", REJECTS).to_pylist()
    assert [(row["file"], row["column"], row["reason"]) for row in rejects] == [
        ("discharge.csv.gz", "note_id", "occurs twice")
    ]
    reports = prefect_store.path(radiology.kind, radiology.key)
    assert tables.read(reports / "notes", NOTES)["hadm_id"].null_count == 20


@pytest.mark.parametrize("without_table", [True, False])
def test_an_optional_outcome_of_which_the_source_says_nothing_is_left_out(
    usual: SmallSource, prefect_store: Store, caplog: pytest.LogCaptureFixture, without_table: bool
) -> None:
    optional = ProceduresConfig(min_count=1 if without_table else 1000, optional=True)
    config = config_of(usual, outcomes=(DiagnosesConfig(min_count=1), optional))
    if without_table:
        usual.path("hosp/procedures_icd").unlink()
    assert list(run(config).outcomes) == ["diagnoses"]
    assert "the optional outcome 'procedures' is left out" in caplog.text
    present = ProceduresConfig(min_count=1, optional=True)
    if not without_table:
        assert list(run(config_of(usual, outcomes=(present,))).outcomes) == ["procedures"]
    with pytest.raises(ConfigError, match="every outcome is optional, and none can be made"):
        run(config.model_copy(update={"outcomes": (optional,)}))


def test_everything_that_a_source_lacks_is_named_at_once(usual: SmallSource) -> None:
    config = config_of(usual)
    usual.path("hosp/patients").unlink()
    usual.path("note/radiology").unlink()
    admissions = usual.path("hosp/admissions").with_suffix("")
    usual.path("hosp/admissions").unlink()
    admissions.write_text("subject_id,hadm_id,admittime\n")
    with pytest.raises(SourceError) as raised:
        ingest(config)
    message = str(raised.value)
    assert "the table hosp/patients" in message
    assert "the table note/radiology" in message
    assert "the column dischtime of admissions.csv" in message
    ok = config.model_copy(update={"include_radiology": False})
    with pytest.raises(SourceError) as raised:
        ingest(ok)
    assert "radiology" not in str(raised.value)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere is not there; correct ingest\.source"):
        ingest(IngestConfig(source=tmp_path / "nowhere"))


def test_tables_of_titles_may_be_missing(usual: SmallSource, prefect_store: Store) -> None:
    config = config_of(usual, outcomes=(DiagnosesConfig(min_count=1, grouping="full"),))
    usual.path("hosp/d_icd_diagnoses").unlink()
    counts = run(config).outcomes["diagnoses"].counts
    assert (counts["labels"], counts["untitled_labels"]) == (3, 2)  # I10 is a category, too


def test_notes_may_lie_in_a_folder_of_their_own(usual: SmallSource, tmp_path: Path) -> None:
    usual.write()
    (usual.folder / "note").rename(tmp_path / "note")
    files = open_source(usual.folder, tmp_path)
    assert files.find("discharge") == tmp_path / "note" / "discharge.csv.gz"
    assert open_source(usual.folder, None).find("radiology") is None


def test_a_configuration_that_contradicts_itself_is_refused() -> None:
    for wrong in (
        {"method": "file"},
        {"file": Path("splits.csv")},
        {"validation": 0.5, "test": 0.5},
    ):
        with pytest.raises(ValidationError):
            SplitConfig.model_validate(wrong)
    with pytest.raises(ValidationError, match="same name"):
        IngestConfig(source=Path(), outcomes=(DiagnosesConfig(), DiagnosesConfig(min_count=5)))


def test_the_bytes_of_every_step_are_those_of_its_version(
    usual: SmallSource, prefect_store: Store
) -> None:
    @flow(persist_result=False, result_serializer="json")
    def cutting() -> None:
        cut.append(cut_sections(notes=made.discharge, cohort=made.cohort))

    cut: list[Artifact] = []
    made = run(config_of(usual))
    cutting()
    assert made.guard is not None
    named = dict(zip(("discharge", "radiology"), made.notes, strict=True)) | made.outcomes
    named |= {"splits": made.splits, "cohort": made.cohort, "guard": made.guard}
    named |= {"quality": made.quality, "sections": cut[0]}
    digests = {}
    for name, each in named.items():
        manifest = prefect_store.manifest(each.kind, each.key)
        assert manifest is not None
        digests[name] = (manifest.version, each.digest[:16])
    assert digests == DIGESTS
