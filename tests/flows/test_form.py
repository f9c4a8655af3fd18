"""Prefect's run forms in a real headless Chromium: what they ask for, and what they send."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.flows.conftest import World, api
from tests.report.chromium import CHROMIUM

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]

FORMS = {  # deployment -> the flow's own preset
    "demo": "configs/demo.yaml",
    "demo-ingest": "configs/demo.yaml",
    "demo-pretrain": "configs/demo.yaml",
    "demo-finetune": "configs/demo.yaml",
    "demo-evaluate": "configs/demo.yaml",
    "demo-audit": "configs/demo.yaml",
    "demo-memory": "configs/demo.yaml",
    "demo-compare": "configs/compare-demo.yaml",
}
UNTOUCHED = {"overrides": [], "name": None}
OF_STAGES = {"source": None, "ranks": None, "refresh": [], "make_missing": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


class Form:
    """The run form of a deployment, in Prefect's first or second UI."""

    def __init__(self, page: Any, world: World, deployment: str, version: str) -> None:
        self.page, self.world, self.version = page, world, version
        found = api(world, "/deployments/filter", {})
        [self.id] = [each["id"] for each in found if each["name"] == deployment]
        root = world.environment["PREFECT_API_URL"].removesuffix("/api")
        page.goto(f"{root}{version}/deployments/deployment/{self.id}/run")
        page.get_by_text("make_missing" if deployment != "demo-compare" else "overrides").wait_for()

    def choose(self, choice: str) -> None:
        """Open the list of what can be made anew, and pick an entry."""
        if self.version:
            self.page.get_by_text("Select", exact=True).click()
            entry = self.page.get_by_role("option")
        else:
            self.page.locator(".p-select-button__control").focus()
            self.page.keyboard.press("ArrowDown")
            entry = self.page.locator(".p-select-option")
        entry.filter(has_text=re.compile(f"^{choice}$")).click()
        self.page.keyboard.press("Escape")

    def add_override(self, text: str) -> None:
        self._fill_new("textarea", text, self.page.get_by_role("button", name="Add item"))

    def give(self, field: str, kind: str, text: str) -> None:
        """Set a field that is null until it is set."""
        of_kind = {"str": ["name", "source"], "int": ["ranks"]}[kind]
        box = "input[type=number]" if kind == "int" else "textarea"
        choice = self.page.get_by_text(kind, exact=True).nth(of_kind.index(field))
        self._fill_new(box, text, choice)

    def _fill_new(self, box: str, text: str, opener: Any) -> None:
        """Fill the box that comes with a click: until it is there, the last one is another's."""
        boxes = self.page.locator(box)
        before = boxes.count()
        opener.click()
        boxes.nth(before).wait_for()
        boxes.last.fill(text)
        boxes.last.blur()

    def submit(self) -> dict[str, Any]:
        """The parameters of the run that the server made of what the form sent; it is deleted."""
        from playwright.sync_api import TimeoutError

        for _ in range(10):
            with suppress(TimeoutError):  # the click only took the focus from a field: once more
                with self.page.expect_response("**/create_flow_run", timeout=10_000) as answer:
                    self.page.get_by_role("button", name="Submit").click()
                if answer.value.status != 503:  # SQLite under load asks to be asked again
                    break
        assert answer.value.status == 201, answer.value.text()
        run = answer.value.json()
        assert json.loads(answer.value.request.post_data)["parameters"] == run["parameters"]
        api(self.world, f"/flow_runs/{run['id']}", method="DELETE")
        return run["parameters"]


@pytest.fixture(params=["", "/v2"], ids=["first UI", "second UI"])
def form(
    request: pytest.FixtureRequest, browser: Any, deployed: World
) -> Iterator[Callable[[str], Form]]:
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    yield lambda deployment: Form(page, deployed, deployment, request.param)
    page.close()


@pytest.mark.parametrize("deployment", FORMS)
def test_an_untouched_form_sends_the_preset_and_nothing_else(
    form: Callable[[str], Form], deployment: str
) -> None:
    expected = UNTOUCHED | ({} if deployment == "demo-compare" else OF_STAGES)
    assert form(deployment).submit() == {"preset": FORMS[deployment], **expected}


def test_one_field_changed_is_sent_and_only_that(form: Callable[[str], Form]) -> None:
    shown = form("demo")
    shown.give("name", "str", "mine")
    expected = {"preset": "configs/demo.yaml", **UNTOUCHED, **OF_STAGES, "name": "mine"}
    assert shown.submit() == expected


def test_a_number_is_sent_as_one(form: Callable[[str], Form]) -> None:
    shown = form("demo-pretrain")
    shown.give("ranks", "int", "2")
    assert shown.submit() == {
        "preset": "configs/demo.yaml",
        **UNTOUCHED,
        **OF_STAGES,
        "ranks": 2,
    }


def test_a_list_changed_is_sent(form: Callable[[str], Form]) -> None:
    shown = form("demo")
    shown.add_override("finetune.adapter.targets=[q_proj, v_proj]")
    sent = shown.submit()
    assert sent["overrides"] == ["finetune.adapter.targets=[q_proj, v_proj]"]
    assert {key: sent[key] for key in OF_STAGES} == OF_STAGES


@pytest.mark.parametrize("stage", ["ingest", "pretrain", "finetune", "evaluate"])
def test_each_stages_form_offers_it_for_refresh(form: Callable[[str], Form], stage: str) -> None:
    shown = form(f"demo-{stage}")
    shown.choose(stage)
    assert shown.submit()["refresh"] == [stage]
