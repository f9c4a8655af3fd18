"""The reports in a browser, the evidence to who knows its address; nothing else of the store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from flows.view import page_url, pages
from tasks import schemas, tables
from tasks.keys import Artifact
from tasks.store import Store
from tests.test_store import FACTS

KEY = "0123456789abcdef"
TOKEN = "only-printed"


@pytest.fixture
def client(store: Store) -> TestClient:
    for kind, name in (("report", "report.html"), ("leaks", "leaks.md"), ("notes", "report.html")):
        out = store.fresh(kind, KEY)
        (out / name).write_text(f"<p>{kind}</p>")
        (out / "headline.json").write_text("[]")
        pq.write_table(pa.table({"a": [1]}), out / "part-0.parquet")
        facts = FACTS | {"kind": kind, "key": KEY, "config": {"run": "<b>demo</b>"}}
        store.commit(out, facts)
    return TestClient(pages(store, TOKEN), base_url="http://127.0.0.1")


def test_a_report_is_shown_where_prefects_pages_link_to(client: TestClient) -> None:
    url = page_url(Artifact("report", KEY, ""))
    assert url == f"http://127.0.0.1:4280/report/{KEY}/report.html"
    shown = client.get(url.removeprefix("http://127.0.0.1:4280"))
    assert shown.text == "<p>report</p>"
    assert shown.headers["content-type"] == "text/html; charset=utf-8"


def test_another_address_may_be_linked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLINFUSE_VIEW_URL", "https://reports.example/")
    assert page_url(Artifact("leaks", "k", "")) == "https://reports.example/leaks/k/leaks.md"


def test_the_first_page_lists_every_report_and_its_pages(client: TestClient) -> None:
    page = client.get("/").text
    assert f'href="/report/{KEY}/report.html"' in page
    assert f'href="/leaks/{KEY}/leaks.md"' in page
    assert "/notes/" not in page
    assert "&lt;b&gt;demo" in page


@pytest.mark.parametrize(
    "path",
    [
        f"/notes/{KEY}/report.html",  # patients' text has no page
        f"/report/{KEY}/manifest.json",  # names the machine
        f"/report/{KEY}/part-0.parquet",
        f"/report/{KEY}/..%2F..%2Fnotes%2F{KEY}%2Freport.html",
        f"/report/..%2Fnotes%2F{KEY}/report.html",
        "/report/.making/report.html",
        "/runs/x/report.html",
    ],
)
def test_nothing_else_is_shown(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_link_out_of_the_store_is_not_followed(
    client: TestClient, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    page = store.path("report", KEY) / "report.html"
    page.unlink()
    page.symlink_to(tmp_path / "secret")
    assert client.get(f"/report/{KEY}/report.html").status_code == 404


def test_only_this_machine_is_answered_and_nothing_is_written(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert client.post("/").status_code == 405
    assert client.delete(f"/report/{KEY}/report.html").status_code == 405


NOTE = "CHIEF COMPLAINT:\n<chest> pain"
CASE = {"hadm_id": 7, "outcome": "diagnoses", "code_system": "icd10cm", "code": "I50"}


@pytest.fixture
def evidence(store: Store) -> TestClient:
    """A store with a prediction and the note that it was made from."""
    row = {"hadm_id": 7, "subject_id": 1, "split": "test", "note": NOTE}
    other = {**row, "hadm_id": 8, "note": "another"}
    curve = [1.0 - step / 20 for step in range(11)]
    case = {**CASE, "variant": "fused", "title": "Heart failure", "has_label": True, "words": 4}
    case |= {"probability": 0.9, "without": 0.2, "without_random": 0.8}
    case |= {"deletion": curve, "insertion": curve[::-1], "random": curve}
    words = [
        {**CASE, "rank": rank, "word": NOTE[start:end], "start": start, "end": end}
        | {"attention": 0.5 / rank, "without": 0.3}
        for rank, (start, end) in enumerate([(25, 29), (16, 17)], 1)
    ]
    cohort = written(store, "cohort", admissions=(schemas.ADMISSIONS, [other, row]))
    made_from = [{"kind": "cohort", "key": KEY, "digest": cohort.digest}]
    tables_of = {"evidence": (schemas.EVIDENCE, [case]), "words": (schemas.EVIDENCE_WORDS, words)}
    facts = {"inputs": made_from, "config": {"name": "fused"}, "counts": {"cases": 1}}
    written(store, "evidence", facts, **tables_of)
    return TestClient(pages(store, TOKEN), base_url="http://127.0.0.1")


def written(
    store: Store,
    kind: str,
    facts: dict[str, Any] | None = None,
    **named: tuple[pa.Schema, list[dict[str, Any]]],
) -> Artifact:
    out = store.fresh(kind, KEY)
    for name, (schema, rows) in named.items():
        table = pa.Table.from_pylist(rows, schema)
        tables.write(out / name / "part-0.parquet", schema, table)
    return store.commit(out, FACTS | {"kind": kind, "key": KEY} | (facts or {}))


@pytest.mark.parametrize("path", ["/evidence", f"/evidence/{KEY}", f"/evidence/{KEY}/0"])
def test_evidence_is_shown_to_who_knows_the_printed_address_alone(
    evidence: TestClient, path: str
) -> None:
    """Every user of a machine can connect to its ports."""
    for asked in (path, f"{path}?token=guessed"):
        refused = evidence.get(asked)
        assert refused.status_code == 403
        assert "address that `clinfuse view` printed" in refused.text
    shown = evidence.get(f"{path}?token={TOKEN}")
    assert shown.status_code == 200
    assert "token" not in str(shown.url)  # it does not stay in the browser's history
    assert "Patients' text" in shown.text
    assert evidence.get(path).status_code == 200
    assert "no-store" in shown.headers["cache-control"]


def test_a_prediction_is_shown_with_its_words_marked_in_the_note(evidence: TestClient) -> None:
    page = evidence.get(f"/evidence/{KEY}/0?token={TOKEN}").text
    assert "Diagnoses: I50, Heart failure" in page
    assert "&lt;chest&gt; " in page  # a note's own markup is text
    assert '0.60)">pain</mark>' in page
    assert "(line break)" in page
    assert "without as many random ones 0.800" in page
    cases = evidence.get(f"/evidence/{KEY}").text
    assert f'href="/evidence/{KEY}/0">7</a>' in cases
    assert f'href="/evidence/{KEY}">fused</a>' in evidence.get("/evidence").text


def test_evidence_whose_cohort_is_gone_is_shown_without_the_note(
    evidence: TestClient, store: Store
) -> None:
    shutil.rmtree(store.path("cohort", KEY))
    page = evidence.get(f"/evidence/{KEY}/0?token={TOKEN}").text
    assert "no longer in the store" in page
    assert "pain" in page


@pytest.mark.parametrize("path", [f"/evidence/{KEY}/1", "/evidence/0000", "/evidence/.making"])
def test_evidence_that_is_not_there_is_not_found(evidence: TestClient, path: str) -> None:
    assert evidence.get(f"{path}?token={TOKEN}").status_code == 404


def test_damaged_evidence_is_told_in_a_sentence(evidence: TestClient, store: Store) -> None:
    (store.path("evidence", KEY) / "words" / "part-0.parquet").write_bytes(b"damaged")
    told = evidence.get(f"/evidence/{KEY}?token={TOKEN}")
    assert told.status_code == 500
    assert "words/part-0.parquet is damaged" in told.text
