"""`clinfuse serve`: the scores of the scorer, and no word of a text in an error or a log."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import numpy as np
import pytest
import schemathesis
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from flows.cli import app as command
from tasks.errors import ConfigError
from tasks.score.scorer import Scorer
from tasks.score.server.app import application
from tasks.score.server.listen import served_from
from tests.score.conftest import Members
from tests.score.test_scorer import texts

KEY, MOST_BYTES = "a-secret", 20_000
SECRET = "Zebulon"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scorer(members: Members) -> Scorer:
    return Scorer(members.store, device="cpu", most_members=3)


@pytest.fixture(scope="module")
def url(scorer: Scorer) -> Iterator[str]:
    """The address of a server in this process, which wants KEY."""
    app = application(scorer, served_from(scorer, None, ()), api_key=KEY, most_bytes=MOST_BYTES)
    config = uvicorn.Config(app, log_config=None, access_log=False, log_level="warning")
    server, listening = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        yield client


def test_it_answers_what_the_scorer_says(
    members: Members, scorer: Scorer, client: httpx.Client
) -> None:
    notes = texts(members)[:3]
    for name, outcome in (("fused", "diagnoses"), ("triage", "triage")):
        key = members.keys[name]
        told = client.post(
            "/v1/predict", json={"texts": notes, "model": key[:9], "outcomes": [outcome]}
        ).json()
        assert told["model"] == key
        [(predicted, answer)] = told["outcomes"].items()
        assert predicted == outcome
        expected = Scorer(members.store, device="cpu").score(notes, [key])[key][outcome]
        np.testing.assert_allclose(answer["probabilities"], expected.probabilities, atol=1e-4)
        assert np.shape(answer["flagged"]) == expected.flagged.shape
        assert [label["code"] for label in answer["labels"]] == list(expected.labels.codes)
        assert [label["title"] for label in answer["labels"]] == list(expected.labels.titles)
        assert answer["one_of"] == (outcome == "triage")


def test_an_outcome_alone_will_do_where_one_model_has_it(
    members: Members, client: httpx.Client
) -> None:
    told = client.post("/v1/predict", json={"texts": ["pain"], "outcomes": ["triage"]}).json()
    assert told["model"] == members.keys["triage"]
    several = client.post("/v1/predict", json={"texts": ["pain"], "outcomes": ["mortality"]})
    assert several.status_code == 404
    assert "name one by its key in 'model'" in several.json()["detail"]
    assert members.keys["died"] in several.json()["detail"]


def test_models_are_listed_and_loaded_when_they_are_used(
    members: Members, client: httpx.Client
) -> None:
    for name in ("fused", "gated", "merged", "died"):
        asking = {"texts": ["pain"], "model": members.keys[name]}
        assert client.post("/v1/predict", json=asking).status_code == 200
    listed = client.get("/v1/models").json()["models"]
    loaded = {each["model"] for each in listed if each["loaded"]}
    assert loaded == {members.keys[name] for name in ("gated", "merged", "died")}
    assert {each["model"] for each in listed} == set(members.keys.values())
    [fused] = (each for each in listed if each["model"] == members.keys["fused"])
    assert {each["outcome"] for each in fused["outcomes"]} == {"diagnoses", "mortality"}


def test_prometheus_reads_what_was_counted(members: Members, client: httpx.Client) -> None:
    def counts() -> dict[str, float]:
        page = client.get("/metrics").text
        families = text_string_to_metric_families(page)
        samples = (sample for family in families for sample in family.samples)
        return {f"{sample.name} {sample.labels}": sample.value for sample in samples}

    key = members.keys["died"]
    before = counts()
    client.post("/v1/predict", json={"texts": ["pain", "fever"], "model": key})
    client.get(f"/{SECRET}?of={SECRET}")
    after = counts()
    texts_of, requests = f"clinfuse_texts_total {{'model': '{key}'}}", "clinfuse_requests_total "
    assert after[texts_of] - before.get(texts_of, 0) == 2
    answered = f"{requests}{{'route': '/v1/predict', 'status': '200'}}"
    assert after[answered] - before.get(answered, 0) == 1
    assert after[f"{requests}{{'route': 'unknown', 'status': '404'}}"] >= 1
    assert after["clinfuse_loaded_models {}"] > 0
    assert SECRET not in str(after)


def test_without_the_key_there_is_nothing_but_health(url: str) -> None:
    for given in ({}, {"Authorization": "Bearer other"}, {"Authorization": f"Basic {KEY}"}):
        for path in ("/v1/models", "/metrics", f"/{SECRET}"):
            refused = httpx.get(url + path, headers=given)
            assert refused.status_code == 401
        refused = httpx.post(f"{url}/v1/predict", headers=given, content=b"x" * MOST_BYTES * 2)
        assert refused.status_code == 401
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}


def test_beyond_this_machine_it_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLINFUSE_API_KEY", "")
    for host in ("0.0.0.0", "::", "ward.example"):
        with pytest.raises(ConfigError, match="is reached from elsewhere; set CLINFUSE_API_KEY"):
            CliRunner().invoke(command, ["serve", "--host", host], catch_exceptions=False)


BAD: list[tuple[int, dict[str, Any]]] = [
    (422, {"json": {"texts": [SECRET, 7]}}),
    (422, {"json": {"texts": SECRET}}),
    (422, {"json": {"texts": [SECRET], SECRET: 1}}),
    (422, {"json": {"texts": [SECRET], "outcomes": [{SECRET: SECRET}]}}),
    (422, {"json": {"texts": [SECRET] * 300}}),
    (422, {"json": {"texts": []}}),
    (422, {"json": [SECRET]}),
    (422, {"content": f'{{"texts": ["{SECRET}'}),
    (422, {"content": f'{{"texts": ["{SECRET} \\ud800"], "model": "x"}}'}),
    (422, {"content": SECRET}),
    (400, {"content": SECRET.encode() + b"\xff"}),
    (404, {"json": {"texts": [SECRET], "model": SECRET}}),
    (404, {"json": {"texts": [SECRET], "outcomes": [SECRET]}}),
    (413, {"json": {"texts": [SECRET * MOST_BYTES]}}),
    (413, {"content": (SECRET.encode() for _ in range(MOST_BYTES))}),  # chunked
]


@pytest.mark.parametrize(("status", "request_"), BAD)
def test_a_bad_request_is_not_quoted(
    status: int,
    request_: dict[str, Any],
    client: httpx.Client,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"/v1/predict?x={SECRET}", headers=headers, **request_)
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}
    ours = [each for each in caplog.records if not each.name.startswith(("httpx", "httpcore"))]
    assert any(f" {status} " in each.getMessage() for each in ours)
    told = answer.text + str([each.getMessage() for each in ours]) + "".join(capfd.readouterr())
    assert SECRET not in told


def test_a_failure_over_a_text_says_nothing_of_it(
    scorer: Scorer,
    client: httpx.Client,
    members: Members,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(texts: list[str], *_: Any) -> None:
        raise ValueError(f"could not convert '{texts[0]}'")

    asking = {"texts": [SECRET], "model": members.keys["died"]}
    for place in ("tasks.score.scorer.Scorer._encoded", "tasks.score.server.wire.answer"):
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda *given: fail([SECRET]))
            answer = client.post("/v1/predict", json=asking)
        assert answer.status_code == 500
        assert SECRET not in answer.text
        assert "ValueError at tests/score/test_server.py" in caplog.text
    counted = client.get("/metrics").text
    assert SECRET not in counted + caplog.text + "".join(capfd.readouterr())
    assert client.post("/v1/predict", json=asking).status_code == 200


def test_schemathesis_finds_nothing(url: str) -> None:
    """The declared API, fuzzed with requests that fit it and others that do not."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    headers = {"Authorization": f"Bearer {KEY}"}
    for operation in (result.ok() for result in schema.get_all_operations()):
        for mode in schemathesis.GenerationMode:
            if operation.method == "get" and mode is schemathesis.GenerationMode.NEGATIVE:
                continue  # they take nothing

            @hypothesis.seed(0)
            @hypothesis.settings(
                max_examples=15,
                deadline=None,
                database=None,
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            def fuzz(case: schemathesis.Case) -> None:
                case.call_and_validate(headers=headers)

            fuzz()


def test_what_was_taken_in_is_answered_before_it_ends(members: Members, tmp_path: Path) -> None:
    """The command itself, told to stop in the middle of a request."""
    log = tmp_path / "log"
    arguments = ["serve", "--store", str(members.store.root), "--port", "0", "--device", "cpu"]
    arguments += ["--member", members.keys["died"]]
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=ROOT,
            stdout=file,
            stderr=file,
            env=os.environ | {"CLINFUSE_API_KEY": ""},
        )
    try:
        port = _port(server, log)
        body = json.dumps({"texts": [f"{SECRET} has chest pain"] * 200}).encode()
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=60) as request:
            request.sendall(head.encode() + body[:-1])
            assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
            refused = httpx.get(f"http://127.0.0.1:{port}/health", headers={"Host": "evil.example"})
            assert refused.status_code == 400
            server.send_signal(signal.SIGTERM)
            _wait(lambda: not _listens(port))
            assert server.poll() is None
            request.sendall(body[-1:])
            answer = b"".join(iter(lambda: request.recv(1 << 16), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["outcomes"]) == 1
        assert server.wait(30) in (0, -signal.SIGTERM)
    finally:
        server.kill()
    told = log.read_text()
    assert "POST /v1/predict 200" in told
    assert "Traceback" not in told
    assert SECRET not in told


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    _wait(lambda: "http://" in log.read_text() or server.poll() is not None)
    return int(log.read_text().partition("http://127.0.0.1:")[2].split()[0])


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _wait(ready: Any) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)
