"""The page of a run in Prefect's UI, in a real headless Chromium: what it shows without a click."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.runs import load_runs
from tests.flows.conftest import World, api
from tests.report.chromium import CHROMIUM, FLAGS


def artifacts_of(world: World, run: str) -> dict[str, Any]:
    """The UI artifacts of a run, by key."""
    asked = {"artifacts": {"flow_run_id": {"any_": [run]}}}
    return {each["key"]: each for each in api(world, "/artifacts/filter", asked)}


def test_a_run_tells_what_it_made(world: World) -> None:
    first = load_runs(world.store.root)[0]
    found = artifacts_of(world, first.id)["tiny-artifacts"]
    rows = json.loads(found["data"])
    assert found["description"] == f"Artifacts made: {len(rows)} by this run"
    assert [row["artifact"] for row in rows] == [f"{a.kind}/{a.key}" for a in first.artifacts]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_shows_the_learning_curves(world: World) -> None:
    from playwright.sync_api import sync_playwright

    run = load_runs(world.store.root)[0].id
    curves = [key for key in artifacts_of(world, run) if key.endswith("-curve")]
    assert len(curves) >= 4
    root = world.environment["PREFECT_API_URL"].removesuffix("/api")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 2000})
        for version in ("", "/v2"):  # Prefect's first UI, and its second
            page.goto(f"{root}{version}/runs/flow-run/{run}")
            page.get_by_text("Artifacts", exact=True).last.click()
            for words in ("training loss by step", "validation AUROC by step"):
                picture = page.get_by_alt_text(words).first
                picture.wait_for()
                assert picture.evaluate("image => image.naturalWidth") == 420
                assert picture.evaluate("image => image.clientWidth") > 150
        browser.close()
