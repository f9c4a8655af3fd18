"""`clinfuse import e3c`: only documents under CC BY, each with what attribution needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.errors import ConfigError, SourceError
from tasks.imports.codiesp import import_codiesp
from tasks.imports.e3c import import_e3c
from tasks.ingest.source import ReadConfig, open_source
from tasks.ingest.write import Files, write_notes
from tests.imports.releases import (
    Row,
    invented,
    named_texts,
    rows_of,
    tables_in,
    write_e3c,
)


def document(name: str, licence: str = "CC BY", **more: str) -> Row:
    address = f"https://example.org/{name}"
    return {
        "id": name,
        "text": f"A man of {name} fell ill.",
        "licence": licence,
        "source": "A journal",
        "url": address,
    } | more


DOCUMENTS = [
    document("EN100002", "CC BY 4.0", text="A woman of 30.\nShe left.\n"),
    document("EN100001"),
    document("EN100003", "CC BY-NC"),
    document("EN100004", "CC BY-NC-ND 4.0"),
    document("EN100005", "CC BY-SA"),
    document("EN100006", "CC BY-ND"),
    document("EN100007", language="fr"),
    document("EN100008", text="A man of EN100001 fell ill. "),
    document("EN100009", text=" "),
    document("EN100010", "CC-BY 3.0"),
]
TAKEN = ["EN100001", "EN100002", "EN100010"]


@pytest.mark.parametrize("nested", ["", "E3C-Corpus-2.0.0"])
def test_only_english_documents_under_cc_by_are_taken(tmp_path: Path, nested: str) -> None:
    write_e3c(tmp_path / "corpus" / nested, DOCUMENTS)
    made = import_e3c(tmp_path / "corpus", tmp_path / "out")
    assert (made.documents, made.left_out) == (3, 7)
    folder = tmp_path / "out" / "e3c"
    assert named_texts(folder) == [
        ("EN100001", "A man of EN100001 fell ill."),
        ("EN100002", "A woman of 30.\nShe left."),
        ("EN100010", "A man of EN100010 fell ill."),
    ]
    assert rows_of(folder / "documents.csv.gz")[1] == {
        "subject_id": "10000001",
        "document": "EN100002",
        "licence": "CC BY 4.0",
        "source": "A journal",
        "url": "https://example.org/EN100002",
    }
    assert set(tables_in(folder)) == {
        "documents.csv.gz",
        "hosp/admissions.csv.gz",
        "hosp/diagnoses_icd.csv.gz",
        "hosp/patients.csv.gz",
        "hosp/procedures_icd.csv.gz",
        "note/discharge.csv.gz",
    }


@pytest.mark.parametrize("named", ["", "data_collection", "data_collection/English"])
def test_its_folder_may_be_named_at_any_level(tmp_path: Path, named: str) -> None:
    write_e3c(tmp_path / "corpus", DOCUMENTS)
    (tmp_path / "corpus" / "data_collection" / "French" / "layer1").mkdir(parents=True)
    (tmp_path / "corpus" / "data_collection" / "French" / "layer1" / "FR1.json").write_text("no")
    assert import_e3c(tmp_path / "corpus" / named, tmp_path / "out").documents == 3


def test_ingest_reads_its_notes(tmp_path: Path) -> None:
    import_e3c(write_e3c(tmp_path / "corpus", DOCUMENTS), tmp_path / "out")
    source = open_source(tmp_path / "out" / "e3c", None, "ingest.pretraining_sources")
    reading = ReadConfig(release=source.release, max_reject_share=0)
    counts = write_notes(
        tmp_path / "notes", Files(reading, source.paths("discharge")).open("discharge")
    )
    assert counts == {"rows": 3, "notes": 3, "rejected": 0}


def test_it_goes_beside_another_corpus(tmp_path: Path) -> None:
    corpus = write_e3c(tmp_path / "corpus", DOCUMENTS)
    import_codiesp(invented().write(tmp_path / "release"), tmp_path / "out")
    import_e3c(corpus, tmp_path / "out")
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == ["codiesp", "codiesp-background", "e3c"]
    with pytest.raises(ConfigError, match="out/e3c is there already"):
        import_e3c(corpus, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"text": "secret', "EN1.json is not JSON"),
        (b"secret \xff", "EN1.json is not JSON"),
        (b'{"id": "EN1", "text": "secret"}', "EN1.json lacks one of id, licence, text"),
        (b'["secret"]', "EN1.json lacks one of id, licence, text"),
    ],
)
def test_a_damaged_document_is_refused_without_its_words(
    tmp_path: Path, content: bytes, told: str
) -> None:
    write_e3c(tmp_path / "corpus", DOCUMENTS)
    (tmp_path / "corpus" / "data_collection/English/layer3/EN1.json").write_bytes(content)
    with pytest.raises(SourceError, match=told) as caught:
        import_e3c(tmp_path / "corpus", tmp_path / "out")
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(SourceError, match=r"lacks data_collection/English.*hltfbk/E3C-Corpus"):
        import_e3c(tmp_path / "other", tmp_path / "out")
    with pytest.raises(SourceError, match="there is no folder"):
        import_e3c(tmp_path / "nowhere", tmp_path / "out")
    write_e3c(tmp_path / "closed", [document("EN1", "CC BY-NC")])
    with pytest.raises(SourceError, match="no English document under CC BY"):
        import_e3c(tmp_path / "closed", tmp_path / "out")


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    corpus = write_e3c(tmp_path / "corpus", DOCUMENTS)
    result = CliRunner().invoke(app, ["import", "e3c", str(corpus), str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "3 documents under CC BY; left out 7" in result.output
