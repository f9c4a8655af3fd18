"""Run records are in the order in which runs began, whatever their machines' clocks said."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tasks.runs import Run, load_runs


def save(root: Path, name: str, started: str = "2026-01-01T00:00:00+00:00") -> None:
    run = Run(id=name, name=name, flow="f", deployment=None, started=started, parameters={})
    run.save(root)
    run.save(root)  # rewritten after every step


def write(root: Path, name: str, **fields: Any) -> Path:
    """A record as it was before runs were counted."""
    (root / "runs").mkdir(exist_ok=True)
    record = {"id": name, "name": name, "flow": "f", "deployment": None, "parameters": {}}
    path = root / "runs" / f"{name}.json"
    path.write_text(json.dumps(record | fields))
    return path


def names(root: Path) -> list[str]:
    return [run.id for run in load_runs(root)]


def test_a_clock_that_is_wrong_moves_no_run(tmp_path: Path) -> None:
    save(tmp_path, "ahead", "2099-01-01T00:00:00+00:00")
    save(tmp_path, "right")
    save(tmp_path, "behind", "1970-01-01T00:00:00+00:00")
    save(tmp_path, "last")
    os.utime(tmp_path / "runs" / "ahead.json", (2**32, 2**32))
    assert names(tmp_path) == ["ahead", "right", "behind", "last"]


def test_records_that_were_not_counted_come_before(tmp_path: Path) -> None:
    write(tmp_path, "second", started="2026-02-01T00:00:00+00:00")
    path = write(tmp_path, "ahead", started="2099-01-01T00:00:00+00:00")
    os.utime(path, (0, 1769900000))  # 2026-01-31: it cannot have begun later
    save(tmp_path, "third", "2020-01-01T00:00:00+00:00")
    assert names(tmp_path) == ["ahead", "second", "third"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"id": 1}', b"null"], ids=repr
)
def test_what_is_no_record_is_passed_over(tmp_path: Path, content: bytes) -> None:
    save(tmp_path, "r")
    (tmp_path / "runs" / "other.json").write_bytes(content[:200_000])
    os.mkfifo(tmp_path / "runs" / "pipe.json")
    (tmp_path / "runs" / "folder.json").mkdir()
    assert names(tmp_path) == ["r"]
