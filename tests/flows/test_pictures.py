"""The pictures of the README can be taken."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests import pictures
from tests.flows.conftest import World
from tests.report.chromium import CHROMIUM

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


def test_a_run_and_its_report_are_pictured(world: World, tmp_path: Path) -> None:
    api = world.environment["PREFECT_API_URL"]
    pictures.take(api, pictures.newest_report(world.store.root), tmp_path)
    for name in ("run", "report"):
        content = (tmp_path / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG")
        assert struct.unpack(">II", content[16:24]) == (1280, 860)
        assert len(content) > 20_000, "more than an empty page"
