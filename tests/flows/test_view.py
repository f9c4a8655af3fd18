"""The reports in a browser: those, to this machine, and nothing else of the store."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from flows.view import page_url, pages
from tasks.keys import Artifact
from tasks.store import Store
from tests.test_store import FACTS

KEY = "0123456789abcdef"


@pytest.fixture
def client(store: Store) -> TestClient:
    for kind, name in (("report", "report.html"), ("leaks", "leaks.md"), ("notes", "report.html")):
        out = store.fresh(kind, KEY)
        (out / name).write_text(f"<p>{kind}</p>")
        (out / "headline.json").write_text("[]")
        pq.write_table(pa.table({"a": [1]}), out / "part-0.parquet")
        facts = FACTS | {"kind": kind, "key": KEY, "config": {"run": "<b>demo</b>"}}
        store.commit(out, facts)
    return TestClient(pages(store), base_url="http://127.0.0.1")


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
