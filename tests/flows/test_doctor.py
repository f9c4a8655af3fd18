"""`clinfuse doctor` says what a machine lacks, and leaves no trace of having looked."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from flows import doctor
from tasks.store import Store
from tests.flows.conftest import ROOT

Usage = namedtuple("Usage", "total used free")


def states(findings: object) -> dict[str, str]:
    return {finding.what: finding.state for finding in findings}  # type: ignore[attr-defined]


@pytest.mark.slow
def test_it_looks_at_everything_and_leaves_nothing(tmp_path: Path) -> None:
    """In a process of its own, which imports no torch."""
    store = Store(tmp_path / "store").root
    program = (
        "import sys; from flows.cli import main\n"
        f"sys.argv = ['clinfuse', 'doctor', '--store', {str(store)!r}]\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")},
        capture_output=True,
        text=True,
    )
    *lines, torch = done.stdout.splitlines()
    told = {line.split()[1]: line.split()[0] for line in lines}
    assert done.returncode == 0, done.stdout + done.stderr
    assert torch == "False"
    assert "broken" not in told.values()
    assert list(told) == [
        "python", "torch", "deepspeed", "gpu", "store", "flock", "rename", "prefect", "source",
        "disk", "temporary", "records", "cores",
    ]  # fmt: skip
    assert [path.name for path in store.iterdir()] == [".clinfuse-store"]


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    told = states(doctor._store(tmp_path / "some" / "store"))
    assert told == {"store": "ok", "flock": "ok", "rename": "ok"}
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_open_to_all_is_broken(store: Store) -> None:
    store.root.chmod(0o755)
    [finding] = doctor._store(store.root)
    assert finding.state == "broken"
    assert "chmod o-rwx" in finding.detail


@pytest.mark.parametrize(
    ("program", "says", "what"),
    [
        ("_TRY_LOCK", "free", "flock"),  # as on NFS mounted with nolock
        ("_TRY_LOCK", "held", "flock"),
        ("_RENAME", "renamed", "rename"),  # which it was not, for us
    ],
)
def test_a_file_system_without_locks_or_renames_is_broken(
    store: Store, monkeypatch: pytest.MonkeyPatch, program: str, says: str, what: str
) -> None:
    made = "import os, sys; os.mkdir(sys.argv[1] + '/made');" if what == "rename" else ""
    monkeypatch.setattr(doctor, program, f"{made} print({says!r})")
    expected = {"store": "ok", "flock": "ok", "rename": "ok"} | {what: "broken"}
    assert states(doctor._store(store.root)) == expected


def test_a_torch_that_cannot_be_imported_is_said_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_IMPORTS", "import no_such_torch")
    [finding] = doctor._training()
    assert finding.state == "broken"
    assert "No module named 'no_such_torch'" in str(finding)


def test_a_gpu_that_torch_cannot_use_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"gpus": ["A GPU"]}
    assert doctor._gpu(facts).state == "ok"
    monkeypatch.setattr(doctor, "has_gpu", lambda: True)
    assert doctor._gpu({"gpus": []}).state == "broken"
    monkeypatch.setattr(doctor, "has_gpu", lambda: False)
    assert doctor._gpu({"gpus": []}).state == "note"


def test_a_package_of_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    assert doctor._python().state == "ok"
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: "0.151.0" if name == "fastapi" else version(name),
    )
    finding = doctor._python()
    assert finding.state == "broken"
    assert "fastapi is 0.151.0, not <0.151" in finding.detail


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    preset = ROOT / "configs" / "demo.yaml"
    finding = doctor._source(preset, [f"ingest.source={tmp_path}/none"])
    assert finding.state == "broken"
    assert f"{tmp_path}/none is not there" in finding.detail


def test_an_api_that_does_not_answer_is_broken(tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_HOME: tmp_path}):
        finding = doctor._prefect()
    assert finding.state == "broken"
    assert "http://127.0.0.1:9/api does not answer" in finding.detail


@pytest.mark.parametrize(("gib", "state"), [(0.5, "broken"), (5, "note"), (500, "ok")])
def test_a_disk_with_little_space_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gib: float, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, gib * 2**30))
    told = states(doctor._disk(tmp_path / "store"))
    assert told == {"disk": state, "temporary": state, "records": state}


def test_core_dumps_that_stay_allowed_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._core_dumps().state == "ok"
    monkeypatch.setattr(doctor, "_CORES", "print(0, 1)")
    assert doctor._core_dumps().state == "broken"
